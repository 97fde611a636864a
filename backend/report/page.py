"""``summary.html`` and ``README.txt``: the report for people.

Owns the page's content; its look is ``summary.html.j2``. Promises: one file without script or outside address, pictures
inside it, every untrusted word escaped (Jinja2's autoescape). May be imported by ``backend.report``.
"""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from PIL import Image

from backend.report import words
from backend.report.palette import side_colour
from backend.report.plan import crowd_words
from backend.report.series import MOST_BARS, person_name, score_array
from shared import how_sure
from shared.curve_colours import hexadecimal
from shared.how_sure import reason, reasons_among
from shared.notes import note_sentences
from shared.origin_words import provenance_lines
from shared.results import DetectorResult, PersonScore, Result
from shared.rounding import score as score_words
from shared.statement import finding_words, left_out, person_label, stability_words, statement_of
from shared.words import (
    UNITS_OF,
    clock_time,
    counted,
    date_and_time,
    detector_sentence,
    duration,
    format_name,
    looked_at,
    size,
    strategy,
)

#: Widths of embedded JPEGs, so that the page stays small.
_STILL_WIDTH, _EVIDENCE_WIDTH = 1600, 420
#: Pictures of evidence per detector on the page; the folder has all.
_MOST_EVIDENCE = 6
#: sizes of other frames that are named; result.json has all
_MOST_SIZES = 4


def write_page(result: Result, out: Path, *, not_drawn: str | None) -> None:
    """Write ``out/summary.html`` from ``result`` and the pictures already in ``out``."""
    scored = [item for item in result.detectors if item.status == "ok"]
    said = statement_of(result)
    page = _template().render(
        result=result,
        created=date_and_time(result.created),
        page_id=_in_style(result.id),
        page_sha256=_in_style(result.media.sha256),
        page_made=_in_style(f"{date_and_time(result.created)}, DeepFake-o-meter {result.platform_version}"),
        pdf=(out / "report.pdf").exists(),
        boxes=_boxes(result, scored),
        facts=_facts(result),
        where_from=provenance_lines(result),
        headline=words.headline(result),
        details=words.details(result),
        said=said,
        found=any(item.finding for item in scored),
        explained=_explained(scored) if said else [],
        reasons=reasons_among({item.finding.code for item in scored if item.finding}),
        notes=note_sentences(result.notes),
        cautions=words.cautions(result),
        several_units=len({item.unit for item in result.detectors}) > 1,
        rows=[_row(item) for item in result.detectors],
        persons=_persons(result, scored, out),
        pictured=_pictured(result),
        shown=_shown(result),
        moving=_moving(out),
        still=_still(out),
        crowd=_crowd(result),
        not_drawn=not_drawn,
        pictures=[_pictures(item, out) for item in scored],
        together=_embedded(out / "curves/all.png"),
        limits=[(item.title, item.limits) for item in result.detectors if item.limits],
        origins=[_origin(item) for item in result.detectors],
        seconds=[(name, f"{value:.2f} s") for name, value in result.seconds.items()],
    )
    (out / "summary.html").write_text(page, encoding="utf-8")


def write_readme(result: Result, out: Path, *, not_drawn: str | None) -> None:
    """Write ``out/README.txt``: what each file is and how to read the numbers."""
    said = statement_of(result)
    lines = [
        "DeepFake-o-meter report",
        "",
        f"File:      {result.media.name}",
        f"sha256:    {result.media.sha256}",
        f"Analysed:  {result.created:%Y-%m-%d %H:%M} UTC, mode {result.mode}, version {result.platform_version}",
        "",
        words.headline(result),
        *((said.below,) if said and said.below else ()),
        *words.details(result),
        *((text for text in (said.looked_for, said.not_looked_for) if text) if said else ()),
        *(f"Note: {sentence}" for sentence in note_sentences(result.notes)),
        "",
        *(f"* {item.title}: {_line(item)}" for item in result.detectors),
        "",
        "How to read it",
        *(f"* {caution}" for caution in words.cautions(result)),
        "* A dash, an empty cell or null means that there is no score. Nothing is filled in.",
        "",
        "What is in this folder",
        *(_OF_PDF if (out / "report.pdf").exists() else ()),
        "  summary.html   one page to read and print",
        f"  scores.csv     {_rows_of(result)}",
        *(_OF_BANDS if any(item.stability for item in result.detectors) else ()),
        "  result.json    everything, for programs; 'files' lists each file with its sha256",
        "  curves.json    the curves of the page's chart: times and fake scores, null where a line breaks",
        "  curves/        fake score over time, a picture for each detector",
        "  sorted/        integrity scores (1 - fake score), sorted, with their area",
        *(_OF_FACES if result.faces else ()),
        *_video_line(result, not_drawn),
        "",
    ]
    (out / "README.txt").write_text("\n".join(map(words.plain, lines)), encoding="utf-8")


