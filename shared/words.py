"""Results in words, for pages and reports alike: times, sizes, scores, formats, and what one detector's answer means.

Pure functions. May be imported by all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, get_args

from base_detector import SOUND_RATE
from shared.errors import sentence_for
from shared.findings import Sound
from shared.results import DetectorResult, PersonScore, Result, Unit

#: Below this share of the faces, a detector's score says little about the file.
FEW: Final = 0.2

CONTAINERS: Final[dict[str, str]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": "MP4",
    "avi": "AVI",
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "wav": "WAV",
    "flac": "FLAC",
    "mp3": "MP3",
    "aac": "AAC",
    "ogg": "Ogg",
}

CODECS: Final[dict[str, str]] = {
    "h264": "H.264", "hevc": "H.265", "mpeg4": "MPEG-4", "vp8": "VP8", "vp9": "VP9", "av1": "AV1", "mjpeg": "Motion JPEG",
    "prores": "ProRes", "jpeg": "JPEG", "png": "PNG", "webp": "WebP", "aac": "AAC", "mp3": "MP3", "flac": "FLAC",
    "opus": "Opus", "vorbis": "Vorbis", "alac": "ALAC", "pcm_s16le": "PCM, 16 bits", "pcm_s24le": "PCM, 24 bits",
    "pcm_f32le": "PCM, 32 bits", "pcm_u8": "PCM, 8 bits",
}  # fmt: skip

#: Names of docs/strategies.md.
STRATEGIES: Final[dict[str, str]] = {
    "mean": "The file's score is the mean over all {units}, so a short manipulation can vanish in it.",
    "max_of_persons": "The file's score is that of the person with the highest score.",
    "max_of_persons_of_shots": "The file's score is that of the person with the highest mean in one shot.",
    "own": "The method has its own rule for the file's score; its model card describes it.",
    "deepware": "By the published rule of Deepware's scanner, which starts from persons and prefers clear scores.",
}


def duration(seconds: float | None) -> str:
    """A length of time for people: '40 s', '3 min', '2 h 10 min'; '' for None."""
    if seconds is None:
        return ""
    if seconds < 9.95 and seconds != round(seconds):
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def clock_time(seconds: float) -> str:
    """A position in a clip, in tenths of a second: '0:07.4', '12:30.0'. Sound may begin before the pictures: shown as their start."""
    tenths = max(0, round(10 * seconds))
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def date(moment: datetime) -> str:
    """A day for people: '28 December 2026'."""
    return f"{moment.day} {moment:%B %Y}"


def date_and_time(moment: datetime) -> str:
    """A moment for people: '28 December 2026, 21:45 UTC'."""
    return f"{date(moment)}, {moment:%H:%M} UTC"


def size(count: int) -> str:
    """A number of bytes in decimal units: '340 kB', '12.3 MB'."""
    if count < 1_000_000:
        return f"{max(1, round(count / 1000))} kB"
    return f"{count / 1_000_000:.1f} MB"


#: What a detector judged, in the singular.
UNIT_NOUNS: Final[dict[str, str]] = {"face": "face", "picture": "whole picture", "sound": "stretch of sound"}
#: What the detectors of one unit judge.
UNITS_OF: Final[dict[str, str]] = {"face": "faces", "picture": "whole pictures", "sound": "sound"}
#: What a detector looks at or listens to, by ``input`` of its card.
INPUTS: Final[dict[str, str]] = {
    "face": "faces",
    "video": "faces over time",
    "picture": "whole pictures",
    "sound": "sound",
}
#: The plural where it is not the singular with an s.
_PLURALS: Final = {"stretch of sound": "stretches of sound"}


def judges_in_words(kind: str, *, lossless_only: bool) -> str:
    """What a detector judges: ``input`` and ``lossless_only`` of its card."""
    return f"{INPUTS[kind]}{', lossless files only' if lossless_only else ''}"


def counted(number: int, noun: str) -> str:
    """``1 face``, ``2,000 faces``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {_PLURALS.get(noun, f'{noun}s')}"


def of_other_kinds(result: Result) -> list[DetectorResult]:
    """Detectors that judge another kind of file, asked because the kind was not known; none of them when there are no others."""
    found = [item for item in result.detectors if item.code in ("no_picture", "no_sound")]
    return found if len(found) < len(result.detectors) else []


def units_of(result: Result) -> tuple[Unit, ...]:
    """What was judged, in the order of UNITS_OF; where nothing was, what would have been."""
    beside = of_other_kinds(result)
    fitting = [item for item in result.detectors if item not in beside]
    judged = {item.unit for item in fitting if item.status == "ok"} or {item.unit for item in fitting}
    return tuple(unit for unit in get_args(Unit) if unit in judged)


