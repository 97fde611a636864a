"""``report.pdf``: what its first page says, what is on every page, and that no name, crowd or odd result breaks it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from backend.report.build import build_report, scored_detectors
from backend.report.pdf.document import write_pdf
from shared import how_sure
from shared.results import (
    DetectorResult,
    FaceRow,
    FalseStretches,
    Finding,
    JointStretch,
    Person,
    PersonScore,
    Result,
    Stretch,
)
from shared.statement import number, stability_words, statement_of
from tests.told import ANSWERS, told

HOSTILE = {
    "markup": '<b>bold</b><para><img src="/etc/passwd"/><font size="900">x</font>&lt;&amp;.mp4',
    "broken markup": "<b><i></b></para>&#0;&bogus;.mp4",
    "control": "a\x00b\x1b[31mc\nd\te\x7f.mp4",
    "directions": "\u202egpj.exe\u2066\u200f.mp4",
    "long": "w" * 4096,
    "long words": "слово " * 680,
    "no font": "中文日本語.mp4",
    "beyond": "\U0001f600\U0001d54f\U0010ffff\ufffe.mp4",
    "right to left": "شريط فيديو שלום.mp4",
    "empty": "",
}


def made(result: Result, out: Path, **more: Any) -> PdfReader:
    """The PDF of ``result``; with ``more``, that of a whole report."""
    out.mkdir(exist_ok=True)
    if not more:
        write_pdf(result, scored_detectors(result), out)
        return PdfReader(out / "report.pdf", strict=True)
    options: dict[str, Any] = {"evidence": {}, "video": None, "video_per_detector": False, "keyframes": {}}
    done = build_report(result, out=out, **(options | more))
    assert "report.pdf" in done.files, "a PDF that could not be made is only logged"
    return PdfReader(out / "report.pdf", strict=True)


def text(reader: PdfReader, *pages: int) -> str:
    """The words of all pages, or of some, with single spaces."""
    chosen = [reader.pages[page] for page in pages] if pages else reader.pages
    return " ".join(" ".join(page.extract_text() for page in chosen).split())


@pytest.fixture
def spliced(made_result: Callable, made_detector: Callable, made_silent: Callable) -> Result:
    """A clip of 8 s whose second half two kinds of evidence mark, on the second of two persons; one detector has no score."""

    def three(faces: list[FaceRow]) -> list[DetectorResult]:
        rare = FalseStretches(reference="clips", about="real clips", detectors=("mesonet",), found=43, minutes=5.6)
        stretch = Stretch(person=1, side="fake", start_s=4.0, end_s=8.0, units=100, median=0.9)
        finding = Finding(points="points_to_fake", code="unmeasured", sentence="Its score is far above its threshold.")
        common = {"finding": finding, "stretches": (stretch,), "false_stretches": rare, "looks_for": ("swap",)}
        return [
            made_detector("mesonet", faces=faces, level=0.8, title="MesoNet", family="synthesis", **common),
            made_detector("selfblend", faces=faces, level=0.7, title="Self-blend traces", family="blending", **common),
            made_silent("va", status="not_applicable", code="mouth_or_eyes_closed", title="Visual artifacts"),
        ]

    result = made_result(frames=200, persons=2, detectors=three)
    both = FalseStretches(
        reference="clips", about="real clips", detectors=("mesonet", "selfblend"), found=4, minutes=5.6
    )
    joint = JointStretch(
        person=1, start_s=4.0, end_s=8.0, detectors=("mesonet", "selfblend"), families=2, false_stretches=both
    )
    return result.model_copy(update={"joint_stretches": (joint,)})


def test_the_first_page_says_who_when_according_to_whom_and_how_often_real_video_has_that(
    tmp_path: Path, spliced: Result
) -> None:
    faces = {person: np.full((90, 70, 3), 90 * person, np.uint8) for person in (0, 1)}
    reader = made(spliced, tmp_path / "report", keyframes=faces)
    first, said = text(reader, 0), statement_of(spliced)
    assert said is not None
    for sentence in (said.headline, said.below, said.looked_for, said.not_looked_for):
        assert sentence
        assert sentence in first
    for detail in said.details:
        assert detail in text(reader, 0, 1)
    assert "Person 2, 0:04.0 to 0:08.0" in first
    assert "Real video has such stretches, too: 4 in 5.6 minutes" in first
    # the person to look at first is named first
    assert first.index("Person 2") < first.index("Person 1")
    assert len(reader.pages[0].images) == 2


def test_every_page_says_what_it_belongs_to(tmp_path: Path, spliced: Result) -> None:
    reader = made(spliced, tmp_path / "report")
    count = len(reader.pages)
    assert count > 2
    for place, page in enumerate(reader.pages, 1):
        words = page.extract_text()
        assert spliced.id in words
        assert spliced.media.sha256 in words
        assert f"{place} of {count}" in words
        assert "21 November 2026, 09:30 UTC, DeepFake-o-meter 0.1.0" in words


def test_the_annex_has_what_the_first_page_rests_on(tmp_path: Path, spliced: Result) -> None:
    words = text(made(spliced, tmp_path / "report"))
    squeezed = words.replace(" ", "")
    source = spliced.detectors[0].provenance
    assert source.image
    for digest in (*source.weights.values(), source.image):
        assert digest in squeezed
    assert "input = 256" in words
    assert "Trained on face swaps of 2018; newer methods may pass unseen." in words
    assert spliced.detectors[2].message in words
    for paragraph in (how_sure.RATIO, how_sure.INTERVAL, how_sure.LEVEL, how_sure.FOREIGN, how_sure.STRETCHES):
        assert paragraph in words
    for reason in how_sure.REASONS:
        assert reason.when.replace(" ", "") in squeezed
    assert "Likelihood ratio" in words
    assert "{'" not in words


@pytest.mark.parametrize("case", ANSWERS)
def test_the_document_says_what_page_and_mail_say_and_what_each_score_is_worth(tmp_path: Path, case: str) -> None:
    result = told(case)
    reader, said = made(result, tmp_path / "report"), statement_of(result)
    assert said is not None
    first, whole = text(reader, 0), text(reader)
    for sentence in filter(None, (said.headline, said.below, said.looked_for, said.not_looked_for)):
        assert sentence in first
    for sentence in said.details:
        assert sentence in whole
    for item in result.detectors:
        if item.worth:
            low, high = (number(value) for value in (item.worth.ratio.low, item.worth.ratio.high))
            assert f"{number(item.worth.ratio.value)}, 95 % interval {low} to {high}" in whole
            assert f"Set {item.worth.reference}: {item.worth.about}." in whole
        elif item.fake_score is not None:
            assert "not measured here" in whole
        assert stability_words(item) in whole


def test_the_document_names_itself_its_language_and_its_parts(tmp_path: Path, spliced: Result) -> None:
    reader = made(spliced, tmp_path / "report")
    about = reader.metadata
    assert about is not None
    assert about.title == "DeepFake-o-meter report: clip.mp4"
    assert about.author == "DeepFake-o-meter"
    assert about.creation_date == spliced.created
    catalog = reader.trailer["/Root"]
    assert catalog["/Lang"] == "en"
    assert catalog["/MarkInfo"]["/Marked"].value is True
    assert catalog["/ViewerPreferences"]["/DisplayDocTitle"].value is True
    names = [item.title for item in flat(reader.outline)]
    assert names[0] == "clip.mp4"
    assert {"When", "What was judged", "Annex: the detectors", "The file", "How sure a finding is"} <= set(names)


def flat(outline: list[Any]) -> list[Any]:
    return [one for item in outline for one in (flat(item) if isinstance(item, list) else [item])]


def test_everything_drawn_is_in_the_structure_or_decoration(tmp_path: Path, spliced: Result) -> None:
    """Each mark of a page has an element that names the page, in the order in which it is read; marks are closed."""
    faces = {person: np.full((90, 70, 3), 90 * person, np.uint8) for person in (0, 1)}
    reader = made(spliced, tmp_path / "report", keyframes=faces)
    tree = reader.trailer["/Root"]["/StructTreeRoot"]
    numbers = tree["/ParentTree"]["/Nums"]
    figures = 0
    for place, page in enumerate(reader.pages):
        assert page["/StructParents"] == place
        elements = [one.get_object() for one in numbers[2 * place + 1]]
        drawn = page.get_contents().get_data().decode("latin-1").split()  # type: ignore[union-attr]
        assert drawn.count("BDC") == len(elements)
        assert drawn.count("BDC") + drawn.count("BMC") == drawn.count("EMC")
        for mark, element in enumerate(elements):
            assert element["/K"] == [mark]
            assert element["/Pg"].get_object() == page
            figures += element["/S"] == "/Figure"
            assert (element["/S"] == "/Figure") == ("/Alt" in element)
    assert figures >= 2 + 1 + 4  # faces, timeline, curves
    assert tree["/K"]["/S"] == "/Document"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name(tmp_path: Path, made_result: Callable, name: str) -> None:
    result = made_result(name=HOSTILE[name])
    reader = made(result, tmp_path / "report")
    words = text(reader)
    if "markup" in name:
        assert HOSTILE[name].split(".")[0][:40].replace(" ", "") in words.replace(" ", "")
    for one in ("\x1b", "\u202e", "\u2066", "\x00"):
        assert one not in words + str(reader.metadata.title)  # type: ignore[union-attr]
    assert len(reader.pages) < 9
    assert not reader.pages[0].images


def test_a_letter_without_a_picture_is_a_box_and_never_another_letter(tmp_path: Path, made_result: Callable) -> None:
    reader = made(made_result(name="Пётр Ωμέγα Łódź 中\U0001f600.mp4"), tmp_path / "report")
    first = text(reader, 0)
    assert "Пётр Ωμέγα Łódź □□.mp4" in first
    assert "result.json has the whole name" in first
    fonts = {str(font["/BaseFont"]) for font in page_fonts(reader)}
    assert any("DejaVuSans" in name for name in fonts)


def page_fonts(reader: PdfReader) -> list[Any]:
    fonts = [font.get_object() for page in reader.pages for font in page["/Resources"]["/Font"].values()]
    return [font for font in fonts if font["/Subtype"] == "/TrueType" and "/FontFile2" in font["/FontDescriptor"]]


def of_kind(kind: str, made_result: Callable, made_detector: Callable, made_silent: Callable) -> Result:
    if kind == "no face":
        silent = [made_silent("mesonet", status="not_applicable", code="no_face")]
        return made_result(frames=0, detectors=lambda faces: silent)
    if kind == "all failed":
        broken = [
            made_silent("mesonet", status="failed", code="worker_died"),
            made_silent("va", status="timed_out", code="timed_out"),
        ]
        return made_result(detectors=lambda faces: broken)
    if kind == "quick":
        return made_result().model_copy(update={"mode": "quick"})
    if kind == "sound":
        result = made_result(frames=0, detectors=lambda faces: [])
        windows = tuple((2.0 * n, 2.0 * n + 4.0) for n in range(5))
        voice = made_detector("mesonet", faces=made_result().faces[:5], level=0.8, title="AASIST").model_copy(
            update={"unit": "sound", "windows": windows, "persons": ()}
        )
        media = replace(
            result.media, kind="sound", width=0, height=0, fps=None, duration_s=12.0, codec="mp3", container="mp3"
        )
        return result.model_copy(update={"detectors": (voice,), "media": media, "shots": ()})
    return made_result(kind="image" if kind == "image" else "video", frames=1 if kind == "image" else 50)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("image", "MesoNet"),
        ("sound", "Sound, 12 s"),
        ("no face", "no face"),
        ("all failed", "No detector gave a score."),
        ("quick", "quick mode looks at too few pictures to tell when"),
        ("earlier", "made by an earlier version"),
    ],
)
def test_every_kind_of_result_has_a_document(
    tmp_path: Path, made_result: Callable, made_detector: Callable, made_silent: Callable, kind: str, said: str
) -> None:
    result = of_kind(kind, made_result, made_detector, made_silent)
    reader = made(result, tmp_path / "report")
    assert said in text(reader, 0)


def test_a_still_is_shown_with_its_marks(tmp_path: Path, made_result: Callable) -> None:
    def draw(plan: Path, out: Path) -> None:
        Image.new("RGB", (400, 200), (10, 200, 30)).save(out, "PNG")

    reader = made(made_result(kind="image", frames=1), tmp_path / "report", video=draw)
    assert len(reader.pages[0].images) == 1


def test_a_clip_does_not_wait_for_its_video(tmp_path: Path, spliced: Result) -> None:
    def draw(plan: Path, out: Path) -> None:
        raise AssertionError("drawn too early")

    assert "0:04.0 to 0:08.0" in text(made(spliced, tmp_path / "report", video=draw, later=True), 0)


def test_the_same_result_gives_the_same_bytes(tmp_path: Path, spliced: Result) -> None:
    made(spliced, tmp_path / "one")
    time.sleep(0.02)
    made(spliced, tmp_path / "two")
    assert (tmp_path / "one/report.pdf").read_bytes() == (tmp_path / "two/report.pdf").read_bytes()


def test_a_document_that_cannot_be_made_costs_no_numbers(
    tmp_path: Path, made_result: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("made up")

    monkeypatch.setattr("backend.report.pdf.document.write_pdf", broken)
    out = tmp_path / "report"
    out.mkdir()
    done = build_report(made_result(), out=out, evidence={}, video=None, video_per_detector=False, keyframes={})
    assert {"result.json", "report.pdf"} & {path.name for path in out.iterdir()} == {"result.json"}
    assert "report.pdf" not in done.files
    assert "report.pdf" not in (out / "README.txt").read_text(encoding="utf-8")


def test_a_crowd_makes_a_small_document_that_says_what_it_leaves_out(tmp_path: Path, made_result: Callable) -> None:
    """60 persons, 30 detectors, 100,000 faces with scores that jump: 0.4 MB and 1 s of one core where this was written."""
    faces, persons = 100_000, 60
    base = made_result(frames=2)
    rows = tuple(
        FaceRow.model_construct(
            frame=n // 4,
            time_s=n / 100,
            shot=0,
            person=n * 7919 % persons,
            box=(0.0, 0.0, 9.0, 9.0),
            confidence=0.9,
            tracked=False,
        )
        for n in range(faces)
    )
    scores = tuple(np.random.default_rng(1).random(faces).tolist())
    one = base.detectors[0].model_copy(
        update={
            "scores": scores,
            "units_scored": faces,
            "finding": Finding(
                points="inconclusive", code="near_threshold", sentence="Its score is near its threshold."
            ),
            "limits": ("It fails on files of this kind, as was measured.",) * 20,
            "persons": tuple(
                PersonScore(person=p, faces=1666, fake_score=0.5, hard_label="fake") for p in range(persons)
            ),
            "stretches": tuple(
                Stretch(person=p, side="fake", start_s=50.0 * k, end_s=50.0 * k + 9, units=30, median=0.7)
                for p in range(persons)
                for k in range(20)
            ),
        }
    )
    detectors = tuple(one.model_copy(update={"id": f"detector_{n}", "title": f"Detector {n}"}) for n in range(30))
    crowd = base.model_copy(
        update={
            "faces": rows,
            "detectors": detectors,
            "mode": "standard",
            "media": replace(base.media, duration_s=1000.0),
            "persons": tuple(Person(person=p, faces=1666, first_s=0.0, last_s=1000.0) for p in range(persons)),
        }
    )
    began = time.process_time()
    write_pdf(crowd, scored_detectors(crowd), tmp_path)
    assert time.process_time() - began < 20
    assert (tmp_path / "report.pdf").stat().st_size < 3_000_000
    words = text(PdfReader(tmp_path / "report.pdf"))
    assert "the annex has 56 more persons" in words
    assert "24 of 60 persons are listed" in words
    assert "48 of 1800 lines are drawn here" in words
