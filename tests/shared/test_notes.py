"""Notes on a medium: each code has a sentence, and the docs list the same codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.findings import Note
from shared.notes import SENTENCES, note_sentence, note_sentences

PAGE = Path(__file__).resolve().parents[2] / "docs" / "face_pack.md"


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_a_note_is_a_sentence_with_its_times_and_its_number(code: str) -> None:
    sentence = note_sentence(Note(code, start_s=61.5, end_s=63.0, value=90.0))
    assert sentence.endswith(".")
    assert "{" not in sentence
    assert ("1:01.5" in sentence) == ("{start}" in SENTENCES[code])
    assert ("90" in sentence) == ("{value" in SENTENCES[code])


def test_a_clip_without_its_end_gets_no_invented_share() -> None:
    assert "%" not in note_sentence(Note("clip_cut_off"))
    assert "63%" in note_sentence(Note("clip_cut_off", value=0.63))


@pytest.mark.parametrize("code", sorted(code for code, words in SENTENCES.items() if "{" in words))
def test_no_number_and_no_time_is_invented(code: str) -> None:
    assert not re.search(r"\d", note_sentence(Note(code)))


def test_a_part_that_is_missing_is_missing_however_small() -> None:
    assert "100" not in note_sentence(Note("cut_off", value=0.9999))
    assert "99%" in note_sentence(Note("clip_cut_off", value=0.9999))
    assert " 0%" not in note_sentence(Note("cut_off", value=0.0001))


def test_a_code_of_a_newer_media_pass_is_shown_as_it_is() -> None:
    assert note_sentence(Note("frames_mirrored")) == "Note of the media pass: frames mirrored."


def test_the_same_sentence_is_said_once() -> None:
    assert len(note_sentences([Note("cut_off"), Note("size_changes"), Note("cut_off")])) == 2


def test_the_docs_list_each_code() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("<!-- notes:")[2]
    assert re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE) == list(SENTENCES)
