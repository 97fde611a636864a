"""The content credentials (C2PA) of a file, read by a process of their own while the media pass goes on.

Owns when a reader is started, and what a reader that fails means. Promises: whatever happens to the reader, there is an answer, and
nothing else of the pass depends on it; no reader is left behind. May be imported by ``backend.media.extract``.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from shared.origin import Credentials, credentials_from
from shared.signatures import HEAD_BYTES, is_avif, is_heif, is_tiff

#: Seconds of wall time that a reader may take from its start.
LONGEST_S: Final = 90.0
#: Bytes of an answer: an honest one has at most some hundred kilobytes.
_MOST_BYTES: Final = 4_000_000
#: One of these is in every file with a manifest (labels of its parts begin with the first), or with a link to one (XMP).
_SIGNS: Final = (b"c2pa", b"dcterms:provenance")
_READER: Final = "backend.media.manifest_reader"


class ManifestReader:
    """Starts to read the credentials of ``media`` where there is a sign of any; ``credentials`` waits for them. A context manager."""

    def __init__(self, media: Path, *, anchors: Path | None = None) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._end = time.monotonic() + LONGEST_S
        self._found = Credentials("none")
        kind = _type_of(media) if _has_sign(media) else None
        if kind is None:
            return
        # nothing of the caller but the language and where modules are: see ``backend.workers.process_runner``
        command = [sys.executable, "-P", "-m", _READER, str(media.absolute()), kind]
        command += [str(anchors.absolute())] if anchors else []
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError:
            self._found = Credentials("unreadable", code="no_reader")

    def __enter__(self) -> ManifestReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def credentials(self) -> Credentials:
        """What was read; state ``unreadable`` with a code when the reader died (``reader_failed``) or took too long (``timed_out``)."""
        if self._process is None:
            return self._found
        try:
            untrusted, _ = self._process.communicate(timeout=max(0.1, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._stop()
            return Credentials("unreadable", code="timed_out")
        if self._process.returncode == 0 and len(untrusted) <= _MOST_BYTES:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                return credentials_from(json.loads(untrusted))
        return Credentials("unreadable", code="reader_failed")

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            with contextlib.suppress(OSError, ValueError):
                self._process.communicate()


def _has_sign(media: Path) -> bool:
    """Whether ``media`` may have a manifest: by bytes that every one has, so that other files need no reader."""
    with media.open("rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return any(content.find(sign) >= 0 for sign in _SIGNS)
        except (ValueError, OSError):  # an empty file cannot be mapped
            return False


def _type_of(media: Path) -> str | None:
    """The media type that the reader takes for ``media``, by its first bytes; None for containers that hold no manifest."""
    with media.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"RIFF"):
        return {b"WEBP": "image/webp", b"AVI ": "video/avi", b"WAVE": "audio/wav"}.get(head[8:12])
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "image/avif" if is_avif(head) else "image/heif" if is_heif(head) else "video/mp4"
    if is_tiff(head):
        return "image/tiff"
    starts = (
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\x89PNG", "image/png"),
        (b"GIF8", "image/gif"),
        (b"fLaC", "audio/flac"),
        (b"ID3", "audio/mpeg"),
        (b"\xff", "audio/mpeg"),
    )
    return next((kind for start, kind in starts if head.startswith(start)), None)
