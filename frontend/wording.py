"""Words and small numbers as pages show them: times, sizes, scores, states. Pure functions. For the front-end only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from frontend.access import Answer
from shared.errors import sentence_for
from shared.records import Catalog, DetectorProgress, Mode, Status
from shared.results import DetectorResult

#: The dispatcher renews the catalog every few seconds; older than this, it does not live.
FRESH: Final = timedelta(seconds=30)

#: So many wrong PINs before the lock, it is announced.
WARN_BELOW: Final = 5

MODES: Final[dict[Mode, tuple[str, str]]] = {
    "quick": ("Quick", "At most 32 frames of the clip. A first look."),
    "standard": ("Standard", "The frames the detectors ask for, at most 300. The usual choice."),
    "thorough": ("Thorough", "Every frame. Finds short manipulations; takes the longest."),
}

STEPS: Final[dict[str, str]] = {
    "waiting": "Waiting",
    "starting": "Preparing the analysis",
    "media": "Reading the file and finding faces",
    "detectors": "Detectors are judging the faces",
    "report": "Drawing the report",
    "publish": "Storing the report",
}

STATES: Final[dict[str, str]] = {
    "waiting": "waiting",
    "working": "at work",
    "ok": "done",
    "not_applicable": "no opinion",
    "failed": "failed",
    "timed_out": "timed out",
}

#: Codes of ``CatalogEntry.unavailable`` in two or three words.
UNAVAILABLE: Final[dict[str, str]] = {
    "weights_missing": "weights not installed",
    "weights_mismatch": "weights damaged",
    "engine_unavailable": "containers not running",
}


def catalog_is_fresh(catalog: Catalog | None, now: datetime) -> bool:
    """Whether the back-end lives, by its catalog."""
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
    """A position in a clip: '0:07', '12:30'."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


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


def detector_sentence(detector: DetectorResult) -> str:
    """What one detector's answer means, in one careful sentence."""
    if detector.status != "ok" or detector.fake_score is None:
        return detector.message or sentence_for(detector.code or "detector_failed")
    side = "above" if detector.hard_label == "fake" else "below"
    if detector.fake_score == detector.threshold:
        side = "at"
    return f"Its score is {side} its threshold of {detector.threshold:.2f}, over {detector.faces_scored} faces."


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
            "state": "queued", "headline": "Received", "detail": "Waiting for the analysis service to take it up.",
            "progress": 0.0, "percent": 0, "detectors": [], "final": False,
        }  # fmt: skip
    final = status.state in ("done", "failed", "expired")
    return {
        "state": status.state,
        "headline": _headline(status),
        "detail": _detail(status),
        "progress": round(status.progress, 3),
        "percent": int(100 * status.progress),
        "detectors": [_detector_view(item) for item in status.detectors],
        "final": final,
    }


def _headline(status: Status) -> str:
    if status.state == "queued":
        place = status.queue_position
        return "Next in the queue" if place == 1 else f"Number {place} in the queue" if place else "Waiting"
    if status.state == "working":
        return STEPS.get(status.step, "At work")
    return {"done": "Finished", "failed": "No result", "expired": "Deleted"}[status.state]


def _detail(status: Status) -> str:
    if status.state == "queued":
        wait = status.estimated_wait_s
        if wait is None:
            return "How long it will take is not known yet: nothing like it was measured here so far."
        return "It begins in a moment." if wait < 5 else f"It begins in about {duration(wait)}."
    if status.state == "working":
        return f"This is attempt {status.attempt}; the one before broke off." if status.attempt > 1 else ""
    return sentence_for(status.code) if status.code else ""


def _detector_view(item: DetectorProgress) -> dict[str, Any]:
    share = item.done / item.total if item.total else 0.0
    over = item.state not in ("waiting", "working")
    note = sentence_for(item.code) if item.code and item.state != "ok" else ""
    if item.state == "working" and item.total:
        note = f"{item.done} of {item.total} faces"
    elif item.state == "ok":
        note = "known from before" if item.cached else duration(item.seconds)
    return {
        "id": item.detector,
        "title": item.title,
        "state": item.state,
        "words": STATES[item.state],
        "share": 1.0 if over else round(share, 3),
        "note": note,
    }
