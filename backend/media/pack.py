"""Writes a face pack (docs/face_pack.md) as the faces come; ``base_detector.FacePack`` reads it.

Owns the layout on disk and the bound on its size. Crops stream to their file; in memory lies one row of about a hundred bytes a
face. May be imported by ``extract``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.media.tracks import Sighting
from base_detector import FACE_DTYPE, PACK_SCHEMA, WorkerFailure

Array = npt.NDArray[Any]

_FIRST_ROWS = 1024


class PackWriter:
    """Writes into ``folder``, which must not exist. ``append`` each face, then ``finish``; close as a context manager."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        folder.mkdir(parents=True)
        self._folder, self._left = folder, max_bytes
        self._crops = (folder / "crops.bin").open("wb")
        self._rows = np.zeros(_FIRST_ROWS, FACE_DTYPE)
        self._tracks = np.zeros(_FIRST_ROWS, np.int64)
        self._count, self._offset = 0, 0
        self.write_s = 0.0

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crops.close()

    def __len__(self) -> int:
        return self._count

    def append(self, sighting: Sighting, *, track: int) -> int:
        """Write one face; returns its row before sorting. Raises WorkerFailure(``pack_too_large``)."""
        started = time.perf_counter()
        crop = np.ascontiguousarray(sighting.crop)
        self._left -= crop.nbytes + FACE_DTYPE.itemsize
        if self._left < 0:
            raise WorkerFailure("pack_too_large")
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._tracks = np.concatenate([self._tracks, np.zeros_like(self._tracks)])
        row, found = self._rows[self._count], sighting.found
        row["frame"], row["time_s"], row["tracked"] = sighting.frame, sighting.time_s, found.tracked
        row["box"], row["landmarks"], row["confidence"] = found.box, found.landmarks, found.confidence
        row["crop_offset"], row["crop_origin"] = self._offset, sighting.origin
        row["crop_height"], row["crop_width"] = crop.shape[:2]
        self._tracks[self._count] = track
        self._crops.write(crop.data)
        self._offset += crop.nbytes
        self._count += 1
        self.write_s += time.perf_counter() - started
        return self._count - 1

    @property
    def frames(self) -> Array:
        """Frame of each row, (n,) int32."""
        frames: Array = self._rows["frame"][: self._count]
        return frames

    @property
    def tracks(self) -> Array:
        """Track of each row, (n,) int64."""
        return self._tracks[: self._count]

    def finish(
        self,
        *,
        shots: Array,
        persons: Array,
        keyfaces: Mapping[int, int],
        info: Mapping[str, Any],
        seconds: dict[str, float],
    ) -> None:
        """Write the table and ``pack.json``. ``shots`` and ``persons`` (n,) are given by row, ``keyfaces`` person -> row.

        ``info`` holds ``media``, ``sampling``, ``frames`` and ``shots``; ``seconds`` gets ``write`` added.
        """
        started = time.perf_counter()
        self._crops.close()
        rows = self._rows[: self._count].copy()
        rows["shot"], rows["person"] = shots, persons
        order = np.lexsort((rows["person"], rows["frame"]))
        np.save(self._folder / "faces.npy", rows[order], allow_pickle=False)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        people = _people(rows[order], {person: int(place[row]) for person, row in keyfaces.items()})
        seconds["write"] = self.write_s + time.perf_counter() - started
        pack = {"schema": PACK_SCHEMA, **info, "persons": people, "seconds": _rounded(seconds)}
        (self._folder / "pack.json").write_text(json.dumps(pack, allow_nan=False), encoding="utf-8")


def _people(rows: Array, keyfaces: Mapping[int, int]) -> Sequence[dict[str, Any]]:
    """The ``persons`` of ``pack.json``."""
    people = []
    for person in sorted(keyfaces):
        times = rows["time_s"][rows["person"] == person]
        people.append(
            {
                "person": person,
                "faces": len(times),
                "first_s": float(times[0]),
                "last_s": float(times[-1]),
                "keyface": keyfaces[person],
            }
        )
    return people


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in seconds.items()}