def likeness(units: Sequence[str]) -> str:
    """What a fake score compares, for detectors of ``units``."""
    compared = {
        "face": "a face resembles the manipulated faces",
        "picture": "a whole picture resembles the generated or altered pictures",
        "sound": "a voice resembles the synthetic voices",
    }
    return f"{joined([compared[unit] for unit in units], 'or')} that the detector was trained on"


def joined(names: Sequence[str], word: str = "and") -> str:
    """Names as a list in a sentence: 'A', 'A and B', 'A, B and C'."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def looked_at(result: Result) -> str:
    """How much of the file was searched, seen and heard: '50 frames (standard), 100 faces of 2 persons; 12 s of sound'."""
    units, parts = {item.unit for item in result.detectors}, []
    judged = {item.unit for item in result.detectors if item.status == "ok"}
    still = result.media.kind == "image"
    if "face" in units and result.media.kind != "sound":
        searched = (
            f"the {'whole ' if 'picture' in judged else ''}picture"
            if still
            else f"{counted(result.sampled_frames, 'frame')} ({result.mode})"
        )
        found = f"{counted(len(result.faces), 'face')} of {counted(len(result.persons), 'person')}"
        parts.append(f"{searched}, {found if result.faces else 'no face'}")
    if "picture" in judged and not (still and parts):
        parts.append("the whole picture" if still else counted(len(result.pictures), "whole picture"))
    if "sound" in units and result.sound:
        parts.append(_heard(result.sound))
    return "; ".join(parts) or "nothing: no detector could judge it"


def _heard(sound: Sound) -> str:
    length = f"{duration(sound.samples / SOUND_RATE)} of sound"
    if sound.speech is None:
        return length
    speech = sum(end - start for start, end in sound.speech)
    return f"{length}, speech in {duration(speech)} of it" if speech else f"{length}, no speech"


def titles(result: Result) -> dict[str, str]:
    """Each detector's title, see ``title_among``."""
    judged = [item for item in result.detectors if item.status == "ok"]
    return {item.id: title_among(item, judged) for item in result.detectors}


def title_among(detector: DetectorResult, judged: Sequence[DetectorResult]) -> str:
    """A detector's title; where those that gave scores are of several units, with what it judged unless that is faces."""
    several = len({item.unit for item in judged}) > 1
    return f"{detector.title} ({UNITS_OF[detector.unit]})" if several and detector.unit != "face" else detector.title


def side_of_threshold(detector: DetectorResult | PersonScore) -> str:
    """On which side of the detector's threshold a score is: what its label says."""
    if detector.hard_label == "no_trace":
        return "below its threshold: no trace found"
    return "at or above its threshold" if detector.hard_label == "fake" else "below its threshold"


def label_in_words(label: str) -> str:
    """A label as tables show it."""
    return label.replace("_", " ")


def detector_sentence(detector: DetectorResult) -> str:
    """What one detector's answer means, in one careful sentence."""
    if detector.status != "ok" or detector.fake_score is None:
        return detector.message or sentence_for(detector.code or "detector_failed")
    side = side_of_threshold(detector).replace("its threshold", f"its threshold of {detector.threshold:.2f}")
    judged, all_of_them = detector.units_scored, len(detector.scores)
    noun = UNIT_NOUNS[detector.unit]
    if judged < FEW * all_of_them:
        return f"Its score is {side}, but it could judge only {judged} of {counted(all_of_them, noun)}, so this says little."
    if judged == all_of_them:
        return f"Its score is {side}. It judged {f'the one {noun}' if judged == 1 else f'all {counted(judged, noun)}'}."
    return f"Its score is {side}. It judged {judged} of {counted(all_of_them, noun)}."


def strategy(name: str, unit: str = "face") -> str:
    """How the scores of single faces, pictures or stretches of sound were combined (docs/strategies.md)."""
    noun = UNIT_NOUNS[unit]
    words = STRATEGIES.get(name, f"By the rule '{name}' of this detector.")
    return words.replace("{units}", _PLURALS.get(noun, f"{noun}s"))


def format_name(container: str, codec: str) -> str:
    """The format of a file as people call it: 'MP4 (H.264)'. FFmpeg has one name for MP4 and MOV."""
    if container.startswith("matroska"):
        kind = (
            "WebM"
            if codec in ("vp8", "vp9", "av1")
            else "WebM or Matroska"
            if codec in ("opus", "vorbis")
            else "Matroska"
        )
    else:
        kind = CONTAINERS.get(container, container.split(",", 1)[0].upper())
    video = CODECS.get(codec, codec.upper())
    return kind if video in (kind, "") else f"{kind} ({video})"
