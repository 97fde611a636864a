"""What a report says in words, for readers without knowledge of machine learning.

Owns the wording of findings. Promises: a sentence states what was measured and by whom, never that a file is fake or genuine.
May be imported by ``backend.report``.
"""

from __future__ import annotations

from typing import Final

from shared.results import DetectorResult, Result
from shared.words import UNITS_OF, counted

CAUTIONS: Final[tuple[str, ...]] = (
    "A fake score says how much a face resembles the manipulated faces a detector learned from: 0 = like its real examples, "
    "1 = like its fake ones. It is not the probability that this file is a deepfake.",
    "A low score does not show that a file is genuine. Newer methods, strong compression and small or turned faces pass unseen; "
    "sound, context and everything but faces is not examined here.",
    "A high score can have harmless causes: heavy compression, filters, make-up, poor light, screen recordings.",
    "Weigh it with other evidence: origin and earlier copies of the file, other footage of the event, the people shown, an expert.",
)

NOT_ASKED: Final = "No result video was asked for."
BEING_DRAWN: Final = "The result video was still being drawn when this page was written."
NOTHING_DRAWN: Final = "No detector has a score for this file, so there is nothing to draw over it."


def headline(result: Result) -> str:
    """The first sentence of the summary."""
    scored = [item for item in result.detectors if item.status == "ok"]
    if not scored:
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
    return f"The detectors disagree: {high} of {len(scored)} are at or above their threshold for “fake”."


def details(result: Result) -> list[str]:
    """What follows the first sentence."""
    silent = [item for item in result.detectors if item.status != "ok"]
    sentences = []
    for mean in result.consensus:
        sentences.append(
            f"The mean fake score of the {mean.detectors} detectors of {UNITS_OF[mean.unit]} is {mean.mean:.2f}, from "
            f"{mean.minimum:.2f} to {mean.maximum:.2f} (standard deviation "
            f"{mean.standard_deviation:.2f}). Detectors are not calibrated alike: the mean is a summary, not a verdict."
        )
    if len(silent) < len(result.detectors) and silent:
        sentences.append(f"{counted(len(silent), 'detector')} gave no score; the table says why.")
    if len(silent) == len(result.detectors):
        sentences.append("This says nothing about whether the file was manipulated.")
    return sentences


def label_words(detector: DetectorResult) -> str:
    """The detector's label as the table shows it, a dash without one."""
    return detector.hard_label or "–"


def plain(untrusted_words: str) -> str:
    """One line without control characters and without marks that turn the direction of writing: a name stays a name."""
    if untrusted_words.isprintable():  # nearly always, and the pictures of a page are words of many thousand letters
        return untrusted_words
    return "".join(letter if letter.isprintable() else "?" for letter in untrusted_words)
