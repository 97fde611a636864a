"""Words and small numbers as pages show them: times, sizes, scores, states. Pure functions. For the front-end only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from frontend.access import Answer
from shared.errors import sentence_for
from shared.records import Catalog, DetectorProgress, Mode, Status
from shared.results import DetectorResult, PersonScore, Result

#: The dispatcher renews the catalog every few seconds; when it is older than this, the dispatcher is not running.
FRESH: Final = timedelta(seconds=30)

#: Below this share of the faces, a detector's score says little about the file.
FEW: Final = 0.2

CONTAINERS: Final[dict[str, str]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": "MP4",
    "avi": "AVI",
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
}

CODECS: Final[dict[str, str]] = {
    "h264": "H.264", "hevc": "H.265", "mpeg4": "MPEG-4", "vp8": "VP8", "vp9": "VP9", "av1": "AV1", "mjpeg": "Motion JPEG",
    "prores": "ProRes", "jpeg": "JPEG", "png": "PNG", "webp": "WebP",
}  # fmt: skip

#: Names of docs/strategies.md.
STRATEGIES: Final[dict[str, str]] = {
    "mean": "The file's score is the mean over all faces, so a short manipulation can vanish in it.",
    "max_of_persons": "The file's score is that of the person with the highest score.",
    "max_of_persons_of_shots": "The file's score is that of the person with the highest mean in one shot.",
    "own": "The method has its own rule for the file's score; its model card describes it.",
    "deepware": "By the published rule of Deepware's scanner, which starts from persons and prefers clear scores.",
}

#: So many wrong PINs before the lock, it is announced.
WARN_BELOW: Final = 5

MODES: Final[dict[Mode, tuple[str, str]]] = {
    "quick": ("Quick", "At most 32 frames of the clip, for a first look."),
    "standard": ("Standard", "The frames the detectors ask for, at most 300. Right for most clips."),
    "thorough": ("Thorough", "Every frame. Finds short manipulations, but takes longest."),
}

STEPS: Final[dict[str, str]] = {
    "waiting": "Waiting",
    "starting": "Preparing the analysis",
    "media": "Reading the file and finding faces",
    "detectors": "The detectors are running",
    "report": "Drawing the report",
    "publish": "Storing the report",
}

STATES: Final[dict[str, str]] = {
    "waiting": "waiting",
    "working": "running",
    "ok": "done",
    "not_applicable": "no opinion",
    "failed": "failed",
    "timed_out": "timed out",
}

#: Codes of ``CatalogEntry.unavailable`` in two or three words.
UNAVAILABLE: Final[dict[str, str]] = {
    "weights_missing": "weights not installed",
    "weights_not_converted": "weights not converted",
    "weights_mismatch": "weights damaged",
    "engine_unavailable": "containers not running",
    "image_missing": "container not built",
    "image_outdated": "container out of date",
}


def catalog_is_fresh(catalog: Catalog | None, now: datetime) -> bool:
    """Whether the back-end is running, by its catalog."""
    return catalog is not None and now - catalog.updated < FRESH


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
    """A position in a clip, in tenths of a second: '0:07.4', '12:30.0'."""
    tenths = round(10 * seconds)
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


def score(value: float | None) -> str:
    """A score with two digits, a dash where there is none. 1.00 and 0.00 stand for those values only."""
    if value is None:
        return "–"
    text = f"{value:.2f}"
    if text == "1.00" and value < 1:
        return ">0.99"
    if text == "0.00" and value > 0:
        return "<0.01"
    return text


def unavailable(code: str) -> str:
    """Why a detector cannot be chosen, in a few words."""
    return UNAVAILABLE.get(code, "not available")


def side_of_threshold(detector: DetectorResult | PersonScore) -> str:
    """On which side of the detector's threshold a score is: what its label says."""
    return "at or above its threshold" if detector.hard_label == "fake" else "below its threshold"


def detector_sentence(detector: DetectorResult, *, faces: int) -> str:
    """What one detector's answer means, in one careful sentence. ``faces`` is the number of faces found in the file."""
    if detector.status != "ok" or detector.fake_score is None:
        return detector.message or sentence_for(detector.code or "detector_failed")
    side = side_of_threshold(detector).replace("its threshold", f"its threshold of {detector.threshold:.2f}")
    judged = detector.faces_scored
    if judged < FEW * faces:
        return f"Its score is {side}, but it could judge only {judged} of {faces} faces, so this says little."
    if judged == faces:
        return f"Its score is {side}. It judged {'the one face' if faces == 1 else f'all {faces} faces'}."
    return f"Its score is {side}. It judged {judged} of {faces} faces."


def summary_heading(result: Result) -> str:
    """How many detectors are at or above their threshold, and which."""
    judged = [item for item in result.detectors if item.status == "ok"]
    above = [item.title for item in judged if item.hard_label == "fake"]
    if not judged:
        alone = len(result.detectors) == 1
        return "The detector could not score this file" if alone else "None of the detectors could score this file"
    if len(judged) == 1:
        return f"{judged[0].title} is {side_of_threshold(judged[0])}"
    if not above:
        return f"None of the {len(judged)} detectors is at or above its threshold"
    verb, whose = ("is", "its") if len(above) == 1 else ("are", "their")
    return f"{len(above)} of {len(judged)} detectors {verb} at or above {whose} threshold: {joined(above)}"


