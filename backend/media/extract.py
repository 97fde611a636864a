"""The media pass: one pass through a medium, from submitted bytes to a finished face pack.

Owns the order of the steps: sample, shots, faces, persons, whole pictures, sound, pack. Promises: what nobody asked for is not
written; each picture is decoded once; memory does not grow with the clip, except for some hundred bytes per face; the pack appears by
one rename, complete or not at all; a medium without a face gives a pack without rows. Runs in the media worker, and in training.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from backend.media.ahead import Ahead, depth_for
from backend.media.foresight import Foresight, ManyFinder
from backend.media.hearing import Listener
from backend.media.identity import Ways, portraits_of
from backend.media.limits import UNLIMITED, Deadline, MediaLimits
from backend.media.medium import Medium, Picture
from backend.media.opening import open_medium
from backend.media.origin import OriginFinder
from backend.media.pack import PackWriter
from backend.media.persons import Gallery, consider_portrait, keyface_rows
from backend.media.pictures import candidates, how_many, spread
from backend.media.recheck import FaceDetector
from backend.media.sampling import choose_pictures
from backend.media.shots import LONGEST_DISSOLVE, ShotFinder, shot_of
from backend.media.sound_file import SoundMedium
from backend.media.stillness import Stillness
from backend.media.sweep import DETECT_EVERY, FaceSweep
from backend.media.tracks import Sighting, Track
from backend.media.video import VideoMedium
from base_detector import Array, Shot, WorkerFailure
from shared import durable
from shared.findings import Note, Sound

#: Pictures are chosen anew among the whole ones when damage leaves less than this share of those that could be judged.
_LEAST_SHARE = 0.5
#: Pictures between two reports of progress, and between two checks of the time limit.
_STRIDE = 20

#: Share of the room of the pack that whole pictures may take which are written on the way and not kept.
_ON_THE_WAY_SHARE = 1 / 8

#: Longest window and hop that a card may ask for, seconds, as the check of packs has it.
_LONGEST_WINDOW_S = 60.0

Progress = Callable[[int, int], None]
#: Writes the sound; what is said of it, and notes.
Listen = Callable[[], tuple[Sound | None, list[Note]]]


@lru_cache(maxsize=1)
def warm_detector(device: str = "cpu") -> FaceDetector:
    """MTCNN for ``device`` (``cpu`` or ``cuda:N``), loaded once in a process. RuntimeError when there is no such device."""
    if device != "cpu":
        from detectors.nets.mtcnn_batch import MtcnnBatch

        return MtcnnBatch(device=device)
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
    origin: Sequence[str] = (),
    anchors: Path | None = None,
    progress: Progress | None = None,
    detector: FaceDetector | None = None,
) -> dict[str, Any]:
    """Write the face pack of ``media`` to the new directory ``pack``; returns ``faces``, ``frames`` (sampled) and ``seconds``.

    ``samplings`` of the detectors of faces, as on the cards (none: no face is searched), ``context`` = side of the context crops in box
    sides (at least 1). ``pictures``: samplings of those of whole pictures. ``windows``: (window, hop) in seconds of those of sound.
    ``origin``: what to look for of where the file comes from (``origin.PARTS``), ``anchors``: PEM certificates that signers are compared
    with. ``progress`` gets (pictures done, expected). Raises WorkerFailure ``unsupported_media`` or another code of ``open_medium``,
    ``media_unreadable``, ``media_too_large``, ``media_too_long``, ``media_timed_out``, ``media_damaged``, ``pack_too_large``,
    ``bad_request``.
    """
    if not 1.0 <= context <= 8.0 or pack.exists():
        raise WorkerFailure("bad_request")
    lengths = _lengths(windows)
    part = pack.with_name(f".{pack.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    one = partial(_one_pass, media, part, mode=mode, limits=limits, context=context, windows=lengths, progress=progress)
    try:
        deadline, whole, answer = Deadline(limits), None, None
        with OriginFinder(media, origin, anchors=anchors) as where_from:
            while answer is None:
                answer, whole = one(
                    deadline,
                    where_from,
                    lambda: detector or warm_detector(),
                    samplings=samplings,
                    pictures=pictures,
                    whole=whole,
                )
                if answer is None:  # once more, now that it is known which pictures are whole
                    shutil.rmtree(part)
        durable.move_directory(part, pack)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return answer


def _one_pass(
    media: Path,
    part: Path,
    deadline: Deadline,
    origin: OriginFinder,
    detector: Callable[[], FaceDetector],
    *,
    samplings: Sequence[str],
    mode: str,
    limits: MediaLimits,
    context: float,
    pictures: Sequence[str],
    windows: Sequence[tuple[float, float]],
    progress: Progress | None,
    whole: list[int] | None,
) -> tuple[dict[str, Any] | None, list[int] | None]:
    """One run through the medium: the answer, or None and the numbers of the whole pictures, as of ``_Pass.run``."""
    with (
        open_medium(media, limits=limits) as medium,
        PackWriter(part, max_bytes=limits.max_pack_mb * 1_000_000) as writer,
    ):
        listener = Listener(writer, deadline, limits, wanted=bool(windows))
        origin.begin()
        if isinstance(medium, SoundMedium):
            return _hear(medium, writer, listener, origin, mode=mode, windows=windows), None
        finder = detector() if samplings else None
        done = _Pass(medium, writer, deadline, cast(FaceDetector, finder), origin, context=context, mode=mode)
        listen = partial(listener.to_video, media, medium)
        answer = done.run(samplings, pictures, progress, listen=listen, windows=windows, whole=whole)
        return answer, done.whole


def _lengths(untrusted: Sequence[Any]) -> list[tuple[float, float]]:
    """(window, hop) of each card of sound, seconds; WorkerFailure(``bad_request``) for anything else."""
    try:
        lengths = [(float(window), float(hop)) for window, hop in untrusted]
    except (TypeError, ValueError):
        raise WorkerFailure("bad_request") from None
    if not all(0 < each <= _LONGEST_WINDOW_S for pair in lengths for each in pair):
        raise WorkerFailure("bad_request")
    return lengths


def _hear(
    medium: SoundMedium,
    writer: PackWriter,
    listener: Listener,
    origin: OriginFinder,
    *,
    mode: str,
    windows: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """The pack of a file of sound."""
    started = time.perf_counter()
    sound = listener.to_file(medium)
    seconds = {"decode": time.perf_counter() - started}
    found = origin.found((), writer.sound())
    seconds |= {"origin": origin.seconds, "total": time.perf_counter() - started}
    none = np.zeros(0, np.int32)
    writer.finish(
        media=medium.facts(),
        sampling=_sampling(mode, samplings=(), context=1.0),
        frames=[],
        shots=[],
        shot_of_row=none,
        person_of_row=none,
        keyfaces={},
        seconds=seconds,
        notes=medium.notes,
        sound=sound,
        windows=windows,
        origin=found,
    )
    return {"faces": 0, "frames": 0, "seconds": seconds}


def _sampling(mode: str, *, samplings: Sequence[str], context: float) -> dict[str, Any]:
    every = 1 if mode == "thorough" else DETECT_EVERY
    return {"mode": mode, "samplings": list(samplings), "context": context, "detect_every": every}


class _Pass:
    """One run over one medium with pictures."""

    def __init__(
        self,
        medium: Medium,
        writer: PackWriter,
        deadline: Deadline,
        detector: FaceDetector,
        origin: OriginFinder,
        *,
        context: float,
        mode: str,
    ) -> None:
        self._medium, self._writer, self._mode, self._context = medium, writer, mode, context
        self._deadline, self._origin = deadline, origin
        self.whole: list[int] = []
        self._times: list[tuple[int, float]] = []
        self._gallery, self._ways = Gallery(), Ways()
        keep = partial(
            _keep, medium, writer, self._ways
        )  # no method: the sweep would keep this pass, which keeps the sweep
        self._foresight = Foresight(cast(ManyFinder, detector)) if hasattr(detector, "detect_many") else None
        self._sweep = FaceSweep(
            self._foresight or detector,
            keep,
            context=context,
            still=len(medium.times) == 1,
            thorough=mode == "thorough",
        )
        self._looked_at: set[int] = set()
        self._stillness = Stillness()
        self._seconds = dict.fromkeys(("decode", "detect", "shots", "persons", "write"), 0.0)

    def run(
        self,
        samplings: Sequence[str],
        pictures: Sequence[str],
        progress: Progress | None,
        *,
        listen: Listen,
        windows: Sequence[tuple[float, float]],
        whole: list[int] | None = None,
    ) -> dict[str, Any] | None:
        """Sweep, tell persons apart, write. ``whole``: the pictures to choose from; else all. ``listen`` writes the sound.

        None, with ``whole`` filled in, when so many of the chosen pictures are damaged that others are to be chosen.
        """
        started = time.perf_counter()
        if not samplings and not pictures and isinstance(self._medium, VideoMedium):
            return self._hear(self._medium, windows, listen, started=started)
        times = self._medium.times
        among = np.arange(len(times)) if whole is None else np.array([index for index in whole if index < len(times)])
        chosen = among[choose_pictures(times[among], samplings=samplings, mode=self._mode)] if samplings else among[:0]
        # pictures are of frames in which faces are searched, if any are: a pack has one list of frames
        pool = chosen if samplings else among
        kept = how_many(times[pool], samplings=pictures) if pictures else 0
        shots = self._shots = ShotFinder(fps=self._medium.facts().fps)
        sampled = self._walk(chosen, self._candidates(pool, kept), shots, progress)
        if not self.whole:
            raise WorkerFailure("media_damaged")
        taken = self._writer.picture_frames.tolist()
        if whole is None and (self._few(len(sampled), len(chosen)) or self._few(len(taken), kept)):
            return None
        self._part(self._sweep.finish())
        still = self._medium.facts().kind == "image"
        cut_off = still and any(note.code == "cut_off" for note in self._medium.notes)
        if cut_off and samplings and not kept and not len(self._writer):
            raise WorkerFailure("picture_cut_off")  # what is missing may be what the picture is about
        self._seconds["detect"] = self._sweep.detect_s
        listed = shots.shots()
        self._writer.keep_pictures(spread(taken, listed, kept=kept))
        self._write(self._listed(sampled), listed, samplings, windows, listen, started=started)
        return {"faces": len(self._writer), "frames": len(sampled), "seconds": self._seconds}

    # -- inside

    def _hear(
        self, medium: VideoMedium, windows: Sequence[tuple[float, float]], listen: Listen, *, started: float
    ) -> dict[str, Any]:
        """A video whose sound alone is judged: its first whole picture says what it looks like, the others are not decoded."""
        first = next((picture for picture in medium.pictures() if not picture.damaged), None)
        if first is None:
            raise WorkerFailure("media_damaged")
        self._seconds["decode"] = time.perf_counter() - started
        self._origin.feed(first)
        medium.pass_over()
        facts = medium.facts()
        shot = Shot(0, 0, facts.frames - 1, start_s=0.0, end_s=round(facts.duration_s, 6))
        self._write([(first.index, round(first.time_s, 6))], [shot], (), windows, listen, started=started)
        return {"faces": 0, "frames": 0, "seconds": self._seconds}

    def _write(
        self,
        frames: list[tuple[int, float]],
        shots: Sequence[Shot],
        samplings: Sequence[str],
        windows: Sequence[tuple[float, float]],
        listen: Listen,
        *,
        started: float,
    ) -> None:
        """Tell persons apart, and write the tables; ``frames``: number and time of the frames of the pack."""
        tracks = [track for track in self._sweep.tracks if track.rows]
        people_started = time.perf_counter()
        persons = self._gallery.persons(tracks)
        self._seconds["persons"] += time.perf_counter() - people_started
        sound, heard_notes = listen()
        origin = self._origin.found(shots, self._writer.sound())
        self._seconds["origin"] = self._origin.seconds
        lookup = np.array([persons.get(number, -1) for number in range(max(persons, default=-1) + 1)], np.int32)
        self._seconds["total"] = time.perf_counter() - started
        self._writer.finish(
            media=self._medium.facts(),
            sampling=_sampling(self._mode, samplings=samplings, context=self._context),
            frames=frames,
            shots=shots,
            shot_of_row=shot_of(self._writer.frames, shots),
            shot_of_picture=shot_of(self._writer.picture_frames, shots),
            person_of_row=lookup[self._writer.tracks],
            keyfaces=keyface_rows(tracks, persons),
            seconds=self._seconds,
            notes=[*self._notes(), *heard_notes],
            sound=sound,
            windows=windows,
            origin=origin,
        )

    def _notes(self) -> list[Note]:
        """Those of the medium, and what the pass itself saw."""
        turned = [Note("faces_turned", value=turn) for turn in self._writer.turns]
        still = [Note("stands_still")] if self._stillness.stands_still else []
        return [*self._medium.notes, *turned, *still]

    def _candidates(self, among: Array, kept: int) -> set[int]:
        """Numbers of the whole pictures to write on the way, so that ``kept`` of them can be chosen by shot at the end."""
        facts = self._medium.facts()
        most = int(self._writer.left * _ON_THE_WAY_SHARE) // max(1, 3 * facts.width * facts.height)
        return {int(index) for index in candidates(among, kept=kept, most=most)} if kept else set()

    def _listed(self, sampled: list[tuple[int, float]]) -> list[tuple[int, float]]:
        """Number and time of the frames of the pack: those in which faces were searched, else of whole pictures, else the first one."""
        kept = set(self._writer.picture_frames.tolist()) or {self.whole[0]}
        return sampled or [(frame, time_s) for frame, time_s in self._times if frame in kept]

    def _few(self, found: int, chosen: int) -> bool:
        return found < _LEAST_SHARE * min(chosen, len(self.whole))

    def _walk(
        self, chosen: Any, to_write: set[int], shots: ShotFinder, progress: Progress | None
    ) -> list[tuple[int, float]]:
        """Feed all pictures to the shot finder and the chosen ones to the sweep; number and time of the sampled ones.

        Those ``to_write`` are written as whole pictures.
        """
        expected = len(self._medium.times)
        wanted = {int(index) for index in chosen}
        follower = {int(a): int(b) for a, b in pairwise(chosen)}
        sampled: list[tuple[int, float]] = []
        with self._ahead(wanted | to_write) as pictures:
            for picture in self._foreseen(pictures, follower, last=int(chosen[-1]) if len(chosen) else -1):
                started = time.perf_counter()
                view = shots.feed(picture)
                self._stillness.feed(picture.thumb(), time_s=picture.time_s)
                self._seconds["shots"] += time.perf_counter() - started
                if not picture.damaged:
                    if not self.whole or picture.index in to_write:
                        self._times.append((picture.index, round(picture.time_s, 6)))
                    self.whole.append(picture.index)
                    self._origin.feed(picture)
                if picture.index in wanted and not picture.damaged:
                    sampled.append((picture.index, round(picture.time_s, 6)))
                    self._sweep.feed(picture, view=view, lit=shots.lit, next_frame=follower.get(picture.index))
                if picture.index in to_write and not picture.damaged:
                    self._writer.append_picture(picture.rgb(), frame=picture.index, time_s=round(picture.time_s, 6))
                if picture.index % _STRIDE == _STRIDE - 1:
                    self._deadline.check()
                    if progress:
                        progress(min(picture.index + 1, expected), expected)
                    ended = self._sweep.ended()
                    self._part([track for track in ended if picture.index - track.last_frame > LONGEST_DISSOLVE])
                    self._gallery.describe([track for track in ended if track.number in self._looked_at])
        self._seconds["decode"] = pictures.busy_s
        return sampled

    def _foreseen(self, pictures: Ahead, follower: dict[int, int], *, last: int) -> Iterator[Picture]:
        """The pictures, searched in batches before they are walked through where the finder takes many at once."""
        if self._foresight is None:
            return pictures
        return self._foresight.over(pictures, {**follower, last: -1}, self._sweep.last_searched)

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
