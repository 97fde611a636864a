"""How much of a file was judged and what it is like, in rows: the first thing to know beside a finding.

Promises: counts and measures of the result only; the words for size and compression are those of the quality cells
(``shared.evidence``). May be imported by all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.evidence import BITS_EDGES, FACE_PX_EDGES
from shared.languages import _, digits, marked
from shared.results import DetectorResult, Result
from shared.rounding import percent
from shared.words import UNIT_NOUNS, all_of, format_name, joined, of_other_kinds, out_of, titles

#: By the edges of the quality cells, the smallest first.
_SIZES: Final = marked(
    (
        "very small: half of them have {size} pixels or more on their longer side",
        "small: half of them have {size} pixels or more on their longer side",
        "of medium size: half of them have {size} pixels or more on their longer side",
        "large: half of them have {size} pixels or more on their longer side",
    )
)
_COMPRESSIONS: Final = marked(
    (
        "strong: {format}, {bits} bits per pixel",
        "moderate: {format}, {bits} bits per pixel",
        "light: {format}, {bits} bits per pixel",
    )
)
_MODES: Final = marked(
    {
        "quick": "quick: {part} looked at",
        "standard": "standard: {part} looked at",
        "thorough": "thorough: {part} looked at",
    }
)


def coverage_rows(result: Result) -> tuple[tuple[str, str], ...]:
    """('Judged', 'MesoNet: all 200 faces'), ('Faces', ...), ('Compression', ...), ('Mode', ...); rows without content are left out."""
    rows = (
        (_("Judged"), _judged(result)),
        (_("Faces"), _faces(result)),
        (_("Compression"), _compression(result)),
        (_("Mode"), _mode(result)),
    )
    return tuple((name, words) for name, words in rows if words)


def share_words(judged: int, of: int, noun: str) -> str:
    """'all 200 faces', '9 of 200 faces (4 %)', 'the one face'."""
    if judged == of:
        return all_of(of, noun)
    return f"{out_of(judged, of, noun)} ({percent(judged / of)} %)"


def _judged(result: Result) -> str:
    """Who judged how much; detectors that judged the same are named together."""
    names, beside = titles(result), of_other_kinds(result)
    asked = [item for item in result.detectors if item not in beside]
    told = [(_share(item), names[item.id]) for item in asked if item.units_scored]
    grouped: dict[str, list[str]] = {}
    for share, name in told:
        grouped.setdefault(share, []).append(name)
    silent = [names[item.id] for item in asked if not item.units_scored]
    rows = [f"{joined(own)}: {share}" for share, own in grouped.items()]
    return "; ".join([*rows, *([f"no opinion by {joined(silent)}"] if silent else [])])


def _share(item: DetectorResult) -> str:
    return share_words(item.units_scored, len(item.scores), UNIT_NOUNS[item.unit])


def _faces(result: Result) -> str:
    size = result.conditions.face_px if result.conditions else None
    if size is None or not result.faces:
        return ""
    return _(_by_edge(size, FACE_PX_EDGES, _SIZES), size=digits(size, ".0f"))


def _compression(result: Result) -> str:
    media = result.media
    bits = result.conditions.bits_per_pixel if result.conditions else None
    if media.lossless and media.kind == "image":
        return _("none that loses detail: {format}", format=format_name(media.container, media.codec))
    if bits is None or media.kind == "sound":
        return ""
    words = _by_edge(bits, BITS_EDGES, _COMPRESSIONS)
    return _(words, bits=digits(bits, ".2g"), format=format_name(media.container, media.codec))


def _mode(result: Result) -> str:
    if result.media.kind != "video":
        return ""
    return _(_MODES[result.mode], part=out_of(result.sampled_frames, result.media.frames, "frame"))


def _by_edge(value: float, edges: Sequence[float], words: Sequence[str]) -> str:
    """The word of the cell in which ``value`` is: one more word than edges."""
    return words[sum(value >= edge for edge in edges)]
