"""What pictures and videos are told to show: no line where nothing was scored, no words the font lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image
from reportlab.platypus import KeepTogether

from backend.media.canvas import Canvas
from backend.media.panel import CurvePanel, Rect, _clock, _Curve, _ticks
from backend.report.build import scored_detectors
from backend.report.curves import MOST_POINTS, write_curves
from backend.report.palette import LEVELS, UNSCORED, curve_style
from backend.report.pdf.annex import annex
from backend.report.pdf.drawings import Curve
from backend.report.pdf.letters import load
from backend.report.pdf.subject import Subject
from backend.report.pictures import draw_all_curves, draw_curves, draw_sorted, drawable
from backend.report.plan import build_plan, counts_at
from backend.report.series import FaceTable, highest_series, person_series, score_array
from shared.curve_colours import CURVES, curve_colour, curve_mark
from shared.findings import Note
from shared.results import Finding, Result


def table(
    frames: list[int], *, shots: list[int] | None = None, persons: list[int] | None = None, fps: float = 25
) -> FaceTable:
    count = len(frames)
    return FaceTable(
        frame=np.array(frames),
        time_s=np.array(frames) / fps,
        piece=np.array(shots or [0] * count),
        person=np.array(persons or [0] * count),
    )


# --------------------------------------------------------------------------- series


def test_a_line_breaks_at_a_gap_and_at_a_cut() -> None:
    faces = table([0, 1, 2, 30, 31, 32], shots=[0, 0, 0, 0, 0, 1])
    series = highest_series(faces, np.linspace(0, 1, 6), label="x")
    assert series.runs == ((0, 3), (3, 5), (5, 6))


def test_sparse_sampling_is_no_gap() -> None:
    faces = table([0, 25, 50, 75])
    assert highest_series(faces, np.full(4, 0.5), label="x").runs == ((0, 4),)


def test_faces_the_detector_passed_over_are_a_gap() -> None:
    scores = np.full(50, np.nan)
    scores[[3, 20, 21, 40]] = 0.9
    assert highest_series(table(list(range(50))), scores, label="x").runs == ((0, 1), (1, 3), (3, 4))


def test_a_face_without_score_leaves_no_point() -> None:
    series = highest_series(table([0, 1, 2]), np.array([0.1, np.nan, 0.3]), label="x")
    assert series.scores.tolist() == [0.1, 0.3]
    assert highest_series(table([0]), np.array([np.nan]), label="x").runs == ()


def test_the_highest_face_of_a_frame_stands_for_it_and_persons_stand_alone() -> None:
    faces = table([0, 0, 1, 1], persons=[0, 1, 0, 1])
    scores = np.array([0.2, 0.9, 0.4, 0.1])
    assert highest_series(faces, scores, label="x").scores.tolist() == [0.9, 0.4]
    assert person_series(faces, scores, person=1).scores.tolist() == [0.9, 0.1]


def test_scores_that_are_not_parallel_to_the_faces_are_refused(made_result: Callable) -> None:
    with pytest.raises(ValueError, match="parallel"):
        score_array(made_result().detectors[0].model_copy(update={"scores": (0.5,) * 49}), made_result())


# --------------------------------------------------------------------------- curves.json


def curves_of(result: Result, folder: Path) -> dict:
    write_curves(result, scored_detectors(result), folder / "curves.json")
    return json.loads((folder / "curves.json").read_text())


def test_the_chart_breaks_where_the_pictures_do(made_result: Callable, made_detector: Callable, tmp_path: Path) -> None:
    def detectors(faces: list) -> list:
        first = made_detector("aa", faces=faces, level=0.8)
        gaps = tuple(None if 10 <= row.frame < 20 else score for row, score in zip(faces, first.scores, strict=True))
        return [first.model_copy(update={"scores": gaps}), made_detector("bb", faces=faces, level=0.5)]

    result = made_result(persons=2, detectors=detectors)
    made = curves_of(result, tmp_path)
    assert made["persons"] == [0, 1]
    assert [(line["detector"], line["person"], line["colour"]) for line in made["lines"]] == [
        (name, person, colour) for colour, name in enumerate(("aa", "bb")) for person in (None, 0, 1)
    ]
    drawn = plan(result)["curves"]
    for line, curve in zip([item for item in made["lines"] if item["person"] is None], drawn, strict=True):
        assert line["t"].count(None) == line["y"].count(None) == len(curve["runs"]) - 1
        points = [[t, y] for t, y in zip(line["t"], line["y"], strict=True) if t is not None]
        np.testing.assert_allclose(points, [point for run in curve["runs"] for point in run], atol=1e-3)
    assert [len(curve["runs"]) for curve in drawn] == [2, 1]


def test_picture_video_and_chart_draw_one_series_and_nothing_where_nothing_was_computed(
    made_result: Callable, made_detector: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detectors(faces: list) -> list:
        gaps = [
            None if 10 <= row.frame < 20 or 21 <= row.frame < 30 else 0.5 for row in faces
        ]  # one score alone between two gaps
        return [made_detector("aa", faces=faces, level=0.8).model_copy(update={"scores": tuple(gaps)})]

    result = made_result(detectors=detectors)
    drawn: list[list[float]] = []
    usual = Axes.plot

    def plot(axes: Axes, x: list, y: list, **look: object) -> object:
        drawn.append(list(x))
        return usual(axes, x, y, **look)

    monkeypatch.setattr(Axes, "plot", plot)
    draw_curves(result, result.detectors[0], score_array(result.detectors[0], result), tmp_path / "one.png")
    of_picture = [times for times in drawn if times]
    of_video = [[time for time, _ in run] for run in plan(result)["curves"][0]["runs"]]
    of_chart: list[list[float]] = [[]]
    for time in curves_of(result, tmp_path)["lines"][0]["t"]:
        of_chart[-1].append(time) if time is not None else of_chart.append([])
    assert [len(times) for times in of_picture] == [10, 1, 20]
    for one in (of_video, of_chart):
        assert [len(times) for times in one] == [10, 1, 20]
        np.testing.assert_allclose(np.concatenate(one), np.concatenate(of_picture), atol=1e-3)


def test_a_long_line_is_thinned_without_losing_a_peak_or_a_break(
    made_result: Callable, made_detector: Callable, tmp_path: Path
) -> None:
    def detectors(faces: list) -> list:
        scores = [0.4 + 0.001 * (row.frame % 7) for row in faces]
        scores[5001], scores[9002] = 0.97, 0.01
        scores[7000:7010] = [None] * 10
        return [made_detector("aa", faces=faces, level=0.5).model_copy(update={"scores": tuple(scores)})]

    (line,) = curves_of(made_result(frames=12_000, detectors=detectors), tmp_path)["lines"]
    known = [score for score in line["y"] if score is not None]
    assert 2000 < len(known) <= MOST_POINTS + 2
    assert (max(known), min(known)) == (0.97, 0.01)
    assert line["y"].count(None) == 1
    edge = line["t"].index(None)
    assert line["t"][edge - 1] < 7000 / 25 < line["t"][edge + 1]


# --------------------------------------------------------------------------- plan


def plan(result: Result, detectors: list[str] | None = None) -> dict:
    made = build_plan(result, detectors)
    return json.loads(json.dumps(made, allow_nan=False))


def test_one_detector_has_a_curve_a_person(made_result: Callable) -> None:
    made = plan(made_result(persons=2))
    assert [curve["label"] for curve in made["curves"]] == ["person 1", "person 2"]
    assert made["heading"] == "MesoNet"


def test_several_detectors_share_one_plot_and_boxes_say_how_many_are_above_their_own_thresholds(
    made_result: Callable, made_detector: Callable
) -> None:
    result = made_result(
        persons=2,
        detectors=lambda faces: [
            made_detector(name, faces=faces, level=level) for name, level in (("aa", 0.7), ("bb", 0.5))
        ],
    )
    made = plan(result)
    assert [curve["label"] for curve in made["curves"]] == ["Aa", "Bb"]
    above = [
        sum(item.scores[place] >= item.threshold for item in result.detectors) for place in range(len(result.faces))
    ]
    assert {0, 1, 2} == set(above)
    assert made["boxes"]["words"] == [f"{count} of 2" for count in above]
    assert made["boxes"]["level"] == [count + 1 for count in above]
    assert made["boxes"]["frame"] == sorted(made["boxes"]["frame"])
    assert [curve["label"] for curve in plan(result, ["bb"])["curves"]] == ["person 1", "person 2"]


def test_detectors_without_scores_have_no_curve(
    made_result: Callable, made_detector: Callable, made_silent: Callable
) -> None:
    made = plan(
        made_result(
            detectors=lambda faces: [
                made_silent("aa", status="failed", code="worker_died"),
                made_detector("bb", faces=faces, level=0.5),
            ]
        )
    )
    assert len(made["curves"]) == 1
    made = plan(made_result(detectors=lambda faces: [made_silent("aa", status="failed", code="worker_died")]))
    assert made["curves"] == []
    assert set(made["boxes"]["words"]) == {"no score"}
    assert set(made["boxes"]["level"]) == {0}
    assert plan(made_result(frames=0, detectors=lambda faces: []))["boxes"]["frame"] == []


def test_thresholds_are_drawn_once_each(made_result: Callable, made_detector: Callable) -> None:
    values = [0.5, 0.4, 0.5]
    result = made_result(
        detectors=lambda faces: [
            made_detector(f"number_{i}", faces=faces, level=0.5, threshold=value) for i, value in enumerate(values)
        ]
    )
    lines = plan(result)["thresholds"]
    assert [line["value"] for line in lines] == [0.4, 0.5]
    assert lines[0]["colour"] == list(curve_colour(1))  # one detector's own
    assert lines[1]["colour"] == [90, 90, 90]  # shared


def test_a_box_counts_each_detector_by_its_own_threshold_and_only_those_that_judged_the_face_and_count(
    made_detector: Callable, made_result: Callable
) -> None:
    nan = np.nan
    faces = list(made_result(frames=4).faces)
    first, second, third = (
        made_detector(name, faces=faces, level=0.5, threshold=at)
        for name, at in (("aa", 0.5), ("bb", 0.9), ("cc", 0.5))
    )
    few = third.model_copy(update={"finding": Finding(points="inconclusive", code="few_units", sentence="Too few.")})
    scores = [np.array([0.6, 0.6, nan, nan]), np.array([0.8, 0.9, 0.95, nan]), np.array([nan, 0.9, 0.9, 0.9])]
    said = counts_at(list(zip((first, second, few), scores, strict=True)), units=4)
    assert said.words == ["1 of 2", "2 of 2", "1 of 1", "not counted"]
    assert said.level.tolist() == [2, 3, 2, 0]
    alone = counts_at([(second, scores[1])], units=4)
    assert alone.words == ["0.80", "0.90", "0.95", "no score"]
    assert alone.level.tolist() == [1, 2, 2, 0]
    assert counts_at([(few, scores[2])], units=4).level.tolist() == [0, 0, 0, 0], "its score is grey"
    assert counts_at([], units=4).words == ["no score"] * 4


def test_a_detector_in_no_count_is_grey_in_video_chart_and_pdf_and_its_name_says_so(
    made_detector: Callable, made_result: Callable, tmp_path: Path
) -> None:
    found = Finding(points="inconclusive", code="few_units", sentence="Too few.")
    result = made_result(
        frames=30,
        detectors=lambda faces: [
            made_detector("aa", faces=faces, level=0.2, threshold=0.4, title="Alpha"),
            made_detector("bb", faces=faces, level=0.9, title="Beta").model_copy(update={"finding": found}),
        ],
    )
    drawn, grey = plan(result), curve_colour(0, counted=False)
    assert [(one["label"], tuple(one["colour"])) for one in drawn["curves"]] == [
        ("Alpha", curve_colour(0)), ("Beta (not counted)", grey),
    ]  # fmt: skip
    assert [tuple(one["colour"]) for one in drawn["thresholds"]] == [curve_colour(0), grey]
    scored = scored_detectors(result)
    draw_all_curves(result, scored, tmp_path / "all.png")
    draw_curves(result, *scored[1], tmp_path / "bb.png", colour=1)
    draw_sorted(*scored[1], tmp_path / "sorted.png", colour=1)
    for name, colours in {"all": (curve_colour(0), grey), "bb": (grey,), "sorted": (grey,)}.items():
        with Image.open(tmp_path / f"{name}.png") as picture:
            seen = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
        assert set(colours) <= seen, name
        assert curve_colour(1) not in seen, name
    load()
    groups = [one for one in annex(Subject.of(result, scored, tmp_path), width=500) if isinstance(one, KeepTogether)]
    curves = [stone for one in groups for stone in one._content if isinstance(stone, Curve)]
    assert [("in no count" in one._alt, one._counted) for one in curves] == [(False, True), (True, False)]


def test_beyond_three_detectors_above_the_colour_stays_and_the_number_goes_on(
    made_detector: Callable, made_result: Callable
) -> None:
    faces = list(made_result(frames=1).faces)
    five = [(made_detector(f"d{n}", faces=faces, level=0.5), np.array([0.9])) for n in range(5)]
    said = counts_at(five, units=1)
    assert (said.words, said.level.tolist()) == (["5 of 5"], [len(LEVELS) - 1])


# --------------------------------------------------------------------------- the panel's own rules


def a_curve(runs: list, *, style: str = "line", hold_s: float = 1.5) -> dict:
    return {"label": "x", "colour": [0, 0, 0], "style": style, "hold_s": hold_s, "runs": runs}


def test_the_score_of_a_window_is_the_current_one_from_its_begin_to_its_end() -> None:
    curve = _Curve(a_curve([[[0.0, 0.1], [2.0, 0.1], [2.0, 0.7], [4.0, 0.7]]], style="steps", hold_s=0.05))
    assert curve.until(0.5) == [[(0.0, 0.1), (2.0, 0.1)]]
    assert curve.until(1.9) == []
    assert curve.now is not None
    assert curve.now[1] == 0.1
    assert curve.until(2.5) == [[(2.0, 0.1), (2.0, 0.7), (4.0, 0.7)]]
    assert curve.now[1] == 0.7
    curve.until(4.2)
    assert curve.now is None  # nothing was heard after it


def test_a_curve_grows_to_the_last_score_and_never_beyond() -> None:
    curve = _Curve(a_curve([[[0.0, 0.1], [1.0, 0.5]], [[5.0, 0.9]]]))
    assert curve.until(0.5) == [[(0.0, 0.1)]]
    assert curve.now == (0.0, 0.1)
    assert curve.until(1.0) == [[(0.0, 0.1), (1.0, 0.5)]]
    assert curve.until(4.0) == []
    assert curve.now is None  # nothing was scored here, and nothing is shown
    assert curve.until(5.0) == [[(5.0, 0.9)]]
    assert curve.now == (5.0, 0.9)


def test_a_late_first_call_draws_all_that_came_before() -> None:
    curve = _Curve(a_curve([[[0.0, 0.1], [1.0, 0.5]], [[5.0, 0.9], [6.0, 0.8]]]))
    assert [len(piece) for piece in curve.until(9.0)] == [2, 2]


@pytest.mark.parametrize("duration", [0.04, 0.5, 2, 12.4, 59, 61, 600, 3599, 7300])
def test_time_ticks_are_few_and_inside(duration: float) -> None:
    ticks = _ticks(duration, most=6)
    assert 1 <= len(ticks) <= 6
    assert ticks[0] == 0
    assert ticks[-1] <= duration + 1e-6


@pytest.mark.parametrize(
    ("seconds", "duration", "words"),
    [
        (0, 5, "0:00.0"),
        (2.34, 5, "0:02.3"),
        (59.97, 61, "1:00"),
        (65, 100, "1:05"),
        (3725, 4000, "1:02:05"),
        (0.04, 0.5, "0:00.0"),
    ],
)
def test_clocks_read_as_people_write_them(seconds: float, duration: float, words: str) -> None:
    assert _clock(seconds, duration) == words


def test_the_panel_fits_many_curves(made_result: Callable, made_detector: Callable) -> None:
    from backend.media.canvas import Canvas

    made = plan(
        made_result(
            detectors=lambda faces: [
                made_detector(f"number_{i}", faces=faces, level=0.5, title="A very long name of a detector " * 3)
                for i in range(24)
            ]
        )
    )
    canvas = Canvas(460, 480, planar=True)
    panel = CurvePanel(made, Rect(0, 0, 460, 480))
    panel.draw_base(canvas)
    panel.advance(canvas, 2.0)
    panel.draw_now(canvas, 2.0)
    assert panel._plot.height > 120  # room is left for the curves themselves


# --------------------------------------------------------------------------- pictures and colours


@pytest.mark.parametrize("kind", ["video", "image"])
@pytest.mark.parametrize("persons", [1, 2, 14])
@pytest.mark.parametrize("title", ["MesoNet", "$\\frac{1}{0}$ 中文 \x1b\n\u202e" + "long " * 30])
def test_pictures_are_drawn_without_a_warning(
    tmp_path: Path, made_result: Callable, made_detector: Callable, kind: str, persons: int, title: str
) -> None:
    result = made_result(
        kind=kind,
        frames=1 if kind == "image" else 6,
        persons=persons,
        boxes=[(0, 0, 9, 9)] * persons,
        detectors=lambda faces: [made_detector(f"number_{i}", faces=faces, level=0.5, title=title) for i in range(3)],
    )
    scored = [(item, score_array(item, result)) for item in result.detectors]
    draw_curves(result, *scored[0], tmp_path / "one.png")
    draw_all_curves(result, scored, tmp_path / "all.png")
    draw_sorted(*scored[0], tmp_path / "sorted.png")
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert 600 < picture.width < 1400
            assert np.asarray(picture.convert("L")).std() > 5


def test_pictures_drawn_in_threads_are_the_same(tmp_path: Path, made_result: Callable) -> None:
    result = made_result(persons=3, boxes=[(0, 0, 9, 9)] * 3)
    item = result.detectors[0]
    scores = score_array(item, result)

    def draw(number: int) -> bytes:
        draw_curves(result, item, scores, tmp_path / f"{number}.png")
        return (tmp_path / f"{number}.png").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(8)))) == 1


def test_words_for_pictures_hold_what_the_font_has() -> None:
    assert drawable("Gesicht äöü é 0.5") == "Gesicht äöü é 0.5"
    assert drawable("中\n文") == "? ?"
    assert len(drawable("x" * 200)) == 60


def test_the_more_detectors_are_above_the_redder_and_nobody_to_count_is_grey() -> None:
    assert LEVELS[0] == UNSCORED
    assert len(set(UNSCORED)) == 1
    warmth = [red - blue for red, _, blue in LEVELS[1:]]
    assert warmth[0] < 0 < warmth[1]
    assert len(set(LEVELS)) == len(LEVELS)
    assert len(set(CURVES)) == len(CURVES)


def test_curves_of_one_colour_have_other_marks_and_lines() -> None:
    looks = {(curve_colour(index), curve_mark(index)) for index in range(56)}
    assert len(looks) == 56
    assert [curve_style(index) for index in (0, 7, 8, 15, 16)] == ["-", "-", "--", "--", ":"]


# --------------------------------------------------------------------------- damage


def test_a_damaged_part_breaks_lines_and_boxes_and_is_shaded(
    made_result: Callable[..., Result], tmp_path: Path
) -> None:
    """One torn frame is less than a gap, but no line and no box may cross it."""
    whole = made_result()
    torn = whole.model_copy(update={"notes": (Note("damaged", start_s=0.4, end_s=0.44),)})
    scored = scored_detectors(torn)
    write_curves(torn, scored, tmp_path / "curves.json")
    curves = json.loads((tmp_path / "curves.json").read_text())
    assert curves["damaged"] == [[0.4, 0.44]]
    assert curves["lines"][0]["y"].count(None) == 1
    assert curves["lines"][0]["t"][10] is None
    plan = build_plan(torn, None)
    assert [len(run) for run in plan["curves"][0]["runs"]] == [10, 40]
    assert sorted(set(plan["boxes"]["shot"])) == [0, 1], "boxes are joined within a shot only"
    untouched = build_plan(whole, None)
    assert untouched["damaged"] == []
    where = Rect(0, 0, 480, 480)
    pictures = []
    for each in (untouched, plan | {"curves": untouched["curves"]}):
        canvas = Canvas(480, 480, planar=False)
        CurvePanel(each, where).draw_base(canvas)
        pictures.append(canvas.rgb().astype(int))
    changed = np.flatnonzero(np.abs(pictures[0] - pictures[1]).sum(axis=(0, 2)))
    assert len(changed)
    assert changed.max() - changed.min() < 20, "a narrow band"
    draw_curves(torn, torn.detectors[0], scored[0][1], tmp_path / "torn.png")
    draw_curves(whole, whole.detectors[0], scored[0][1], tmp_path / "whole.png")
    assert (tmp_path / "torn.png").read_bytes() != (tmp_path / "whole.png").read_bytes()
