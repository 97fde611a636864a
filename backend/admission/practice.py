"""Face packs for practice: one public-domain portrait, moved and lit a little from frame to frame.

Owns the packs of the admission check; they are written as the media pass writes its own. Promises: the same packs every time. May be
imported by ``backend.admission.check`` and the command line of detectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backend.media.pack import write_pack_json
from base_detector import FACE_DTYPE, Array, Shot
from shared.findings import MediaPack

#: Frames a second of a practice clip, so that detectors of clips find frames that follow one another.
FPS = 25.0


class PracticePacks:
    """Writes packs below ``folder`` on demand. ``portrait`` is a pack of one picture with one face, from the media pass."""

    def __init__(self, folder: Path, *, portrait: Path) -> None:
        self._folder = folder
        self._row = np.load(portrait / "faces.npy", allow_pickle=False)[:1].copy()
        height, width = int(self._row["crop_height"][0]), int(self._row["crop_width"][0])
        start = int(self._row["crop_offset"][0])
        pixels = np.fromfile(portrait / "crops.bin", np.uint8)
        self._crop = pixels[start : start + height * width * 3].reshape(height, width, 3)
        self._media = MediaPack(portrait).media

    def clip(self, faces: int) -> Path:
        """A clip of one person, one face per frame."""

        def write(folder: Path) -> None:
            rows = np.repeat(self._row, faces)
            rows["frame"] = np.arange(faces)
            rows["time_s"] = rows["frame"] / FPS
            rows["crop_offset"] = np.arange(faces) * self._crop.size
            with (folder / "crops.bin").open("wb") as file:
                for frame in range(faces):
                    file.write(self._varied(frame).tobytes())
            self._finish(folder, rows, kind="video")

        return self._made(f"clip-{faces}", write)

    def row_of_clip(self, faces: int, index: int) -> Path:
        """Face ``index`` of ``clip(faces)`` alone, in its own pack."""

        def write(folder: Path) -> None:
            rows = np.load(self.clip(faces) / "faces.npy", allow_pickle=False)[index : index + 1].copy()
            rows["crop_offset"] = 0
            (folder / "crops.bin").write_bytes(self._varied(index).tobytes())
            self._finish(folder, rows, kind="video")

        return self._made(f"row-{faces}-{index}", write)

    def example(self, content: Array) -> Path:
        """A pack of one picture, (H, W, 3) uint8 RGB, the whole of it taken as the face; no landmarks."""
        image = content

        def write(folder: Path) -> None:
            rows = self._row.copy()
            height, width = image.shape[:2]
            rows["box"], rows["landmarks"] = (0, 0, width, height), np.nan
            rows["crop_offset"], rows["crop_origin"] = 0, 0
            rows["crop_height"], rows["crop_width"] = height, width
            (folder / "crops.bin").write_bytes(np.ascontiguousarray(image).tobytes())
            self._finish(folder, rows, kind="image", width=width, height=height)

        return self._made(f"picture-{len(list(self._folder.glob('picture-*')))}", write)

    def empty(self) -> Path:
        """A clip in which no face was found."""

        def write(folder: Path) -> None:
            (folder / "crops.bin").touch()
            self._finish(folder, np.zeros(0, FACE_DTYPE), kind="video")

        return self._made("empty", write)

    def truncated(self, faces: int) -> Path:
        """A clip with half of its pixels missing."""

        return self._halved(faces, "crops.bin")

    # -- inside

    def _halved(self, units: int, file: str) -> Path:
        """A clip of ``units`` whose ``file`` ends in the middle."""

        def write(folder: Path) -> None:
            for path in self.clip(units).iterdir():
                content = path.read_bytes()
                (folder / path.name).write_bytes(content[: len(content) // 2] if path.name == file else content)

        return self._made(f"truncated-{units}", write)

    def _made(self, name: str, write: Callable[[Path], None]) -> Path:
        folder = self._folder / name
        if not folder.exists():
            folder.mkdir(parents=True)
            write(folder)
        return folder

    def _varied(self, frame: int) -> Array:
        """The portrait, a little brighter or darker and shifted by a pixel or two."""
        moved = np.roll(self._crop, (frame % 3, frame % 5 - 2), (0, 1)).astype(np.int16)
        varied: Array = np.clip(moved + (frame * 7) % 23 - 11, 0, 255).astype(np.uint8)
        return varied

    def _finish(self, folder: Path, rows: Array, *, kind: str, pictures: Array | None = None, **media: Any) -> None:
        np.save(folder / "faces.npy", rows, allow_pickle=False)
        units = rows if pictures is None else pictures
        count = max(1, len(units))
        facts: dict[str, Any] = {"kind": kind, "fps": FPS, "frames": count, "duration_s": count / FPS} | media
        write_pack_json(
            folder,
            rows,
            media=replace(self._media, **facts),
            sampling={"mode": "thorough", "samplings": ["every_frame"], "context": 2.0, "detect_every": 1},
            frames=[(int(row["frame"]), float(row["time_s"])) for row in units] or [(0, 0.0)],
            shots=[Shot(0, 0, count - 1, start_s=0.0, end_s=(count - 1) / FPS)],
            keyfaces={0: 0} if len(rows) else {},
            seconds={},
            pictures=pictures,
        )
