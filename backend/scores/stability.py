"""The stability band of a score: how far it moves under mild re-encoding, and when other frames are looked at.

Owns the arithmetic. A sample of a file's units is judged as it is and after each change of ``shared.stability``; both are joined by the
detector's own strategy, and their difference is added to the file's score. So the band is about the file, and costs the same for a clip
of any length. Promises: pure functions; a variant without a score has a code, never a number. May be imported by the back-end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from backend.harvest.scores import HarvestedScores
from backend.scores.aggregate import video_score
from base_detector import Array, Card
from shared.errors import PermanentError
from shared.findings import MediaPack
from shared.results import Stability, VariantScore
from shared.stability import Variant, variants_of

#: Strategies whose score of a part of the units follows from the units' scores alone.
_OF_UNITS: Final = ("mean", "max_of_persons_of_shots", "deepware")


def joined(card: Card, scores: HarvestedScores, pack: MediaPack) -> float:
    """The score of the units of ``pack`` by the strategy of ``card``. PermanentError as of ``video_score``."""
    return _joined(card, _each(card, scores, pack), scores, pack)


def _joined(card: Card, each: Array, scores: HarvestedScores, pack: MediaPack) -> float:
    return video_score(
        card.aggregation,
        scores=each,
        faces=np.asarray(pack.faces) if card.unit == "face" else None,
        persons_scores={item.person: item.fake_score for item in scores.persons},
        own=scores.video_fake_score,
    )


def _each(card: Card, scores: HarvestedScores, pack: MediaPack) -> Array:
    """A score for each unit, (n,) float64, NaN where there is none."""
    each = np.full(len(pack.units(card)), np.nan)
    each[list(scores.index)] = scores.fake_score
    return each


def band_of(
    card: Card,
    whole: HarvestedScores,
    pack: MediaPack,
    *,
    part: MediaPack,
    again: Mapping[str, HarvestedScores | str],
    seconds: float = 0.0,
) -> Stability:
    """The band about the score of ``whole`` (of ``pack``).

    ``part``: the units that were judged again; ``again``: their scores by variant, or the code why there are none; ``as_is``: unchanged.
    """
    score, is_clip = joined(card, whole, pack), pack.media.kind == "video"
    variants = []
    for item in variants_of(card, is_clip=is_clip):
        if item.maker == "scores":
            variants.append(_sampled(item, card, whole, pack))
        else:
            variants.append(_changed(item, card, score, part, again))
    moved = [item.fake_score for item in variants if item.fake_score is not None]
    return Stability(
        variants=tuple(variants),
        low=min(score, *moved) if moved else None,
        high=max(score, *moved) if moved else None,
        units=len(part.units(card)),
        seconds=round(seconds, 3),
    )


def _changed(
    variant: Variant, card: Card, score: float, part: MediaPack, again: Mapping[str, HarvestedScores | str]
) -> VariantScore:
    """The file's score after a change, by the units that have a score both with and without it."""
    if card.lossless_only and not variant.original:
        return VariantScore(name=variant.name, code="needs_original_pixels")
    as_is, changed = again.get("as_is", "not_repeated"), again.get(variant.name, "not_made")
    for found in (as_is, changed):
        if isinstance(found, str):
            return VariantScore(name=variant.name, code=found)
    assert not isinstance(as_is, str)
    assert not isinstance(changed, str)
    before, after = _each(card, as_is, part), _each(card, changed, part)
    common = ~(np.isnan(before) | np.isnan(after))
    if not common.any():
        return VariantScore(name=variant.name, code="nothing_in_common")
    both = [
        _joined(card, np.where(common, each, np.nan), found, part)
        for each, found in ((before, as_is), (after, changed))
    ]
    moved = min(1.0, max(0.0, score + both[1] - both[0]))
    return VariantScore(name=variant.name, fake_score=moved, units=int(common.sum()))


def _sampled(variant: Variant, card: Card, whole: HarvestedScores, pack: MediaPack) -> VariantScore:
    """The score of every second frame that has scores: what another sampling of the clip would have given."""
    if card.aggregation not in _OF_UNITS:
        return VariantScore(name=variant.name, code="own_score")
    each, frames = _each(card, whole, pack), pack.units(card)["frame"]
    scored = np.unique(frames[~np.isnan(each)])
    own = scored[variant.parameters["first"] :: 2]
    if len(scored) < 2:
        return VariantScore(name=variant.name, code="too_few_frames")
    kept = np.where(np.isin(frames, own), each, np.nan)
    try:
        score = _joined(card, kept, whole, pack)
    except PermanentError:
        return VariantScore(name=variant.name, code="nothing_in_common")
    return VariantScore(name=variant.name, fake_score=score, units=int((~np.isnan(kept)).sum()))
