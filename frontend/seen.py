"""Seen before: whether the same file, or one that looks or sounds alike, was judged on this site.

The marks are in the reports (``shared.seen``), so they go when a report goes; this is an index of them in memory, made anew with each
process. Promises: an answer has the day and the scores, never an id, unless this browser has that result open; a result that was
deleted is in no answer. For the front-end only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.languages import _, marked
from shared.records import JobId
from shared.results import DetectorResult, Result
from shared.rounding import score
from shared.seen import Likeness, Marks, Seen, likeness, read_seen
from shared.store import Store

#: Seconds between two looks for new results; what is shown is looked up again in any case.
LOOK_S: Final = 10.0
#: Earlier results that are shown.
MOST_SHOWN: Final = 5
#: Pairs of which the answer is kept.
_MOST_COMPARED: Final = 100_000

_SAME: Final = marked("The same file, byte for byte, was judged on this site.")
_STILL_ALIKE: Final = marked("A picture that looks alike was judged on this site.")
_ALIKE: Final = marked("A clip whose pictures look alike was judged on this site.")
_SOUND_ALIKE: Final = marked("A file in which a piece of the sound is alike was judged on this site.")
_SOUND: Final = marked(
    {
        True: "A piece of the sound is alike, too.",
        False: "The sound is different.",
        None: "The sound was not compared.",
    }
)
_PICTURES: Final = marked({False: "The pictures are different.", None: "There are no pictures to compare."})
#: Said once, where something is alike and not the same file.
CAVEAT: Final = marked(
    "What is alike may be a copy, or one of the two may have been altered: a clip in which a face was exchanged "
    "looks like its original, and a voice that a program made again can sound like its original."
)


@dataclass(frozen=True)
class ThenAndNow:
    """A detector's score then and now, as they are shown. ``comparable``: made by the same version with the same parameters."""

    title: str
    then: str
    now: str
    comparable: bool


@dataclass(frozen=True)
class Match:
    """An earlier (or later) judgement. ``open``: the result, where this browser has it open, for a link."""

    judged: datetime
    sentence: str
    scores: tuple[ThenAndNow, ...]
    open: JobId | None


@dataclass(frozen=True)
class SeenBefore:
    """What is shown: the same file first, then the newest; ``more`` are not shown. ``caveat``: what "alike" does not mean, or ""."""

    matches: tuple[Match, ...]
    more: int
    caveat: str = ""


class SeenIndex:
    """The marks of all results of ``store``."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._marks: dict[JobId, Marks] = {}
        self._compared_before: dict[tuple[JobId, JobId], Likeness] = {}
        self._looked: float | None = None

    def find(self, job: JobId, result: Result, *, is_open: Callable[[JobId], bool]) -> SeenBefore:
        """The judgements of files like that of ``result``, itself excepted; StoreTrouble when the folder does not answer."""
        mine = Seen.of(result)
        own = Marks.of(mine)
        found: list[tuple[JobId, Seen, Likeness]] = []
        for other, marks in self._all().items():
            if other != job and (alike := self._compared(job, own, other, marks)).any:
                seen = read_seen(self._store, other)  # it may have been deleted since the last look
                if seen is not None:
                    found.append((other, seen, alike))
        found.sort(key=lambda item: (item[2].same, item[1].judged), reverse=True)
        matches = [
            Match(
                seen.judged, _sentence(alike, seen.kind), _scores(seen, mine, result), other if is_open(other) else None
            )
            for other, seen, alike in found[:MOST_SHOWN]
        ]
        caveat = "" if all(alike.same for _other, _seen, alike in found[:MOST_SHOWN]) else _(CAVEAT)
        return SeenBefore(tuple(matches), more=len(found) - len(matches), caveat=caveat)

    def _compared(self, job: JobId, own: Marks, other: JobId, marks: Marks) -> Likeness:
        """Compared once: neither changes, and two sounds take some milliseconds."""
        pair = (job, other)
        with self._lock:
            known = self._compared_before.get(pair)
        if known is None:
            known = likeness(own, marks)
            with self._lock:
                self._compared_before[pair] = known
                while len(self._compared_before) > _MOST_COMPARED:
                    self._compared_before.pop(next(iter(self._compared_before)))
        return known

    def _all(self) -> dict[JobId, Marks]:
        with self._lock:
            now = self._clock()
            if self._looked is None or now - self._looked >= LOOK_S:
                ids = self._store.result_ids()
                for gone in self._marks.keys() - set(ids):
                    del self._marks[gone]
                for job in ids:
                    if job not in self._marks and (seen := read_seen(self._store, job)) is not None:
                        self._marks[job] = Marks.of(seen)
                self._looked = now
            return dict(self._marks)


def _sentence(alike: Likeness, kind: str) -> str:
    if alike.same:
        return _(_SAME)
    if not alike.pictures:
        return f"{_(_SOUND_ALIKE)} {_(_PICTURES[alike.pictures])}"
    return _(_STILL_ALIKE) if kind == "image" else f"{_(_ALIKE)} {_(_SOUND[alike.sound])}"


def _scores(seen: Seen, mine: Seen, result: Result) -> tuple[ThenAndNow, ...]:
    """The detectors that have a score in one of the two, those of this result first."""
    then = {item.id: item for item in seen.scores}
    now = {item.id: item for item in mine.scores}
    answers: dict[str, DetectorResult] = {answer.id: answer for answer in result.detectors}
    rows = []
    for name in [*now, *(name for name in then if name not in now)]:
        old, new = then.get(name), now.get(name)
        either = new or old
        if either is None or not any(item and item.fake_score is not None for item in (old, new)):
            continue
        threshold = answers[name].threshold if name in answers else either.threshold
        rows.append(
            ThenAndNow(
                either.title,
                _shown(old.fake_score, threshold) if old else _("not asked"),
                _shown(new.fake_score, threshold) if new else _("not asked"),
                comparable=old is not None and new is not None and old.made_by == new.made_by,
            )
        )
    return tuple(rows)


def _shown(value: float | None, threshold: float) -> str:
    return _("no score") if value is None else score(value, threshold=threshold)