_OF_PDF = (
    "  report.pdf     the report to hand on: the finding on its first page, everything that it rests on behind it",
)
_OF_BANDS = ("  bands.csv      how each score moves under mild re-encoding, one row per detector and change",)
_OF_FACES = (
    "  keyframes/     a typical face of each person (person_0 is person 1 in the pictures)",
    "  gallery/       a face of each person in each shot; the number is its row of faces in result.json, from 0",
    "  boxes.json     the boxes that the page draws over the clip: times, places, what is written there",
    "  evidence/      what a detector marked on a face, for detectors that do, and the face without the marks",
)


def _rows_of(result: Result) -> str:
    """What the rows of ``scores.csv`` are."""
    cells = {
        "face": "face (frame, time, person from 0; pictures: from 1, box)",
        "picture": "whole picture (frame, time)",
        "sound": "piece of sound (start, end)",
    }
    windows = any(item.windows for item in result.detectors)
    there = {"face": bool(result.faces), "picture": bool(result.pictures), "sound": windows}
    rows = [cells[unit] for unit in cells if there[unit]]
    return f"one row per {', per '.join(rows or ['face'])}, with a fake score for each detector"


def _video_line(result: Result, not_drawn: str | None) -> list[str]:
    """What is in ``video/``; nothing where no video was asked for, so that nobody looks for it."""
    if result.video == "not_asked":
        return []
    return [f"  video/         {not_drawn or f'{_shown(result)}, the scores beside it'}"]


def _shown(result: Result) -> str:
    """What the result video, or the marked picture, shows."""
    if result.media.kind == "sound":
        return "the wave form of the submitted sound"
    kind = "clip" if result.media.kind == "video" else "picture"
    return f"the submitted {kind}{' with marked faces' if result.faces else ''}"


# --------------------------------------------------------------------------- parts


@lru_cache(maxsize=1)
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=lambda value: words.plain(value) if isinstance(value, str) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("summary.html.j2")


def _in_style(words_of_page: str) -> str:
    """Words as the content of a style's string, where no escape of HTML helps: nothing that ends it."""
    return "".join(letter for letter in words_of_page if letter.isalnum() or letter in " .,:+-_")


def _boxes(result: Result, scored: list[DetectorResult]) -> str:
    """What the boxes of the result video say (``plan``)."""
    of_faces = [item for item in scored if item.unit == "face"]
    if not result.faces or not of_faces:
        return ""
    if len(of_faces) == 1:
        return "Boxes carry the score of that face."
    return "Boxes say how many of the detectors of faces are at or above their own thresholds at that face."


def _facts(result: Result) -> list[tuple[str, str]]:
    media = result.media
    others = dict.fromkeys(
        (width, height) for _, width, height in media.sizes if (width, height) != (media.width, media.height)
    )
    also = (
        f" (also {', '.join(f'{width} × {height}' for width, height in list(others)[:_MOST_SIZES])})" if others else ""
    )
    seen = "" if media.kind == "sound" else f", {media.width} × {media.height} pixels{also}"
    facts = [("File", media.name), ("Kind", f"{media.kind}{seen}")]
    if media.kind == "video":
        rate = f", {media.fps:.3g} frames a second" if media.fps else ""
        facts.append(("Length", f"{duration(media.duration_s)}, {media.frames:,} frames{rate}"))
        examined = "examined" if result.sound else "not examined"
        facts.append(("Sound", f"present, {examined}" if media.has_audio else "none"))
    elif media.kind == "sound":
        facts.append(("Length", duration(media.duration_s)))
    facts += [
        ("Size", f"{size(media.bytes)}, {format_name(media.container, media.codec)}"),
        ("Judged" if media.kind == "sound" else "Looked at", looked_at(result)),
        ("sha256", media.sha256),
    ]
    return facts


def _row(item: DetectorResult) -> dict[str, Any]:
    score = item.fake_score
    return {
        "title": item.title,
        "judges": UNITS_OF[item.unit],
        "paper": item.paper,
        "sentence": words.in_words(item),
        "strategy": "" if item.strategy == "mean" and item.units_scored == 1 else strategy(item.strategy, item.unit),
        "score": None if score is None else score_words(score, threshold=item.threshold),
        "at": None if score is None else round(100 * score, 1),
        "colour": None if score is None else hexadecimal(side_colour(item, score)),
        "threshold": f"{item.threshold:.2f}",
        "band": _band(item),
        "moves": stability_words(item),
        "threshold_at": round(100 * item.threshold, 1),
        "label": words.label_words(item),
        "left_out": left_out(item),
        "finding": finding_words(item.finding) if item.finding else None,
        "reason": known.short if item.finding and (known := reason(item.finding.code)) else None,
        "auc": None if item.auc is None else f"{item.auc:.3f}",
        "cached": item.cached,
    }


