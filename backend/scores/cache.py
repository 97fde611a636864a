"""Cached scores: the same media under the same detector is not scored twice.

The key is (media sha256, face pack digest, detector, version, contract, weights sha256, parameters, runner, image digest, schema of
``scores.json``); a change in any of them is another key. An entry is one directory that appears by a rename. Local to the back-end.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

from base_detector import SCORES_SCHEMA
from shared import durable
from shared.results import Provenance


class ScoreCache:
    """Entries below ``folder``: the worker's harvested ``scores.json`` and its masks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def key(*, detector: str, provenance: Provenance, media_sha256: str, pack_digest: str) -> str:
        """The name of the entry (64 hex digits)."""
        parts = [SCORES_SCHEMA, detector, provenance.model_dump(mode="json"), media_sha256, pack_digest]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def fetch(self, key: str, target: Path) -> bool:
        """Copy the entry to ``target`` (which must not exist); False when there is none."""
        try:
            shutil.copytree(self._folder / key, target)
        except FileNotFoundError:
            shutil.rmtree(target, ignore_errors=True)
            return False
        (self._folder / key).touch()
        return True

    def keep(self, key: str, source: Path) -> None:
        """Store a copy of ``source`` under ``key``; an entry that exists stays as it is."""
        staging = self._folder / f".{key}.{time.monotonic_ns()}"
        shutil.copytree(source, staging)
        try:
            durable.move_directory(staging, self._folder / key)
        except FileExistsError:
            shutil.rmtree(staging)

    def expire(self, *, older_than_s: float, now: float) -> int:
        """Remove entries not used for ``older_than_s`` seconds before ``now`` (Unix time); how many went."""
        gone = 0
        for entry in self._folder.iterdir():
            if now - entry.stat().st_mtime > older_than_s:
                durable.remove_directory(entry)
                gone += 1
        return gone
