"""Results in words, for pages and reports alike: times, sizes, scores, formats, and what one detector's answer means.

Pure functions. May be imported by all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Literal, get_args

from base_detector import SOUND_RATE
from shared.errors import sentence_for
from shared.findings import Sound
from shared.languages import ENGLISH, _, day, day_and_time, digits, language, marked, ngettext, signs, with_unit
from shared.results import DetectorResult, PersonScore, Result, Unit
from shared.rounding import score as rounded

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
STRATEGIES: Final[dict[str, str]] = marked(
    {
        "mean": "The file's score is the mean over all {units}, so a short manipulation can vanish in it.",
        "max_of_persons": "The file's score is that of the person with the highest score.",
        "max_of_persons_of_shots": "The file's score is that of the person with the highest mean in one shot.",
        "own": "The method has its own rule for the file's score; its model card describes it.",
        "deepware": "By the published rule of Deepware's scanner, which starts from persons and prefers clear scores.",
    }
)


def duration(seconds: float | None) -> str:
    """A length of time for people: '40 s', '3 min', '2 h 10 min'; '' for None."""
    if seconds is None:
        return ""
    if language().code != ENGLISH:
        return _duration(seconds)
    if seconds < 9.95 and seconds != round(seconds):
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _duration(seconds: float) -> str:
    """``duration`` with the units of the current language."""
    if seconds < 99.5:
        short = seconds < 9.95 and seconds != round(seconds)
        return with_unit(round(seconds, 1) if short else round(seconds), "duration-second")
    minutes = round(seconds / 60)
    if minutes < 100:
        return with_unit(minutes, "duration-minute")
    return f"{with_unit(minutes // 60, 'duration-hour')} {with_unit(minutes % 60, 'duration-minute')}"


def clock_time(seconds: float) -> str:
    """A position in a clip, in tenths of a second: '0:07.4', '12:30.0'. Sound may begin before the pictures: shown as their start."""
    tenths = max(0, round(10 * seconds))
    return signs(f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}")


def date(moment: datetime) -> str:
    """A day for people: '28 December 2026'."""
    return day(moment)


def date_and_time(moment: datetime) -> str:
    """A moment for people: '28 December 2026, 21:45 UTC'."""
    return day_and_time(moment)


def size(count: int) -> str:
    """A number of bytes in decimal units: '340 kB', '12.3 MB'."""
    if language().code != ENGLISH:
        small = count < 1_000_000
        number = max(1, round(count / 1000)) if small else round(count / 1_000_000, 1)
        return with_unit(number, "digital-kilobyte" if small else "digital-megabyte")
    if count < 1_000_000:
        return f"{max(1, round(count / 1000))} kB"
    return f"{count / 1_000_000:.1f} MB"


#: What a detector judged, in the singular.
UNIT_NOUNS: Final[dict[str, str]] = {"face": "face", "picture": "whole picture", "sound": "piece of sound"}
#: What the detectors of one unit judge.
UNITS_OF: Final[dict[str, str]] = marked({"face": "faces", "picture": "whole pictures", "sound": "sound"})
#: What a detector looks at or listens to, by ``input`` of its card.
INPUTS: Final[dict[str, str]] = marked(
    {"face": "faces", "video": "faces over time", "picture": "whole pictures", "sound": "sound"}
)
#: What a mean is over.
ALL_UNITS: Final = marked({"face": "faces", "picture": "whole pictures", "sound": "pieces of sound"})
#: The plural where it is not the singular with an s.
_PLURALS: Final = {"piece of sound": "pieces of sound"}


def judges_in_words(kind: str, *, lossless_only: bool) -> str:
    """What a detector judges: ``input`` and ``lossless_only`` of its card."""
    what = _(INPUTS[kind])
    return _("{what}, lossless files only", what=what) if lossless_only else what


#: Nouns of pages, counted. Others are those of reports and the command line, which are English.
_COUNTED: Final[dict[str, Callable[[int], str]]] = {
    "face": lambda number: ngettext("{n} face", "{n} faces", number),
    "whole picture": lambda number: ngettext("{n} whole picture", "{n} whole pictures", number),
    "piece of sound": lambda number: ngettext("{n} piece of sound", "{n} pieces of sound", number),
    "frame": lambda number: ngettext("{n} frame", "{n} frames", number),
    "person": lambda number: ngettext("{n} person", "{n} persons", number),
    "file": lambda number: ngettext("{n} file", "{n} files", number),
}
#: The same after "of" and a first number: other languages have another case there.
_OUT_OF: Final[dict[str, Callable[..., str]]] = {
    "face": lambda part, of: ngettext("{part} of {n} face", "{part} of {n} faces", of, part=part),
    "whole picture": lambda part, of: ngettext(
        "{part} of {n} whole picture", "{part} of {n} whole pictures", of, part=part
    ),
    "piece of sound": lambda part, of: ngettext(
        "{part} of {n} piece of sound", "{part} of {n} pieces of sound", of, part=part
    ),
    "frame": lambda part, of: ngettext("{part} of {n} frame", "{part} of {n} frames", of, part=part),
}
_ALL: Final[dict[str, Callable[[int], str]]] = {
    "face": lambda number: ngettext("the one face", "all {n} faces", number),
    "whole picture": lambda number: ngettext("the one whole picture", "all {n} whole pictures", number),
    "piece of sound": lambda number: ngettext("the one piece of sound", "all {n} pieces of sound", number),
}


def out_of(part: int, number: int, noun: str) -> str:
    """``9 of 2,000 faces``."""
    return _OUT_OF[noun](digits(part, ","), number)


def all_of(number: int, noun: str) -> str:
    """``all 2,000 faces``, ``the one face``."""
    return _ALL[noun](number)


def counted(number: int, noun: str) -> str:
    """``1 face``, ``2,000 faces``."""
    if noun in _COUNTED:
        return _COUNTED[noun](number)
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
        "face": _("a face resembles the manipulated faces"),
        "picture": _("a whole picture resembles the generated or altered pictures"),
        "sound": _("a voice resembles the synthetic voices"),
    }
    what = joined([compared[unit] for unit in units], "or")
    return _("{what_resembles_what} that the detector was trained on", what_resembles_what=what)


def joined(names: Sequence[str], word: Literal["and", "or"] = "and") -> str:
    """Names as a list in a sentence: 'A', 'A and B', 'A, B and C'."""
    if len(names) < 2:
        return "".join(names)
    first, last = ", ".join(names[:-1]), names[-1]
    if word == "or":
        return _("{first} or {last}", first=first, last=last)
    return _("{first} and {last}", first=first, last=last)


def looked_at(result: Result) -> str:
    """How much of the file was searched, seen and heard: '50 frames (standard), 100 faces of 2 persons; 12 s of sound'."""
    units, parts = {item.unit for item in result.detectors}, []
    judged = {item.unit for item in result.detectors if item.status == "ok"}
    still = result.media.kind == "image"
    if "face" in units and result.media.kind != "sound":
        if still:
            searched = _("the whole picture") if "picture" in judged else _("the picture")
        else:
            searched = f"{counted(result.sampled_frames, 'frame')} ({mode_words(result.mode)})"
        if result.faces:
            faces = counted(len(result.faces), "face")
            found = ngettext("{faces} of {n} person", "{faces} of {n} persons", len(result.persons), faces=faces)
            parts.append(f"{searched}, {found}")
        else:
            parts.append(_("{what} searched, no face found", what=searched))
    if "picture" in judged and not (still and parts):
        parts.append(_("the whole picture") if still else counted(len(result.pictures), "whole picture"))
    if "sound" in units and result.sound:
        parts.append(_heard(result.sound))
    return "; ".join(parts) or _("nothing: no detector could judge it")


def _heard(sound: Sound) -> str:
    length = duration(sound.samples / SOUND_RATE)
    if sound.speech is None:
        return _("{duration} of sound", duration=length)
    speech = sum(end - start for start, end in sound.speech)
    if not speech:
        return _("{duration} of sound, no speech", duration=length)
    return _("{duration} of sound, speech in {speech} of it", duration=length, speech=duration(speech))


def titles(result: Result) -> dict[str, str]:
    """Each detector's title, see ``title_among``."""
    judged = [item for item in result.detectors if item.status == "ok"]
    return {item.id: title_among(item, judged) for item in result.detectors}


