"""Words that data sets use for the truth, and those of our tables. Imported by this room."""

from __future__ import annotations

from typing import Final

#: As the lists of the data sets write them. 0 and 1 are not among them: sets disagree on which is which.
_FAKE: Final = frozenset({"fake", "spoof", "manipulated", "synthetic", "generated", "deepfake"})
_REAL: Final = frozenset({"real", "bonafide", "bona-fide", "bona fide", "genuine", "original", "pristine", "authentic"})


def is_fake(untrusted_label: str) -> bool | None:
    """The truth that a list states, None where it is none of the words we know."""
    word = untrusted_label.strip().lower()
    return True if word in _FAKE else False if word in _REAL else None


#: condition -> its name in tables and plots
CONDITIONS: Final[dict[str, str]] = {
    "untouched": "untouched",
    "jpeg_90": "JPEG 90",
    "jpeg_60": "JPEG 60",
    "jpeg_30": "JPEG 30",
    "h264_23": "H.264 CRF 23",
    "h264_32": "H.264 CRF 32",
    "h264_40": "H.264 CRF 40",
    "half_size": "half size",
    "blur": "blur, 2 pixels",
    "noise": "noise, 8 of 255",
    "brightness": "a third brighter",
    "messenger": "like a messenger",
    "mp3_64": "MP3 64 kbit/s",
    "aac_32": "AAC 32 kbit/s",
    "sound_messenger": "Opus 24 kbit/s",
    "telephone": "telephone, 8 kHz mu-law",
    "quieter": "12 dB quieter",
    "sound_noise": "noise, 20 dB below",
}


def condition(name: str) -> str:
    """The name of a condition for people."""
    if name.startswith("pgd_"):
        eps = name.removeprefix("pgd_")
        return "the attacked units, untouched" if eps == "0" else f"PGD, eps {eps}/255"
    return CONDITIONS.get(name, name)
