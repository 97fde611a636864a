"""Who is admitted: what must pass, what may be left open, and how often a detector is asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.admission.check import Admission, Check, report_of
from backend.admission.practice import PracticePacks
from backend.workers.spec import WorkerError, WorkerSpec
from base_detector import Card, NotApplicable
from tests.workers.conftest import write_pack

ROOT = Path(__file__).resolve().parents[2]
NEEDED = {"starts and loads", "describes itself", "same input twice", "no face", "broken pack", "memory on a long pack"}


@pytest.fixture
def card() -> Card:
    return Card.read(ROOT / "detectors" / "mesonet")


class Room:
    """A room whose pack can be looked at."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def link(self, source: Path, name: str) -> None:
        self.pack = source

    def path(self, name: str) -> str:
        return name


class Scripted:
    """A worker that answers as a test says; by default well. ``calls`` counts what it was asked."""

    started_by = "process"

    def __init__(self, card: Card, out: Path, predict: Callable[[int], list[float]], peak_mb: Any = 100) -> None:
        self._card, self._out, self._predict, self._peak_mb = card, out, predict, peak_mb
        self.calls: list[str] = []

    @contextlib.contextmanager
    def room(self, job: str) -> Iterator[Room]:
        self._room = Room(self._out)
        yield self._room

    def call(self, verb: str, **request: Any) -> dict[str, Any]:
        self.calls.append(verb)
        if verb == "describe":
            return {"card": json.loads(json.dumps(self._card.as_json() | {"state": "draft"}))}
        if verb == "health":
            return {"peak_mb": self._peak_mb}
        faces = np.load(self._room.pack / "faces.npy")
        pixels = (self._room.pack / "crops.bin").stat().st_size
        if len(faces) and pixels < faces["crop_offset"][-1]:
            raise WorkerError("detector_failed")
        scores = self._predict(len(faces))
        if not scores:
            raise NotApplicable("no_face" if not len(faces) else "face_too_small")
        person = {"person": 0, "faces": len(faces), "fake_score": 0.5, "hard_label": "fake"}
        content = {
            "schema": 3, "unit": "face", "contract": "1", "detector": self._card.id, "version": "1", "index": list(range(len(faces))),
            "fake_score": scores, "persons": [person],
        }  # fmt: skip
        (self._out / "scores.json").write_text(json.dumps(content))
        return {}


@pytest.fixture
def ask(card: Card, tmp_path: Path) -> Callable[..., tuple[dict[str, Check], Scripted]]:
    def run(
        predict: Callable[[int], list[float]] = lambda faces: [0.5] * faces,
        *,
        pictures: Path | None = None,
        **options: Any,
    ) -> tuple[dict[str, Check], Scripted]:
        out = tmp_path / "exchange" / "job" / "out"
        out.mkdir(parents=True)
        worker = Scripted(card, out, predict, **options)
        packs = PracticePacks(tmp_path / "packs", portrait=write_pack(tmp_path / "portrait", faces=1))
        spec = WorkerSpec(card.id, "detectors.mesonet", None, "none", memory_mb=500, bundled=True)
        heard: list[Check] = []
        admission = Admission(
            card,
            spec,
            lease=lambda: contextlib.nullcontext(worker),  # type: ignore[arg-type,return-value]
            packs=packs,
            pictures=pictures,
            on_check=heard.append,
        )
        checks = admission.run()
        assert checks == heard
        return {check.name: check for check in checks}, worker

    return run


def test_six_checks_are_needed_and_the_page_names_them(ask: Any, card: Card):
    checks, _ = ask()
    assert {name for name, check in checks.items() if check.needed} == NEEDED
    page = (ROOT / "docs/admission.md").read_text(encoding="utf-8")
    sentence = page[page.index("A detector is admitted when") :].split(" passed.")[0]
    assert set(sentence.split("*")[1::2]) == NEEDED
    assert report_of(card, list(checks.values()))["passed"]


@pytest.mark.parametrize("left_open", sorted(NEEDED))
def test_a_needed_check_that_was_not_tried_admits_nobody(ask: Any, card: Card, left_open: str):
    checks, _ = ask()
    checks[left_open] = Check(left_open, "not_tried", "", needed=True)
    assert not report_of(card, list(checks.values()))["passed"]


@pytest.mark.parametrize("outcome", ["not_tried", "failed"])
def test_another_check_may_be_left_open_but_not_fail(ask: Any, card: Card, outcome: Any):
    checks, _ = ask()
    checks["direction"] = Check("direction", outcome, "")
    assert report_of(card, list(checks.values()))["passed"] == (outcome == "not_tried")


def test_a_detector_without_an_opinion_gives_its_reason_and_is_not_asked_again_for_it(ask: Any, card: Card):
    checks, worker = ask(lambda faces: [])
    assert checks["same input twice"].outcome == "not_tried"
    assert "Every face is too small" in checks["same input twice"].words
    assert "Every face is too small" in checks["one frame"].words
    # twice, single, no face, one frame, broken pack and the empty one after it, short and long for memory, time
    assert worker.calls.count("predict") == 9
    assert not report_of(card, list(checks.values()))["passed"]


@pytest.mark.parametrize("peak", [None, "100", True, -1, float("inf")])
def test_a_worker_that_does_not_say_its_memory_is_not_admitted(ask: Any, card: Card, peak: Any):
    checks, _ = ask(peak_mb=peak)
    assert checks["memory on a long pack"].outcome == "not_tried"
    assert "peak_mb" in checks["memory on a long pack"].words
    assert not report_of(card, list(checks.values()))["passed"]


@pytest.mark.parametrize(
    ("golden", "words"),
    [
        ("[]", "must be"),
        ("{}", "must be"),
        ("{", "must be"),
        ('{"real.png": "high"}', "must be"),
        ('{"real.png": NaN}', "must be"),
        ('{"nowhere.png": 0.5}', r"check/nowhere.png is not a picture"),
        ('{"golden.json": 0.5}', r"check/golden.json is not a picture"),
    ],
)
def test_a_mistake_in_the_golden_scores_is_one_sentence(ask: Any, tmp_path: Path, golden: str, words: str):
    (tmp_path / "check").mkdir()
    (tmp_path / "check" / "golden.json").write_text(golden)
    checks, _ = ask(pictures=tmp_path / "check")
    assert checks["golden pictures"].outcome == "failed"
    assert words in checks["golden pictures"].words
