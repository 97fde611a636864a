"""The media pass: one pass through a medium, from submitted bytes to a finished face pack.

Owns the order of the steps: sample, shots, faces, persons, pack. Promises: each picture is decoded once; memory does not grow
with the clip, except for some hundred bytes per face; the pack appears by one rename, complete or not at all; a medium without
a face gives a pack without rows. Runs in the media worker, and in training.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from backend.media.ahead import Ahead, depth_for
from backend.media.identity import Ways, portraits_of
from backend.media.limits import UNLIMITED, Deadline, MediaLimits
from backend.media.medium import Medium, Picture
from backend.media.opening import open_medium
from backend.media.pack import PackWriter
from backend.media.persons import Gallery, consider_portrait, keyface_rows
from backend.media.recheck import FaceDetector
from backend.media.sampling import choose_pictures
from backend.media.shots import LONGEST_DISSOLVE, ShotFinder, shot_of
from backend.media.stillness import Stillness
from backend.media.sweep import DETECT_EVERY, FaceSweep
from backend.media.tracks import Sighting, Track
from base_detector import WorkerFailure
from shared import durable
from shared.findings import Note

#: Pictures are chosen anew among the whole ones when damage leaves less than this share of those that could be judged.
_LEAST_SHARE = 0.5
#: Pictures between two reports of progress, and between two checks of the time limit.
_STRIDE = 20

Progress = Callable[[int, int], None]


@lru_cache(maxsize=1)
def warm_detector() -> FaceDetector:
    """MTCNN for the CPU, loaded once in a process."""
    from detectors.nets.mtcnn import Mtcnn
    from detectors.runtime import own_threads

    return Mtcnn(threads=max(1, own_threads() // 2))  # the other half decodes the next pictures


def extract_pack(
    media: Path,
    pack: Path,
    *,
    samplings: Sequence[str],
    mode: str = "standard",
    limits: MediaLimits = UNLIMITED,
    context: float = 2.0,
    pictures: Sequence[str] = (),
    windows: Sequence[tuple[float, float]] = (),
    progress: Progress | None = None,
    detector: FaceDetector | None = None,
) -> dict[str, Any]:
    """Write the face pack of ``media`` to the new directory ``pack``; returns ``faces``, ``frames`` (sampled) and ``seconds``.

    ``samplings`` of the detectors of faces, as on the cards (none: no face is searched), ``context`` = side of the context crops in box
    sides (at least 1). ``pictures``: samplings of those of whole pictures. ``windows``: (window, hop) in seconds of those of sound.
    ``progress`` gets (pictures done, expected). Raises WorkerFailure ``unsupported_media``, ``media_unreadable``, ``media_too_large``,
    ``media_too_long``, ``media_timed_out``, ``media_damaged``, ``pack_too_large``, ``bad_request``; NotApplicable ``no_video``.
    """
    if not 1.0 <= context <= 8.0 or pack.exists() or pictures or windows:
        raise WorkerFailure("bad_request")
    part = pack.with_name(f".{pack.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        deadline, whole, answer = Deadline(limits), None, None
        while answer is None:
            with (
                open_medium(media, limits=limits) as medium,
                PackWriter(part, max_bytes=limits.max_pack_mb * 1_000_000) as writer,
            ):
                done = _Pass(medium, writer, deadline, detector or warm_detector(), context=context, mode=mode)
                answer = done.run(samplings, progress, whole=whole)
            if answer is None:  # once more, now that it is known which pictures are whole
                whole = done.whole
                shutil.rmtree(part)
        durable.move_directory(part, pack)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return answer


class _Pass:
    """One run over one medium."""

    def __init__(
        self,
        medium: Medium,
        writer: PackWriter,
        deadline: Deadline,
        detector: FaceDetector,
        *,
        context: float,
        mode: str,
    ) -> None:
        self._medium, self._writer, self._mode, self._context = medium, writer, mode, context
        self._deadline = deadline
        self.whole: list[int] = []
        self._gallery, self._ways = Gallery(), Ways()
        keep = partial(
            _keep, medium, writer, self._ways
        )  # no method: the sweep would keep this pass, which keeps the sweep
        self._sweep = FaceSweep(
            detector, keep, context=context, still=len(medium.times) == 1, thorough=mode == "thorough"
        )
        self._looked_at: set[int] = set()
        self._stillness = Stillness()
        self._seconds = dict.fromkeys(("decode", "detect", "shots", "persons", "write"), 0.0)

    def run(
        self, samplings: Sequence[str], progress: Progress | None, *, whole: list[int] | None = None
    ) -> dict[str, Any] | None:
        """Sweep, tell persons apart, write. ``whole``: the pictures to choose from; else all.

        None, with ``whole`` filled in, when so many of the chosen pictures are damaged that others are to be chosen.
        """
        started = time.perf_counter()
        times = self._medium.times
        among = np.arange(len(times)) if whole is None else np.array([index for index in whole if index < len(times)])
        chosen = among[choose_pictures(times[among], samplings=samplings, mode=self._mode)]
        shots = self._shots = ShotFinder(fps=self._medium.facts().fps)
        sampled = self._walk(chosen, shots, progress)
        if not self.whole:
            raise WorkerFailure("media_damaged")
        if whole is None and len(sampled) < _LEAST_SHARE * min(len(chosen), len(self.whole)):
            return None
        self._part(self._sweep.finish())
        tracks = [track for track in self._sweep.tracks if track.rows]
        still = self._medium.facts().kind == "image"
        if still and not len(self._writer) and any(note.code == "cut_off" for note in self._medium.notes):
            raise WorkerFailure("picture_cut_off")  # what is missing may be what the picture is about
        self._seconds["detect"] = self._sweep.detect_s
        people_started = time.perf_counter()
        persons = self._gallery.persons(tracks)
        self._seconds["persons"] += time.perf_counter() - people_started
        listed = shots.shots()
        lookup = np.array([persons.get(number, -1) for number in range(max(persons, default=-1) + 1)], np.int32)
        self._seconds["total"] = time.perf_counter() - started
        self._writer.finish(
            media=self._medium.facts(),
            sampling={
                "mode": self._mode,
                "samplings": list(samplings),
                "context": self._context,
                "detect_every": 1 if self._mode == "thorough" else DETECT_EVERY,
            },
            frames=sampled,
            shots=listed,
            shot_of_row=shot_of(self._writer.frames, listed),
            person_of_row=lookup[self._writer.tracks],
            keyfaces=keyface_rows(tracks, persons),
            seconds=self._seconds,
            notes=self._notes(),
        )
        return {"faces": len(self._writer), "frames": len(sampled), "seconds": self._seconds}

    # -- inside

    def _notes(self) -> list[Note]:
        """Those of the medium, and what the pass itself saw."""
        turned = [Note("faces_turned", value=turn) for turn in self._writer.turns]
        still = [Note("stands_still")] if self._stillness.stands_still else []
        return [*self._medium.notes, *turned, *still]

    def _walk(self, chosen: Any, shots: ShotFinder, progress: Progress | None) -> list[tuple[int, float]]:
        """Feed all pictures to the shot finder and the chosen ones to the sweep; number and time of the sampled ones."""
        expected = len(self._medium.times)
        wanted = {int(index) for index in chosen}
        follower = {int(a): int(b) for a, b in pairwise(chosen)}
        sampled: list[tuple[int, float]] = []
        with self._ahead(wanted) as pictures:
            for picture in pictures:
                started = time.perf_counter()
                view = shots.feed(picture)
                self._stillness.feed(picture.thumb(), time_s=picture.time_s)
                self._seconds["shots"] += time.perf_counter() - started
                if not picture.damaged:
                    self.whole.append(picture.index)
                if picture.index in wanted and not picture.damaged:
                    sampled.append((picture.index, round(picture.time_s, 6)))
                    self._sweep.feed(picture, view=view, lit=shots.lit, next_frame=follower.get(picture.index))
                if picture.index % _STRIDE == _STRIDE - 1:
                    self._deadline.check()
                    if progress:
                        progress(min(picture.index + 1, expected), expected)
                    ended = self._sweep.ended()
                    self._part([track for track in ended if picture.index - track.last_frame > LONGEST_DISSOLVE])
                    self._gallery.describe([track for track in ended if track.number in self._looked_at])
        self._seconds["decode"] = pictures.busy_s
        return sampled

    def _ahead(self, wanted: set[int]) -> Ahead:
        """The pictures, decoded and converted in a second thread while faces are searched."""

        def prepare(picture: Picture) -> None:
            if picture.damaged:
                return
            picture.thumb()
            if picture.index in wanted:
                picture.rgb()

        facts = self._medium.facts()
        return Ahead(self._medium.pictures(), prepare=prepare, depth=depth_for(facts.width, facts.height))

    def _part(self, ended: Sequence[Track]) -> None:
        """Part ended tracks in which one person turned into another."""
        for track in [item for item in ended if item.number not in self._looked_at]:
            self._looked_at.add(track.number)
            first, *later = self._ways.parts(track, dissolves=self._shots.dissolves)
            if later:
                track.portraits = portraits_of(first.views, most=3)
            for one in later:
                start = one.views[0]
                part = self._sweep.part(track, frame=one.frame, time_s=start.portrait.time_s, box=start.box)
                self._looked_at.add(part.number)
                part.rows = self._writer.move(track=track.number, frame=one.frame, to=part.number)
                track.rows -= part.rows
                part.portraits = portraits_of(one.views, most=3)
                track = part


def _keep(medium: Medium, writer: PackWriter, ways: Ways, track: Track, sighting: Sighting) -> None:
    """Write one face of a believed track, and consider it as a view of its person."""
    if not medium.whole(sighting.found.box):
        return
    row = writer.append(sighting, track=track.number)
    track.rows += 1
    consider_portrait(track, sighting, row=row)
    ways.consider(track, sighting, row=row)
