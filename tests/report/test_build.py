"""The folder of a report: complete, safe for its reader, and whole even where parts are missing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from backend.report.build import add_video, build_report
from backend.report.schema import SCHEMA_FILE, schema_text
from backend.report.table import text_cell
from shared.errors import SENTENCES, PermanentError
from shared.results import Result

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>$\\frac{1}{0}$\x1b[31m\u202e中文.mp4'


def stub_video(plan: Path, out: Path) -> None:
    """Stands in for the media worker: what it is asked to draw is kept in the file."""
    out.write_bytes(plan.read_bytes())


def build(result: Result, out: Path, **more: Any) -> Result:
    out.mkdir(exist_ok=True)
    options: dict[str, Any] = {"evidence": {}, "video": stub_video, "video_per_detector": False, "keyframes": {}}
    return build_report(result, out=out, **(options | more))


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def three(made_detector: Callable, made_silent: Callable) -> Callable:
    """Two detectors with scores and one without."""

    def make(faces: list) -> list:
        return [
            made_detector("mesonet", faces=faces, level=0.8, title="MesoNet"),
            made_detector("classnseg", faces=faces, level=0.3, title="ClassNSeg", threshold=0.4),
            made_silent("va", status="not_applicable", code="mouth_or_eyes_closed", title="Visual artifacts"),
        ]

    return make


def test_a_report_holds_what_the_documentation_lists(tmp_path: Path, made_result: Callable, three: Callable) -> None:
    mask = tmp_path / "mask.npy"
    np.save(mask, np.full((32, 32), 200, np.uint8))
    face = np.full((90, 70, 3), 120, np.uint8)
    out = tmp_path / "report"
    done = build(
        made_result(detectors=three, persons=2),
        out,
        evidence={"classnseg": {0: mask, 5: mask}},
        keyframes={0: face, 1: face},
        crop=lambda detector, row: face,
        picture=lambda row: face,
        video_per_detector=True,
    )
    assert names(out) == {
        "README.txt", "boxes.json", "curves.json", "report.pdf", "result.json", "scores.csv", "summary.html",
        "curves/all.png", "curves/classnseg.png", "curves/mesonet.png", "sorted/classnseg.png", "sorted/mesonet.png",
        "evidence/classnseg/000000.jpg", "evidence/classnseg/000005.jpg",
        "evidence/classnseg/000000_face.jpg", "evidence/classnseg/000005_face.jpg",
        *(item.file for item in done.gallery),
        "keyframes/person_0.jpg", "keyframes/person_1.jpg",
        "video/side_by_side.mp4", "video/classnseg.mp4", "video/mesonet.mp4",
    }  # fmt: skip
    assert [person.keyframe for person in done.persons] == ["keyframes/person_0.jpg", "keyframes/person_1.jpg"]
    assert [one.face for one in done.detectors[1].evidence] == [0, 5]
    assert done.seconds["video"] >= 0
    assert done.seconds["report"] > 0
    for name in names(out):
        if name.endswith((".png", ".jpg")):
            with Image.open(out / name) as picture:
                picture.verify()


def test_what_is_returned_is_what_was_written(tmp_path: Path, made_result: Callable, three: Callable) -> None:
    done = build(made_result(detectors=three), tmp_path / "report")
    assert Result.model_validate_json((tmp_path / "report/result.json").read_bytes()) == done


def test_every_file_is_listed_with_its_checksum(tmp_path: Path, made_result: Callable, three: Callable) -> None:
    out = tmp_path / "report"
    done = build(made_result(detectors=three), out)
    assert set(done.files) == names(out) - {"result.json"}
    for name, sha256 in done.files.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == sha256


def test_result_json_follows_the_published_schema(tmp_path: Path, made_result: Callable, three: Callable) -> None:
    build(made_result(detectors=three), tmp_path / "report")
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    content = json.loads((tmp_path / "report/result.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content, schema)
    content["detectors"][0]["fake_score"] = 1.5
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


def test_the_published_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "run: python -m backend.report.schema"


def test_the_same_result_gives_the_same_files(
    tmp_path: Path, made_result: Callable, three: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.report.build.time.perf_counter", lambda: 1.0)
    for name in ("one", "two"):
        build(made_result(detectors=three), tmp_path / name)
    assert names(tmp_path / "one") == names(tmp_path / "two")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_report_of_many_persons_and_masks_stays_small(
    tmp_path: Path, made_result: Callable, made_detector: Callable
) -> None:
    mask, face = tmp_path / "mask.npy", np.zeros((20, 20, 3), np.uint8)
    np.save(mask, np.zeros((8, 8), np.uint8))
    result = made_result(frames=2, persons=60, boxes=[(0, 0, 20, 20)] * 60)
    ids = [f"detector_{letter}" for letter in "abc"]
    result = result.model_copy(
        update={"detectors": tuple(made_detector(i, faces=list(result.faces), level=0.5) for i in ids)}
    )
    masks = {row: mask for row in range(120)}
    build(
        result,
        tmp_path / "report",
        evidence=dict.fromkeys(ids, masks),
        keyframes=dict.fromkeys(range(60), face),
        crop=lambda d, r: face,
        picture=lambda row: face,
    )
    assert len(list((tmp_path / "report/gallery").iterdir())) == 48
    assert len(names(tmp_path / "report")) <= 250
    assert len(list((tmp_path / "report/keyframes").iterdir())) == 24
    assert len(list((tmp_path / "report/evidence").rglob("*_face.jpg"))) == 48


# --------------------------------------------------------------------------- table


def read_table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "scores.csv").read_text(encoding="utf-8"))))


def test_the_table_has_a_row_a_face_and_empty_cells_without_score(
    tmp_path: Path, made_result: Callable, three: Callable
) -> None:
    result = made_result(detectors=three, persons=2, frames=10)
    first = result.detectors[0]
    gaps = (None, *first.scores[1:])
    result = result.model_copy(update={"detectors": (first.model_copy(update={"scores": gaps}), *result.detectors[1:])})
    build(result, tmp_path / "report")
    rows = read_table(tmp_path / "report")
    assert len(rows) == len(result.faces) == 20
    assert rows[0]["mesonet"] == ""
    assert [float(row["mesonet"]) for row in rows[1:]] == list(gaps[1:])
    assert [float(row["classnseg"]) for row in rows] == list(result.detectors[1].scores)
    assert {row["va"] for row in rows} == {""}
    assert float(rows[3]["x1"]) == result.faces[3].box[0]


@pytest.mark.parametrize("words", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")'])
def test_words_never_begin_a_formula(words: str) -> None:
    assert text_cell(words) == "'" + words
    assert text_cell("mesonet") == "mesonet"


# --------------------------------------------------------------------------- hostile words


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile(made_result: Callable, made_detector: Callable, made_silent: Callable) -> Result:
    def make(faces: list) -> list:
        return [
            made_detector(
                "mesonet", faces=faces, level=0.8, title=HOSTILE, limits=(HOSTILE,), paper=HOSTILE, strategy=HOSTILE
            ),
            made_silent("va", status="failed", code="detector_failed", title="=cmd()").model_copy(
                update={"message": HOSTILE}
            ),
        ]

    return made_result(detectors=make, name=HOSTILE)


def test_hostile_words_stay_words(tmp_path: Path, hostile: Result) -> None:
    build(hostile, tmp_path / "report", keyframes={0: np.zeros((9, 9, 3), np.uint8)})
    page = Page((tmp_path / "report/summary.html").read_text(encoding="utf-8"))
    assert "".join(letter if letter.isprintable() else "?" for letter in HOSTILE) in page.text
    assert not set(page.text) & {"\x1b", "\u202e"}
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form", "a"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/")
    for name in names(tmp_path / "report"):
        assert re.fullmatch(r"[a-z0-9_./]+|README\.txt", name), name


def test_hostile_words_draw_no_lines_into_the_readme(tmp_path: Path, hostile: Result) -> None:
    result = hostile.model_copy(update={"media": replace(hostile.media, name="a\r\nsha256: 00\x1b[2J.mp4")})
    build(result, tmp_path / "report")
    text = (tmp_path / "report/README.txt").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "\nsha256: 00" not in text


@pytest.mark.parametrize("name", ["../evil", "all", "side_by_side", "UPPER", "a b", ""])
def test_a_detector_id_that_is_no_file_name_is_refused(
    tmp_path: Path, made_result: Callable, made_detector: Callable, name: str
) -> None:
    result = made_result(detectors=lambda faces: [made_detector(name, faces=faces, level=0.5)])
    with pytest.raises(ValueError, match="detector id"):
        build(result, tmp_path / "report")


# --------------------------------------------------------------------------- missing parts


def test_a_failed_video_costs_the_video_only(tmp_path: Path, made_result: Callable, three: Callable) -> None:
    def fails(plan: Path, out: Path) -> None:
        out.write_bytes(b"half a video")
        raise PermanentError("worker_died")

    out = tmp_path / "report"
    done = build(made_result(detectors=three), out, video=fails, video_per_detector=True)
    assert {name for name in names(out) if name.startswith("video/")} == {"video/not_drawn.txt"}
    assert "video/not_drawn.txt" in done.files
    for name in ("video/not_drawn.txt", "summary.html", "README.txt"):
        assert SENTENCES["worker_died"].split("'")[0] in (out / name).read_text(encoding="utf-8"), name
    assert done.detectors[0].fake_score is not None


def test_a_clip_whose_video_is_added_later_has_the_same_report_in_the_end(
    tmp_path: Path, made_result: Callable, three: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.report.build.time.perf_counter", lambda: 1.0)
    at_once, later = tmp_path / "at_once", tmp_path / "later"
    build(made_result(detectors=three), at_once)
    first = build(made_result(detectors=three), later, later=True)
    assert first.video == "pending"
    assert not [name for name in names(later) if name.startswith("video/")]
    assert "still being drawn" in (later / "summary.html").read_text(encoding="utf-8")
    done = add_video(first, out=later, video=stub_video, each=False)
    assert done.video == "ready"
    assert names(later) == names(at_once)
    for name in names(later):
        assert (later / name).read_bytes() == (at_once / name).read_bytes(), name


def test_a_video_that_was_drawn_before_a_crash_is_not_drawn_again(tmp_path: Path, made_result: Callable) -> None:
    class Killed(BaseException):
        pass

    drawn: list[str] = []

    def draws(plan: Path, out: Path) -> None:
        drawn.append(out.name)
        out.write_bytes(b"video")
        if len(drawn) == 2:
            raise Killed

    out = tmp_path / "report"
    first = build(made_result(), out, later=True)
    with pytest.raises(Killed):
        add_video(first, out=out, video=draws, each=True)
    assert Result.model_validate_json((out / "result.json").read_bytes()) == first
    (out / "video/.making-killed").mkdir()  # what a kill -9 leaves
    (out / "video/.making-killed/side_by_side.mp4").write_bytes(b"half")
    done = add_video(first, out=out, video=draws, each=True)
    assert drawn == ["side_by_side.mp4", "mesonet.mp4", "mesonet.mp4"]
    assert [name for name in done.files if "video" in name] == ["video/mesonet.mp4", "video/side_by_side.mp4"]


def test_a_report_without_a_video_does_not_speak_of_one_and_says_why(tmp_path: Path, made_result: Callable) -> None:
    done = build(made_result(), tmp_path / "report", video=None)
    assert (done.video, "video" in done.seconds) == ("not_asked", False)
    assert "No result video was asked for." in (tmp_path / "report/summary.html").read_text(encoding="utf-8")
    assert "video" not in (tmp_path / "report/README.txt").read_text(encoding="utf-8")
    assert not (tmp_path / "report/video").exists()


def test_only_named_failures_of_the_video_are_swallowed(tmp_path: Path, made_result: Callable) -> None:
    class Cancelled(BaseException):
        pass

    def stops(plan: Path, out: Path) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        build(made_result(), tmp_path / "report", video=stops)


def test_a_file_without_faces_gets_a_report_that_says_so(
    tmp_path: Path, made_result: Callable, made_silent: Callable
) -> None:
    drawn = []
    result = made_result(
        frames=0, detectors=lambda faces: [made_silent("mesonet", status="not_applicable", code="no_face")]
    )
    out = tmp_path / "report"
    done = build(result, out, video=lambda plan, target: drawn.append(target))
    assert names(out) == {
        "README.txt",
        "boxes.json",
        "curves.json",
        "report.pdf",
        "result.json",
        "scores.csv",
        "summary.html",
        "video/not_drawn.txt",
    }
    assert "No face was found" in (out / "summary.html").read_text(encoding="utf-8")
    assert "No face was found" in (out / "README.txt").read_text(encoding="utf-8")
    assert not drawn
    assert done.detectors[0].fake_score is None
    assert read_table(out) == []


def test_faces_without_any_score_get_a_report_that_says_so(
    tmp_path: Path, made_result: Callable, made_silent: Callable
) -> None:
    result = made_result(detectors=lambda faces: [made_silent("mesonet", status="failed", code="weights_missing")])
    build(result, tmp_path / "report", keyframes={0: np.zeros((9, 9, 3), np.uint8)})
    text = Page((tmp_path / "report/summary.html").read_text(encoding="utf-8")).text
    assert (
        "No detector could judge this file, so there is no finding. That does not show that the file is genuine."
        in text
    )
    assert SENTENCES["weights_missing"] in text
    assert not re.search(r"0\.50\b.*fake", text)
    assert (tmp_path / "report/keyframes/person_0.jpg").exists()


def test_a_still_gets_a_picture_in_place_of_a_video(tmp_path: Path, made_result: Callable, three: Callable) -> None:
    plans = []

    def video(plan: Path, out: Path) -> None:
        plans.append(json.loads(plan.read_text(encoding="utf-8")))
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(out)

    out = tmp_path / "report"
    build(made_result(detectors=three, kind="image", frames=1, persons=2), out, video=video)
    assert "video/side_by_side.png" in names(out)
    assert plans[0]["kind"] == "image"
    assert [bar["label"] for bar in plans[0]["bars"]] == [
        "MesoNet, person 1", "MesoNet, person 2", "ClassNSeg, person 1", "ClassNSeg, person 2",
    ]  # fmt: skip
    assert not plans[0]["curves"]


# --------------------------------------------------------------------------- wording


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([0.8, 0.9], "Both detectors that gave a score are at or above"),
        ([0.1, 0.2], "Both detectors that gave a score are below"),
        ([0.1, 0.9], "The detectors disagree: 1 of 2 are at or above"),
        ([0.9], "The one detector that gave a score, Number 0, is at or above"),
    ],
)
def test_the_finding_says_what_detectors_say_and_not_what_the_file_is(
    tmp_path: Path, made_result: Callable, made_detector: Callable, levels: list[float], words: str
) -> None:
    made = lambda faces: [  # noqa: E731
        made_detector(f"number_{i}", faces=faces, level=level, title=f"Number {i}") for i, level in enumerate(levels)
    ]
    build(made_result(detectors=made), tmp_path / "report")
    text = Page((tmp_path / "report/summary.html").read_text(encoding="utf-8")).text
    assert words in text
    assert "is fake" not in text
    assert "is genuine." not in text.replace("does not show that a file is genuine.", "")
