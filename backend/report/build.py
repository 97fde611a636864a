"""Builds the report: every file a visitor gets for one job, in one folder.

Owns the order of the parts and their names (docs/report.md). Promises: the same result gives the same files (except measured
times); if a video cannot be drawn, only the video is missing; no name comes from a visitor. A clip's report can be made without its
video, which ``add_video`` draws into it later: the numbers need not wait for it. Called by the pipeline.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import structlog

from backend.report.boxes import write_boxes
from backend.report.checksums import checksums
from backend.report.curves import write_curves
from backend.report.faces import CropOf, write_evidence, write_gallery, write_keyframes
from backend.report.page import write_page, write_readme
from backend.report.plan import build_plan, counts_at
from backend.report.series import score_array
from backend.report.table import write_bands, write_scores
from backend.report.words import BEING_DRAWN, NOT_ASKED, NOTHING_DRAWN
from base_detector import Array
from shared import durable
from shared.curves import Wave
from shared.errors import PermanentError
from shared.results import DetectorResult, Result, VideoState

log = structlog.get_logger()

#: Draws a plan (JSON file) into a video or picture; PermanentError when that fails.
Render = Callable[[Path, Path], None]

_SAFE_ID = re.compile(r"[a-z][a-z0-9_]{1,40}")
#: names of the report's own files beside those of detectors
_TAKEN = frozenset({"all", "side_by_side", "not_drawn"})


def build_report(
    result: Result,
    *,
    out: Path,
    evidence: Mapping[str, Mapping[int, Path]],
    video: Render | None,
    video_per_detector: bool,
    keyframes: Mapping[int, Array],
    crop: CropOf | None = None,
    picture: Callable[[int], Array] | None = None,
    later: bool = False,
    wave: Wave | None = None,
) -> Result:
    """Write the report of ``result`` into the empty folder ``out``; returns the result as ``result.json`` has it.

    ``evidence``: detector -> row of ``faces`` -> .npy, 255 = manipulated; ``keyframes``: person -> (H, W, 3) uint8 RGB;
    ``crop``: (detector, row) -> (H, W, 3) uint8 RGB, what that detector's masks cover; ``picture``: row -> the face and
    what is around it, for the gallery; ``wave``: the sound's form. ``video`` None: none was asked for; ``later``:
    a clip's is left for ``add_video``. ValueError for a detector id that is not a file name.
    """
    for item in result.detectors:
        if not _SAFE_ID.fullmatch(item.id) or item.id in _TAKEN:
            raise ValueError(
                f"detector id {item.id!r} is not a valid file name: use other lower-case letters, digits and _"
            )
    started = time.perf_counter()
    scored = scored_detectors(result)
    _draw_pictures(result, scored, out)
    write_scores(result, out / "scores.csv")
    write_bands(result, out / "bands.csv")
    write_curves(result, scored, out / "curves.json", wave=wave)
    said = counts_at([pair for pair in scored if pair[0].unit == "face"], units=len(result.faces))
    write_boxes(result, said, out / "boxes.json")
    gallery = write_gallery(result, said, picture, out) if picture else ()
    names = write_keyframes(result, keyframes, out)
    marks = write_evidence(evidence, out, crop=crop)
    result = _with_files(result, names, marks).model_copy(update={"gallery": gallery})
    state: VideoState = "nothing" if not scored else "not_asked" if video is None else "pending"
    seconds = result.seconds | {"report": round(time.perf_counter() - started, 4)}
    result = result.model_copy(update={"seconds": seconds, "video": state})
    if video is not None and state == "pending" and not (later and result.media.kind != "image"):
        return add_video(result, out=out, video=video, each=video_per_detector)
    sentence: dict[VideoState, str] = {"nothing": NOTHING_DRAWN, "not_asked": NOT_ASKED, "pending": BEING_DRAWN}
    return _close(result, out, not_drawn=sentence[state])


def add_video(result: Result, *, out: Path, video: Render, each: bool) -> Result:
    """Draw the pending video into the report in ``out`` and name it there; the result as ``result.json`` has it now.

    May be called again after a crash: a video that is there is not drawn again, and ``result.json`` is replaced last. ``each``: also one
    for each detector.
    """
    started = time.perf_counter()
    not_drawn = _draw_videos(result, scored_detectors(result), out, video=video, each=each)
    seconds = result.seconds | {"video": round(time.perf_counter() - started, 4)}
    state: VideoState = "failed" if not_drawn else "ready"
    return _close(result.model_copy(update={"seconds": seconds, "video": state}), out, not_drawn=not_drawn)


def _close(result: Result, out: Path, *, not_drawn: str | None) -> Result:
    """Write what is written last: the page, the readme, and the record that lists all files."""
    if result.video in ("nothing", "failed"):
        (out / "video").mkdir(exist_ok=True)
        (out / "video/not_drawn.txt").write_text(f"{not_drawn}\n", encoding="utf-8")
    if not (out / "report.pdf").exists():  # a clip's does not wait for its video, which it does not need
        _write_pdf(result, out)
    write_page(result, out, not_drawn=not_drawn)
    write_readme(result, out, not_drawn=not_drawn)
    result = result.model_copy(update={"files": checksums(out)})
    durable.replace_bytes(out / "result.json", result.model_dump_json().encode())
    return result


def scored_detectors(result: Result) -> list[tuple[DetectorResult, Array]]:
    """Detectors with at least one score, and their scores as (units,) with NaN."""
    pairs = [(item, score_array(item, result)) for item in result.detectors]
    return [(item, scores) for item, scores in pairs if not np.isnan(scores).all()]


def load_drawing() -> None:
    """Import what draws the still pictures and the PDF now, half of a command's start, instead of with the first report."""
    import backend.report.pdf.document
    import backend.report.pictures

    backend.report.pdf.document.load()


