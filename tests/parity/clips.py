"""Face packs of people who are seen over time, for detectors of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from base_detector import FACE_DTYPE, FacePack
from tests.packs import finish_pack


def write_clip_pack(folder: Path, image: np.ndarray, rows: list[tuple[float, int, int]], *, side: int = 0) -> FacePack:
    """A pack with one face a row of (time_s, person, shot); each face fills ``image`` ((H, W, 3) uint8), or ``side`` pixels of it.

    Faces get a little brighter with time, so that no two are alike.
    """
    folder.mkdir()
    faces = np.zeros(len(rows), FACE_DTYPE)
    height, width = image.shape[:2]
    with (folder / "crops.bin").open("wb") as stream:
        for number, (row, (time_s, person, shot)) in enumerate(zip(faces, rows, strict=True)):
            row["time_s"], row["person"], row["shot"], row["frame"] = time_s, person, shot, round(30 * time_s)
            row["box"] = (0, 0, side or width, side or height)
            row["landmarks"], row["confidence"] = np.nan, 1
            row["crop_offset"], row["crop_height"], row["crop_width"] = number * image.size, height, width
            gain = 0.5 + 0.5 * (number + 1) / len(rows)
            stream.write((image * gain).astype(np.uint8).tobytes())
    np.save(folder / "faces.npy", faces)
    return finish_pack(folder, size=(width, height), fps=30.0)
