"""Pictures of many faces: every face has its number, no label covers a face, and what is left out is said."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.media.labels import STYLES, place
from backend.media.marks import Marks
from backend.media.panel import Rect
from backend.report.build import scored_detectors
from backend.report.page import write_page
from backend.report.pictures import draw_curves
from backend.report.plan import build_plan
from shared.results import DetectorResult, FaceRow, Result

Box = tuple[float, float, float, float]


def grid(columns: int, rows: int, *, side: float, size: tuple[int, int], jitter: float = 0.0) -> list[Box]:
    rng = np.random.default_rng(columns * rows)
    places = itertools.product(range(rows), range(columns))
    starts = [
        (size[0] * (i + 0.2) / columns + rng.uniform(-jitter, jitter), size[1] * (k + 0.2) / rows) for k, i in places
    ]
    return [(x, y, x + side, y + 1.26 * side) for x, y in starts]


CROWDS: dict[str, tuple[tuple[int, int], list[Box]]] = {
    "two": ((640, 480), [(60, 80, 200, 260), (350, 100, 480, 270)]),
    "five in a row": ((1200, 800), grid(5, 1, side=110, size=(1200, 800))),
    "twelve": ((1200, 800), grid(4, 3, side=90, size=(1200, 800), jitter=20)),
    "thirty": ((1600, 1000), grid(6, 5, side=100, size=(1600, 1000), jitter=25)),
    "eighty": ((2000, 1200), grid(10, 8, side=75, size=(2000, 1200), jitter=20)),
    "at the border": ((800, 600), [(-20, -20, 80, 106), (720, -10, 820, 116), (-30, 500, 70, 626), (730, 520, 830, 646)]),
    "huge and tiny": (
        (1200, 800),
        [(300, 120, 720, 650), *((20 + i * 60, 740, 44 + i * 60, 770) for i in range(18))],
    ),
    "touching": ((900, 600), [(100 + i * 82, 100 + k * 105, 182 + i * 82, 205 + k * 105) for k in range(4) for i in range(8)]),
}  # fmt: skip


class Recorder:
    """A canvas that keeps what is drawn instead of drawing it."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.labels: dict[str, Box] = {}
        self._filled: Box | None = None

    def frame(self, rect: Box, colour: Any, *, thickness: int) -> None:
        pass

    def line(self, points: Any, colour: Any, *, thickness: int) -> None:
        pass

    def fill(self, rect: Box, colour: Any) -> None:
        self._filled = rect

    def text(self, words: str, at: Any, colour: Any, **_: Any) -> None:
        assert self._filled is not None
        self.labels[words] = self._filled


