"""``boxes.json``, the gallery and the pictures of evidence: what the result page shows of faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.report import boxes
from backend.report.build import scored_detectors
from backend.report.faces import MOST_BYTES, write_evidence, write_gallery
from backend.report.plan import build_plan, counts_at
from shared.results import FaceRow, Result, Shot


def opened(path: Path) -> tuple[str | None, np.ndarray]:
    """Format and pixels of a picture."""
    with Image.open(path) as picture:
        return picture.format, np.asarray(picture, int)


def said_of(result: Result) -> Any:
    return counts_at([pair for pair in scored_detectors(result) if pair[0].unit == "face"], units=len(result.faces))


@pytest.fixture
def two(made_result: Callable, made_detector: Callable) -> Result:
    """A clip of two persons and two detectors."""
    both = lambda faces: [made_detector(n, faces=faces, level=v) for n, v in (("mesonet", 0.7), ("xray", 0.45))]  # noqa: E731
    return made_result(persons=2, frames=50, detectors=both)


def test_boxes_say_what_the_result_video_says_of_the_same_faces(tmp_path: Path, two: Result) -> None:
    boxes.write_boxes(two, said_of(two), tmp_path / "boxes.json")
    written = json.loads((tmp_path / "boxes.json").read_text())
    planned = build_plan(two, None)["boxes"]
    assert len(written["faces"]) == len(two.faces) == 100
    assert [written["words"][row[8]] for row in written["faces"]] == planned["words"]
    assert [row[7] for row in written["faces"]] == planned["level"]
    assert [row[2] for row in written["faces"]] == planned["person"]
    corners = np.array([row[3:7] for row in written["faces"]]) / boxes.PARTS * [640, 480, 640, 480]
    assert np.abs(corners - np.clip(planned["box"], 0, [640, 480, 640, 480])).max() < 0.05
    assert written["hold_s"] == pytest.approx(0.12), "three frames of 25 a second"


def test_boxes_of_frames_of_another_size_are_parts_of_that_size(two: Result) -> None:
    media = replace(two.media, sizes=((0, 640, 480), (25, 320, 240)))
    faces = tuple(face.model_copy(update={"box": (160.0, 120.0, 320.0, 240.0)}) for face in two.faces)
    rows = boxes.boxes_of(two.model_copy(update={"media": media, "faces": faces}), said_of(two))["faces"]
    assert rows[0][3:7] == [2500, 2500, 5000, 5000]
    assert rows[-1][3:7] == [5000, 5000, 10000, 10000]


def test_boxes_are_bounded_and_leave_out_whole_frames_evenly(two: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "MOST_FACES", 30)
    rows = boxes.boxes_of(two, said_of(two))["faces"]
    times = sorted({row[0] for row in rows})
    assert len(rows) == 26
    assert np.diff(times).round(3).tolist() == [0.16] * 12
    assert all(sum(row[0] == time for row in rows) == 2 for time in times)


def test_a_file_without_faces_has_no_boxes(made_result: Callable) -> None:
    nobody = made_result(frames=0, persons=0, detectors=lambda faces: [])
    assert boxes.boxes_of(nobody, said_of(nobody))["faces"] == []


def test_gallery_has_the_worst_face_of_each_person_in_each_shot_worst_first(tmp_path: Path, two: Result) -> None:
    shots = (
        Shot(shot=0, start=0, end=24, start_s=0.0, end_s=1.0),
        Shot(shot=1, start=25, end=49, start_s=1.0, end_s=2.0),
    )
    faces: tuple[FaceRow, ...] = tuple(face.model_copy(update={"shot": int(face.frame >= 25)}) for face in two.faces)
    result = two.model_copy(update={"shots": shots, "faces": faces})
    said = said_of(result)
    found = write_gallery(result, said, lambda row: np.full((40, 60, 3), row, np.uint8), tmp_path)
    assert len(found) == 4, "two persons in two shots"
    ranks = [said.rank[item.face] for item in found]
    assert ranks == sorted(ranks, reverse=True)
    for item in found:
        own = faces[item.face]
        rivals = [r for r, face in enumerate(faces) if (face.person, face.shot) == (own.person, own.shot)]
        assert said.rank[item.face] == max(said.rank[rivals])
        assert opened(tmp_path / item.file)[1].shape == (171, 256, 3)


def test_pictures_of_faces_are_small_whatever_is_on_them(tmp_path: Path, two: Result) -> None:
    noise = np.random.default_rng(1)
    detailed = np.kron(noise.integers(0, 255, (64, 64, 3), np.uint8), np.ones((6, 6, 1), np.uint8))
    mask = tmp_path / "mask.npy"
    np.save(mask, noise.integers(0, 255, (32, 32), np.uint8))
    gallery = write_gallery(two, said_of(two), lambda row: detailed, tmp_path)
    (one,) = write_evidence({"xray": {3: mask}}, tmp_path, crop=lambda detector, row: detailed)["xray"]
    assert (one.file, one.plain) == ("evidence/xray/000003.jpg", "evidence/xray/000003_face.jpg")
    for name in (gallery[0].file, one.file, one.plain):
        assert opened(tmp_path / name)[0] == "JPEG"
        assert (tmp_path / name).stat().st_size <= MOST_BYTES, name
    marked, plain = opened(tmp_path / one.file)[1], opened(tmp_path / one.plain)[1]
    assert np.abs(marked - plain).mean() > 5, "the marks are drawn"
