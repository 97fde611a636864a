"""The record of this site: counts of what was noted later, without scripts; nothing of a submission; gone with its owner's deletion."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
from flask import Flask

from frontend.portal import portal
from shared.reading import RecordInvalid
from shared.records import Guess, JobId
from shared.truths import Noted
from tests.frontend.stories import PIN, Uploader, a_result, finish


def text_of(app: Flask, path: str = "/record") -> str:
    answer = app.test_client().get(path)
    assert answer.status_code == 200
    page = unescape(answer.get_data(as_text=True))
    assert "<script" not in page
    return " ".join(re.sub(r"<[^>]*>", " ", page.split("<main")[1]).split())


def note(app: Flask, job: str, *, fake: bool, media: str | None = None, guess: Guess | None = None) -> None:
    site = portal(app)
    result = a_result(job, site.clock())
    facts = vars(result.media) | {"sha256": (media or job.encode().hex())[:64].ljust(64, "0")}
    result = result.model_copy(update={"media": type(result.media)(**facts)})
    site.store.note_truth(Noted.of(result, fake=fake, note="from the desk", now=site.clock(), guess=guess))


def test_with_nothing_noted_the_page_says_so(app: Flask) -> None:
    page = text_of(app)
    assert (
        "Nothing is noted yet: nobody has recorded whether a file that was checked here is real or manipulated." in page
    )
    assert "Misled" not in page


def test_it_shows_counts_with_intervals_and_names_no_submission(app: Flask) -> None:
    jobs = [letter * 26 for letter in "abc"]
    for job, fake in zip(jobs, (False, False, True), strict=True):
        note(app, job, fake=fake)
    page = text_of(app)
    assert "The truth of 3 files became known later and was noted: 2 real, 1 manipulated." in page
    assert "not a fair sample" in page
    # MesoInception4 is above its threshold of .5 on this made-up clip, ClassNSeg below
    assert "MesoInception4 1.0, clips, standard mode" in page
    assert "Judged 2 of 2 1 of 1 Wrong 2 of 2 (16 to 100 %) 0 of 1 (0 to 98 %) Inconclusive 0 0 Misled 0 0" in page
    assert "Wrong 0 of 2 (0 to 84 %) 1 of 1 (2.5 to 100 %)" in page
    assert "Judged 0 of 2 0 of 1 Wrong none judged none judged" in page, "a detector without a score has no share"
    for private in (*jobs, "from the desk", "press_statement_final"):
        assert private not in page


def test_visitors_guesses_are_counted_beside_the_detectors_each_file_once(app: Flask) -> None:
    assert "own guesses" not in text_of(app)
    guesses: list[tuple[bool, Guess | None]] = [
        (True, "fake"),
        (True, "real"),
        (False, "real"),
        (False, None),
        (True, "unsure"),
    ]
    for letter, (fake, guess) in zip("abcde", guesses, strict=True):
        note(app, letter * 26, fake=fake, guess=guess)
    note(
        app, "f" * 26, fake=True, media=("a" * 26).encode().hex(), guess="real"
    )  # the same file: the first guess counts
    page = text_of(app)
    assert "Guessed 1 2 Wrong 0 of 1 (0 to 98 %) 1 of 2 (1.3 to 99 %)" in page
    assert "For 1 more, “I don’t know” was the answer." in page


def test_what_was_noted_before_there_were_guesses_is_still_whole(app: Flask) -> None:
    note(app, "a" * 26, fake=True)
    path = portal(app).settings.results / "record" / f"{'a' * 26}.json"
    kept = json.loads(path.read_text())
    assert kept.pop("guess") is None
    path.write_text(json.dumps(kept))
    assert portal(app).store.read_truth(JobId("a" * 26)).fake
    path.write_text(json.dumps(kept | {"guess": "real"}))
    with pytest.raises(RecordInvalid):
        portal(app).store.read_truth(JobId("a" * 26))


def test_a_damaged_item_is_told_and_not_counted(app: Flask) -> None:
    note(app, "a" * 26, fake=True)
    (portal(app).settings.results / "record" / f"{'b' * 26}.json").write_text("{}")
    page = text_of(app)
    assert "0 real, 1 manipulated." in page
    assert "1 more cannot be read and is in no count." in page


def test_the_explanation_of_findings_and_the_help_lead_there(app: Flask) -> None:
    for path in ("/how-sure", "/help/privacy"):
        assert 'href="/record"' in app.test_client().get(path).get_data(as_text=True)


def test_an_operator_may_keep_it_from_visitors(build: Any) -> None:
    hidden = build(show_record=False)
    assert hidden.test_client().get("/record").status_code == 404
    for path in ("/how-sure", "/help/privacy"):
        assert "/record" not in hidden.test_client().get(path).get_data(as_text=True)


def test_who_deletes_a_submission_deletes_what_was_noted_of_it(app: Flask, uploader: Uploader) -> None:
    job, other = uploader.submit(), "a" * 26
    finish(app, job)
    for one in (job, other):
        note(app, one, fake=False)
    uploader.enter_pin(job, PIN)
    uploader.post(f"/r/{job}/delete")
    assert portal(app).store.read_truth(JobId(job)) is None
    assert "1 real, 0 manipulated" in text_of(app), "the others stay"
