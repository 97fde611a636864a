"""What is said of content credentials and traces: never more than was checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from shared.origin import Action, Claim, Credentials, Fingerprint, Origin, State, Trace, cleaned
from shared.origin_words import _LABELS, MADE_WITH_AI, provenance_lines, provenance_of
from tests.report.conftest import make_result

CLAIM = Claim(
    title="A picture", generator="Program", signer="Somebody", organisation="Firm", issuer="Root", valid_from="2026-01-01T00:00:00+00:00",
    valid_until="2027-01-01T00:00:00+00:00", signed=None, actions=(Action("c2pa.created", source="digitalCapture"),),
    sources=("digitalCapture",),
)  # fmt: skip


def said(credentials: Credentials, *traces: Trace) -> Any:
    result = make_result(frames=2).model_copy(update={"origin": Origin(credentials=credentials, traces=traces)})
    found = provenance_of(result)
    assert found is not None
    return found


def words(credentials: Credentials, *traces: Trace) -> str:
    found = said(credentials, *traces)
    return " ".join([found.lead, *found.sentences, *found.hints])


@pytest.mark.parametrize("state", get_args(State))
def test_no_state_says_that_a_signer_is_trusted_or_a_file_genuine(state: State):
    text = words(
        Credentials(state, code="damaged" if state == "unreadable" else None, claims=(CLAIM,), list_sha256="ab" * 32)
    )
    assert "trusted" not in text
    assert "genuine" not in text
    assert len(text.split()) >= 12


def test_none_found_says_nothing_and_a_signature_alone_does_not_say_who_signed():
    assert "That says nothing" in words(Credentials("none"))
    for state in ("intact", "unlisted"):
        assert "anyone can make a certificate with any name" in words(Credentials(state, claims=(CLAIM,)))
    assert "not that what it shows is true" in words(Credentials("listed", claims=(CLAIM,)))
    assert "does not fetch them" in words(Credentials("remote", host="example.org"))


def failing(*codes: str) -> str:
    return words(Credentials("invalid", claims=(Claim(**(vars(CLAIM) | {"failures": codes})),)))


def test_each_failure_is_said_in_plain_words_with_what_it_cannot_show():
    changed = failing("assertion.dataHash.mismatch")
    assert "its content was changed afterwards" in changed
    assert "cannot be told" in changed
    assert "changed or forged" in failing("claimSignature.mismatch")
    assert "does not show that anything was changed" in failing(
        "signingCredential.expired", "signingCredential.untrusted"
    )
    assert "some.new.code" in failing("some.new.code")
    assert failing("assertion.dataHash.mismatch", "assertion.bmffHash.mismatch").count("changed afterwards") == 1


def test_ai_is_said_of_the_file_or_of_what_went_into_it():
    for source in MADE_WITH_AI:
        own = Claim(**(vars(CLAIM) | {"sources": (source,)}))
        assert "They claim that the file was" in words(Credentials("intact", claims=(own,)))
        assert "which went into this one was" in words(Credentials("intact", claims=(CLAIM, own)))
        assert said(Credentials("intact", claims=(own,))).warns
        assert "Nothing signs that" in words(Credentials("none"), Trace("source_type", source))
    assert "does not show that none was" in words(Credentials("intact", claims=(CLAIM,)))


@pytest.mark.parametrize("state", get_args(State))
def test_a_state_without_claims_breaks_no_page_and_vouches_for_nothing(state: State):
    """A worker that was taken over may say so."""
    text = words(Credentials(state))
    assert "signature" not in text
    assert "carries" not in text


def test_nothing_is_said_of_credentials_that_were_not_read():
    text = words(Credentials("intact", claims=(CLAIM,), left_out=3))
    assert "They do not claim" not in text
    assert "(3 more). Those that were read do not claim that AI was used" in text


def test_a_part_whose_signer_is_on_no_list_fails_no_check():
    """Else the page said that checks failed, see below, and below was none."""
    for code, failed in (("signingCredential.untrusted", False), ("assertion.dataHash.mismatch", True)):
        part = Claim(**(vars(CLAIM) | {"failures": (code,)}))
        found = said(Credentials("listed", claims=(CLAIM, part)))
        below = [row for row in found.claims[1].rows if row.label == "Checks that failed"]
        assert bool(below) is failed
        assert any("fail their checks" in sentence for sentence in found.sentences) is failed


def test_a_place_is_mentioned_and_every_trace_has_a_label():
    text = words(
        Credentials("none"),
        Trace("place"),
        Trace("settings", "x264 - core 164"),
        Trace("thumbnail_differs"),
        Trace("edits", "3"),
    )
    assert "coordinates of a place" in text
    assert "probably not the first recording" in text
    assert "small preview" in text
    assert "edit list" in text
    shown = said(Credentials("none"), *(Trace(code, "value") for code in _LABELS)).traces
    assert len(shown) == len(_LABELS)


def test_lines_on_paper_are_the_same_and_an_earlier_result_has_none():
    result = make_result(frames=2)
    assert provenance_lines(result) == []
    origin = Origin(
        credentials=Credentials("intact", claims=(CLAIM,)), traces=(Trace("make", "Maker"),), fingerprint=Fingerprint()
    )
    lines = provenance_lines(result.model_copy(update={"origin": origin}))
    assert "Maker of the device: Maker" in lines
    assert any(line.startswith("The credentials of this file: Title: A picture") for line in lines)


def test_strangers_text_is_cleaned():
    assert cleaned("a\u202eb\x00\n c\u200b") == "ab c"
    assert cleaned("\u0000\u200f") is None
    assert cleaned(b"\xff\xfe") == "\ufffd\ufffd"
    assert cleaned({"a": 1}) is None
    assert cleaned(True) is None


def test_summary_and_pdf_have_the_lines(tmp_path: Path):
    from pypdf import PdfReader

    from backend.report.page import write_page
    from backend.report.pdf.document import write_pdf

    origin = Origin(credentials=Credentials("intact", claims=(CLAIM,)), traces=(Trace("make", "<b>Maker"),))
    result = make_result(frames=2).model_copy(update={"origin": origin, "video": "not_asked"})
    write_page(result, tmp_path, not_drawn=None)
    write_pdf(result, [], tmp_path)
    page = (tmp_path / "summary.html").read_text()
    assert "Maker of the device: &lt;b&gt;Maker" in page
    text = " ".join(" ".join(sheet.extract_text() for sheet in PdfReader(tmp_path / "report.pdf").pages).split())
    assert "Where the file comes from" in text
    assert "anyone can make a certificate with any name" in text
