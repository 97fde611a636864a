"""What a report says in words, for readers without knowledge of machine learning.

Owns the wording of findings. Promises: a sentence states what was measured and by whom, never that a file is fake or genuine.
May be imported by ``backend.report``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.results import DetectorResult, Result
from shared.statement import enough, left_out, statement_of
from shared.words import UNITS_OF, counted, detector_sentence, joined, likeness, side_of_threshold, titles, units_of

_WEIGH: Final = (
    "Weigh it with other evidence: origin and earlier copies of the file, other footage of the event, the people shown or "
    "heard, an expert."
)
#: What makes detectors of each unit miss a fake, and what makes them take something genuine for one.
_PASS_UNSEEN: Final = {
    "face": "small or turned faces",
    "picture": "pictures that were saved again or made smaller",
    "sound": "voices with noise or music",
}
_HARMLESS: Final = {
    "face": "filters, make-up, poor light, screen recordings",
    "picture": "grain, photographs developed from a camera's raw file, filters, retouching, scans, screenshots",
    "sound": "telephone lines, noise suppression, cheap microphones",
}

NOT_ASKED: Final = "No result video was asked for."
BEING_DRAWN: Final = "The result video was still being drawn when this page was written."
NOTHING_DRAWN: Final = "No detector has a score for this file, so there is nothing to draw over it."


def cautions(result: Result) -> tuple[str, ...]:
    """How to read the scores of ``result``, whatever they are."""
    units = units_of(result)
    unseen = joined(["Newer methods", "strong compression", *(_PASS_UNSEEN[unit] for unit in units)])
    harmless = "; ".join(_HARMLESS[unit] for unit in units)
    unexamined = [*(UNITS_OF[unit] for unit in UNITS_OF if unit not in units), "context"]
    return (
        f"A fake score says how much {likeness(units)}: 0 = like its real examples, "
        "1 = like its fake ones. It is not the probability that this file is a deepfake.",
        f"A low score does not show that a file is genuine. {unseen} pass unseen. "
        f"Not examined here: {joined(unexamined)}.",
        f"A high score can have harmless causes: heavy compression, {harmless}.",
        _WEIGH,
    )


def headline(result: Result) -> str:
    """The first sentence of the summary: that of the statement, or, in a result without findings, what the labels say."""
    said = statement_of(result)
    return said.headline if said else _of_labels(result)


def _of_labels(result: Result) -> str:
    """How many detectors are above their thresholds. Those that judged too little are in no count."""
    given = [item for item in result.detectors if item.status == "ok"]
    scored = [item for item in given if enough(item, is_clip=result.media.kind == "video")]
    if given and not scored:
        return "No detector could judge enough of this file to be counted."
    if not scored:
        if units_of(result) != ("face",) or result.media.kind == "sound":
            return "No detector could give a score for this file; the table says why."
        if not result.faces:
            return "No face was found, so no detector has an opinion on this file."
        return "Faces were found, but no detector could give a score."
    high = sum(item.hard_label == "fake" for item in scored)
    if len(scored) == 1:
        side = "at or above" if high else "below"
        return f"The one detector that gave a score, {scored[0].title}, is {side} its threshold for “fake”."
    all_of_them = "Both" if len(scored) == 2 else f"All {len(scored)}"
    if high == len(scored):
        return f"{all_of_them} detectors that gave a score are at or above their threshold for “fake”."
    if not high:
        return f"{all_of_them} detectors that gave a score are below their threshold for “fake”."
    if len({item.unit for item in scored}) > 1:  # a cloned voice beside a genuine face is no disagreement
        names = titles(result)
        above = joined([names[item.id] for item in scored if item.hard_label == "fake"])
        verb, whose = ("is", "its") if high == 1 else ("are", "their")
        return f"{high} of {len(scored)} detectors that gave a score {verb} at or above {whose} threshold for “fake”: {above}."
    return f"The detectors disagree: {high} of {len(scored)} are at or above their threshold for “fake”."


def details(result: Result) -> list[str]:
    """What follows the first sentence: the findings of the detectors; then who is silent."""
    silent = [item for item in result.detectors if item.status != "ok"]
    said = statement_of(result)
    sentences = list(said.details) if said else []
    if len(silent) < len(result.detectors) and silent:
        sentences.append(f"{counted(len(silent), 'detector')} gave no score; the table says why.")
    if len(silent) == len(result.detectors):
        sentences.append("This says nothing about whether the file was manipulated.")
    return sentences


def label_words(detector: DetectorResult) -> str:
    """On which side of its threshold the detector's score is: in brackets where it is in no count, a dash without a score.

    The label of the detector (``hard_label``) is not printed: "0.98 fake" would be quoted as a verdict.
    """
    if not detector.hard_label:
        return "–"
    label = side_of_threshold(detector)
    return f"({label})" if left_out(detector) else label


def in_words(detector: DetectorResult) -> str:
    """What the answer means; of a detector that is in no count, why it is not."""
    return detector.finding.sentence if detector.finding and left_out(detector) else detector_sentence(detector)


def parameters(values: Mapping[str, object]) -> str:
    """Parameters of a detector in a line: 'fine (from = 192, offset = -0.1285), variant = S, widths = 16 32'."""
    told = []
    for name, value in sorted(values.items()):
        if isinstance(value, Mapping):
            told.append(f"{name} ({parameters(value)})")
        elif isinstance(value, list | tuple):
            told.append(f"{name} = {' '.join(map(str, value))}")
        else:
            told.append(f"{name} = {value}")
    return ", ".join(told)


def plain(untrusted_words: str) -> str:
    """One line without control characters and without marks that turn the direction of writing: a name stays a name."""
    if untrusted_words.isprintable():  # nearly always, and the pictures of a page are words of many thousand letters
        return untrusted_words
    return "".join(letter if letter.isprintable() else "?" for letter in untrusted_words)
