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
    level_words,
)
from shared.languages import _, digits, marked
from shared.stability import VARIANTS
from shared.words import joined

#: What the words of a statement mean. The ratio is that of docs/evidence.md.
RATIO: Final = marked(
    "A likelihood ratio says how many times likelier a score is for manipulated material than for real material, as counted on files whose "
    "truth is known. 1 means that the score is as common on both, so it says nothing; 20 that it is twenty times as common on manipulated "
    "files; 0.05 that it is twenty times as common on real ones. It is not the probability that a file was manipulated: that also depends "
    "on everything else that is known of the file."
)
INTERVAL: Final = marked(
    "The ratio was counted on a limited number of files, and other files would have given another one. Its 95 % interval is made so that "
    "it holds the true ratio in at least 95 of 100 cases, for files like those that were counted. When the interval holds 1, the score may "
    "as well be more common on the other side: that is inconclusive. No ratio is stated beyond what the number of files can support."
)
_LEVEL: Final = marked(
    "Levels are those of the European Network of Forensic Science Institutes (ENFSI, 2015), which calls the first one “weak”. The level is "
    "taken from the end of the interval that is nearer to 1, so it is the least that the counts support. Where that end is nearer to 1 "
    "than {least_ratio} (or 1/{least_ratio}), below the first level, the score supports neither side: that is inconclusive."
)
LEVEL: Final = _LEVEL.format(least_ratio=f"{LEAST_RATIO:g}")
FOREIGN: Final = marked(
    "All of it was counted on the files of a reference set. Files of another kind, or faked by methods that are not in the set, can behave "
    "otherwise."
)
#: What a stretch of time is, and what it is not.
STRETCHES: Final = marked(
    "The score of a whole file hides a short manipulation. So for each person, and for the voice, we look from when to when a detector "
    "stays at or above its threshold. Detectors have such stretches on real video, too, some of them often; how often was counted on real "
    "clips, and is said with each. Where detectors of two kinds of evidence are above their thresholds for one and a half "
    "seconds or more at the same time, for the same person, that is said first. It is a reason to look closely at that part of the file, "
    "not a finding: strong compression can make two kinds agree on real video."
)


@dataclass(frozen=True)
class Reason:
    """Why an answer points where it does: its code, in a few words, when that is so, and what the finding is then."""

    code: str
    texts: tuple[str, str, str]

    @property
    def short(self) -> str:
        """In a few words."""
        return _(self.texts[0])

    @property
    def when(self) -> str:
        """When that is so, in sentences."""
        return _(self.texts[1], **_values())

    @property
    def finding(self) -> str:
        """What the finding is then."""
        return _(self.texts[2])


def _values() -> dict[str, str]:
    """The numbers of the rules, and the names of the changes, as the current language writes them."""
    return {
        "units": str(LEAST_UNITS),
        "share": digits(100 * LEAST_SHARE, "g"),
        "changes": joined([_(item.words) for item in VARIANTS]),
        "of_a_kind": str(LEAST_OF_A_KIND),
        "near": digits(NEAR, "g"),
        "least_ratio": digits(LEAST_RATIO, "g"),
    }


