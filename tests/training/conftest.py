"""A small face bank that every checkout can make: one public-domain portrait, cut and lit in forty ways."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from detectors.training.faces import PARTS, ROW, SIDE, Bank, read_bank, stored_face

#: Box and five points of the portrait, as MTCNN finds them.
BOX = np.array([176, 68, 275, 202], np.float32)
POINTS = np.array([[203, 116], [247, 116], [226, 146], [205, 165], [244, 165]], np.float32)


@pytest.fixture(scope="session")
def bank_folder(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    luma = cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY)
    rng = np.random.default_rng(5)
    faces, rows = [], []
    for number in range(40):
        shift = np.float32(rng.normal(0, 3, 2))
        light = np.clip(luma.astype(np.float32) * rng.uniform(0.7, 1.2) + rng.normal(0, 8), 0, 255).astype(np.uint8)
        face, row = stored_face(light, BOX + np.tile(shift, 2), POINTS)
        row["identity"] = number
        row["part"] = 0 if number < 24 else 1 + number % 2
        faces.append(face)
        rows.append(row)
    folder = tmp_path_factory.mktemp("bank")
    np.save(folder / "pixels.npy", np.stack(faces))
    np.save(folder / "rows.npy", np.array(rows, ROW))
    (folder / "bank.json").write_text(json.dumps({"identities": [f"grey:{n}" for n in range(40)]}))
    return folder


@pytest.fixture(scope="session")
def bank(bank_folder: Path) -> Bank:
    opened = read_bank(bank_folder)
    assert opened.pixels.shape == (40, SIDE, SIDE)
    assert all(len(opened.of_part(part)) for part in PARTS[:3])
    return opened
