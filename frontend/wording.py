"""What pages say of submissions, results and the back-end. For the front-end only; ``shared.words`` has what reports say too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from frontend.access import Answer
from frontend.progress import DetectorStep, Progress, Stage, Wait
from shared.errors import sentence_for
from shared.languages import _, digits, marked, ngettext
from shared.records import Catalog, CatalogEntry, Guess, Mode
from shared.results import Result
from shared.statement import uncounted
from shared.words import (
    UNIT_NOUNS,
    counted,
    detector_sentence,
    duration,
    joined,
    judges_in_words,
    of_other_kinds,
    side_of_threshold,
    size,
    title_among,
    units_of,
)

#: The dispatcher renews the catalog every few seconds; when it is older than this, the dispatcher is not running.
FRESH: Final = timedelta(seconds=30)

#: So many wrong PINs before the lock, it is announced.
WARN_BELOW: Final = 5

MODES: Final[dict[Mode, tuple[str, str]]] = marked(
    {
        "quick": ("Quick", "At most 32 frames of the clip, for a first look."),
        "standard": ("Standard", "The frames the detectors ask for, at most 300. Right for most clips."),
        "thorough": ("Thorough", "Every frame. Finds short manipulations, but takes longest."),
    }
)

#: The stages in their order, as the headline and as a step of the list.
STAGES: Final[dict[Stage, tuple[str, str]]] = marked(
    {
        "waiting": ("Waiting", "Waiting"),
        "starting": ("Preparing the analysis", "Preparing"),
        "fetch": ("Fetching the clip from its page", "Fetching"),
        "media": ("Reading the file", "Reading the file"),
        "detectors": ("The detectors are running", "Detectors"),
        "report": ("Drawing the report", "Report"),
    }
)
#: Below this difference, seconds, two ends of a wait are one number to a visitor.
SAME_WAIT_S: Final = 5.0

STATES: Final[dict[str, str]] = marked(
    {
        "waiting": "waiting",
        "working": "running",
        "ok": "done",
        "not_applicable": "no opinion",
        "failed": "failed",
        "timed_out": "timed out",
    }
)

#: A visitor's own guess.
GUESSES: Final[dict[Guess, str]] = marked({"real": "Real", "fake": "Manipulated", "unsure": "I don’t know"})

#: States of a detector once all is over.
ENDED: Final[dict[str, str]] = marked({"waiting": "not run", "working": "interrupted"})

#: Ends of a submission, as the headline.
ENDS: Final[dict[str, str]] = marked({"done": "Finished", "failed": "No result", "expired": "Deleted"})

#: Codes of ``CatalogEntry.unavailable`` in two or three words.
UNAVAILABLE: Final[dict[str, str]] = marked(
    {
        "weights_missing": "weights not installed",
        "weights_not_converted": "weights not converted",
        "weights_mismatch": "weights damaged",
        "engine_unavailable": "containers not running",
        "image_missing": "container not built",
        "image_outdated": "container out of date",
    }
)


#: How a worker runs.
WAYS: Final = marked({"docker": "in a container without network", "process": "in a plain process of this site"})


def catalog_is_fresh(catalog: Catalog | None, now: datetime) -> bool:
    """Whether the back-end is running, by its catalog."""
    return catalog is not None and now - catalog.updated < FRESH


def recommended_first(entries: Iterable[CatalogEntry]) -> list[CatalogEntry]:
    """The recommended detectors in their order, then the others as they come."""
    return sorted(entries, key=lambda entry: (entry.recommended is None, entry.recommended or 0))


def recommended_check(available: Sequence[CatalogEntry]) -> set[str]:
    """What is chosen unless a visitor chooses otherwise: of each kind of material the recommended detectors, else all of that kind."""
    chosen: set[str] = set()
    for inputs in (("face", "video"), ("picture",), ("sound",)):
        of_kind = [entry for entry in available if entry.input in inputs]
        chosen |= {entry.id for entry in of_kind if entry.recommended} or {entry.id for entry in of_kind}
    return chosen


def check_estimate(chosen: Sequence[CatalogEntry], *, overhead: float | None, mode: str) -> str:
    """How long these detectors take on a file, by the medians of jobs here; the page's script says the same for another choice."""
    if not chosen:
        return _("choose a detector")
    if mode != "standard":
        return _("measured in standard mode only")
    known = [entry.typical_seconds for entry in chosen if entry.typical_seconds is not None]
    if overhead is None or not known:
        return _("not measured here yet")
    seconds, missing = sum(known, overhead), len(chosen) - len(known)
    time = duration(round(seconds))
    if missing:
        return _("at least {time} here; {missing} of the detectors not measured yet", time=time, missing=missing)
    return _("about {time} here", time=time)


