"""What the media pass finds out for the reader of a result, and no detector reads: media facts, persons, notes, the whole pack's reader.

Promises: plain records, without pydantic, which the media worker's image does not have. May be imported by all; imports the contract
and ``shared.origin`` only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from base_detector import SOUND_RATE, Array, Card, FacePack
from shared.origin import Origin, origin_from

#: No voice is judged by less than this, whatever the card says: what is repeated to fill a window would be the score.
LEAST_SOUND_S: Final = 1.0


@dataclass(frozen=True)
class DecodedMedia:
    """A medium as decoded: ``width`` and ``height`` as shown (of most frames), after rotation; ``frames`` counts decoded pictures.

    ``sizes``: (first frame, width, height) of each run of frames of one size, where they differ. ``lossless``: the pixels are those that
    were saved, as in PNG. A sound file has no pictures: ``width``, ``height`` and ``frames`` are 0.
    """

    kind: Literal["video", "image", "sound"]
    width: int
    height: int
    fps: float | None
    duration_s: float
    frames: int
    codec: str
    container: str
    rotation: int
    has_audio: bool
    sizes: tuple[tuple[int, int, int], ...] = field(default=(), kw_only=True)
    lossless: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Sound:
    """The first audio stream, as a detector hears it: ``samples`` at SOUND_RATE, from ``start_s`` on the pictures' clock.

    ``speech``: (start, end) in seconds of that clock of each stretch with speech; None: not looked for.
    """

    samples: int
    start_s: float
    speech: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Person:
    """A cluster of face tracks taken for one person, seen on ``faces`` faces."""

    person: int
    faces: int
    first_s: float
    last_s: float


@dataclass(frozen=True)
class Note:
    """Something about the medium that a reader of its scores must know (docs/face_pack.md lists the codes).

    ``start_s``..``end_s``: the part it is about, seconds; None: all of it. ``value``: the number in its sentence.
    """

    code: str
    start_s: float | None = None
    end_s: float | None = None
    value: float | None = None


class MediaPack(FacePack):
    """A face pack with all that is in ``pack.json``, for the result and the report.

    ``keyfaces``: person -> row of the best view. ``seconds``: of each part of the media pass.
    """

    def _read(self, info: dict[str, Any]) -> None:
        super()._read(info)
        self.media: DecodedMedia = record_of(DecodedMedia, info["media"])
        self.persons: tuple[Person, ...] = tuple(record_of(Person, item) for item in info["persons"])
        self.keyfaces: dict[int, int] = {item["person"]: item["keyface"] for item in info["persons"]}
        self.notes: tuple[Note, ...] = tuple(record_of(Note, item) for item in info.get("notes", ()))
        self.heard: Sound | None = _sound_of(info["sound"]) if info["sound"] else None
        self.origin: Origin = origin_from(info.get("origin"))
        self.seconds: dict[str, float] = info["seconds"]

    def lacks(self, card: Card) -> str | None:
        """Why there is nothing here for the detector of ``card``, as a reason code; None when there is."""
        if card.unit == "sound":
            if self.heard is None:
                return "no_sound"
            if self.heard.samples < LEAST_SOUND_S * SOUND_RATE:
                return "sound_too_short"
            return None if len(self.units(card)) else "no_speech"
        if not self.media.frames:
            return "no_picture"
        if card.lossless_only and not self.media.lossless:
            return "lossy_picture"
        return None if len(self.units(card)) else f"no_{card.unit}"

    def window_times(self, card: Card) -> Array:
        """Start and end of the windows of ``card``, (n, 2) float64, seconds on the pictures' clock."""
        rows = self.units(card)
        return np.stack([rows["start"], rows["stop"]], 1) / SOUND_RATE + self.sound_start_s


def _sound_of(raw: dict[str, Any]) -> Sound:
    speech = raw["speech"]  # JSON has lists for tuples
    sound: Sound = record_of(Sound, raw | {"speech": None if speech is None else tuple((a, b) for a, b in speech)})
    return sound


def record_of(record: type[Any], raw: dict[str, Any]) -> Any:
    """A ``record`` of its known members: those that a later platform adds are left out. TypeError when one is missing."""
    return record(**{name: raw[name] for name in record.__dataclass_fields__ if name in raw})
