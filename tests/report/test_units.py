"""Reports on whole pictures and on sound: what was judged is named, nothing is joined that does not belong together."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.media.canvas import Canvas
from backend.media.panel import BarPanel, CurvePanel, Rect
from backend.media.wave import Peaks, WaveStrip
from backend.report import words
from backend.report.build import build_report, scored_detectors
from backend.report.palette import UNSCORED
from backend.report.plan import build_plan
from backend.report.series import FaceTable, detector_series, own_times, score_array, time_end
from backend.report.table import write_scores
from shared.errors import PermanentError
from shared.results import Result
from shared.words import looked_at, titles
from tests.units import (
    HOP_S,
    WINDOW_S,
    as_sound_file,
    pictures_only,
    scored,
    windows,
    with_pictures,
    with_sound,
    without_score,
)


@pytest.fixture
def mixed(made_result: Callable, made_detector: Callable) -> Result:
    """A clip of two persons that two detectors of faces, one of pictures and one of sound judged."""
    clip = made_result(
        frames=250,
        persons=2,
        detectors=lambda faces: [
            made_detector("mesonet", faces=faces, level=0.8, title="MesoNet"),
            made_detector("va", faces=faces, level=0.2, title="VA"),
        ],
    )
    return with_sound(with_pictures(clip, [0.9, None, 0.7, 0.8]), [0.1, 0.6, None, 0.3])


def series_of(result: Result, name: str) -> Any:
    item = next(item for item in result.detectors if item.id == name)
    return detector_series(result, FaceTable.of(result), item, score_array(item, result), label="x")


# --------------------------------------------------------------------------- curves


def test_a_window_of_sound_is_shown_for_a_hop_around_its_middle() -> None:
    own = own_times(np.array(windows(3)))
    margin = (WINDOW_S - HOP_S) / 2
    np.testing.assert_allclose(own[1], [HOP_S + margin, HOP_S + margin + HOP_S], atol=1e-6)
    assert own[0, 0] == 0
    assert own[-1, 1] == windows(3)[-1][1]


def test_windows_that_do_not_overlap_keep_their_own_times() -> None:
    apart = np.array([[0.0, 4.0], [4.0, 8.0], [30.0, 34.0]])
    np.testing.assert_array_equal(own_times(apart), apart)


def test_sound_is_steps_with_a_gap_where_a_window_has_no_score(mixed: Result) -> None:
    series = series_of(mixed, "aasist")
    assert series.style == "steps"
    assert series.scores.tolist() == [0.1, 0.1, 0.6, 0.6, 0.3, 0.3]
    assert series.runs == ((0, 4), (4, 6))
    assert series.times[1] == series.times[2]
    unheard = own_times(np.array(windows(4)))[2]
    np.testing.assert_allclose([series.times[3], series.times[4]], unheard)


def test_sound_that_begins_before_the_pictures_is_shown_from_their_begin(mixed: Result) -> None:
    item = mixed.detectors[-1]
    early = item.model_copy(update={"windows": tuple((a - 1.0, b - 1.0) for a, b in item.windows)})
    result = mixed.model_copy(update={"detectors": (*mixed.detectors[:-1], early)})
    assert series_of(result, "aasist").times[0] == 0.0


def test_whole_pictures_are_dots_that_nothing_joins(mixed: Result) -> None:
    series = series_of(mixed, "ferretnet")
    assert (series.style, series.scores.tolist()) == ("dots", [0.9, 0.7, 0.8])
    drawn = next(item for item in build_plan(mixed, None)["curves"] if item["style"] == "dots")
    assert [len(run) for run in drawn["runs"]] == [1, 1, 1]


def test_windows_that_are_not_parallel_to_their_scores_are_refused(mixed: Result) -> None:
    item = mixed.detectors[-1]
    with pytest.raises(ValueError, match="parallel"):
        score_array(item.model_copy(update={"windows": item.windows[:2]}), mixed)


def test_time_ends_with_the_sound_where_that_is_longer(mixed: Result, made_result: Callable) -> None:
    assert time_end(made_result(frames=250)) == 10.0
    assert time_end(mixed) == mixed.detectors[-1].windows[-1][1] > 10.0


# --------------------------------------------------------------------------- the result video


def test_boxes_count_detectors_of_faces_only(mixed: Result) -> None:
    faces_only = mixed.model_copy(update={"detectors": mixed.detectors[:2]})
    assert build_plan(mixed, None)["boxes"] == build_plan(faces_only, None)["boxes"]
    assert "Boxes: detectors at or above their thresholds." in build_plan(mixed, None)["note"]


def test_the_plan_names_what_a_curve_is_about_and_how_it_is_drawn(mixed: Result) -> None:
    assert [(item["label"], item["style"]) for item in build_plan(mixed, None)["curves"]] == [
        ("MesoNet", "line"),
        ("VA", "line"),
        ("FerretNet (whole pictures)", "dots"),
        ("AASIST (sound)", "steps"),
    ]


def test_the_wave_form_has_the_score_of_the_one_detector_of_sound_or_how_many_are_above(mixed: Result) -> None:
    assert build_plan(mixed, ["mesonet"])["sound"] is None
    alone = build_plan(mixed, None)["sound"]
    assert alone["label"] == "Sound: AASIST"
    assert [span[2:] for span in alone["spans"]] == [["0.10", 1], ["0.60", 2], ["0.30", 1]]
    both = with_sound(mixed, [0.3, 0.8, 0.5, 0.9], name="other", title="Other")
    sound = build_plan(both, None)["sound"]
    assert sound["label"] == "Sound: detectors at or above their thresholds"
    spans = sound["spans"]
    assert [span[2] for span in spans] == ["0 of 2", "2 of 2", "1 of 1", "1 of 2"]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_a_sound_file_has_a_plan_without_boxes(made_result: Callable) -> None:
    plan = build_plan(as_sound_file(made_result()), None)
    assert (plan["kind"], plan["width"], plan["frames"], plan["boxes"]["frame"]) == ("sound", 0, 0, [])
    assert [item["style"] for item in plan["curves"]] == ["steps"]
    assert plan["sound"]["spans"]


def test_a_still_has_a_bar_for_the_whole_picture_beside_those_of_its_faces(made_result: Callable) -> None:
    plan = build_plan(with_pictures(made_result(kind="image", frames=1, persons=2), [0.93]), None)
    assert [item["label"] for item in plan["bars"]] == [
        "MesoNet, person 1",
        "MesoNet, person 2",
        "FerretNet, whole picture",
    ]
    alone = build_plan(pictures_only(made_result(kind="image", frames=1)), None)
    assert [(item["label"], item["score"]) for item in alone["bars"]] == [("FerretNet", 0.93)]
    assert alone["boxes"]["frame"] == []


def test_the_table_of_a_crowd_has_no_scores_of_the_whole_picture(made_result: Callable) -> None:
    boxes = [(40.0 * p, 10.0, 40.0 * p + 30, 50.0) for p in range(20)]
    crowd = made_result(kind="image", frames=1, persons=20, boxes=boxes, size=(900, 200))
    with_one = build_plan(with_pictures(crowd, [0.93]), None)
    assert with_one["table"] == build_plan(crowd, None)["table"]
    assert "Scores of the whole picture: on the page." in with_one["note"]


# --------------------------------------------------------------------------- the whole report


def report(result: Result, out: Path) -> Result:
    def refuse(plan: Path, out: Path) -> None:
        raise PermanentError("worker_died")

    out.mkdir()
    return build_report(result, out=out, evidence={}, video=refuse, video_per_detector=True, keyframes={})


def page_of(out: Path) -> str:
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", (out / "summary.html").read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(text))


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_table_has_a_row_for_each_face_picture_and_window(mixed: Result, tmp_path: Path) -> None:
    both = with_sound(mixed, [0.3, 0.8], name="other", title="Other")
    write_scores(both, tmp_path / "scores.csv")
    rows = rows_of(tmp_path)
    assert [sum(row["unit"] == unit for row in rows) for unit in ("face", "picture", "sound")] == [500, 4, 4]
    picture = next(row for row in rows if row["unit"] == "picture")
    assert (picture["time_s"], picture["ferretnet"], picture["mesonet"], picture["start_s"]) == ("0.0", "0.9", "", "")
    heard = [row for row in rows if row["unit"] == "sound"]
    assert [(row["start_s"], row["end_s"], row["aasist"], row["other"]) for row in heard[1:3]] == [
        ("2.01875", "6.05625", "0.6", "0.8"),
        ("4.0375", "8.075", "", ""),
    ]
    assert not any(heard[0][name] for name in ("frame", "time_s", "person", "x1", "mesonet", "ferretnet"))


def test_a_report_on_all_three_draws_every_curve(mixed: Result, tmp_path: Path) -> None:
    made = report(mixed, tmp_path / "report")
    for name in ("aasist", "ferretnet", "mesonet"):
        assert {f"curves/{name}.png", f"sorted/{name}.png"} <= made.files.keys()
        with Image.open(tmp_path / f"report/curves/{name}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    lines = json.loads((tmp_path / "report/curves.json").read_text())["lines"]
    assert {(line["detector"], line["person"]) for line in lines if line["unit"] != "face"} == {
        ("aasist", None),
        ("ferretnet", None),
    }
    words = page_of(tmp_path / "report")
    assert "AASIST sound" in words
    assert "It judged 3 of 4 pieces of sound." in words
    assert "mean fake score" not in words


def test_means_of_faces_pictures_and_sound_are_never_joined(mixed: Result) -> None:
    assert [mean.unit for mean in mixed.consensus] == ["face"]
    both = with_sound(mixed, [0.3, 0.8], name="other", title="Other")
    assert [mean.unit for mean in both.consensus] == ["face", "sound"]
    assert both.consensus[1].maximum == pytest.approx(0.55)


def test_a_report_on_a_sound_file_speaks_of_sound(made_result: Callable, tmp_path: Path) -> None:
    result = as_sound_file(made_result())
    made = report(result, tmp_path / "report")
    assert made.video == "failed"
    words = page_of(tmp_path / "report")
    assert "MP4 (AAC)" in words
    assert "how much a voice resembles" in words
    assert "the mean over all pieces of sound" in words
    assert "Not examined here: faces, whole pictures and context." in words
    assert "10 s of sound, speech in 9.1 s of it" in words
    for wrong in ("0 × 0", "pixels", "no face", "marked faces", "Persons", "frames a second"):
        assert wrong not in words, wrong
    assert "keyframes/" not in (tmp_path / "report/README.txt").read_text()
    assert {row["unit"] for row in rows_of(tmp_path / "report")} == {"sound"}


def test_a_report_on_a_picture_without_faces_names_no_faces(made_result: Callable, tmp_path: Path) -> None:
    result = pictures_only(made_result(kind="image", frames=1))
    report(result, tmp_path / "report")
    words = page_of(tmp_path / "report")
    assert "Looked at the whole picture" in words
    assert "mean over all" not in words
    assert "the one whole picture" in words
    for wrong in ("no face", "Persons", "Boxes"):
        assert wrong not in words, wrong


def test_no_face_is_said_only_where_faces_were_searched(made_result: Callable) -> None:
    result = as_sound_file(made_result())
    deaf = result.model_copy(
        update={"detectors": (without_score("aasist", "AASIST", "sound", "silence"),), "consensus": ()}
    )
    assert "face" not in words.headline(deaf)
    assert "how much a voice resembles the synthetic voices" in words.cautions(deaf)[0]


def test_what_was_not_examined_is_said(mixed: Result, made_result: Callable) -> None:
    assert "Not examined here: context." in " ".join(words.cautions(mixed))
    assert "Not examined here: whole pictures, sound and context." in " ".join(words.cautions(made_result()))


def test_what_was_looked_at_is_counted_by_its_unit(mixed: Result, made_result: Callable) -> None:
    assert looked_at(mixed) == (
        "250 frames (thorough), 500 faces of 2 persons; 4 whole pictures; 10 s of sound, speech in 9.1 s of it"
    )
    assert looked_at(pictures_only(made_result(kind="image", frames=1))) == "the whole picture"


def test_a_title_has_what_was_judged_only_where_that_differs(mixed: Result) -> None:
    assert titles(mixed)["aasist"] == "AASIST (sound)"
    assert titles(mixed.model_copy(update={"detectors": mixed.detectors[-1:]}))["aasist"] == "AASIST"


def test_a_detector_without_any_score_of_sound_has_no_curve(mixed: Result) -> None:
    none = scored("quiet", "Quiet", "sound", [0.5], windows=windows(1)).model_copy(
        update={"scores": (None,), "fake_score": None}
    )
    result = mixed.model_copy(update={"detectors": (*mixed.detectors, none)})
    assert "quiet" not in {item.id for item, _ in scored_detectors(result)}


def test_a_score_just_below_one_is_never_written_as_one(made_result: Callable, tmp_path: Path) -> None:
    report(pictures_only(made_result(kind="image", frames=1), 0.99996), tmp_path / "report")
    assert ">0.99" in page_of(tmp_path / "report")
    assert "FerretNet: >0.99, at or above its threshold." in (tmp_path / "report/README.txt").read_text()


def test_the_marked_picture_and_the_video_round_scores_as_the_page_does(
    made_result: Callable, monkeypatch: Any
) -> None:
    written: list[str] = []
    monkeypatch.setattr(Canvas, "text", lambda self, words, *where, **look: written.append(words))
    still = build_plan(pictures_only(made_result(kind="image", frames=1), 0.99996), None)
    BarPanel(still, Rect(0, 0, 600, 480)).draw(Canvas(600, 480, planar=False))
    assert ">0.99" in written
    written.clear()
    clip = build_plan(with_sound(made_result(), [0.99996, 0.00004, 0.99996]), ["aasist"])
    canvas = Canvas(600, 480, planar=False)
    panel = CurvePanel(clip, Rect(0, 0, 600, 480))
    panel.draw_base(canvas)
    panel.advance(canvas, 0.5)
    panel.draw_now(canvas, 0.5)
    strip = WaveStrip(clip, Rect(0, 0, 600, 100), Peaks(), unit=20, colour=lambda score: (0, 0, 0))
    strip.draw_now(canvas, 0.5)
    assert written.count(">0.99") == 2
    assert not {"1.00", "0.00"} & set(written)


def test_bars_of_a_still_have_the_colour_of_their_side_of_the_threshold(made_result: Callable) -> None:
    def colour(score: float, label: str) -> list[int]:
        result = pictures_only(made_result(kind="image", frames=1), score)
        detectors = tuple(item.model_copy(update={"hard_label": label}) for item in result.detectors)
        return build_plan(result.model_copy(update={"detectors": detectors}), None)["bars"][0]["colour"]

    high, low, nothing = colour(0.9, "fake"), colour(0.1, "real"), colour(0.1, "no_trace")
    assert high[0] > high[2]
    assert low[0] < low[2]
    assert nothing == list(UNSCORED)


def test_a_voice_above_and_faces_below_their_thresholds_do_not_disagree(mixed: Result) -> None:
    genuine = mixed.model_copy(update={"detectors": (mixed.detectors[1], with_sound(mixed, [0.9, 0.8]).detectors[-1])})
    said = words.headline(genuine)
    assert said == "1 of 2 detectors that gave a score is at or above its threshold for “fake”: AASIST (sound)."


def test_the_page_has_no_table_that_a_phone_cannot_show(mixed: Result, tmp_path: Path) -> None:
    report(mixed, tmp_path / "report")
    page = (tmp_path / "report/summary.html").read_text()
    assert {'data-head="judges"', 'data-head="threshold"', 'data-head="label"'} <= set(
        re.findall(r'data-head="\w+"', page)
    )
    assert "min-width" not in page.split("</style>")[0]
