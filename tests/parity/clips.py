"""Face packs of people who are seen over time, for detectors of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from base_detector import FACE_DTYPE, FacePack
from tests.packs import finish_pack, write_faces


def write_clip_pack(folder: Path, image: np.ndarray, rows: list[tuple[float, int, int]], *, side: int = 0) -> FacePack:
    """A pack with one face a row of (time_s, person, shot); each face fills ``image`` ((H, W, 3) uint8), or ``side`` pixels of it.

    Faces get a little brighter with time, so that no two are alike.
    """
    folder.mkdir()
    faces = np.zeros(len(rows), FACE_DTYPE)
    height, width = image.shape[:2]
    for row, (time_s, person, shot) in zip(faces, rows, strict=True):
        row["time_s"], row["person"], row["shot"], row["frame"] = time_s, person, shot, round(30 * time_s)
        row["box"] = (0, 0, side or width, side or height)
        row["landmarks"], row["confidence"] = np.nan, 1
    gains = [0.5 + 0.5 * (number + 1) / len(rows) for number in range(len(rows))]
    write_faces(folder, faces, [(image * gain).astype(np.uint8) for gain in gains])
    return finish_pack(folder, size=(width, height), fps=30.0)


def write_people_pack(folder: Path, rows: list[tuple[int, int, int, np.ndarray]]) -> FacePack:
    """A pack of pictures of 640 x 480, 25 a second, one face a row: (frame, person, side of the box, context crop of 40 x 40)."""
    folder.mkdir()
    faces = np.zeros(len(rows), FACE_DTYPE)
    for row, (frame, person, side, _) in zip(faces, rows, strict=True):
        row["frame"], row["person"], row["time_s"] = frame, person, frame / 25
        row["box"], row["crop_origin"] = (40 - side / 2, 40 - side / 2, 40 + side / 2, 40 + side / 2), (20, 20)
    write_faces(folder, faces, [crop for *_, crop in rows])
    return finish_pack(folder, size=(640, 480))