def title_among(detector: DetectorResult, judged: Sequence[DetectorResult]) -> str:
    """A detector's title; where those that gave scores are of several units, with what it judged unless that is faces."""
    several = len({item.unit for item in judged}) > 1
    return f"{detector.title} ({_(UNITS_OF[detector.unit])})" if several and detector.unit != "face" else detector.title


def side_of_threshold(detector: DetectorResult | PersonScore) -> str:
    """On which side of the detector's threshold a score is: what its label says."""
    if detector.hard_label == "no_trace":
        return _("below its threshold: no trace found")
    return _("at or above its threshold") if detector.hard_label == "fake" else _("below its threshold")


#: Labels of scores in words.
LABELS: Final = marked({"fake": "fake", "real": "real", "no_trace": "no trace"})
#: How thorough the analysis was, inside a sentence.
MODE_NAMES: Final = marked({"quick": "quick", "standard": "standard", "thorough": "thorough"})


def mode_words(mode: str) -> str:
    """A mode inside a sentence."""
    return _(MODE_NAMES[mode])


def label_in_words(label: str) -> str:
    """A label as tables show it."""
    return _(LABELS[label]) if label in LABELS else label.replace("_", " ")


def detector_sentence(detector: DetectorResult) -> str:
    """What one detector's answer means, in one careful sentence."""
    if detector.status != "ok" or detector.fake_score is None:
        return why_no_score(detector)
    side = _side_with_numbers(detector)
    judged, of = detector.units_scored, len(detector.scores)
    noun = UNIT_NOUNS[detector.unit]
    if judged < FEW * of:
        return _("{side} It could judge only {part}: weak.", side=side, part=out_of(judged, of, noun))
    part = all_of(judged, noun) if judged == of else out_of(judged, of, noun)
    return _("{side} It judged {part}.", side=side, part=part)