def judges(entry: CatalogEntry) -> str:
    """What a detector looks at or listens to."""
    return judges_in_words(entry.input, lossless_only=entry.lossless_only)


def unavailable(code: str) -> str:
    """Why a detector cannot be chosen, in a few words."""
    return _(UNAVAILABLE[code]) if code in UNAVAILABLE else _("not available")


def way(runner: str) -> str:
    """How a worker runs, for a visitor."""
    return _(WAYS[runner])


def summary_heading(result: Result) -> str:
    """How many of the detectors that are counted are at or above their threshold, and which: the heading of a result without findings."""
    grey = uncounted(result)
    judged = [item for item in result.detectors if item.status == "ok" and item.id not in grey]
    if grey and not judged:
        return _("No detector could judge enough of this file to be counted.")
    above = [title_among(item, judged) for item in judged if item.hard_label == "fake"]
    if not judged:
        alone = len(result.detectors) == 1
        if alone:
            return _("The detector could not score this file")
        return _("None of the detectors could score this file")
    if len(judged) == 1:
        return _("{detector} is {side}", detector=judged[0].title, side=side_of_threshold(judged[0]))
    if not above:
        return _("None of the {n} detectors is at or above its threshold", n=len(judged))
    return ngettext(
        "{n} of {all} detectors is at or above its threshold: {detectors}",
        "{n} of {all} detectors are at or above their threshold: {detectors}",
        len(above),
        all=len(judged),
        detectors=joined(above),
    )


def summary_rest(result: Result) -> str:
    """A sentence about the detectors that gave no score; '' when all did."""
    beside = of_other_kinds(result)
    asked = [item for item in result.detectors if item not in beside]
    silent = [item for item in asked if item.status != "ok"]
    if not silent:
        return ""
    reasons = {item.code for item in silent}
    if len(silent) == len(asked) and len(reasons) == 1:
        return detector_sentence(silent[0])
    if len(silent) == len(asked):
        return _("The reasons are listed below.")
    return ngettext(
        "{n} other detector gave no score; the reason is listed below.",
        "{n} other detectors gave no score; the reasons are listed below.",
        len(silent),
    )


#: What a file is.
KINDS_OF_FILES: Final = marked({"video": "Video", "image": "Picture", "sound": "Sound"})


def kind_and_size(result: Result) -> str:
    """What the file is: 'Video, 12 s, 640 × 480, 4.8 MB'."""
    media = result.media
    parts = [_(KINDS_OF_FILES[media.kind])]
    if media.kind != "image":
        parts.append(duration(media.duration_s))
    if media.kind != "sound":
        parts.append(f"{media.width} × {media.height}")
    return ", ".join([*parts, size(media.bytes)])


def misleads(result: Result) -> str:
    """What misleads the detectors that were asked, in either direction."""
    units = units_of(result)
    what = [_("compression")] + [_("small faces")] * ("face" in units) + [_("noise")] * (units != ("face",))
    text = joined([*what, _("unknown methods")])
    return f"{text[0].upper()}{text[1:]}"


def video_heading(result: Result) -> str:
    """What the result video, or the marked picture, shows."""
    if result.media.kind == "sound":
        return _("The sound and its scores")
    if result.media.kind == "video":
        return _("The clip with its faces marked") if result.faces else _("The clip and its scores")
    return _("The picture with its faces marked") if result.faces else _("The picture and its scores")


def video_words(result: Result) -> str:
    """How to read the result video."""
    if result.media.kind == "sound":
        return _("Wave form and curves of all detectors.")
    boxes = boxes_words(result)
    if not boxes:
        return _("Beside it, the curves of all detectors.")
    return _("{boxes}; beside it, the curves of all detectors.", boxes=boxes)


def boxes_words(result: Result) -> str:
    """What the boxes around faces say, without the full stop; empty where there are none."""
    of_faces = [item for item in result.detectors if item.unit == "face" and item.fake_score is not None]
    if not (result.faces and of_faces):
        return ""
    if len(of_faces) > 1:
        return _(
            "Each face is framed and carries how many of the detectors that judged it are at or above their own thresholds there "
            "(“2 of 3”)"
        )
    return _("Each face is framed and carries its score by {detector}", detector=of_faces[0].title)


