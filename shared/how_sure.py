"""How sure a finding is, explained in plain English: the page ``/how-sure`` of the portal, and a part of each report.

Owns the explanations of the codes, thresholds and levels of ``shared.evidence``. Promises: every number in them is the constant that the
rules use, so that page and rules cannot differ. May be imported by all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from shared.evidence import (
    BITS_EDGES,
    CODES,
    FACE_PX_EDGES,
    FEW_MEASURED,
    LEAST_IN_CELL,
    LEAST_OF_A_KIND,
    LEAST_OF_A_KIND_IN_CELL,
    LEAST_RATIO,
    LEAST_SHARE,
    LEAST_UNITS,
    LEVELS,
    NEAR,
    RARE_A_MINUTE,
)
from shared.stability import VARIANTS
from shared.words import joined

_SHARE: Final = f"{100 * LEAST_SHARE:g} %"

#: What the words of a statement mean. The ratio is that of docs/evidence.md.
RATIO: Final = (
    "A likelihood ratio says how many times likelier a score is for manipulated material than for real material, as counted on files whose "
    "truth is known. 1 means that the score is as common on both, so it says nothing; 20 that it is twenty times as common on manipulated "
    "files; 0.05 that it is twenty times as common on real ones. It is not the probability that a file was manipulated: that also depends "
    "on everything else that is known of the file."
)
INTERVAL: Final = (
    "The ratio was counted on a limited number of files, and other files would have given another one. Its 95 % interval is made so that "
    "it holds the true ratio in at least 95 of 100 cases, for files like those that were counted. When the interval holds 1, the score may "
    "as well be more common on the other side: that is inconclusive. No ratio is stated beyond what the number of files can support."
)
LEVEL: Final = (
    "Levels are those of the European Network of Forensic Science Institutes (ENFSI, 2015), which calls the first one “weak”. The level is "
    "taken from the end of the interval that is nearer to 1, so it is the least that the counts support. It is “limited” also where that "
    f"end is nearer to 1 than {LEAST_RATIO:g} (or 1/{LEAST_RATIO:g}) but the ratio itself is not."
)
FOREIGN: Final = (
    "All of it was counted on the files of a reference set. Files of another kind, or faked by methods that are not in the set, can behave "
    "otherwise."
)
#: What a stretch of time is, and what it is not.
STRETCHES: Final = (
    "The score of a whole file hides a short manipulation. So for each person, and for the voice, we look from when to when a detector "
    "stays at or above its threshold. Detectors have such stretches on real video, too, some of them often; how often was counted on real "
    "clips, and is said with each. Where detectors of two kinds of evidence are above their thresholds at the same time for the same "
    "person, that is said first. It is a reason to look closely at that part of the file, not a finding: strong compression can make two "
    "kinds agree on real video."
)


@dataclass(frozen=True)
class Reason:
    """Why an answer points where it does: its code, in a few words, when that is so, and what the finding is then."""

    code: str
    short: str
    when: str
    finding: str


_INCONCLUSIVE: Final = "inconclusive"
_REASONS: Final[dict[str, tuple[str, str, str]]] = {
    "few_units": (
        "it judged too little",
        f"Of the faces of a clip it judged fewer than {LEAST_UNITS}, or of any file less than {_SHARE} of the faces, pictures or stretches "
        "of sound that were found. Its label is shown in grey and is in no count.",
        _INCONCLUSIVE,
    ),
    "outside_limits": (
        "the file is beyond its limits",
        "The file is below a limit that the detector is known to fail beyond, for example in the size of the faces. Its label is shown in "
        "grey and is in no count.",
        _INCONCLUSIVE,
    ),
    "no_trace": (
        "it found no trace",
        "It is below its threshold, and what it looks for is gone as soon as somebody saves the file again.",
        _INCONCLUSIVE,
    ),
    "changes_under_reencoding": (
        "its score changes under mild re-encoding",
        "Some of what it judged was judged again after mild changes, such as those of a messenger: "
        f"{joined([item.words for item in VARIANTS])}. Its score is on one side of its threshold, and at least one of these changes would "
        "put it on the other side. The bar around a score shows how far it moves.",
        _INCONCLUSIVE,
    ),
    "measured_otherwise": (
        "it was measured on other files",
        "It was measured, but not on such files: on clips and not on pictures, in another mode, or on fewer than "
        f"{LEAST_OF_A_KIND} real or {LEAST_OF_A_KIND} manipulated ones.",
        _INCONCLUSIVE,
    ),
    "near_threshold": (
        "not measured here, and near its threshold",
        f"It was not measured here, and its score is less than {NEAR:g} from its threshold.",
        _INCONCLUSIVE,
    ),
    "unmeasured": (
        "by its own threshold alone, not measured here",
        f"It was not measured here, and its score is {NEAR:g} or more from its threshold. How often that happens on real material is not "
        "known.",
        "by the published threshold, without a level",
    ),
    "ratio_holds_one": (
        "such a score may be as common on real as on manipulated files",
        "The interval of its likelihood ratio holds 1: scores like this one may be as common on real as on manipulated material.",
        _INCONCLUSIVE,
    ),
    "ratio_near_one": (
        "too small a difference between real and manipulated files",
        f"Its likelihood ratio is between 1/{LEAST_RATIO:g} and {LEAST_RATIO:g}: too small a difference to support either side.",
        _INCONCLUSIVE,
    ),
    "threshold_disagrees": (
        "its threshold says one side, the counted files the other",
        "Its score is on one side of its threshold, but scores like it are more common on the other side.",
        _INCONCLUSIVE,
    ),
    "measured": (
        "counted on files known to be real or manipulated",
        "None of the reasons above: likelihood ratio and threshold point to the same side.",
        "by the likelihood ratio, with its level",
    ),
}

#: All codes of findings, in the order in which the rules are asked: the first that fits decides.
REASONS: Final = tuple(Reason(code, *_REASONS[code]) for code in CODES)
assert set(_REASONS) == set(CODES)


def reason(code: str) -> Reason | None:
    """What is known of a code; None for one that a newer version wrote."""
    return next((item for item in REASONS if item.code == code), None)


def reasons_among(codes: Collection[str]) -> tuple[Reason, ...]:
    """The reasons with these codes, in the order of the rules."""
    return tuple(item for item in REASONS if item.code in codes)


def levels() -> tuple[tuple[str, str, str], ...]:
    """Each level with the ratios from which and to which it goes, for manipulated and real material: '2 to 10', '1/2 to 1/10', words."""
    ends = [*(least for least, _, _ in LEVELS), None]
    rows = []
    for (least, after), (_, _, words) in zip(pairwise(ends), LEVELS, strict=True):
        if after is None:
            rows.append((f"{least:,} and more", f"1/{least:,} and less", words))
        else:
            rows.append((f"{least:,} to {after:,}", f"1/{least:,} to 1/{after:,}", words))
    return tuple(rows)


def thresholds() -> tuple[tuple[str, str], ...]:
    """Every number of the rules, and what it decides."""
    face_px, bits = (joined([f"{edge:g}" for edge in edges]) for edges in (FACE_PX_EDGES, BITS_EDGES))
    return (
        (f"{LEAST_UNITS} faces", "So many faces of a clip a detector must have judged to be counted."),
        (_SHARE, "So much of what was found in a file (faces, pictures, sound) it must have judged."),
        (f"{NEAR:g}", "So near to its threshold, the score of a detector that was not measured says nothing."),
        (
            f"{RARE_A_MINUTE:g} a minute",
            "Where real video has stretches of time above a threshold so often or more often, the sentence says that one says little.",
        ),
        (f"{LEAST_RATIO:g}", "A likelihood ratio below it, and above its inverse, supports neither side."),
        (f"{LEAST_OF_A_KIND} files", "With fewer real or fewer manipulated files, a set gives no ratio."),
        (
            f"{FEW_MEASURED} files",
            "With fewer real or fewer manipulated files, the sentence says that so few do not tell.",
        ),
        (
            f"{LEAST_IN_CELL} files, {LEAST_OF_A_KIND_IN_CELL} of each kind",
            "So many files like the submitted one are counted apart; where there are fewer, the whole set is counted, and the sentence "
            "says so.",
        ),
        (f"{face_px} pixels", "Where ranges of the size of faces end: files in one range are alike."),
        (f"{bits} bits a pixel", "Where ranges of the strength of compression end."),
    )
