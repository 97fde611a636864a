"""Asks ``detectors.pgd`` to attack a detector on a pack that is at hand, and says why some detectors are not attacked.

Owns the worker's description and its answer's check. Detectors of third parties are not attacked: the attack needs their networks in a
process of ours. Imported by ``judging``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerSpec, detector_spec
from base_detector import Card
from shared.errors import PermanentError
from shared.results import Score
from shared.settings import Settings

#: In grey levels of 255.
EPS: Final = (1.0, 2.0, 4.0, 8.0)
STEPS: Final = 10
#: Units of a file that are attacked, spread evenly: an attack costs some 80 runs of the network for each of them.
MOST_UNITS: Final = 4
#: Memory of a worker with gradients, in MB beside what the card says.
_MORE_MB: Final = 4096

#: Why a detector is not attacked: what ``detectors.pgd`` refuses with, and what we know before.
SENTENCES: Final = {
    "sound": "It judges sound. The attack is measured in grey levels of pictures.",
    "whole_clips": "It judges clips as a whole, so there is no single crop whose gradient would be that of the score.",
    "no_gradient": "No network of torch's is behind its score, so there is no gradient to follow.",
    "several_networks": "Several networks, or one with several inputs, are behind its score. Changing what each receives apart from the "
    "others would be a stronger attack than changing the picture.",
    "not_pixelwise": "Its preprocessing does not carry each pixel to the network in a straight line, so a change there is no change of so "
    "many grey levels.",
    "third_party": "It is no part of the platform, and the attack would run its network outside its container.",
    "failed": "The attack ended with an error: its network cannot be run with gradients here.",
}  # fmt: skip

_SCORES: Final = TypeAdapter(list[list[Score]])


@dataclass(frozen=True)
class AttackScores:
    """Fake scores of the attacked units: untouched first, then one list for each of ``EPS``. Empty where no unit could be attacked."""

    scores: list[list[float]]


def attack_spec(card: Card, settings: Settings) -> WorkerSpec:
    """The worker that attacks the detector of ``card``, on the CPU. For a pool of its own: it has the name of the usual worker."""
    spec = detector_spec(card, settings)
    return replace(spec, entry="detectors.pgd", compiled=None, device="cpu", memory_mb=spec.memory_mb + _MORE_MB)


def refused_before(card: Card, settings: Settings) -> str | None:
    """The reason why ``card`` is not attacked, where that is known without trying."""
    if card.unit == "sound":
        return "sound"
    return None if detector_spec(card, settings).bundled else "third_party"


def attack(
    pool: WorkerPool, spec: WorkerSpec, pack: Path, *, fake: bool, seed: int, name: str, timeout_s: float
) -> AttackScores | str:
    """The scores, or the reason of a refusal (a key of ``SENTENCES``). WorkerError; PermanentError when the answer is not valid."""
    with pool.lease(spec) as worker, worker.room(name) as room:
        room.link(pack, "pack")
        untrusted = worker.call(
            "attack",
            timeout_s=timeout_s,
            pack=room.path("pack"),
            fake=fake,
            eps=list(EPS),
            steps=STEPS,
            most=MOST_UNITS,
            seed=seed,
        )
    if "refused" in untrusted:
        reason = untrusted["refused"]
        return reason if isinstance(reason, str) and reason in SENTENCES else "failed"
    try:
        scores = _SCORES.validate_python(untrusted.get("scores"), strict=True)
    except ValidationError:
        raise PermanentError("detector_bad_output") from None
    if len(scores) != 1 + len(EPS) or len({len(own) for own in scores}) != 1:
        raise PermanentError("detector_bad_output")
    return AttackScores(scores)