def overlap(a: Box, b: Box) -> float:
    """Shared area in pixels."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def crowd(
    made_result: Callable, made_detector: Callable, *, size: tuple[int, int], boxes: list[Box], **more: Any
) -> Result:
    def one(faces: list[FaceRow]) -> list[DetectorResult]:
        scores = tuple(round(0.3 + 0.6 * ((7 * n) % 11) / 11, 4) for n in range(len(faces)))
        found = made_detector("mesonet", faces=faces, level=0.5, title="MesoNet")
        return [found.model_copy(update={"scores": scores, "units_scored": len(scores)})]

    return made_result(
        size=size, frames=1, persons=len(boxes), boxes=boxes, kind="image", detectors=more.get("detectors", one)
    )


@pytest.mark.parametrize("name", CROWDS)
def test_every_face_has_a_label_that_covers_no_other_face_and_no_label(
    made_result: Callable, made_detector: Callable, name: str
) -> None:
    size, boxes = CROWDS[name]
    plan = build_plan(crowd(made_result, made_detector, size=size, boxes=boxes), None)
    canvas = Recorder(900)
    scale = min(900 / size[1], 1600 / size[0])
    pane = Rect(0, 0, size[0] * scale, size[1] * scale)
    assert Marks(plan, size=size, pane=pane).draw(canvas, 0) == 0  # type: ignore[arg-type]
    assert len(canvas.labels) == len(boxes)
    faces = [tuple(value * scale for value in box) for box in boxes]
    for words, label in canvas.labels.items():
        own = int(re.sub(r"^person ", "", words).split()[0]) - 1
        assert min(label) >= 0
        assert label[2] <= pane.width + 0.1
        assert label[3] <= pane.height + 0.1
        for number, face in enumerate(faces):
            area = overlap(label, face)  # type: ignore[arg-type]
            assert area == 0 or (number == own and area <= 0.13 * (face[2] - face[0]) * (face[3] - face[1]))
        assert all(overlap(label, other) == 0 for other in canvas.labels.values() if other is not label)


def test_few_faces_keep_their_names_and_scores_and_crowds_their_numbers(
    made_result: Callable, made_detector: Callable
) -> None:
    words = {}
    for name in ("two", "eighty"):
        size, boxes = CROWDS[name]
        plan = build_plan(crowd(made_result, made_detector, size=size, boxes=boxes), None)
        canvas = Recorder(900)
        Marks(plan, size=size, pane=Rect(0, 0, 900 * size[0] / size[1], 900)).draw(canvas, 0)  # type: ignore[arg-type]
        words[name] = set(canvas.labels)
    assert words["two"] == {"person 1  0.30", "person 2  0.68"}
    assert words["eighty"] == {str(number) for number in range(1, 81)}


def test_a_label_without_room_is_counted() -> None:
    faces: list[Box] = [(0, 0, 50, 50), (50, 0, 100, 50)]
    assert place(faces, [(40, 20), (40, 20)], pane=(0, 0, 100, 50), far=True) == [None, None]
    assert {style.words for style in STYLES} == {"full", "short", "number"}


# --------------------------------------------------------------------------- what is left out


def test_the_table_of_a_crowd_has_every_face_under_its_number(made_result: Callable, made_detector: Callable) -> None:
    result = crowd(made_result, made_detector, size=(2000, 1200), boxes=CROWDS["eighty"][1][:59])
    plan = build_plan(result, None)
    assert plan["bars"] == []
    assert [(number, share) for number, _, share, _ in plan["table"]] == [
        (face.person + 1, score) for face, score in zip(result.faces, result.detectors[0].scores, strict=True)
    ]
    assert plan["left_out"] == ""


def test_a_table_that_is_too_long_has_the_highest_scores_and_says_so(
    made_result: Callable, made_detector: Callable
) -> None:
    result = crowd(made_result, made_detector, size=(4000, 2400), boxes=grid(15, 10, side=60, size=(4000, 2400)))
    plan = build_plan(result, None)
    scores = sorted(result.detectors[0].scores, reverse=True)
    assert sorted((share for _, _, share, _ in plan["table"]), reverse=True) == scores[:96]
    assert [number for number, *_ in plan["table"]] == sorted(number for number, *_ in plan["table"])
    assert plan["left_out"] == "Highest 96 of 150 faces; scores.csv has all."


def test_a_face_without_a_score_is_in_the_table_without_a_number_made_up(
    made_result: Callable, made_detector: Callable
) -> None:
    def two(faces: list[FaceRow]) -> list[DetectorResult]:
        first, second = (made_detector(name, faces=faces, level=0.5) for name in ("mesonet", "xception"))
        gone = tuple(None if n in (3, 5) else 0.2 for n in range(len(faces)))
        other = tuple(None if n == 3 else 0.6 for n in range(len(faces)))
        return [first.model_copy(update={"scores": gone}), second.model_copy(update={"scores": other})]

    result = crowd(made_result, made_detector, size=(2000, 1200), boxes=CROWDS["eighty"][1][:20], detectors=two)
    plan = build_plan(result, None)
    rows = {number: rest for number, *rest in plan["table"]}
    assert (rows[4], rows[6], rows[1]) == (["-", None, 0], ["1 of 1", 1.0, 2], ["1 of 2", 0.5, 2])
    assert "How many of 2 detectors are at or above their thresholds" in plan["note"]
    assert plan["table_note"] == "Bars: share of the detectors that are at or above their thresholds"
    assert plan["thresholds"] == []


def test_the_page_and_the_bars_say_how_many_scores_they_show(
    made_result: Callable, made_detector: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr("backend.report.pictures._save", lambda figure, out, *, note, **_: notes.append(note))
    result = crowd(made_result, made_detector, size=(2000, 1200), boxes=CROWDS["eighty"][1][:59])
    for item, scores in scored_detectors(result):
        draw_curves(result, item, scores, tmp_path / "curve.png")
    assert "24 of 59 scores, the highest ones; scores.csv has all." in notes[0]
    (tmp_path / "video").mkdir()
    Image.new("RGB", (40, 20)).save(tmp_path / "video/side_by_side.png")
    write_page(result, tmp_path, not_drawn=None)
    page = (tmp_path / "summary.html").read_text()
    assert "The bars of MesoNet show 24 of 59 scores" in page
    assert "The table beside it has all 59 faces." in page


def test_a_crowd_is_drawn(made_result: Callable, made_detector: Callable, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from backend.media.limits import UNLIMITED
    from backend.media.render import render

    size, boxes = (800, 500), grid(8, 5, side=45, size=(800, 500))
    Image.new("RGB", size, (70, 70, 70)).save(tmp_path / "in.png")
    plan = build_plan(crowd(made_result, made_detector, size=size, boxes=boxes), None)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    render(tmp_path / "in.png", tmp_path / "plan.json", tmp_path / "out.png", limits=UNLIMITED)
    drawn = np.asarray(Image.open(tmp_path / "out.png"))
    assert drawn.shape[0] == 900  # enlarged, so that the table can be read
    panel = drawn[:, 1440:]
    for *_, level in plan["table"]:  # each number has the colour of its label
        assert (panel == plan["levels"][level]).all(axis=2).sum() > 100
