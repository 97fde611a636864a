"""Provenance and "seen before" on the result page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from frontend.portal import portal
from frontend.seen import LOOK_S, SeenIndex
from shared.errors import StoreTrouble
from shared.origin import Action, Claim, Credentials, Fingerprint, Origin, Trace
from shared.records import JobId
from shared.results import Result
from shared.seen import SEEN, Seen, read_seen
from tests.frontend.stories import Uploader, Visitor, finish
from tests.shared.test_seen import a_mark

CLAIM = Claim(
    title="A <b>picture</b>", generator="Test program 1.0", signer="Test camera", organisation="Test maker", issuer="Tests",
    valid_from="2026-01-01T00:00:00+00:00", valid_until="2027-01-01T00:00:00+00:00", signed=None,
    actions=(Action("c2pa.created", software="Imager", source="trainedAlgorithmicMedia"),),
    sources=("trainedAlgorithmicMedia",),
)  # fmt: skip


def with_origin(origin: Origin, **media: Any) -> Callable[[Result], Result]:
    return lambda result: result.model_copy(
        update={"origin": origin, "media": replace(result.media, **media)} if media else {"origin": origin}
    )


def marked(mark: str, *, sha256: str) -> Callable[[Result], Result]:
    return with_origin(Origin(fingerprint=Fingerprint((mark,))), sha256=sha256)


def judged(app: Flask, uploader: Uploader, change: Callable[[Result], Result], *, recognise: bool = True) -> str:
    """A submission with a finished result, as the back-end leaves it."""
    job = uploader.submit()
    result = finish(app, job, change=change)
    if recognise:
        seen = portal(app).store.report(job) / SEEN
        seen.write_text(Seen.of(result).model_dump_json())
    uploader.enter_pin(job)
    return job


def text_of(visitor: Visitor, job: str, section: str) -> str:
    page = visitor.get(f"/r/{job}").get_data(as_text=True)
    found = re.search(rf'<section[^>]*id="{section}">(.*?)</section>', page, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split()) if found else ""


def test_a_page_says_what_the_credentials_claim_and_that_anyone_can_sign(app: Flask, uploader: Uploader):
    origin = Origin(
        credentials=Credentials("intact", claims=(CLAIM,)), traces=(Trace("place"), Trace("make", "<i>Maker"))
    )
    job = judged(app, uploader, with_origin(origin))
    said = text_of(uploader, job, "provenance")
    assert "signature of “Test camera” of “Test maker”" in said
    assert "the signer was not checked against a list" in said
    assert "They claim that the file was made with AI" in said
    assert "trusted" not in said.lower()
    assert "coordinates of a place" in said
    page = uploader.get(f"/r/{job}").get_data(as_text=True)
    assert "A &lt;b&gt;picture&lt;/b&gt;" in page
    assert "&lt;i&gt;Maker" in page


def test_a_german_page_marks_only_what_strangers_wrote_as_not_german(app: Flask, uploader: Uploader):
    origin = Origin(
        credentials=Credentials("intact", claims=(CLAIM,)),
        traces=(Trace("make", "Maker"), Trace("source_type", "trainedAlgorithmicMedia")),
        fingerprint=Fingerprint((a_mark(1),)),
    )
    first = judged(app, uploader, with_origin(origin, sha256="ab" * 32))
    near = judged(app, uploader, with_origin(origin, sha256="cd" * 32))
    assert first != near
    uploader.client.set_cookie("language", "de")
    said = text_of(uploader, near, "provenance")
    assert "mit der Signatur von „Test camera“ (Organisation: „Test maker“)" in said
    assert "Sie geben an, wie die Datei entstanden ist: mit KI erzeugt (von einem trainierten Modell)." in said
    assert "Ein Clip mit ähnlich aussehenden Bildern wurde auf dieser Website beurteilt." in text_of(
        uploader, near, "seen"
    )
    page = uploader.get(f"/r/{near}").get_data(as_text=True)
    section = page[page.index('id="provenance"') : page.index('id="seen"')]
    strangers = re.findall(r'<(\w+)[^>]* lang="en"[^>]*><bdi>(.*?)</bdi>', section)
    assert [text for _tag, text in strangers][:4] == [
        "A &lt;b&gt;picture&lt;/b&gt;",
        "Test program 1.0",
        "Tests",
        "Maker",
    ]
    assert section.count('lang="en"') == 4


def test_a_result_of_an_earlier_version_says_nothing_of_it(app: Flask, uploader: Uploader):
    job = judged(app, uploader, lambda result: result, recognise=False)
    assert text_of(uploader, job, "provenance") == ""
    assert text_of(uploader, job, "seen") == ""


def test_the_same_file_is_said_to_be_the_same_and_a_like_one_never_a_copy(app: Flask, uploader: Uploader):
    first = judged(app, uploader, marked(a_mark(1), sha256="ab" * 32))
    same = judged(app, uploader, marked(a_mark(2), sha256="ab" * 32))
    near = judged(app, uploader, marked(a_mark(1, flipped=20), sha256="cd" * 32))
    stranger = judged(app, uploader, marked(a_mark(3), sha256="ef" * 32))
    stranger_app = Visitor(app.test_client())
    said = text_of(uploader, same, "seen")
    assert "The same file, byte for byte, was judged on this site." in said
    assert "look alike" not in said
    alike = text_of(uploader, near, "seen")
    assert "A clip whose pictures look alike was judged on this site." in alike
    assert "may have been altered" in alike
    assert "The sound was not compared." in alike
    assert text_of(uploader, stranger, "seen") == ""
    # one who has the file's own result open, and no other
    stranger_app.enter_pin(near)
    page = stranger_app.get(f"/r/{near}").get_data(as_text=True)
    assert "Seen before" in page
    assert first not in page


def test_scores_then_and_now_and_a_link_only_to_what_is_open_here(app: Flask, uploader: Uploader):
    def lower(result: Result) -> Result:
        changed = [
            item.model_copy(update={"fake_score": 0.25}) if item.id == "mesonet" else item for item in result.detectors
        ]
        return marked(a_mark(1), sha256="ab" * 32)(result.model_copy(update={"detectors": tuple(changed)}))

    first = judged(app, uploader, lower)
    second = judged(app, uploader, marked(a_mark(1), sha256="ab" * 32))
    said = text_of(uploader, second, "seen")
    assert re.search(r"0\.25 0\.\d\d yes", said), said
    page = uploader.get(f"/r/{second}").get_data(as_text=True)
    assert f'href="/r/{first}"' in page
    assert "clip.mp4" not in said


def test_who_opted_out_is_in_no_answer_and_neither_is_what_was_deleted(app: Flask, uploader: Uploader, clock: Any):
    kept = judged(app, uploader, marked(a_mark(1), sha256="ab" * 32))
    judged(app, uploader, marked(a_mark(1), sha256="ab" * 32), recognise=False)
    new = judged(app, uploader, marked(a_mark(1), sha256="ab" * 32))
    assert text_of(uploader, new, "seen").count("The same file") == 1
    uploader.post(f"/r/{kept}/delete", form_on=f"/r/{kept}")
    assert text_of(uploader, new, "seen") == ""


def test_the_setting_switches_it_off(build: Any):
    app = build(seen_before=False)
    uploader = Uploader(app.test_client())
    judged(app, uploader, marked(a_mark(1), sha256="ab" * 32))
    assert text_of(uploader, judged(app, uploader, marked(a_mark(1), sha256="ab" * 32)), "seen") == ""
    assert "its sender sees" not in uploader.get("/help/privacy").get_data(as_text=True)


def test_the_page_on_privacy_says_what_the_next_sender_of_a_file_is_told(uploader: Uploader):
    assert "its sender sees the day and the detectors’ scores" in uploader.get("/help/privacy").get_data(as_text=True)


def test_the_index_finds_what_comes_later_and_passes_over_what_is_damaged(app: Flask, uploader: Uploader):
    store, now = portal(app).store, [0.0]
    index = SeenIndex(store, clock=lambda: now[0])
    first = judged(app, uploader, marked(a_mark(1), sha256="ab" * 32))
    result = Result.model_validate_json((store.report(first) / "result.json").read_text())

    def found() -> int:
        return len(index.find(JobId(first), result, is_open=lambda job: False).matches)

    assert found() == 0
    later = judged(app, uploader, marked(a_mark(1), sha256="ab" * 32))
    damaged = judged(app, uploader, marked(a_mark(1), sha256="ab" * 32))
    (store.report(damaged) / SEEN).write_text("{")
    assert found() == 0
    now[0] += LOOK_S
    assert found() == 1
    store.results.rename(store.results.with_name("away"))
    with pytest.raises(StoreTrouble):
        read_seen(store, JobId(later))
    store.results.with_name("away").rename(store.results)
    (store.report(later) / SEEN).unlink()
    assert found() == 0


def test_a_visitor_can_opt_out_with_the_form(app: Flask, uploader: Uploader):
    for given, kept in ((None, True), ("no", False)):
        job = uploader.submit(recognise=given, key=str(given))
        assert portal(app).store.read_submission("new", JobId(job)).recognise is kept
