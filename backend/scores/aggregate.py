"""From face scores to one number: the named strategies, the paper's AUC and the consensus.

Owns: every rule that joins scores. Promises: pure functions over numpy arrays; a number comes from existing scores only,
never from a default (the published codes answer 0.5 when nothing was scored; here that is an error).
May be imported by the back-end. All numbers are fake scores in [0, 1], 1 = fake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, get_args

import numpy as np

from base_detector import FACE_DTYPE, Array
from shared.errors import PermanentError
from shared.results import Consensus, DetectorResult, Unit

#: clear scores in Deepware's id_strategy and strategy
_CLEAR_FAKE: Final = 0.8
_CLEAR_REAL: Final = 0.2


def video_score(
    strategy: str, *, scores: Array, faces: Array | None, persons_scores: Mapping[int, float], own: float | None = None
) -> float:
    """Join one detector's scores into the score of the video.

    ``scores`` (n,) float, NaN where the detector has no opinion; ``faces`` (n,) ``base_detector.FACE_DTYPE``, None
    for pictures and windows of sound, which only ``mean`` and ``own`` can join;
    ``persons_scores`` the detector's own score of each person, ``own`` its own score of the video (strategy ``own``). A face with a
    negative person belongs to no person and counts only in strategies that ignore persons.
    Raises PermanentError: ``unknown_strategy``, or ``not_judgeable`` when no face has a score.
    """
    if strategy == OWN:
        if own is None:
            raise PermanentError("not_judgeable")
        return own
    rule = STRATEGIES.get(strategy)
    if rule is None or (faces is None and rule is not _mean):
        raise PermanentError("unknown_strategy")
    faces = np.zeros(len(scores), FACE_DTYPE) if faces is None else faces
    if len(scores) != len(faces):
        raise ValueError(f"{len(scores)} scores for {len(faces)} faces: they must be parallel")
    known = ~np.isnan(np.asarray(scores, np.float64))
    if not known.any():
        raise PermanentError("not_judgeable")
    return float(rule(np.asarray(scores, np.float64)[known], faces[known], persons_scores))


def _mean(scores: Array, faces: Array, persons_scores: Mapping[int, float]) -> float:
    """Mean of all face scores: the score of the published platform (Li et al., 2021)."""
    return float(scores.mean())


def _max_of_persons(scores: Array, faces: Array, persons_scores: Mapping[int, float]) -> float:
    """Score of the most suspicious person, as the detector scored each."""
    if not persons_scores:
        raise PermanentError("not_judgeable")
    return max(persons_scores.values())


def _max_of_persons_of_shots(scores: Array, faces: Array, persons_scores: Mapping[int, float]) -> float:
    """MeVer: a person in a shot = mean of its faces; shot = its highest person; video = its highest shot."""
    means = [float(own.mean()) for own in _groups(scores, faces, by=("shot", "person"))]
    if not means:
        raise PermanentError("not_judgeable")
    return max(means)


def _groups(scores: Array, faces: Array, *, by: tuple[str, ...]) -> list[Array]:
    """The scores of each person, or of each (shot, person), ascending; faces of nobody are left out. One pass, however many there are."""
    known = faces["person"] >= 0
    keys = np.column_stack([faces[name][known] for name in by])
    found, group = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(group.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(group.reshape(-1), minlength=len(found)))
    return np.split(scores[known][order], ends[:-1]) if len(found) else []


def deepware_person(scores: Array) -> float:
    """Deepware's id_strategy over the faces (n,) of one person: the mean of the clear side if 90 % are clear, else of all.

    Upstream's int(0.9 * n) is 0 for one face and averages an empty list; here at least one face is required.
    """
    needed = max(1, int(0.9 * len(scores)))
    fake, real = scores[scores >= _CLEAR_FAKE], scores[scores <= _CLEAR_REAL]
    if len(fake) >= needed:
        return float(fake.mean())
    if len(real) >= needed:
        return float(real.mean())
    return float(scores.mean())


def deepware_video(persons: Array) -> float:
    """Deepware's strategy over persons (n,), clipped to 0.01..0.99: the highest if fake, else lowest or mean."""
    highest = float(persons.max())
    confident = float(np.mean(2 * np.abs(persons - 0.5))) >= 0.7
    if highest >= _CLEAR_FAKE:
        score = highest - float(np.log10(highest)) if confident else highest
    else:
        score = float(persons.min()) if confident else float(persons.mean())
    return min(max(score, 0.01), 0.99)


def _deepware(scores: Array, faces: Array, persons_scores: Mapping[int, float]) -> float:
    persons = [deepware_person(own) for own in _groups(scores, faces, by=("person",))]
    if not persons:
        raise PermanentError("not_judgeable")
    return deepware_video(np.array(persons))


Rule = Callable[[Array, Array, Mapping[int, float]], float]

#: the detector joins its scores itself: several networks or clips, each by the published rule of its authors
OWN: Final = "own"
#: the other names a card may give in ``aggregation``
STRATEGIES: Final[dict[str, Rule]] = {
    "mean": _mean,
    "max_of_persons": _max_of_persons,
    "max_of_persons_of_shots": _max_of_persons_of_shots,
    "deepware": _deepware,
}


def integrity_curve(fake_scores: Array) -> Array:
    """Integrity scores (1 - fake score) of the scored faces in descending order, (m,) float; NaN are left out."""
    known = np.asarray(fake_scores, np.float64)
    descending: Array = np.sort(1.0 - known[~np.isnan(known)])[::-1]
    return descending


def report_auc(fake_scores: Array) -> float:
    """Area under the sorted integrity scores over a unit axis (Li et al., 2021); equals the mean integrity score.

    Each of the m scores covers 1/m of the axis. It is not a ROC-AUC. Raises PermanentError ``not_judgeable`` without scores.
    """
    curve = integrity_curve(fake_scores)
    if not len(curve):
        raise PermanentError("not_judgeable")
    widths = np.diff(np.linspace(0.0, 1.0, len(curve) + 1))
    return float(min(1.0, max(0.0, np.sum(curve * widths))))


def consensus(results: Iterable[DetectorResult]) -> tuple[Consensus, ...]:
    """For each unit that two or more detectors scored: mean and spread (population standard deviation) of their scores."""
    scored: dict[Unit, list[float]] = {}
    for item in results:
        if item.status == "ok" and item.fake_score is not None:
            scored.setdefault(item.unit, []).append(item.fake_score)
    return tuple(_consensus(unit, np.array(scored[unit])) for unit in get_args(Unit) if len(scored.get(unit, ())) > 1)


def _consensus(unit: Unit, scores: Array) -> Consensus:
    return Consensus(
        unit=unit,
        detectors=len(scores),
        mean=min(1.0, max(0.0, float(scores.mean()))),
        minimum=float(scores.min()),
        maximum=float(scores.max()),
        standard_deviation=float(scores.std()),
    )
