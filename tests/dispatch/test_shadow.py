"""States decide who is offered and who runs: a shadow detector judges what visitors send, and nobody sees what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from backend.catalog.detectors import DetectorCatalog
from backend.catalog.durations import Durations
from backend.catalog.states import DetectorStates
from backend.pipeline import Pipeline
from backend.scores.assemble import DetectorOutcome
from base_detector import Card
from shared.errors import UserError
from shared.results import Provenance
from shared.settings import Settings
from tests.detectors.test_contract import write_pack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def card() -> Card:
    return Card.read(ROOT / "detectors" / "selfblend")


@pytest.fixture
def states(tmp_path: Path) -> DetectorStates:
    return DetectorStates(tmp_path / "state")


def test_a_card_holds_until_the_operator_decides(states: DetectorStates, card: Card):
    assert states.of(card) == "enabled"
    assert states.of(replace(card, state="draft")) == "draft"
    assert states.move(card, "disabled") == "enabled"
    assert states.of(card) == "disabled"
    assert states.move(card, "enabled") == "disabled"


def test_an_unknown_state_is_refused(states: DetectorStates, card: Card):
    with pytest.raises(UserError, match="States: draft, quarantine"):
        states.move(card, "famous")


def test_only_enabled_detectors_are_offered(states: DetectorStates, card: Card, tmp_path: Path):
    catalog = DetectorCatalog(ROOT / "detectors", availability=lambda card: None, state=states.of)
    record = {"durations": Durations(tmp_path / "durations.json"), "runner": "process", "queued": 0, "working": 0}
    assert "selfblend" in {entry.id for entry in catalog.record(**record).detectors}
    states.move(card, "shadow")
    assert "selfblend" not in {entry.id for entry in catalog.record(**record).detectors}


def test_a_shadow_detector_is_recorded_without_a_trace_of_the_submission(
    states: DetectorStates, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    states.move(card, "shadow")
    catalog = DetectorCatalog(ROOT / "detectors", availability=lambda card: None, state=states.of)
    pipeline = Pipeline(Settings(data=tmp_path), SimpleNamespace(), catalog, states=states)
    asked = []

    def judged(job, card, pack, board) -> DetectorOutcome:
        asked.append(card.id)
        provenance = Provenance(version="1", contract="1", weights={}, parameters={}, runner="process", image=None)
        return DetectorOutcome(card, provenance, tmp_path, status="failed", code="detector_failed", wall_s=1.5)

    monkeypatch.setattr(pipeline, "_detector", judged)
    write_pack(tmp_path / "pack", [np.zeros((8, 8, 3), np.uint8)])
    job = SimpleNamespace(id="secretjobid", pack=tmp_path / "pack", detectors=("mesonet",))
    pipeline.run_shadow(job)
    assert asked == ["selfblend"]
    text = (tmp_path / "state" / "shadow" / "selfblend.jsonl").read_text()
    assert "secretjobid" not in text
    entry = json.loads(text)
    assert (entry["status"], entry["code"], entry["fake_score"], entry["seconds"]) == (
        "failed",
        "detector_failed",
        None,
        1.5,
    )
    pipeline.run_shadow(SimpleNamespace(id="x", pack=tmp_path / "pack", detectors=("selfblend",)))
    assert asked == ["selfblend"]
