"""What a score is worth: every threshold of it in one place, the families of detectors, the kinds of manipulation, and their words.

Owns the rules' numbers (docs/evidence.md explains each) and the vocabulary of cards. Promises: no word says that a file is fake or real.
May be imported by all; imports the records only.
"""

from __future__ import annotations

from typing import Final, get_args

from shared.languages import _, marked
from shared.results import SupportLevel

#: A score of a clip's faces counts from so many judged faces on, and from this share of those that were found.
LEAST_UNITS: Final = 20
LEAST_SHARE: Final = 0.2
#: Without a reference set, a score this near to the published threshold says nothing.
NEAR: Final = 0.1
#: Items of a quality cell, and of its rarer kind, below which the whole set is taken.
LEAST_IN_CELL: Final = 50
LEAST_OF_A_KIND_IN_CELL: Final = 10
#: Items of the rarer kind below which a set gives no ratio at all.
LEAST_OF_A_KIND: Final = 5
#: Items of the rarer kind below which a sentence says that the set is small.
FEW_MEASURED: Final = 20
#: Stretches on real video that are rarer than this a minute are said without the remark that one alone says little.
RARE_A_MINUTE: Final = 0.1
#: Where quality cells end: the size of faces (longer side, pixels), and bits for each pixel of a file.
FACE_PX_EDGES: Final = (64.0, 128.0, 256.0)
BITS_EDGES: Final = (0.05, 0.2)
#: Their ranges in words, as ``backend.scores.evidence`` writes them into a result; other languages say them by this table.
CELLS: Final = marked(
    (
        "faces of less than 64 pixels",
        "faces of 64 to 128 pixels",
        "faces of 128 to 256 pixels",
        "faces of 256 or more pixels",
        "less than 0.05 bits a pixel",
        "0.05 to 0.2 bits a pixel",
        "0.2 or more bits a pixel",
    )
)

#: ENFSI, "Guideline for evaluative reporting in forensic science" (2015), note 4: from which ratio on, the level and its words. What we
#: call "limited", as an earlier British standard does (AFSP, Science & Justice 49, 2009), is "weak" there.
LEVELS: Final[tuple[tuple[float, SupportLevel, str], ...]] = (
    (2, "limited", "limited support"),
    (10, "moderate", "moderate support"),
    (100, "moderately_strong", "moderately strong support"),
    (1_000, "strong", "strong support"),
    (10_000, "very_strong", "very strong support"),
    (1_000_000, "extremely_strong", "extremely strong support"),
)
#: Ratios whose interval reaches below it (or above its inverse) support neither side: where the scale begins.
LEAST_RATIO: Final = LEVELS[0][0]
LEVEL_WORDS: Final[dict[str, str]] = marked(
    {
        "limited": "limited support",
        "moderate": "moderate support",
        "moderately_strong": "moderately strong support",
        "strong": "strong support",
        "very_strong": "very strong support",
        "extremely_strong": "extremely strong support",
    }
)
assert {name for _least, name, _words in LEVELS} == set(get_args(SupportLevel))

#: What detectors look at: a family of them is one kind of evidence.
FAMILIES: Final[dict[str, str]] = marked(
    {
        "blending": "traces of a face that was pasted in",
        "synthesis": "traces of a face that a network made or altered",
        "picture": "traces of a generator in the whole picture",
        "motion": "how a face changes from picture to picture",
        "sound": "traces of a synthetic voice",
    }
)
#: What a family found where it points to real material.
FEW_TRACES: Final[dict[str, str]] = marked(
    {
        "blending": "few traces of a face that was pasted in",
        "synthesis": "few traces of a face that a network made or altered",
        "picture": "few traces of a generator in the whole picture",
        "motion": "few traces of manipulation in how a face changes from picture to picture",
        "sound": "few traces of a synthetic voice",
    }
)
assert FEW_TRACES.keys() == FAMILIES.keys()
#: Conditions of a file below which a card may say that its detector fails, as measured in its benchmark.
CONDITIONS_WITH_LIMITS: Final = ("face_px", "sharpness", "bits_per_pixel")
#: Kinds of manipulation, in the order of tables.
KINDS: Final[dict[str, str]] = marked(
    {
        "swap": "face swap",
        "reenactment": "re-enacted face",
        "lipsync": "lip-sync",
        "generated_picture": "wholly generated picture",
        "generated_voice": "generated or cloned voice",
        "edited_region": "edited region",
    }
)


#: Codes of findings, in the order in which the rules are asked.
CODES: Final = (
    "few_units",
    "outside_limits",
    "no_trace",
    "changes_under_reencoding",
    "measured_otherwise",
    "near_threshold",
    "unmeasured",
    "ratio_holds_one",
    "ratio_near_one",
    "threshold_disagrees",
    "beyond_measured",
    "measured",
)


def level_of(ratio: float) -> SupportLevel | None:
    """The level of a likelihood ratio, for either side; None where it supports neither."""
    size = max(ratio, 1 / ratio)
    return next((name for least, name, _words in reversed(LEVELS) if size >= least), None)


def level_words(level: SupportLevel) -> str:
    """``limited`` -> 'limited support'."""
    return _(LEVEL_WORDS[level])