def pin_sentence(given: Answer, *, deleting: bool = False) -> str:
    """The answer to a PIN that did not open the result, or did not delete the submission."""
    said = [*_why_not_opened(given, deleting=deleting)]
    if deleting:
        said.insert(1, _("Nothing was deleted."))
    return " ".join(said)


def _why_not_opened(given: Answer, *, deleting: bool) -> Iterator[str]:
    """The sentences of ``pin_sentence``: what happened, then what to do."""
    if given.outcome == "locked":
        if deleting:
            yield _("Too many wrong PINs: this submission is locked.")
        else:
            yield _("Too many wrong PINs: this result is locked.")
        yield _("If an e-mail address was given with the file, we sent a link there that unlocks it.")
        yield _("Otherwise, ask the operator of this site to unlock it.")
        return
    wait = _("Wait {time} before the next try.", time=duration(given.wait_s))
    if given.outcome == "wait":
        yield f"{_('Too many wrong PINs in a row.')} {wait}"
        return
    yield _("That PIN is wrong.")
    if given.free:
        yield ngettext("You have {n} more try without waiting.", "You have {n} more tries without waiting.", given.free)
    elif given.wait_s:
        yield wait
    if given.left <= WARN_BELOW:
        yield (
            ngettext(
                "After one more wrong PIN this submission is locked.",
                "After {n} more wrong PINs this submission is locked.",
                given.left,
            )
            if deleting
            else ngettext(
                "After one more wrong PIN this result is locked.",
                "After {n} more wrong PINs this result is locked.",
                given.left,
            )
        )


def progress_view(found: Progress) -> dict[str, Any]:
    """The progress as the page and its script show it; the same members for both. ``detectors`` is None where they may not be shown."""
    words = STATES | (ENDED if found.final else {})
    detectors = None if found.detectors is None else [_detector_view(item, words=words) for item in found.detectors]
    return {
        "state": found.state,
        "stage": found.stage,
        "headline": _headline(found),
        "detail": _detail(found),
        "progress": round(found.progress, 3),
        "percent": int(100 * found.progress),
        "detectors": detectors,
        "final": found.final,
        "video": found.video,
    }


def _headline(found: Progress) -> str:
    if found.state == "queued":
        place = found.queue_position
        if place == 1:
            return _("Next in the queue")
        return _("Number {place} in the queue", place=place) if place else _("Received")
    if found.state == "working":
        return _(STAGES[found.stage][0]) if found.stage in STAGES else _("Running")
    return _(ENDS[found.state])


def _detail(found: Progress) -> str:
    if found.state == "queued":
        return wait_sentence(found.wait) if found.wait else _("Waiting for the analysis to start.")
    if found.state == "working":
        interrupted = found.attempt > 1
        return _("Attempt {attempt}: the previous one was interrupted.", attempt=found.attempt) if interrupted else ""
    return sentence_for(found.code) if found.code else ""


def wait_sentence(wait: Wait) -> str:
    """How long a submission waits before its work begins; an interval where something ahead of it was never measured here."""
    soon = wait.least_s < SAME_WAIT_S
    least, most = duration(wait.least_s), duration(wait.most_s)
    if wait.most_s is None and soon:
        return _("No estimate of the wait yet: some of the work ahead of it was never measured here.")
    if wait.most_s is None:
        return _(
            "It starts in {time} at the earliest; some of the work ahead of it was never measured here.", time=least
        )
    if wait.most_s - wait.least_s < SAME_WAIT_S:
        return _("It starts in a moment.") if soon else _("It starts in about {time}.", time=least)
    if soon:
        return _(
            "It starts in {time} at the latest, perhaps at once: some of the work ahead of it was never measured here.",
            time=most,
        )
    return _(
        "It starts in {least} to {most}: some of the work ahead of it was never measured here.", least=least, most=most
    )


def _detector_view(item: DetectorStep, *, words: Mapping[str, str]) -> dict[str, Any]:
    share = item.done / item.total if item.total else 0.0
    over = item.state not in ("waiting", "working")
    note = sentence_for(item.code) if item.code and item.state != "ok" else ""
    if item.state == "working" and item.total:
        note = _("{done} of {all}", done=digits(item.done, ","), all=counted(item.total, UNIT_NOUNS[item.unit]))
    elif item.state == "ok":
        note = _("cached") if item.cached else duration(item.seconds)
    return {
        "id": item.id,
        "title": item.title,
        "state": item.state,
        "words": _(words[item.state]),
        "share": 1.0 if over else round(share, 3),
        "note": note,
    }
