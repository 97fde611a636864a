"""How a score is rounded wherever it is shown: pages, pictures, the result video, mails, the command line.

One rule, so that nobody reads 1.00 in one place and >0.99 in another. Files for programs (``result.json``, ``scores.csv``) keep all digits.
Needs the standard library only (in English), as the media worker's image does. May be imported by all.
"""

from __future__ import annotations

from typing import Final

from shared.languages import signs

#: Digits of scores in files that are drawn from: the plan of the video and ``curves.json``.
_DRAWN_DIGITS: Final = 4


def score(value: float | None, *, threshold: float | None = None) -> str:
    """A score with two digits, a dash where there is none.

    1.00 and 0.00 mean exactly those values. A score below its ``threshold`` is never shown as that threshold or more.
    """
    if value is None:
        return "–"
    text = f"{value:.2f}"
    if text == "1.00" and value < 1:
        text = ">0.99"
    elif text == "0.00" and value > 0:
        text = "<0.01"
    elif threshold is not None and value < threshold <= float(text):
        text = f"<{threshold:.2f}"
    return signs(text)


def percent(share: float) -> str:
    """A share from 0 to 1 in whole percent, without the sign. 100 and 0 mean exactly those shares: nearly all is not all."""
    text = f"{100 * share:.0f}"
    if text == "100" and share < 1:
        return ">99"
    return "<1" if text == "0" and share > 0 else text


def for_drawing(value: float) -> float:
    """A score in [0, 1] with fewer digits, for files that are drawn from: 0 and 1 stay those values alone."""
    rounded = round(value, _DRAWN_DIGITS)
    least = 10**-_DRAWN_DIGITS
    if 0 < value < 1:
        rounded = min(max(rounded, least), 1 - least)
    return rounded
