"""Writes a face pack (docs/face_pack.md) as the faces come; ``base_detector.FacePack`` reads it.

Owns the layout on disk and the limit of its size. Crops are streamed to their file; memory holds one row of about a hundred bytes
per face. May be imported by ``extract``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from backend.media.windows import windows_of
from base_detector import FACE_DTYPE, PACK_SCHEMA, PICTURE_DTYPE, Array, Shot, WorkerFailure
from shared.findings import DecodedMedia, Note, Person, Sound
from shared.origin import Origin

if TYPE_CHECKING:  # this module writes practice packs too, in a process without scipy
    from backend.media.tracks import Sighting

_FIRST_ROWS = 1024
#: Bytes moved at a time.
_BLOCK = 1 << 24


class PackWriter:
    """Writes into ``folder``, which must not exist. ``append`` each face, then ``finish``; close as a context manager.

    ``append_picture`` whole pictures, then ``keep_pictures`` some of them; ``append_sound`` the sound piece by piece.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        folder.mkdir(parents=True)
        self._folder, self._left = folder, max_bytes
        self._crops, self._pixels = (folder / "crops.bin").open("wb"), (folder / "pictures.bin").open("w+b")
        self._sound = (folder / "sound.f32").open("wb")
        self._pictures = np.zeros(0, PICTURE_DTYPE)
        self._rows = np.zeros(_FIRST_ROWS, FACE_DTYPE)
        self._tracks = np.zeros(_FIRST_ROWS, np.int64)
        self._count, self._offset = 0, 0
        self.write_s = 0.0

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._crops, self._pixels, self._sound):
            file.close()

    def __len__(self) -> int:
        return self._count

    def append(self, sighting: Sighting, *, track: int) -> int:
        """Write one face; returns its row before sorting. Raises WorkerFailure(``pack_too_large``)."""
        started = time.perf_counter()
        crop = np.ascontiguousarray(sighting.crop)
        self._take(crop.nbytes + FACE_DTYPE.itemsize)
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._tracks = np.concatenate([self._tracks, np.zeros_like(self._tracks)])
        row, found = self._rows[self._count], sighting.found
        row["frame"], row["time_s"], row["tracked"] = sighting.frame, sighting.time_s, found.tracked
        row["box"], row["landmarks"], row["confidence"] = found.box, found.landmarks, found.confidence
        row["crop_offset"], row["crop_origin"] = self._offset, sighting.origin
        row["crop_height"], row["crop_width"] = crop.shape[:2]
        row["turn"] = found.turn
        self._tracks[self._count] = track
        self._crops.write(crop.data)
        self._offset += crop.nbytes
        self._count += 1
        self.write_s += time.perf_counter() - started
        return self._count - 1

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise WorkerFailure("pack_too_large")

    @property
    def left(self) -> int:
        """Bytes that may still be written."""
        return self._left

    def append_picture(self, picture: Array, *, frame: int, time_s: float) -> None:
        """Write one whole picture, (H, W, 3) uint8 RGB, frames ascending. Raises WorkerFailure(``pack_too_large``)."""
        started = time.perf_counter()
        self._take(picture.nbytes + PICTURE_DTYPE.itemsize)
        row = np.array([(frame, time_s, 0, self._pixels.tell(), *picture.shape[:2])], PICTURE_DTYPE)
        self._pictures = np.concatenate([self._pictures, row])
        self._pixels.write(np.ascontiguousarray(picture).data)
        self.write_s += time.perf_counter() - started

    def keep_pictures(self, frames: Sequence[int]) -> None:
        """Keep the whole pictures of these frames alone."""
        end = 0
        self._pictures = self._pictures[np.isin(self._pictures["frame"], list(frames))]
        for row in self._pictures:
            size = int(row["height"]) * int(row["width"]) * 3
            _move_up(self._pixels, int(row["offset"]), end, size)
            row["offset"] = end
            end += size
        self._pixels.truncate(end)

    def append_sound(self, samples: Array) -> None:
        """Write the next samples of the sound, (n,) float32. Raises WorkerFailure(``pack_too_large``)."""
        self._take(samples.nbytes)
        self._sound.write(samples.astype("<f4").data)

    def sound(self) -> Array:
        """All samples of the sound so far, (n,) float32, mapped from the disk."""
        self._sound.flush()
        path = self._folder / "sound.f32"
        return np.memmap(path, "<f4", "r") if path.stat().st_size else np.zeros(0, np.float32)

    @property
    def frames(self) -> Array:
        """Frame of each row, (n,) int32."""
        frames: Array = self._rows["frame"][: self._count]
        return frames

    @property
    def picture_frames(self) -> Array:
        """Frame of each whole picture, (n,) int64."""
        return self._pictures["frame"].astype(np.int64)

    @property
    def tracks(self) -> Array:
        """Track of each row, (n,) int64."""
        return self._tracks[: self._count]

    def move(self, *, track: int, frame: int, to: int) -> int:
        """Give the faces of ``track`` from ``frame`` on to another track; returns how many."""
        moved = (self.tracks == track) & (self.frames >= frame)
        self.tracks[moved] = to
        return int(moved.sum())

    @property
    def turns(self) -> list[int]:
        """By how many degrees crops were turned to be upright, each once, without 0."""
        return [turn for turn in np.unique(self._rows["turn"][: self._count]).tolist() if turn]

    def finish(
        self,
        *,
        media: DecodedMedia,
        sampling: Mapping[str, Any],
        frames: Sequence[tuple[int, float]],
        shots: Sequence[Shot],
        shot_of_row: Array,
        shot_of_picture: Array | int = 0,
        person_of_row: Array,
        keyfaces: Mapping[int, int],
        seconds: dict[str, float],
        notes: Sequence[Note] = (),
        sound: Sound | None = None,
        windows: Sequence[tuple[float, float]] = (),
        origin: Origin | None = None,
    ) -> None:
        """Write the table and ``pack.json``. ``shot_of_row``, ``person_of_row``, ``shot_of_picture`` are (n,), ``keyfaces``
        person -> row as appended.

        The rest as in ``write_pack_json``; ``seconds`` gets ``write`` added.
        """
        started = time.perf_counter()
        for file in (self._crops, self._pixels, self._sound):
            file.close()
        rows = self._rows[: self._count].copy()
        rows["shot"], rows["person"] = shot_of_row, person_of_row
        order = np.lexsort((rows["person"], rows["frame"]))
        np.save(self._folder / "faces.npy", rows[order], allow_pickle=False)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        self._pictures["shot"] = shot_of_picture
        seconds["write"] = self.write_s + time.perf_counter() - started
        write_pack_json(
            self._folder,
            rows[order],
            media=media,
            sampling=sampling,
            frames=frames,
            shots=shots,
            keyfaces={person: int(place[row]) for person, row in keyfaces.items()},
            seconds=seconds,
            notes=notes,
            pictures=self._pictures,
            sound=sound,
            windows=windows,
            origin=origin,
        )


