"""The detectors worth their download: a few that are known to generalise and run on a laptop.

Which they are is data, ``<detectors>/recommended.toml``; bytes, licences and speed are those of their cards. May be imported by
``backend.commands`` and ``backend.catalog``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backend.media.windows import sound_windows
from base_detector import SOUND_RATE, Card, WeightsFile
from shared.errors import UserError

NAME: Final = "recommended.toml"

#: The clip that seconds are given for: this many seconds of it, one face in 25 pictures a second, standard mode (at most so many pictures).
CLIP_S: Final = 10
CLIP_PICTURES: Final = 250


@dataclass(frozen=True)
class Choice:
    """A recommended detector. ``files``: those of its files that are enough, all required ones when empty.

    ``seconds_per_face`` is with these files, 0 where it is the card's; ``why`` is for people.
    """

    card: str
    why: str = ""
    files: tuple[str, ...] = ()
    seconds_per_face: float = 0.0

    def wants(self, item: WeightsFile) -> bool:
        """Whether ``item`` is one of the files that are enough."""
        return item.file in self.files if self.files else not item.optional

    def seconds(self, card: Card) -> float:
        """Seconds that the detector's network takes for a clip of ``CLIP_S`` seconds on one core."""
        return (self.seconds_per_face or card.seconds_per_face) * units_of_clip(card)


def units_of_clip(card: Card) -> int:
    """How many faces, pictures or windows of sound a detector judges in a clip of ``CLIP_S`` seconds with one face."""
    if card.unit == "sound":
        return len(sound_windows(CLIP_S * SOUND_RATE, [(card.window_s, card.hop_s)]))
    kind, _, number = card.sampling.partition(":")
    if kind == "every_frame":
        return CLIP_PICTURES
    return min(CLIP_PICTURES, round(float(number) * (CLIP_S if kind == "fps" else 1)))


def read_recommended(detectors: Path) -> tuple[Choice, ...]:
    """The recommended detectors of the folder ``detectors``, best first; none where it has no list. UserError names a mistake in it."""
    path = detectors / NAME
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = [Choice(**{**entry, "files": tuple(entry.get("files", ()))}) for entry in table["detector"]]
        if not all(isinstance(entry.card, str) for entry in entries):
            raise TypeError("card must be a text")
        return tuple(entries)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("bad_card", f"{path} has a mistake ({error}): correct it.") from None