def summary_rest(result: Result) -> str:
    """A sentence about the detectors that gave no score; '' when all did."""
    silent = [item for item in result.detectors if item.status != "ok"]
    if not silent:
        return ""
    reasons = {item.code for item in silent}
    if len(silent) == len(result.detectors) and len(reasons) == 1:
        return detector_sentence(silent[0], faces=len(result.faces))
    if len(silent) == len(result.detectors):
        return "The reasons are listed below."
    others = f"{len(silent)} other{'s' if len(silent) > 1 else ''}"
    return f"{others} gave no score; the reason{'s are' if len(silent) > 1 else ' is'} listed below."


def frames_sentence(result: Result) -> str:
    """How much of the file was looked at."""
    count = f"{result.sampled_frames} frame{'s' if result.sampled_frames != 1 else ''}"
    return f"{count} judged" if result.faces else f"{count} searched, no face found"


def joined(names: Sequence[str]) -> str:
    """Names as a list in a sentence: 'A', 'A and B', 'A, B and C'."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def strategy(name: str) -> str:
    """What became of the scores of single faces (docs/strategies.md)."""
    return STRATEGIES.get(name, f"By the rule '{name}' of this detector.")


def format_name(container: str, codec: str) -> str:
    """The format of a file as people call it: 'MP4 (H.264)'. FFmpeg has one name for MP4 and MOV."""
    if container.startswith("matroska"):
        kind = "WebM" if codec in ("vp8", "vp9", "av1") else "Matroska"
    else:
        kind = CONTAINERS.get(container, container.split(",", 1)[0].upper())
    video = CODECS.get(codec, codec.upper())
    return kind if video in (kind, "") else f"{kind} ({video})"


def pin_sentence(given: Answer) -> str:
    """What to tell whoever entered a PIN that opened nothing."""
    if given.outcome == "locked":
        return (
            "Too many wrong PINs: this result is locked. If an e-mail address was given with the file, we sent a link there that "
            "unlocks it. Otherwise, ask the operator of this site to unlock it."
        )
    if given.outcome == "wait":
        return f"Wait {duration(given.wait_s)} before the next try."
    sentence = "That PIN does not open this result."
    if given.free:
        sentence += f" You have {given.free} more {'try' if given.free == 1 else 'tries'} without waiting."
    elif given.wait_s:
        sentence += f" Wait {duration(given.wait_s)} before the next try."
    if given.left <= WARN_BELOW:
        times = "one more wrong PIN" if given.left == 1 else f"{given.left} more wrong PINs"
        sentence += f" After {times} this result is locked."
    return sentence


def progress_view(status: Status | None, *, now: datetime) -> dict[str, Any]:
    """A status as the page and its script show it; the same members for both."""
    if status is None:
        return {
            "state": "queued", "headline": "Received", "detail": "Waiting for the analysis to start.",
            "progress": 0.0, "percent": 0, "detectors": [], "final": False,
        }  # fmt: skip
    final = status.state in ("done", "failed", "expired")
    words = STATES | ({"waiting": "not run", "working": "interrupted"} if final else {})
    return {
        "state": status.state,
        "headline": _headline(status),
        "detail": _detail(status),
        "progress": round(status.progress, 3),
        "percent": int(100 * status.progress),
        "detectors": [_detector_view(item, words=words) for item in status.detectors],
        "final": final,
    }


def _headline(status: Status) -> str:
    if status.state == "queued":
        place = status.queue_position
        return "Next in the queue" if place == 1 else f"Number {place} in the queue" if place else "Waiting"
    if status.state == "working":
        return STEPS.get(status.step, "Running")
    return {"done": "Finished", "failed": "No result", "expired": "Deleted"}[status.state]


def _detail(status: Status) -> str:
    if status.state == "queued":
        wait = status.estimated_wait_s
        if wait is None:
            return "No estimate yet: no similar job has run here."
        return "It starts in a moment." if wait < 5 else f"It starts in about {duration(wait)}."
    if status.state == "working":
        return f"Attempt {status.attempt}: the previous one was interrupted." if status.attempt > 1 else ""
    return sentence_for(status.code) if status.code else ""


def _detector_view(item: DetectorProgress, *, words: Mapping[str, str]) -> dict[str, Any]:
    share = item.done / item.total if item.total else 0.0
    over = item.state not in ("waiting", "working")
    note = sentence_for(item.code) if item.code and item.state != "ok" else ""
    if item.state == "working" and item.total:
        note = f"{item.done} of {item.total} faces"
    elif item.state == "ok":
        note = "cached" if item.cached else duration(item.seconds)
    return {
        "id": item.detector,
        "title": item.title,
        "state": item.state,
        "words": words[item.state],
        "share": 1.0 if over else round(share, 3),
        "note": note,
    }
