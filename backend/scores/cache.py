"""Cached scores: the same media under the same detector is not scored twice. Stability bands have entries of their own.

The key is (media sha256, face pack digest, detector, version, contract, weights sha256, parameters, runner, image digest, schema of
``scores.json``), of a band its edition, too (``shared.stability``); a change in any of them is another key. An entry is one directory
that appears by a rename. Local to the back-end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import structlog

from base_detector import SCORES_SCHEMA, Card, FacePack
from shared import durable
from shared.errors import PermanentError
from shared.results import Provenance

log = structlog.get_logger()

Scores = TypeVar("Scores")


def pack_digest(pack: FacePack, card: Card) -> str:
    """Digest of the table of units that the detector of ``card`` judges, and of the mode, by which some detectors judge faces in another
    way (``FacePack.mode``); the media's bytes determine what is in the units."""
    mode = pack.mode if card.unit == "face" else ""
    return hashlib.sha256(mode.encode() + np.ascontiguousarray(pack.units(card)).tobytes()).hexdigest()


class ScoreCache:
    """Entries below ``folder``: the worker's harvested ``scores.json`` and its masks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def key(*, detector: str, provenance: Provenance, media_sha256: str, pack_digest: str, what: str = "") -> str:
        """The name of the entry (64 hex digits). ``what``: what is kept besides the scores, such as the stability band of an edition."""
        parts = [
            SCORES_SCHEMA,
            detector,
            provenance.model_dump(mode="json"),
            media_sha256,
            pack_digest,
            *filter(None, [what]),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def holds(self, key: str) -> bool:
        """Whether there is an entry; ``fetch`` finds out whether it is whole."""
        return durable.exists(self._folder / key)

    def fetch(self, key: str, target: Path, *, read: Callable[[Path], Scores]) -> Scores | None:
        """Copy the entry to ``target`` (which must not exist) and return what ``read`` makes of the copy; None without an entry.

        An entry that ``read`` refuses (PermanentError) is removed and counts as missing, and so does one that cannot be copied.
        """
        entry = self._folder / key
        if not durable.exists(entry):
            return None
        try:
            if not durable.is_folder(entry):
                raise PermanentError("detector_bad_output")
            with durable.staging(target) as staging:
                durable.copy_tree(entry, staging)
                found = read(staging)
        except PermanentError as error:
            log.warning("cached_scores_removed", reason=str(error))
            durable.remove_directory(entry)
            return None
        except OSError as error:
            log.warning("cached_scores_not_copied", reason=str(error))
            return None
        os.utime(entry)
        return found

    def keep(self, key: str, source: Path) -> None:
        """Store a copy of ``source`` under ``key``; an existing entry is kept. Trouble is logged and does not fail the job."""
        target = self._folder / key
        try:
            with self._lock:
                if durable.exists(target):
                    return
                with durable.staging(target) as staging:
                    durable.copy_tree(source, staging)
        except OSError as error:
            log.warning("scores_not_cached", reason=str(error))

    def expire(self, *, older_than_s: float, now: float) -> int:
        """Remove entries not used for ``older_than_s`` seconds before ``now`` (Unix time), and leftovers of crashes; how many."""
        gone = 0
        for entry in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if now - entry.lstat().st_mtime > older_than_s:
                    durable.remove_directory(entry)
                    gone += 1
        return gone
