"""The attack: its reach in grey levels, its direction, and the detectors whose gradient would not be that of the score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base_detector import BaseDetector, Card, Skip
from detectors import pgd
from detectors.nets.scores import sigmoid
from tests.detectors.test_contract import write_pack

MEAN, DEVIATION = 0.4, 0.25


def card(folder: Path, **changes: Any) -> Card:
    facts = {"id": "linear", "version": "1", "title": "L", "summary": "s", "paper": "p", "year": 2026, "input": "face",
             "threshold": 0.5, "aggregation": "mean"}  # fmt: skip
    return Card(**(facts | changes), folder=folder)


def linear(
    calls: list[pgd.Eager], folder: Path, *, scale: float = 1e-3, squashed: bool = False, **changes: Any
) -> BaseDetector:
    """A detector whose log odds of *real* are the sum of its normalised input, times ``scale``; ``squashed``: its net ends in a sigmoid."""
    import torch

    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = scale * x.sum(dim=(1, 2, 3))
            return torch.sigmoid(total) if squashed else total

    class Linear(BaseDetector):
        card = globals()["card"](folder, **changes)

        def load(self, weights: Path, device: str) -> None:
            self.net = pgd.Eager(Sum(), calls)

        def preproc(self, face: np.ndarray) -> np.ndarray:
            if face.max() == 7:
                raise Skip("face_too_small")
            return (face.transpose(2, 0, 1)[:, :8, :8] / np.float32(255) - MEAN) / DEVIATION

        def get_softlabel(self, batch: np.ndarray) -> np.ndarray:
            return self.net(batch) if squashed else sigmoid(self.net(batch))

    made = Linear()
    made.load(folder, "cpu")
    return made


UNIT = np.full((8, 8, 3), 100, np.uint8)


def odds(score: float) -> float:
    return float(np.log(1 - score) - np.log(score))


@pytest.mark.parametrize(("fake", "sign"), [(True, 1), (False, -1)], ids=["a fake looks real", "a real one looks fake"])
def test_of_a_linear_network_the_attack_reaches_exactly_eps_grey_levels(tmp_path: Path, fake: bool, sign: int):
    calls: list[pgd.Eager] = []
    attacker = pgd.Attacker(linear(calls, tmp_path), calls)
    aim = attacker.aim(UNIT)
    before = odds(attacker.score(aim))
    after = odds(attacker.attack(aim, fake=fake, eps=4, steps=10, rng=np.random.default_rng(0)))
    assert after - before == pytest.approx(sign * 1e-3 * 192 * 4 / 255 / DEVIATION, rel=1e-4)


def test_the_attack_never_leaves_the_range_of_a_picture(tmp_path: Path):
    calls: list[pgd.Eager] = []
    attacker = pgd.Attacker(linear(calls, tmp_path), calls)
    aim = attacker.aim(np.full((8, 8, 3), 254, np.uint8))
    after = odds(attacker.attack(aim, fake=True, eps=8, steps=10, rng=np.random.default_rng(0)))
    assert after == pytest.approx(1e-3 * 192 * (1 - MEAN) / DEVIATION, rel=1e-4)  # all white


@pytest.mark.parametrize("squashed", [False, True], ids=["logits", "a sigmoid in the network"])
def test_a_score_that_is_rounded_to_certainty_does_not_pass_for_robust(tmp_path: Path, squashed: bool):
    calls: list[pgd.Eager] = []
    attacker = pgd.Attacker(linear(calls, tmp_path, scale=4.0, squashed=squashed), calls)
    aim = attacker.aim(np.full((8, 8, 3), 109, np.uint8))
    assert attacker.score(aim) == 0.0  # the odds are e to the 85
    assert attacker.attack(aim, fake=False, eps=8, steps=10, rng=np.random.default_rng(0)) > 0.99


def test_a_gradient_that_is_nowhere_is_no_score_and_not_robustness(tmp_path: Path):
    calls: list[pgd.Eager] = []
    attacker = pgd.Attacker(linear(calls, tmp_path, scale=0.0), calls)
    with pytest.raises(Skip):
        attacker.attack(attacker.aim(UNIT), fake=True, eps=8, steps=1, rng=np.random.default_rng(0))


def test_units_of_a_pack_are_attacked_and_those_that_cannot_be_judged_left_out(tmp_path: Path):
    calls: list[pgd.Eager] = []
    detector = linear(calls, tmp_path)
    pack = write_pack(tmp_path / "pack", [UNIT, np.full((8, 8, 3), 7, np.uint8), UNIT])
    answer = pgd.attack_pack(
        pgd.Attacker(detector, calls),
        pack,
        fake=True,
        eps=[1.0, 8.0],
        steps=3,
        most=3,
        seed=0,
        progress=lambda done, total: None,
    )
    assert [len(own) for own in answer["scores"]] == [2, 2, 2]
    untouched, little, much = (own[0] for own in answer["scores"])
    assert untouched > little > much


def test_what_cannot_be_attacked_is_refused_with_the_reason(tmp_path: Path):
    calls: list[pgd.Eager] = []
    without = linear(calls, tmp_path)
    without.get_softlabel = lambda batch: np.zeros(len(batch))  # type: ignore[method-assign]
    twice = linear(calls, tmp_path)
    net = twice.net
    twice.get_softlabel = lambda batch: (net(batch) + net(batch)) / 4 + 0.5  # type: ignore[method-assign]
    edges = linear(calls, tmp_path)
    edges.preproc = lambda face: np.diff(face.astype(np.float32), axis=0)  # type: ignore[method-assign]
    for detector, reason in ((without, "no_gradient"), (twice, "several_networks"), (edges, "not_pixelwise")):
        with pytest.raises(pgd.Refused, match=reason):
            pgd.Attacker(detector, calls).aim(UNIT)


def test_sound_is_refused_before_anything_is_loaded(tmp_path: Path):
    detector = linear([], tmp_path, input="sound", window_s=1.0, hop_s=1.0)

    def load() -> None:
        raise AssertionError("loaded")

    verb = pgd.attack_verb(detector, load, [])
    assert verb({"pack": "x"}, lambda done, total: None) == {"refused": "sound"}


def test_every_refusal_has_its_sentence():
    from backend.benchmark.attacks import SENTENCES

    source = Path(pgd.__file__).read_text(encoding="utf-8")
    raised = {line.split('Refused("')[1].split('"')[0] for line in source.splitlines() if 'raise Refused("' in line}
    assert len(raised) == 5
    assert raised <= set(SENTENCES)
