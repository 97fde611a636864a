"""The sentence of each note on a medium: what a reader of the scores must know about the file.

Owns the codes of ``shared.findings.Note`` and their words, for pages, reports and the command line. Pure functions.
May be imported by all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from shared.findings import Note
from shared.languages import _, digits, marked
from shared.words import clock_time

#: Code -> sentence. ``{start}`` and ``{end}`` are positions in the clip, ``{value}`` is the note's number.
SENTENCES: Final[dict[str, str]] = {
    "clock_repaired": "The clock of this clip jumps. Impossible steps were replaced by its usual one.",
    "damaged": "The picture is damaged from {start} to {end}. Faces in that part were not judged.",
    "damaged_more": "{value:.0f} more short parts of this clip are damaged. Faces in them were not judged.",
    "size_changes": "The picture changes its size or shape within the clip. Each frame was judged at its own size.",
    "pixels_not_square": "The pixels of this file are not square ({value:.3g} : 1). It was judged in the shape that players show.",
    "faces_turned": "Faces are turned in the picture. They were turned by {value:.0f} degrees clockwise to be judged upright.",
    "cut_off": "The end of this file is missing or damaged. Only the part of the picture that is whole was judged: {value:.0%} of it.",
    "animation_cut_off": "The end of this animation is missing or damaged. Only the pictures before it were judged.",
    "colours_converted": "This picture has an unusual colour profile. Its colours were converted to those that viewers show.",
    "transparent": "Parts of this picture are transparent. It was judged as it looks on white.",
    "levels_stretched": "This picture uses only the lowest part of its brightness range. It was brightened before it was judged.",
    "clip_cut_off": "The end of this file is missing ({value:.0%} of it is here). Only the part that is here was judged.",
    "other_tracks": "This file holds further video tracks (a second camera, another programme, a depth map): {value:.0f}. Only one track was judged. To judge the others, export each as a file of its own.",  # noqa: E501
    "stands_still": "The picture of this clip does not move: its frames are one photograph, and their number adds no weight to the score.",
    "interlaced": "This clip is interlaced, as television and camcorders record. Moving faces have comb lines, which can change a score.",
    "sound_damaged": "The sound is damaged between {start} and {end}: {value:.3g} s of it are missing and were judged as silence.",
    "sound_unreadable": "The sound of this file could not be decoded, so it was not judged.",
    "hdr": "This clip is HDR (for bright screens). It was judged without tone mapping: flatter and darker than players show it.",
    "dolby_vision": "The colours of this clip are coded in Dolby Vision and were read as usual ones, so they are wrong. Export it as SDR, and judge that.",  # noqa: E501
}
marked(SENTENCES)

#: The same for notes that came without the number of their sentence: none is invented.
_WITHOUT_NUMBER: Final[dict[str, str]] = marked(
    {
        "clip_cut_off": "The end of this file is missing or damaged. Only the part before was judged.",
    }
)


def note_sentence(note: Note) -> str:
    """``note`` in a sentence for people."""
    template = (_WITHOUT_NUMBER if note.value is None else {}).get(note.code) or SENTENCES.get(note.code)
    without = {"{value": note.value, "{start": note.start_s, "{end": note.end_s}
    if template is None or any(name in template and value is None for name, value in without.items()):
        # of a newer media pass, or without what its sentence would say
        return _("Note of the media pass: {note}.", note=note.code.replace("_", " "))
    start, end = (clock_time(seconds or 0.0) for seconds in (note.start_s, note.end_s))
    return _(template, start=start, end=end, value=_Number(note.value or 0.0))


class _Number(float):
    """A number that a template formats, with the signs of the language that is spoken."""

    def __format__(self, form: str, /) -> str:
        # a part that is missing is missing, however small
        nearly = form.endswith("%") and 0 < self < 1
        return digits(min(max(float(self), 0.01), 0.99) if nearly else float(self), form)


def note_sentences(notes: Iterable[Note]) -> list[str]:
    """The sentences of ``notes`` in their order, each once."""
    return list(dict.fromkeys(map(note_sentence, notes)))