def _write_pdf(result: Result, out: Path) -> None:
    """Write ``report.pdf``. It is a copy of what the other files say: where it cannot be made, the report is whole without it."""
    from backend.report.pdf.document import write_pdf  # reportlab: see load_drawing

    try:
        write_pdf(result, scored_detectors(result), out)
    except OSError:  # a full disk ends the attempt, as with every other file
        raise
    except Exception:
        log.exception("pdf_failed", job=result.id)
        (out / "report.pdf").unlink(missing_ok=True)


def _draw_pictures(result: Result, scored: Sequence[tuple[DetectorResult, Array]], out: Path) -> None:
    from backend.report.pictures import draw_all_curves, draw_curves, draw_sorted  # matplotlib: see load_drawing

    for index, (item, scores) in enumerate(scored):
        for folder in ("curves", "sorted"):
            (out / folder).mkdir(exist_ok=True)
        draw_curves(result, item, scores, out / f"curves/{item.id}.png", colour=index)
        draw_sorted(item, scores, out / f"sorted/{item.id}.png", colour=index)
    if len(scored) > 1:
        draw_all_curves(result, scored, out / "curves/all.png")


def _with_files(result: Result, keyframes: Mapping[int, str], evidence: Mapping[str, object]) -> Result:
    """The result with the names of the pictures of persons and evidence."""
    persons = tuple(replace(item, keyframe=keyframes.get(item.person)) for item in result.persons)
    detectors = tuple(
        item.model_copy(update={"evidence": evidence[item.id]}) if item.id in evidence else item
        for item in result.detectors
    )
    return result.model_copy(update={"persons": persons, "detectors": detectors})


def _draw_videos(
    result: Result, scored: Sequence[tuple[DetectorResult, Array]], out: Path, *, video: Render, each: bool
) -> str | None:
    """Draw ``video/*``; the sentence shown instead of a video, None when all are there."""
    ending = ".png" if result.media.kind == "image" else ".mp4"
    wanted: list[tuple[str, list[str] | None]] = [("side_by_side", None)]
    if each:
        wanted += [(item.id, [item.id]) for item, _ in scored]
    folder = out / "video"
    folder.mkdir(exist_ok=True)
    for name, detectors in wanted:
        target = folder / f"{name}{ending}"
        try:
            if not target.exists():  # drawn before a crash
                _draw_video(result, target, video=video, detectors=detectors)
        except PermanentError as error:
            # the others would fail too, at the same cost
            return f"The video could not be drawn; all numbers are complete. {error.sentence}"
    return None


def _draw_video(result: Result, target: Path, *, video: Render, detectors: list[str] | None) -> None:
    """Draw one video; it appears whole."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as scratch:
        plan, drawn = Path(scratch) / "plan.json", Path(scratch) / target.name
        plan.write_text(json.dumps(build_plan(result, detectors), allow_nan=False), encoding="utf-8")
        video(plan, drawn)
        durable.move_file(drawn, target)
