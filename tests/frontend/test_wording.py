"""Words of pages: plain, true for one as for many, and never more certain than the numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from frontend import wording
from frontend.progress import progress_of
from shared import words
from shared.records import DetectorProgress, JobId, Status
from shared.results import Result
from shared.words import of_other_kinds
from tests.frontend.stories import START, a_result

ROOT = Path(__file__).resolve().parents[2]


#: What the silent detector of the stories says.
NONE_FOUND = "This detector needs a frame with open mouth and both eyes open; none was found."


def result(*labels: str | None, faces: int | None = None, codes: tuple[str, ...] = ()) -> Result:
    """A result with one detector a label: fake, real, or None for no score."""
    made = a_result("a" * 26, START)
    ok, silent = made.detectors[0], made.detectors[2]
    detectors = tuple(
        ok.model_copy(update={"title": f"D{number}", "hard_label": label})
        if label
        else silent.model_copy(update={"title": f"D{number}", "code": codes[number] if codes else "no_face"})
        for number, label in enumerate(labels)
    )
    return made.model_copy(
        update={"detectors": detectors, "faces": made.faces if faces is None else made.faces[:faces]}
    )


def test_detectors_of_another_kind_of_file_are_beside_the_others() -> None:
    made = result("fake", None, None, codes=("no_face", "no_sound", "lossy_picture"))
    assert [item.title for item in of_other_kinds(made)] == ["D1"]
    assert wording.summary_rest(made) == "1 other detector gave no score; the reason is listed below."
    alone = result(None, codes=("no_sound",))
    assert of_other_kinds(alone) == [], "they are the answer where nothing else is"
    assert wording.summary_rest(alone) == NONE_FOUND


@pytest.mark.parametrize(
    ("labels", "heading", "rest"),
    [
        (["fake", "real", "fake"], "2 of 3 detectors are at or above their threshold: D0 and D2", ""),
        (["fake", "real", None], "1 of 2 detectors is at or above its threshold: D0",
         "1 other detector gave no score; the reason is listed below."),
        (["real", "real", None, None], "None of the 2 detectors is at or above its threshold",
         "2 other detectors gave no score; the reasons are listed below."),
        (["fake"], "D0 is at or above its threshold", ""),
        (["real"], "D0 is below its threshold", ""),
        ([None, None], "None of the detectors could score this file", NONE_FOUND),
        ([None], "The detector could not score this file", NONE_FOUND),
    ],
)  # fmt: skip
def test_summary_names_the_detectors_and_never_says_fake(labels: list[str | None], heading: str, rest: str) -> None:
    made = result(*labels)
    assert (wording.summary_heading(made), wording.summary_rest(made)) == (heading, rest)


def test_different_reasons_are_listed_below() -> None:
    assert wording.summary_rest(result(None, None, codes=("no_face", "worker_died"))) == "The reasons are listed below."


@pytest.mark.parametrize(
    ("judged", "faces", "end"),
    [(9, 200, "It could judge only 9 of 200 faces: weak."), (150, 200, "It judged 150 of 200 faces."),
     (200, 200, "It judged all 200 faces."), (1, 1, "It judged the one face.")],
)  # fmt: skip
def test_score_from_few_faces_is_called_weak(judged: int, faces: int, end: str) -> None:
    detector = (
        result("fake")
        .detectors[0]
        .model_copy(update={"fake_score": 0.85, "units_scored": judged, "scores": (0.5,) * faces})
    )
    sentence = words.detector_sentence(detector)
    assert sentence.startswith("At or above its threshold (0.85, threshold 0.50). ")
    assert sentence.endswith(end)


def test_frames_without_a_face_are_said_to_have_none() -> None:
    assert words.looked_at(result("real", faces=0)) == "60 frames (standard) searched, no face found"
    assert words.looked_at(result("real")) == "60 frames (standard), 100 faces of 2 persons"


@pytest.mark.parametrize(
    ("container", "codec", "name"),
    [("mov,mp4,m4a,3gp,3g2,mj2", "h264", "MP4 (H.264)"), ("matroska,webm", "vp9", "WebM (VP9)"), ("jpeg", "jpeg", "JPEG"),
     ("matroska,webm", "hevc", "Matroska (H.265)"), ("avi", "mjpeg", "AVI (Motion JPEG)"), ("ogg", "theora", "Ogg (THEORA)")],
)  # fmt: skip
def test_formats_have_the_names_people_use(container: str, codec: str, name: str) -> None:
    assert words.format_name(container, codec) == name


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00.0"), (0.64, "0:00.6"), (59.97, "1:00.0"), (754.25, "12:34.2"), (-0.844, "0:00.0")]
)
def test_places_in_a_clip_are_in_tenths(seconds: float, shown: str) -> None:
    assert words.clock_time(seconds) == shown


def test_failed_page_says_what_did_not_run() -> None:
    parts = tuple(DetectorProgress(detector=state, title=state, state=state) for state in ("ok", "working", "waiting"))
    status = Status(id="a" * 26, state="failed", updated=START, detectors=parts, code="media_unreadable")
    view = wording.progress_view(progress_of(JobId(status.id), status))
    assert [item["words"] for item in view["detectors"]] == ["done", "interrupted", "not run"]


@pytest.mark.parametrize(
    ("members", "detail"),
    [({"state": "queued"}, "Waiting for the analysis to start."),
     ({"state": "working", "attempt": 2}, "Attempt 2: the previous one was interrupted."),
     ({"state": "queued", "queue_position": 1, "estimated_wait_s": 2.0, "longest_wait_s": 2.0}, "It starts in a moment."),
     ({"state": "queued", "queue_position": 2, "estimated_wait_s": 95.0, "longest_wait_s": 95.0}, "It starts in about 95 s."),
     ({"state": "queued", "queue_position": 2, "estimated_wait_s": 0.0, "longest_wait_s": None},
      "No estimate of the wait yet: some of the work ahead of it was never measured here."),
     ({"state": "queued", "queue_position": 2, "estimated_wait_s": 60.0, "longest_wait_s": None},
      "It starts in 60 s at the earliest; some of the work ahead of it was never measured here."),
     ({"state": "queued", "queue_position": 2, "estimated_wait_s": 1.0, "longest_wait_s": 1800.0},
      "It starts in 30 min at the latest, perhaps at once: some of the work ahead of it was never measured here."),
     ({"state": "queued", "queue_position": 2, "estimated_wait_s": 60.0, "longest_wait_s": 1800.0},
      "It starts in 60 s to 30 min: some of the work ahead of it was never measured here.")],
)  # fmt: skip
def test_progress_says_what_is_known(members: dict[str, Any], detail: str) -> None:
    status = Status(**({"id": "a" * 26, "updated": START} | members))
    assert wording.progress_view(progress_of(JobId(status.id), status))["detail"] == detail


def test_every_strategy_is_explained() -> None:
    named = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(words.STRATEGIES) == set(named)


def test_dates_are_written_out() -> None:
    moment = datetime(2026, 12, 5, 9, 5, tzinfo=UTC) + timedelta(days=23)
    assert words.date_and_time(moment) == "28 December 2026, 09:05 UTC"


def test_pages_have_none_of_the_house_habits() -> None:
    habits = re.compile(
        r"\b(stands?|lies|nobody of us|by itself|broke off|is told|are told|take it up)\b|\bis no (?!longer)"
    )
    found = [
        f"{path.name}: {match[0]}"
        for path in [*(ROOT / "frontend" / "templates").rglob("*.*"), *(ROOT / "frontend" / "static").glob("*.js")]
        for match in habits.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
