"""The mild changes after which a detector judges again: names, order, parameters, sources and words of the stability band.

Owns the table, how many units are judged again, and which detectors do it by default. What makes the changes is ``backend.media.vary``
(pixels and samples), ``backend.scores.subset`` (the shift of the crop) and ``backend.scores.stability`` (other samplings).
Promises: needs the standard library only, as the media worker's image does. May be imported by all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from shared.languages import marked

if TYPE_CHECKING:  # the command line's help imports this and must not wait for numpy
    from base_detector import Card

#: Judged again, at most: units spread over the file; of a detector that judges faces over time, the first ones in a row.
MOST_UNITS: Final = 16
MOST_IN_A_ROW: Final = 96
#: And so many bytes of pixels, since one picture may have many.
MOST_BYTES: Final = 100_000_000
#: Detectors that take no longer for a unit, as their card says, judge again unless somebody says otherwise.
FAST_S: Final = 0.01

#: What making the changed pixels takes, about: 16 faces of 300 pixels on one core.
SECONDS_OF_CHANGES: Final = 1.0

#: Who judges again: the fast detectors, all, none.
Again = Literal["fast", "all", "off"]
#: What makes a variant: the media worker writes pixels or samples, the table of units is changed, or the scores that there are are used.
Maker = Literal["media", "table", "scores"]


@dataclass(frozen=True)
class Variant:
    """One mild change. ``units``: of what it can be made. ``original``: pixels stay as they were saved. ``clips_only``: not of a still."""

    name: str
    words: str
    units: tuple[str, ...]
    maker: Maker
    source: str
    parameters: dict[str, Any] = field(default_factory=dict)
    original: bool = False
    clips_only: bool = False


_SEEN: Final = ("face", "picture")
_PLATFORMS: Final = (
    "ours: what sites and messengers do to a file; the same step as in benchmarks (backend.media.corrupt)"
)
VARIANTS: Final[tuple[Variant, ...]] = (
    Variant("jpeg_60", "JPEG at quality 60", _SEEN, "media", _PLATFORMS, {"quality": 60}),
    Variant("half_size", "half the size and back", _SEEN, "media", _PLATFORMS, {"factor": 2}),
    Variant("h264_28", "H.264 at CRF 28", _SEEN, "media", "x264's default is 23; 28 is a small file, 36 a poor one", {"crf": 28}),
    Variant("h264_36", "H.264 at CRF 36", _SEEN, "media", "x264's default is 23; 28 is a small file, 36 a poor one", {"crf": 36}),
    Variant("shift_1px", "crop moved by one pixel", _SEEN, "table",
            "Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019", {"pixels": 1}, original=True),
    Variant("even_frames", "every second frame (the first, third ...)", _SEEN, "scores", "ours: another sampling", {"first": 0},
            original=True, clips_only=True),
    Variant("odd_frames", "every second frame (the second, fourth ...)", _SEEN, "scores", "ours: another sampling", {"first": 1},
            original=True, clips_only=True),
    Variant("mp3_64", "MP3 at 64 kbit/s", ("sound",), "media", _PLATFORMS, {"kbit": 64, "rate": 44_100}),
    Variant("through_8khz", "sound through 8 kHz", ("sound",), "media", "ITU-T G.711 samples at 8 kHz", {"rate": 8_000}),
)  # fmt: skip
BY_NAME: Final = {variant.name: variant for variant in VARIANTS}

#: Why a variant has no score, besides the reasons and codes of detectors (``shared.errors``).
REASONS: Final[dict[str, str]] = {
    "needs_original_pixels": "not made: this detector judges pixels as they were saved only",
    "not_made": "this change could not be made",
    "too_few_frames": "there is one frame only",
    "own_score": "the detector joins its scores itself, so a part of them gives no score",
    "nothing_in_common": "no unit has a score both with and without this change",
    "not_repeated": "the detector gave no score for the part that is judged again",
}
marked(REASONS)

#: Part of the key of cached bands: another table, another key.
EDITION: Final = hashlib.sha256(repr((1, VARIANTS, MOST_UNITS, MOST_IN_A_ROW, MOST_BYTES)).encode()).hexdigest()[:16]


def variants_of(card: Card, *, is_clip: bool) -> tuple[Variant, ...]:
    """The variants of what ``card`` judges in a file, in the order of the table."""
    return tuple(item for item in VARIANTS if card.unit in item.units and (is_clip or not item.clips_only))


def most_units(card: Card) -> int:
    """How many units of a file are judged again at most."""
    return MOST_IN_A_ROW if card.input == "video" else MOST_UNITS


def is_judged_again(card: Card, again: Again, *, mode: str) -> bool:
    """Whether the detector of ``card`` judges again. In quick mode none does by default: it would take as long as the rest."""
    return again == "all" or (again == "fast" and mode != "quick" and card.seconds_per_face <= FAST_S)


def seconds_for(card: Card) -> float:
    """What judging again takes at most in a clip, by the seconds a unit that the card states: the units as they are, and once for each
    variant whose pixels or place are changed. Making the variants takes a second or so more."""
    made = [item for item in variants_of(card, is_clip=True) if item.maker != "scores"]
    made = [item for item in made if item.original or not card.lossless_only]
    return card.seconds_per_face * most_units(card) * (1 + len(made))