def write_pack_json(
    folder: Path,
    rows: Array,
    *,
    media: DecodedMedia,
    sampling: Mapping[str, Any],
    frames: Sequence[tuple[int, float]],
    shots: Sequence[Shot],
    keyfaces: Mapping[int, int],
    seconds: Mapping[str, float],
    notes: Sequence[Note] = (),
    pictures: Array | None = None,
    sound: Sound | None = None,
    windows: Sequence[tuple[float, float]] = (),
    origin: Origin | None = None,
) -> None:
    """Write ``pack.json`` of the faces ``rows`` (N,) FACE_DTYPE, and the tables of pictures and windows. The pixels and samples are there.

    ``frames``: (number, time in seconds) of each sampled picture. ``pictures`` (n,) PICTURE_DTYPE, None for none. ``windows``: (window,
    hop) in seconds, as the cards ask for them.
    """
    table = np.zeros(0, PICTURE_DTYPE) if pictures is None else pictures
    np.save(folder / "pictures.npy", table, allow_pickle=False)
    np.save(folder / "windows.npy", windows_of(sound, windows), allow_pickle=False)
    for name in ("pictures.bin", "sound.f32"):
        (folder / name).touch()
    persons = [person for person in _persons(rows) if person.person in keyfaces]
    pack = {
        "schema": PACK_SCHEMA,
        "media": asdict(media),
        "sampling": dict(sampling),
        "frames": [{"frame": frame, "time_s": time_s} for frame, time_s in frames],
        "shots": [asdict(shot) for shot in shots],
        "persons": [asdict(item) | {"keyface": keyfaces[item.person]} for item in persons],
        "notes": [asdict(item) for item in notes],
        "sound": asdict(sound) if sound else None,
        "origin": asdict(origin) if origin else None,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
    }
    (folder / "pack.json").write_text(json.dumps(pack, allow_nan=False), encoding="utf-8")


def _move_up(file: BinaryIO, start: int, to: int, size: int) -> None:
    """Move ``size`` bytes from ``start`` to the earlier place ``to``."""
    for at in range(0, size if to != start else 0, _BLOCK):
        file.seek(start + at)
        block = file.read(min(_BLOCK, size - at))
        file.seek(to + at)
        file.write(block)


def _persons(rows: Array) -> list[Person]:
    """The persons of ``rows`` (n,), frames ascending; faces of nobody (-1) are left out."""
    numbers, first, faces = np.unique(rows["person"], return_index=True, return_counts=True)
    last = len(rows) - 1 - np.unique(rows["person"][::-1], return_index=True)[1]
    times = rows["time_s"]
    return [
        Person(int(number), faces=int(count), first_s=float(times[begin]), last_s=float(times[end]))
        for number, count, begin, end in zip(numbers, faces, first, last, strict=True)
        if number >= 0
    ]
