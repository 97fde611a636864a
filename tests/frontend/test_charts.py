"""The curves and lanes that the server draws: known numbers give known paths, gaps are gaps, bytes are bounded."""

from __future__ import annotations

import json
import re
import time
from xml.etree import ElementTree

import numpy as np
import pytest
from flask import Flask

from frontend.charts.axis import Span, ticks
from frontend.charts.chart import Chart, Curve
from frontend.charts.choice import Choice, choices, part_of
from frontend.charts.columns import COLUMN, HIGH, WIDE, drawn
from frontend.charts.curve import curve_svg, swatch
from frontend.charts.lanes import lane_views, ribbon
from frontend.charts.table import table_of
from frontend.charts.wave import wave_svg
from frontend.portal import portal
from shared.curve_colours import curve_colour, hexadecimal
from shared.curves import CellValues, Curves, Lane, Line, ShotCell, Wave
from shared.records import JobId
from shared.results import Finding, JointStretch, Result
from shared.translations import ROOT
from tests.frontend.stories import START, Uploader, a_result, finish

SPAN = Span(0.0, 10.0)


def line(t: list, y: list, *, name: str = "aa", style: str = "line", threshold: float = 0.5, **more: object) -> Line:
    return Line(
        **({"detector": name, "title": name.title(), "person": None, "unit": "face", "colour": 0} | more),
        style=style,
        threshold=threshold,
        t=t,
        y=y,
    )  # type: ignore[arg-type]


def record(*lines: Line, **more: object) -> Curves:
    return Curves(
        **({"version": 2, "duration_s": 10.0, "cuts": [], "damaged": [], "persons": [], "cell_s": 1.0} | more),
        lines=list(lines),
    )  # type: ignore[arg-type]


def runs(path: str) -> list[list[tuple[int, int]]]:
    """The points of a path, by run, as the page's script reads them."""
    found: list[list[tuple[int, int]]] = []
    for letter, text in re.findall(r"([MlVh])([^MlVh]*)", path):
        numbers = [int(one) for one in re.findall(r"-?\d+", text)]
        if letter == "M":
            found.append([(numbers[0], numbers[1])])
        elif letter == "V":
            found[-1].append((found[-1][0][0], numbers[0]))
        elif letter == "l":
            for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
                x, y = found[-1][-1]
                found[-1].append((x + dx, y + dy))
    return found


# --------------------------------------------------------------------------- paths


def test_gaps_are_gaps_and_a_score_alone_is_a_point() -> None:
    curve = Curve.of(line([0, 1, None, 3, None, 5, 6], [0.2, 0.4, None, 0.9, None, 0, 1]))
    made = drawn(curve, SPAN)
    assert runs(made.path) == [[(0, 800), (192, 600)], [(960, 1000), (1152, 0)]]
    assert runs(made.points) == [[(576, 100)]]
    assert made.path.count("M") == 2