def why_no_score(detector: DetectorResult) -> str:
    """Why a detector gave no score: as it was stored, or in another language as far as its code tells."""
    if detector.message and (language().code == ENGLISH or not detector.code):
        return detector.message
    return sentence_for(detector.code or "detector_failed")


def _side_with_numbers(detector: DetectorResult) -> str:
    """A sentence: 'At or above its threshold (0.85, threshold 0.50).'"""
    numbers = {
        "score": rounded(detector.fake_score, threshold=detector.threshold),
        "threshold": digits(detector.threshold, ".2f"),
    }
    if detector.hard_label == "no_trace":
        return _("Below its threshold ({score}, threshold {threshold}): no trace found.", **numbers)
    if detector.hard_label == "fake":
        return _("At or above its threshold ({score}, threshold {threshold}).", **numbers)
    return _("Below its threshold ({score}, threshold {threshold}).", **numbers)


def strategy(name: str, unit: str = "face") -> str:
    """How the scores of single faces, pictures or pieces of sound were combined (docs/strategies.md)."""
    if name not in STRATEGIES:
        return _("By the rule '{name}' of this detector.", name=name)
    return _(STRATEGIES[name], units=_(ALL_UNITS[unit]))


def format_name(container: str, codec: str) -> str:
    """The format of a file as people call it: 'MP4 (H.264)'. FFmpeg has one name for MP4 and MOV."""
    if container.startswith("matroska"):
        kind = (
            "WebM"
            if codec in ("vp8", "vp9", "av1")
            else _("WebM or Matroska")
            if codec in ("opus", "vorbis")
            else "Matroska"
        )
    else:
        kind = CONTAINERS.get(container, container.split(",", 1)[0].upper())
    video = CODECS.get(codec, codec.upper())
    return kind if video in (kind, "") else f"{kind} ({video})"
