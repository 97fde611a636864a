"""How eleven networks, their frames and one or two faces become one number (RobustForensics, fourth place of the DFDC).

Owns: every rule between the logits of a network and the score of a video, and the published weights of the networks.
Promises: pure functions over numpy arrays; the published numbers (tests/parity/test_eighteen.py); what cannot be formed is NaN or
None, never a made-up value (the published code says -1 for it, and 0.5 for a video without any score).
Imported by ``detectors.eighteen.detector``. All scores are fake scores in [0, 1], 1 = fake: index 1 of the published softmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from base_detector import Array
from detectors.nets.scores import softmax_at

#: weight of each SlowFast network and of each image network among their like
SLOWFAST_WEIGHTS: Final = {"sf1": 10, "sf2": 8, "sf3": 4, "sf4": 8}
IMAGE_WEIGHTS: Final = {"xcp": 10, "b3": 6, "res34": 4, "b1": 10, "b1long": 8, "b1short": 8, "b0": 7}
#: share of the SlowFast networks in the score of the video
SLOWFAST_SHARE: Final = 0.4

#: the image networks look at about so many frames of a tube, in groups whose logits are averaged
_FRAMES, GROUP = 35, 5
#: more than this share of clear scores, and the others do not count
_CLEAR_SHARE = 0.7


def image_frames(count: int) -> Array:
    """Positions of the frames that the image networks see in a tube of ``count`` frames: (m,) int, m a multiple of 5."""
    every = max(1, -(-count // _FRAMES))
    positions = np.arange(0, count, every)
    return positions[: len(positions) // GROUP * GROUP]


def fake_probability(logits: Array) -> Array:
    """Softmax, index 1: (..., 2) -> (...) float64."""
    return softmax_at(logits, index=1)


def group_scores(logits: Array) -> Array:
    """Scores of the groups of five frames: logits (frames, 2), frames a multiple of 5 -> (frames / 5,)."""
    return fake_probability(np.asarray(logits, np.float64).reshape(-1, GROUP, 2).mean(axis=1))


def face_score(groups: Array) -> float:
    """One image network's score of a face from those of its groups (n,): the clear ones if there are enough. NaN without any."""
    if not len(groups):
        return float("nan")
    return float(_clear_side(groups, low=0.15, high=0.85).mean())


def score_of_faces(faces: Array) -> float:
    """One network's score of the video from those of its faces (n,): the surest if they agree, else the mean. NaN without any."""
    if not len(faces) or np.isnan(faces).any():
        return float("nan")
    highest = float(faces.max())
    if highest > 0.9 or bool((faces > 0.6).all()):
        return highest
    return float(faces.min() if (faces < 0.4).all() else faces.mean())


def soften(score: float) -> float:
    """Pull a very sure score towards the middle by 4 %, as published for b3 and res34."""
    return (score - 0.5) * 0.96 + 0.5 if score >= 0.98 or score <= 0.02 else score


def fuse(scores: Mapping[str, float]) -> float | None:
    """Join the networks' scores by name (NaN = this network has none) into that of the video; None when all are NaN.

    Each kind of network (SlowFast, image) gives the weighted mean of its scores, or of the clear ones (above 0.8, below 0.2) if more
    than 70 % are clear to that side. SlowFast counts 0.4, the images 0.6; a kind without scores leaves all to the other.
    """
    slowfast = _weighted(scores, SLOWFAST_WEIGHTS)
    images = _weighted(scores, IMAGE_WEIGHTS)
    if slowfast is None or images is None:
        return images if slowfast is None else slowfast
    return SLOWFAST_SHARE * slowfast + (1 - SLOWFAST_SHARE) * images


def _weighted(scores: Mapping[str, float], weights: Mapping[str, int]) -> float | None:
    known = {name: scores[name] for name in weights if name in scores and not np.isnan(scores[name])}
    if not known:
        return None
    values, share = np.array(list(known.values())), np.array([weights[name] for name in known], np.float64)
    kept = _clear(values, low=0.2, high=0.8)
    return float(np.sum(values[kept] * share[kept]) / np.sum(share[kept]))


def _clear_side(scores: Array, *, low: float, high: float) -> Array:
    return scores[_clear(scores, low=low, high=high)]


def _clear(scores: Array, *, low: float, high: float) -> Array:
    """Which scores count (n,) bool: the clear fakes or the clear reals if they are more than 70 %, else all."""
    for side in (scores > high, scores < low):
        if np.count_nonzero(side) / len(scores) > _CLEAR_SHARE:
            return side
    return np.ones(len(scores), np.bool_)
