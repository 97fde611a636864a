"""Boxes of a still and the gallery: what is written of a face, and in which order faces are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask

from backend.report.boxes import boxes_of
from backend.report.build import scored_detectors
from backend.report.plan import counts_at
from frontend.faces_shown import gallery, marks_of, said_at
from frontend.portal import portal
from frontend.reading import Reading, read_report
from shared.results import Result
from tests.frontend.stories import START, Uploader, a_result, finish
from tests.told import ANSWERS, told


@pytest.mark.parametrize("case", [*ANSWERS, "usual"])
def test_a_face_carries_the_words_of_the_result_video(case: str) -> None:
    result = a_result("a" * 26, START) if case == "usual" else told(case)
    said = counts_at([pair for pair in scored_detectors(result) if pair[0].unit == "face"], units=len(result.faces))
    written = boxes_of(result, said)
    of_faces = {(row[0], row[2]): (written["words"][row[8]], row[7]) for row in written["faces"]}
    for row, face in enumerate(result.faces):
        mine = said_at(result, row)
        assert (mine.words, mine.level) == of_faces[round(face.time_s, 3), face.person], row


def test_boxes_of_a_still_where_nobody_judged_faces_are_none() -> None:
    still = a_result("a" * 26, START, kind="image")
    assert len(marks_of(still)) == 2
    silent = tuple(item.model_copy(update={"status": "failed", "scores": ()}) for item in still.detectors)
    assert marks_of(still.model_copy(update={"detectors": silent})) == ()


def of(app: Flask, uploader: Uploader, **options: object) -> tuple[Result, Reading]:
    job = uploader.submit()
    result = finish(app, job, **options)
    return result, read_report(portal(app).store.report(job))


def test_gallery_is_by_shot_in_the_order_of_the_report_and_no_caption_is_there_twice(
    app: Flask, uploader: Uploader
) -> None:
    result, reading = of(app, uploader)
    shots = gallery(reading)
    first = [result.faces[item.face].shot for item in result.gallery]
    assert [shot.shot for shot in shots] == list(dict.fromkeys(first))
    assert {shot.name for shot in shots} == {"Shot 1, 0:00.0 to 0:05.8", "Shot 2, 0:06.0 to 0:11.8"}
    captions = [item.caption for shot in shots for item in shot.pictures]
    assert len(captions) == len(set(captions)) == len(result.gallery) + len(result.detectors[1].evidence)
    assert any(caption.startswith("Person 1, 0:00.2: ClassNSeg 0.") for caption in captions)
    assert all(item.marked for shot in shots for item in shot.pictures if "ClassNSeg" in item.caption)


def test_pictures_of_an_earlier_version_hold_both_sides_and_are_still_shown(app: Flask, uploader: Uploader) -> None:
    def before(result: Result) -> Result:
        marked = tuple(item.model_copy(update={"plain": None}) for item in result.detectors[1].evidence)
        detectors = (result.detectors[0], result.detectors[1].model_copy(update={"evidence": marked}))
        return result.model_copy(update={"gallery": (), "detectors": detectors})

    _, reading = of(app, uploader, change=before)
    pictures = [item for shot in gallery(reading) for item in shot.pictures]
    assert pictures
    assert all(item.both and item.marked is None for item in pictures)


def test_a_picture_that_the_report_does_not_list_is_not_shown(app: Flask, uploader: Uploader) -> None:
    _, reading = of(app, uploader)
    path: Path = reading.folder / "result.json"
    raw = json.loads(path.read_text())
    raw["files"] = {name: sha for name, sha in raw["files"].items() if not name.endswith("_face.jpg")}
    bare = Reading(reading.folder, Result.model_validate(raw))
    assert not [item for shot in gallery(bare) for item in shot.pictures if item.file.endswith("_face.jpg")]