def test_each_column_keeps_its_lowest_and_its_highest_point() -> None:
    t = np.linspace(0, 10, 200_001)
    y = 0.5 + 0.2 * np.sin(t * 40)
    y[77_777], y[123_456] = 0.98, 0.03
    made = drawn(Curve.of(line(t.tolist(), y.tolist())), SPAN)
    (points,) = runs(made.path)
    assert len(points) <= 2 * (WIDE // COLUMN + 1)
    assert (min(p[1] for p in points), max(p[1] for p in points)) == (20, 970)
    peak = next(x for x, height in points if height == 20)
    assert abs(peak - t[77_777] / 10 * WIDE) <= 1
    assert len(made.path) < 10_000
    assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_a_score_stays_on_its_side_of_the_threshold_and_0_and_1_are_those_alone() -> None:
    values = [0.49999, 0.5, 0.00001, 0.99999, 0.0, 1.0]
    made = drawn(Curve.of(line(list(range(6)), values)), SPAN)
    heights = [HIGH - y for _, y in runs(made.path)[0]]
    assert heights == [499, 500, 1, 999, 0, 1000]
    odd = drawn(Curve.of(line([0, 1], [0.5499, 0.55], threshold=0.55)), SPAN)
    assert [HIGH - y for _, y in runs(odd.path)[0]] == [549, 550]


def test_a_line_leaves_a_part_at_its_edges_and_what_is_outside_is_not_sent() -> None:
    t = np.linspace(0, 10, 1001).tolist()
    made = drawn(Curve.of(line(t, [0.5] * 1001)), Span(2.0, 3.0))
    (points,) = runs(made.path)
    assert (points[0][0], points[-1][0]) == (-19, 1939)
    assert len(points) == 103
    crossing = drawn(Curve.of(line([0, 10], [0.2, 0.8])), Span(4.0, 5.0))
    assert len(runs(crossing.path)[0]) == 2, "no point inside, but the line passes"
    assert drawn(Curve.of(line([0, 1], [0.2, 0.8])), Span(4.0, 5.0)).path == ""


def test_thousands_of_single_scores_are_bounded_and_never_joined() -> None:
    t = [moment for index in range(5000) for moment in (index / 500, None)]
    y = [score for index in range(5000) for score in ((index % 10) / 10, None)]
    made = drawn(Curve.of(line(t, y)), SPAN)
    assert made.path == ""
    assert len(runs(made.points)) <= 2 * (WIDE // COLUMN + 1)


# --------------------------------------------------------------------------- the picture


def test_the_picture_carries_the_units_of_its_points_and_the_script_has_none_of_its_own() -> None:
    svg = parsed(curve_svg(Chart(record(line([0, 10], [0.1, 0.9]))), Choice(), SPAN, titles={}))
    assert [svg.get(f"data-{name}") for name in ("wide", "high", "column")] == [str(WIDE), str(HIGH), str(COLUMN)]
    script = (ROOT / "frontend" / "static" / "timeline.js").read_text()
    assert all(f"svg.dataset.{name}" in script for name in ("wide", "high", "column"))
    assert not re.search(rf"= ?({WIDE}|{HIGH}|{COLUMN})\b", script)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def test_the_picture_has_thresholds_cuts_damage_marks_and_words() -> None:
    chart = Chart(
        record(
            line([0, 5, 10], [0.1, 0.9, 0.3], name="aa"),
            line([0, 10], [0.4, 0.6], name="bb", threshold=0.9, colour=1),
            line([2.0, 8.0], [0.7, 0.2], name="cc", style="dots", unit="picture", colour=2),
            cuts=[2.5],
            damaged=[(6.0, 7.0)],
        )
    )
    picture = parsed(curve_svg(chart, Choice(), SPAN, titles={"aa": "A & <b>"}))
    assert picture.get("role") == "img"
    words = {element.get("id"): element.text for element in picture if element.get("id")}
    assert words["curve-title"] == "Fake score over time. Everything"
    assert words["curve-desc"].startswith("A & <b>: from 0.10 to 0.90, highest at 0:05.0; its threshold is 0.50.")
    dashed = [element for element in picture.iter("line") if element.get("class") == "threshold"]
    assert [element.get("y1") for element in dashed] == ["120", "32"], "0.5 and 0.9 of 220 pixels, from 10 on"
    assert dashed[0].get("stroke") is None, "shared"
    assert dashed[1].get("stroke") == "#1e785a", "of one detector, in its colour"
    assert [element.get("x1") for element in picture.iter("line") if element.get("class") == "cut"] == ["25%"]
    (torn,) = [element for element in picture.iter("rect") if element.get("class") == "damaged"]
    assert (torn.get("x"), torn.get("width")) == ("60%", "10%")
    dots = next(element for element in picture.iter("g") if element.get("data-detector") == "cc")
    assert [use.get("x") for use in dots.iter("use")] == ["20%", "80%"]
    assert [element.get("data-detector") for element in picture.iter("g") if element.get("data-unit")][-1] == "cc"
    texts = {element.text for element in picture.iter("text")}
    assert {"1  most like manipulated", "0  most like real material", "0.50", "0.90", "0:04"} <= texts
    assert not any("style" in element.attrib for element in picture.iter()), "our content policy forbids it"


@pytest.mark.parametrize(("begin", "end", "words"), [(0, 10, "0:04"), (3, 3.6, "0:03.5"), (3590, 3720, "1:00:00")])
def test_ticks_are_round_and_few(begin: float, end: float, words: str) -> None:
    found = ticks(Span(begin, end))
    assert 2 <= len(found) <= 10
    assert words in [text for _, text in found]
    assert all(begin <= moment <= end + 1e-9 for moment, _ in found)


def test_whom_an_address_asks_for_and_that_anything_else_is_everyone() -> None:
    lines = [line([0, 1], [0.1, 0.2], person=person) for person in (None, 0, 11)]
    chart = Chart(record(*lines, line([0, 1], [0.5, 0.5], name="vv", style="steps", unit="sound"), persons=[0, 11]))
    assert Choice.parse("12", chart) == Choice(person=11), "the ninth and later persons, too"
    assert Choice.parse("voice", chart) == Choice("sound")
    for odd in (None, "", "0", "3", "-1", "²", "1" * 40, "pictures", "<script>", "voice\0"):
        assert Choice.parse(odd, chart) == Choice()
    assert [one.key for one in choices(chart)] == ["everyone", "1", "12", "voice"]
    assert [one.line.unit for one in Choice(person=11).curves(chart)] == ["face", "sound"]
    whole = Span(0.0, 10.0)
    assert part_of(chart, "2000-7500") == Span(2.0, 7.5)
    assert part_of(chart, "2000-999999") == Span(2.0, 10.0)
    for odd in ("", "7-3", "x-y", "5000-5001", "-", "9" * 30 + "-1", "1-²"):
        assert part_of(chart, odd) == whole


# --------------------------------------------------------------------------- lanes, shots, wave form, table


def lane(person: int, above: list[int], of: list[int], *, first: int = 0) -> Lane:
    size = len(above)
    values = {"aa": CellValues(median=[0.7 if n else 0.2 for n in above], judged=[5 if n else 0 for n in of])}
    return Lane(unit="face", person=person, first=first, above=above, of=of, present=[5] * size, values=values)


def test_lanes_say_how_many_are_above_and_hatch_where_nobody_judged() -> None:
    lanes = (lane(0, [0] * 10, [2] * 10), lane(1, [2, 2, 2, 0], [3, 3, 3, 0], first=4))
    chart = Chart(record(line([0, 10], [0.2, 0.3]), persons=[0, 1], lanes=lanes))
    joint = (JointStretch(person=1, start_s=4.0, end_s=7.0, detectors=("mesonet", "classnseg"), families=2),)
    result = a_result("a" * 26, START).model_copy(update={"joint_stretches": joint})
    second, first = lane_views(chart, result)
    assert (second.key, first.key) == ("2", "1"), "the worst first"
    assert second.words == "at most 2 of 3 detectors above, first 0:04 to 0:07"
    assert first.words == "in no cell is a detector above its threshold", "the middle of its scores: single ones may be"
    assert second.counts == "- - - - 2,3 2,3 2,3 - - -"
    picture = parsed(second.svg)
    (bar,) = [element for element in picture.iter("path") if element.get("class") == "above-2"]
    assert bar.get("d") == "M4 3h3v7h-3z", "from cell 4 on, three cells, two thirds high"
    assert "above-1" not in second.svg
    (judged,) = [element for element in picture.iter("path") if element.get("class") == "judged"]
    assert judged.get("d") == "M4 0h3v10h-3z", "the rest stays hatched"
    assert [element.text for element in picture.iter("text")] == ["2/3"]
    (mark,) = [element for element in picture.iter("rect") if element.get("class") == "joint"]
    assert (mark.get("x"), mark.get("width")) == ("40%", "30%")
    assert "joint" not in first.svg


def test_the_worst_shots_are_marked() -> None:
    shots = tuple(ShotCell(shot=n, start_s=2.5 * n, end_s=2.5 * n + 2, above=n % 3, of=3) for n in range(4))
    made = ribbon(Chart(record(line([0, 10], [0.2, 0.3]), shots=shots)))
    assert made is not None
    assert made.worst == (2,)
    assert made.words == "4 shots; the most detectors above for one person: 2, in shot 3"
    assert [element.text for element in parsed(made.svg).iter("text")] == ["1", "2", "▲ 3", "4"]
    assert made.data.split()[2] == "2,5,7.5,2,3"
    assert ribbon(Chart(record(line([0, 10], [0.2, 0.3]), shots=shots[:1]))) is None


def test_the_wave_form_is_where_the_sound_is() -> None:
    made = parsed(wave_svg(Wave(start_s=2.0, end_s=7.0, low=[-10, -50], high=[100, 20]), SPAN, height=50))
    assert (made.get("x"), made.get("width")) == ("20%", "50%")
    assert made[0].get("d") == "M0 -100 1 -20 1 50 0 10z"
    assert wave_svg(None, SPAN, height=50) == ""


def test_the_table_has_each_detectors_score_and_how_much_it_judged() -> None:
    chart = Chart(record(line([0, 10], [0.2, 0.3]), lanes=(lane(0, [0, 1, 0], [1, 1, 0]),)))
    table = table_of(chart, Choice(), titles={"aa": "Alpha"})
    assert table is not None
    assert table.heads == (("Alpha", "face", 0.5),)
    assert [(row.time, row.counted, row.cells[0].score, row.cells[0].above) for row in table.rows[:2]] == [
        ("0:00 to 0:01", "0 of 1", "0.20", False),
        ("0:01 to 0:02", "1 of 1", "0.70", True),
    ]
    assert (table.rows[2].cells[0].judged, table.rows[2].cells[0].present, table.rows[2].counted) == (0, 5, "–")


def test_a_detector_in_no_count_is_grey_in_curve_and_legend_and_above_nothing_in_the_table() -> None:
    lines = [line([0, 10], [0.2, 0.9]), line([0, 10], [0.3, 0.8], name="bb", colour=1, threshold=0.4)]
    two = lane(0, [0, 1], [1, 1])
    two = two.model_copy(update={"values": {**two.values, "bb": two.values["aa"]}})
    chart, names = Chart(record(*lines, lanes=(two,))), {"aa": "Alpha", "bb": "Beta"}
    svg = curve_svg(chart, Choice(), SPAN, titles=names, grey={"bb"})
    drawn_lines = {one.get("data-detector"): one for one in parsed(svg).iter("g") if one.get("data-unit")}
    grey, colour = (hexadecimal(curve_colour(1, counted=counted)) for counted in (False, True))
    assert (drawn_lines["bb"].get("fill"), drawn_lines["bb"].get("data-counted")) == (grey, "no")
    assert colour not in svg, "its threshold is grey, too"
    assert drawn_lines["bb"].get("data-title") == "Bb (not counted)", "as the readout says it"
    assert drawn_lines["aa"].get("fill") == hexadecimal(curve_colour(0))
    assert drawn_lines["aa"].get("data-counted") is None
    assert "Beta (not counted): from" in svg
    assert "Alpha: from" in svg
    assert grey in swatch(1, counted=False)
    table = table_of(chart, Choice(), titles=names, grey={"bb"})
    assert table is not None
    assert [title for title, _, _ in table.heads] == ["Alpha", "Beta (not counted)"]
    assert [cell.above for cell in table.rows[1].cells] == [True, False]


# --------------------------------------------------------------------------- on the site


@pytest.mark.parametrize("old", [False, True], ids=["with findings", "of an earlier version"])
def test_the_page_greys_the_curve_of_who_judged_too_little(app: Flask, uploader: Uploader, old: bool) -> None:
    def few(usual: Result) -> Result:
        found = Finding(points="inconclusive", code="few_units", sentence="Too few.")
        first, *others = usual.detectors
        change = {"units_scored": 3} if old else {"finding": found}
        unfound = [item.model_copy(update={"finding": None}) if old else item for item in others]
        return usual.model_copy(
            update={"detectors": (first.model_copy(update=change | {"fake_score": 0.99}), *unfound)}
        )

    job = uploader.submit()
    finish(app, job, change=few)
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "Grey lines are of detectors that are in no count." in page
    assert page.count("data-counted=") == 1
    assert "(not counted)</span>" in page or "(not counted) <span" in page, "in the legend"


def test_the_curve_of_each_person_is_on_the_page_and_alone_for_the_script(app: Flask, uploader: Uploader) -> None:
    job = uploader.submit()
    finish(app, job)
    assert uploader.get(f"/r/{job}/curve/2").status_code == 403, "not without the PIN"
    uploader.enter_pin(job)
    whole, second = (uploader.get(f"/r/{job}{query}").get_data(as_text=True) for query in ("", "?person=2"))
    assert "Everyone: the highest face at each moment</title>" in whole
    assert "Person 2</title>" in second
    alone = uploader.get(f"/r/{job}/curve/2").get_data(as_text=True)
    svg = re.search(r'<svg id="curve".*?</svg><div', alone, re.S)
    assert svg
    assert svg[0] in second
    assert "<html" not in alone
    part = uploader.get(f"/r/{job}/curve/2/6000-8000").get_data(as_text=True)
    assert 'data-begin="6"' in part
    assert 'data-end="8"' in part
    assert uploader.get(f"/r/{job}/curve/nobody").status_code == 200, "everyone"


def test_a_result_of_version_1_has_its_curve_and_no_timeline(app: Flask, uploader: Uploader) -> None:

    job = uploader.submit()
    finish(app, job)
    path = portal(app).store.report(JobId(job)) / "curves.json"
    record = Curves.model_validate_json(path.read_bytes())
    kept = {"duration_s", "cuts", "damaged", "persons", "lines"}
    path.write_text(record.model_copy(update={"version": 1}).model_dump_json(by_alias=True, include={"version", *kept}))
    uploader.enter_pin(job)
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert '<svg id="curve"' in page
    assert 'id="timeline"' not in page
    assert 'id="curve-table"' not in page
    whole = record.model_dump(mode="json", by_alias=True)
    line, lane = whole["lines"][0], whole["lanes"][0]
    for content in (
        "{damaged",
        json.dumps(whole | {"lines": [line | {"t": line["t"][1:]}]}),
        json.dumps(whole | {"lanes": [lane | {"above": lane["above"][1:]}]}),
        json.dumps(whole | {"cell_s": 0.0}),
        json.dumps(whole | {"duration_s": 9e6, "cell_s": 0.002}),  # 4.5 billion cells
        json.dumps(whole | {"duration_s": 1e300}),
    ):
        path.write_text(content)
        answer = uploader.get(f"/r/{job}")
        assert answer.status_code == 200, content[:200]
        assert "its curves are pictures" in answer.get_data(as_text=True)


def test_a_long_clip_of_many_detectors_stays_small_and_quick(clip_of_ten_minutes: Curves) -> None:
    chart = Chart(clip_of_ten_minutes)
    assert len(chart.curves) == 90
    for choice in (Choice(), Choice(person=7)):
        started = time.perf_counter()
        svg = curve_svg(chart, choice, part_of(chart, None), titles={})
        assert time.perf_counter() - started < 2
        assert len(svg) < 130_000
        assert svg.count("data-unit") == 10


@pytest.fixture(scope="module")
def clip_of_ten_minutes() -> Curves:
    """Ten detectors on eight persons, 15,000 faces each, thinned as the back-end does."""
    rng = np.random.default_rng(3)

    def one(detector: int, person: int | None) -> Line:
        t = np.round(np.linspace(0, 600, 4000), 3)
        y = np.round(np.clip(0.5 + 0.3 * np.sin(t / 20 + detector) + 0.15 * rng.standard_normal(4000), 0, 1), 4)
        return line(t.tolist(), y.tolist(), name=f"d{detector}", person=person, colour=detector)

    lines = [one(detector, person) for detector in range(10) for person in (None, *range(8))]
    return record(
        *lines, duration_s=600.0, persons=list(range(8)), cell_s=5.0, cuts=[float(n) for n in range(5, 600, 5)]
    )
