"""Damage to the operator's decisions enables nothing, is reported, and is mended by deciding anew."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from backend.catalog.states import DetectorStates
from base_detector import Card
from tests.shared.damage import DAMAGES, Damage

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def card() -> Card:
    return Card.read(ROOT / "detectors" / "selfblend")


@pytest.fixture
def other() -> Card:
    return Card.read(ROOT / "detectors" / "mesonet")


@pytest.fixture
def states(tmp_path: Path) -> DetectorStates:
    return DetectorStates(tmp_path / "state")


@pytest.mark.parametrize(
    "damage",
    [damage for name, damage in DAMAGES.items() if name != "object"],
    ids=[name for name in DAMAGES if name != "object"],  # {} is a whole file: nothing was decided
)
def test_a_damaged_file_of_states_never_enables_what_was_disabled(
    states: DetectorStates, card: Card, tmp_path: Path, damage: Damage
):
    assert card.state == "enabled"
    states.move(card, "disabled")
    damage(tmp_path / "state" / "detectors.json")
    with capture_logs() as logged:
        assert states.of(card) == "disabled"
        assert states.of(card) == "disabled"
    assert [entry["event"] for entry in logged] == ["detector_states_damaged"], "logged once, not at every question"


def test_a_damaged_decision_disables_that_detector_only(
    states: DetectorStates, card: Card, other: Card, tmp_path: Path
):
    states.move(card, "shadow")
    states.move(other, "shadow")
    path = tmp_path / "state" / "detectors.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {other.id: ["shadow"]}))
    assert (states.of(card), states.of(other)) == ("shadow", "disabled")


def test_deciding_anew_keeps_the_damaged_file_aside_and_the_other_detectors_disabled(
    states: DetectorStates, card: Card, other: Card, tmp_path: Path
):
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "detectors.json"
    path.write_text('{"selfblend": "sha')
    assert states.move(card, "enabled") == "disabled"
    assert (states.of(card), states.of(other)) == ("enabled", "disabled")
    aside = [item for item in path.parent.iterdir() if item.name.startswith(".damaged-detectors.json-")]
    assert [item.read_text() for item in aside] == ['{"selfblend": "sha']
    assert states.move(other, "enabled") == "disabled"
    assert states.of(other) == "enabled"


def test_a_detector_that_was_not_admitted_is_not_enabled_on_the_way_out_of_the_damage(
    states: DetectorStates, card: Card, tmp_path: Path
):
    third_party = replace(card, state="draft")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "detectors.json").write_text("null")
    with pytest.raises(Exception, match="admission check"):
        states.move(third_party, "enabled")


@pytest.mark.parametrize(
    "damage",
    [damage for name, damage in DAMAGES.items() if name != "other schema"],
    ids=[name for name in DAMAGES if name != "other schema"],  # a report has no number of its schema
)
def test_a_damaged_admission_report_admits_nobody(states: DetectorStates, card: Card, damage: Damage):
    path = states.keep_report(card, {"passed": True, "version": card.version})
    assert states.admitted(card)
    damage(path)
    assert not states.admitted(card)


def test_only_true_is_passed(states: DetectorStates, card: Card):
    states.keep_report(card, {"passed": "no", "version": card.version})
    assert not states.admitted(card)


@pytest.mark.parametrize("damage", [DAMAGES[name] for name in ("FIFO", "directory", "link to /etc/passwd")])
def test_what_a_shadow_detector_said_is_written_to_a_file_of_ours_only(
    states: DetectorStates, card: Card, tmp_path: Path, damage: Damage
):
    before = os.stat("/etc/passwd").st_size
    path = tmp_path / "state" / "shadow" / f"{card.id}.jsonl"
    path.parent.mkdir(parents=True)
    damage(path)
    states.record_shadow(card, {"score": 0.5})
    states.record_shadow(card, {"score": 0.6})
    assert [json.loads(line)["score"] for line in path.read_text().splitlines()] == [0.5, 0.6]
    assert os.stat("/etc/passwd").st_size == before