_INCONCLUSIVE: Final = "inconclusive"
_REASONS: Final[dict[str, tuple[str, str, str]]] = {
    "few_units": (
        "it judged too little",
        "Of the faces of a clip it judged fewer than {units}, or of any file less than {share} % of the faces, pictures or pieces "
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
        "{changes}. Its score is on one side of its threshold, and at least one of these changes would "
        "put it on the other side. The bar around a score shows how far it moves.",
        _INCONCLUSIVE,
    ),
    "measured_otherwise": (
        "it was measured on other files",
        "It was measured, but not on such files: on clips and not on pictures, in another mode, with faces that were altered for the "
        "measurement only, or on fewer than {of_a_kind} real or {of_a_kind} manipulated ones.",
        _INCONCLUSIVE,
    ),
    "near_threshold": (
        "not measured here, and near its threshold",
        "It was not measured here, and its score is less than {near} from its threshold.",
        _INCONCLUSIVE,
    ),
    "unmeasured": (
        "by its own threshold alone, not measured here",
        "It was not measured here, and its score is {near} or more from its threshold. How often that happens on real material is not "
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
        "Its likelihood ratio, or the end of its interval that is nearer to 1, is between 1/{least_ratio} and {least_ratio}: too small a "
        "difference to support either side.",
        _INCONCLUSIVE,
    ),
    "threshold_disagrees": (
        "its threshold says one side, the counted files the other",
        "Its score is on one side of its threshold, but scores like it are more common on the other side.",
        _INCONCLUSIVE,
    ),
    "beyond_measured": (
        "none of the counted files has such a score",
        "Its score is beyond all that it was measured on: higher than each of them, or lower. A ratio would be a guess.",
        _INCONCLUSIVE,
    ),
    "measured": (
        "counted on files known to be real or manipulated",
        "None of the reasons above: likelihood ratio and threshold point to the same side.",
        "by the likelihood ratio, with its level",
    ),
}

#: All codes of findings, in the order in which the rules are asked: the first that fits decides.
REASONS: Final = tuple(Reason(code, _REASONS[code]) for code in CODES)
assert set(_REASONS) == set(CODES)
marked(_REASONS)
marked(_INCONCLUSIVE)


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
    for (least, after), (_least, level, _words) in zip(pairwise(ends), LEVELS, strict=True):
        one, words = digits(least or 0, ","), level_words(level)
        if after is None:
            rows.append((_("{ratio} and more", ratio=one), _("1/{ratio} and less", ratio=one), words))
        else:
            other = digits(after, ",")
            rows.append(
                (_("{low} to {high}", low=one, high=other), _("1/{low} to 1/{high}", low=one, high=other), words)
            )
    return tuple(rows)


def thresholds() -> tuple[tuple[str, str], ...]:
    """Every number of the rules, and what it decides."""
    face_px, bits = (joined([digits(edge, "g") for edge in edges]) for edges in (FACE_PX_EDGES, BITS_EDGES))
    return (
        (
            _("{n} faces", n=LEAST_UNITS),
            _("So many faces of a clip a detector must have judged to be counted."),
        ),
        (
            f"{digits(100 * LEAST_SHARE, 'g')} %",
            _("So much of what was found in a file (faces, pictures, sound) it must have judged."),
        ),
        (digits(NEAR, "g"), _("So near to its threshold, the score of a detector that was not measured says nothing.")),
        (
            _("{number} a minute", number=digits(RARE_A_MINUTE, "g")),
            _(
                "Where real video has stretches of time above a threshold so often or more often, the sentence says that one says little."
            ),
        ),
        (
            digits(LEAST_RATIO, "g"),
            _("A likelihood ratio whose interval reaches below it, and above its inverse, supports neither side."),
        ),
        (
            _("{n} files", n=LEAST_OF_A_KIND),
            _("With fewer real or fewer manipulated files, a set gives no ratio."),
        ),
        (
            _("{n} files", n=FEW_MEASURED),
            _("With fewer real or fewer manipulated files, the sentence says that so few do not tell."),
        ),
        (
            _("{n} files, {each} of each kind", n=LEAST_IN_CELL, each=LEAST_OF_A_KIND_IN_CELL),
            _(
                "So many files like the submitted one are counted apart; where there are fewer, the whole set is counted, and the sentence "
                "says so."
            ),
        ),
        (
            _("{edges} pixels", edges=face_px),
            _("Where ranges of the size of faces end: files in one range are alike."),
        ),
        (_("{edges} bits a pixel", edges=bits), _("Where ranges of the strength of compression end.")),
    )


def level_explained() -> str:
    """``LEVEL`` in the current language."""
    return _(_LEVEL, least_ratio=digits(LEAST_RATIO, "g"))
