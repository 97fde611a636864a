"""The detectors worth their download: the project's own list, and what the portal learns of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from backend.catalog.detectors import BUNDLED, DetectorCatalog, find_cards
from backend.catalog.durations import Durations
from backend.catalog.recommended import Choice, read_recommended, units_of_clip
from base_detector import Card

CARDS = find_cards(BUNDLED).usable
#: what a licence that forbids some uses says
_FORBIDS = re.compile(r"non-?commercial|not for commercial|research only|academic|\bNC\b", re.I)


def test_the_list_names_known_files_and_says_why():
    choices = read_recommended(BUNDLED)
    assert [choice.card for choice in choices] == ["gend", "sbi", "selim", "deepware", "commfor", "aasist"]
    assert all(choice.why for choice in choices)
    for choice in choices:
        if card := CARDS.get(choice.card):
            assert set(choice.files) <= {item.file for item in card.weights}
            assert any(choice.wants(item) for item in card.weights)
            assert 0 < choice.seconds(card) < 600


def test_the_operators_page_has_the_numbers_of_the_cards():
    page = (BUNDLED.parent / "docs" / "weights.md").read_text(encoding="utf-8")
    rows = {
        row[0].strip("`"): row
        for line in page.splitlines()
        if len(row := [cell.strip() for cell in line.strip("|").split("|")]) == 6
    }
    choices = [choice for choice in read_recommended(BUNDLED) if choice.card in CARDS]
    assert len(choices) >= 5
    for choice in choices:
        card = CARDS[choice.card]
        files = [item for item in card.weights if choice.wants(item)]
        size = f"{sum(item.bytes for item in files):,}" if all(item.bytes for item in files) else "not published"
        _, _, stated_bytes, licence, seconds, _ = rows[choice.card]
        assert (stated_bytes, seconds) == (size, f"{choice.seconds(card):.0f}"), (
            f"correct the row {choice.card} of docs/weights.md"
        )
        assert all(item.licence.startswith(licence) for item in files)


def test_what_make_run_fetches_is_ready_when_it_ends():
    from backend.commands.weights import _is_small

    small = {card.id for card in CARDS.values() if card.weights and _is_small(card)}
    assert small == {"aasist", "classnseg", "ferretnet", "mesonet", "va"}


def test_one_of_seven_networks_of_selim_is_enough_and_quicker():
    (choice,) = (choice for choice in read_recommended(BUNDLED) if choice.card == "selim")
    assert sum(choice.wants(item) for item in CARDS["selim"].weights) == 1
    assert choice.seconds(CARDS["selim"]) * 7 == pytest.approx(Choice("selim").seconds(CARDS["selim"]), rel=0.05)


@pytest.mark.parametrize(
    ("sampling", "units"), [("frames:32", 32), ("fps:2", 20), ("every_frame", 250), ("frames:999", 250)]
)
def test_a_clip_of_ten_seconds_has_this_many_faces(sampling: str, units: int):
    assert units_of_clip(replace(CARDS["selim"], sampling=sampling)) == units


def test_ten_seconds_of_speech_have_this_many_windows():
    voice = replace(CARDS["selim"], input="sound", window_s=4.0375, hop_s=2.01875)
    assert units_of_clip(voice) == 4
    assert units_of_clip(replace(voice, window_s=20.0)) == 1


def test_the_catalog_says_which_are_recommended_and_in_which_order(tmp_path: Path):
    catalog = DetectorCatalog(BUNDLED, availability=lambda card: None)
    record = catalog.record(durations=Durations(tmp_path / "d.json"), runner="process", queued=0, working=0)
    places = {entry.id: entry.recommended for entry in record.detectors}
    assert places["selim"] == 3
    assert places["mesonet"] is None
    assert next(entry for entry in record.detectors if entry.id == "deepware").recommended_why.startswith("Face swaps")


@pytest.mark.parametrize("card", CARDS.values(), ids=list(CARDS))
def test_a_file_whose_licence_forbids_some_uses_asks_for_consent(card: Card):
    for item in card.weights:
        assert bool(_FORBIDS.search(item.licence)) == item.consent, f"{card.id} {item.file}: {item.licence}"


@pytest.mark.parametrize("card", CARDS.values(), ids=list(CARDS))
def test_a_file_of_hugging_face_is_pinned_to_a_commit_or_a_sha256(card: Card):
    for item in card.weights:
        if "huggingface.co" in item.url:
            assert item.sha256 or re.search(r"/resolve/[0-9a-f]{40}/", item.url), f"{card.id} {item.file}"
            assert "/resolve/" in item.url, f"{item.url} is a page; the file is at /resolve/"