def _band(item: DetectorResult) -> tuple[float, float] | None:
    """From where to where the score moves under mild re-encoding, of 100."""
    band = item.stability
    return (
        (round(100 * band.low, 1), round(100 * band.high, 1))
        if band and band.low is not None and band.high is not None
        else None
    )


def _persons(result: Result, scored: list[DetectorResult], out: Path) -> list[dict[str, Any]]:
    persons = []
    for person in result.persons:
        own = [(item, one) for item in scored for one in item.persons if one.person == person.person]
        span = f"{clock_time(person.first_s)} to {clock_time(person.last_s)}"
        persons.append(
            {
                "name": person_name(person.person).capitalize(),
                "picture": _embedded(out / person.keyframe) if person.keyframe else None,
                "seen": counted(person.faces, "face") + (f", {span}" if result.media.kind == "video" else ""),
                "scores": [
                    (
                        item.title,
                        score_words(one.fake_score, threshold=item.threshold),
                        _side_words(item, one, faces=person.faces, is_clip=result.media.kind == "video"),
                    )
                    for item, one in own
                ],
            }
        )
    return persons


def _side_words(item: DetectorResult, one: PersonScore, *, faces: int, is_clip: bool) -> str:
    """'above', 'below', and in brackets why that is in no count or says nothing."""
    label, side = (
        person_label(item, one, faces=faces, is_clip=is_clip),
        "above" if one.hard_label == "fake" else "below",
    )
    return f"{side} ({label.why})" if label.why else side


def _pictured(result: Result) -> str:
    """How many persons have a picture, empty when all have."""
    shown, persons = sum(person.keyframe is not None for person in result.persons), len(result.persons)
    return f"{shown} of {persons} persons have a picture here. " if 0 < shown < persons else ""


def _pictures(item: DetectorResult, out: Path) -> dict[str, Any]:
    """The pictures of one detector, as data addresses; None where there is none."""
    return {
        "title": item.title,
        "curve": _embedded(out / f"curves/{item.id}.png"),
        "sorted": _embedded(out / f"sorted/{item.id}.png"),
        "evidence": [
            [_smaller(out / name, side=_EVIDENCE_WIDTH) for name in (one.plain, one.file) if name]
            for one in item.evidence[:_MOST_EVIDENCE]
        ],
        "more": max(0, len(item.evidence) - _MOST_EVIDENCE),
    }


def _origin(item: DetectorResult) -> dict[str, Any]:
    source = item.provenance
    return {
        "title": item.title,
        "paper": item.paper,
        "version": source.version,
        "contract": source.contract,
        "runner": source.runner,
        "image": source.image,
        "weights": sorted(source.weights.items()),
        "parameters": words.parameters(source.parameters),
    }


def _crowd(result: Result) -> list[str]:
    """What the pictures of a crowd show and what they leave out."""
    scored = [(item, score_array(item, result)) for item in result.detectors]
    words = crowd_words(result, scored)
    fewer = [
        f"The bars of {item.title} show {MOST_BARS} of {count} scores, the highest ones; scores.csv has all."
        for item, scores in scored
        if words and item.unit == "face" and (count := int((~np.isnan(scores)).sum())) > MOST_BARS
    ]
    return [words, *fewer] if words else []


def _moving(out: Path) -> str | None:
    return "video/side_by_side.mp4" if (out / "video/side_by_side.mp4").exists() else None


def _still(out: Path) -> str | None:
    path = out / "video/side_by_side.png"
    return _smaller(path, side=_STILL_WIDTH) if path.exists() else None


def _smaller(path: Path, *, side: int) -> str:
    """A picture as JPEG with at most ``side`` pixels a side, as a data address."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return _data_address(buffer.getvalue(), "image/jpeg")


def _embedded(path: Path) -> str | None:
    if not path.exists():
        return None
    return _data_address(path.read_bytes(), "image/jpeg" if path.suffix == ".jpg" else "image/png")


def _data_address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _line(item: DetectorResult) -> str:
    if item.fake_score is None:
        return detector_sentence(item)
    score = score_words(item.fake_score, threshold=item.threshold)
    finding = f", finding: {finding_words(item.finding)}" if item.finding else ""
    return " ".join(
        filter(None, [f"{score}, {words.label_words(item)}{finding}.", words.in_words(item), stability_words(item)])
    )


def _explained(scored: list[DetectorResult]) -> list[str]:
    """What the words of the findings mean, as the page ``/how-sure`` says it; of ratios only where there is one."""
    if not any(item.worth for item in scored):
        return []
    return [how_sure.RATIO, how_sure.INTERVAL, how_sure.LEVEL, how_sure.FOREIGN]
