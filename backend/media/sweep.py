"""The sweep: walks through the sampled pictures, detects faces in some, and follows them through the others.

Owns when to detect: in every ``DETECT_EVERY``-th picture, on both sides of every jump, and in between
wherever two detections disagree: a face moved fast, came or went. Pictures between two agreeing detections are interpolated; a
``thorough`` sweep looks near the interpolated place instead, and detects in the whole picture where it does not find the face there.
Promises: holds only the pictures between two detections. May be imported by ``extract``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from backend.media.directions import WORTH_A_LOOK, Directions, visible
from backend.media.medium import Picture
from backend.media.near import look_near
from backend.media.recheck import FaceDetector, believable
from backend.media.tracks import Found, Sighting, Track, between, link, overlap, placed
from base_detector import Array

#: Every fifth picture (IoU .92-.95 of interpolated boxes with detected ones, on calm clips).
DETECT_EVERY = 5
#: A track is believed once it passed the second look more often than it failed, and given up after so many failures. A track that
#: begins where another one was given up starts with a failure.
_MOST_FAILURES = 4
#: Linking: least overlap up to a quarter second apart, and further apart; the longest pause a track survives.
_LEAST_OVERLAP, _LEAST_OVERLAP_FAR, _NEAR_S, _FAR_S = 0.3, 0.45, 0.25, 2.5
#: Two detections of a face that overlap less than this are not interpolated: it moved fast.
_STEADY = 0.5
#: The picture in which a face came or went is searched for when the face is sure, and not small in the background: its side is at
#: least this share of the picture's shorter side.
_SURE, _LARGE = 0.99, 1 / 12
#: From more faces on a search of the whole picture costs less than a look near each (5.6 ms a face, 29 ms a picture of 540 lines).
_MOST_NEAR = 5
#: Faces kept of a track that is not believed yet.
_MOST_PENDING = 20


#: Takes one face of a believed track; its crop is a view that is valid during the call only.
Sink = Callable[[Track, Sighting], None]


class Sample:
    """A sampled picture and what was found in it."""

    def __init__(self, picture: Picture) -> None:
        self.frame, self.time_s, self.size = picture.index, picture.time_s, picture.size
        self.found: list[Found] = []
        self.tracks: list[Track] = []
        self.rgb = picture.rgb

    @property
    def boxes(self) -> Array:
        """Places of the faces found, (n, 4): boxes, those of other turns far away."""
        return np.array([item.place for item in self.found], np.float32).reshape(-1, 4)


class FaceSweep:
    """Feed it the sampled pictures in order, then ``finish``. Faces go to ``sink`` in order of time within each track."""

    def __init__(
        self, detector: FaceDetector, sink: Sink, *, context: float, still: bool, thorough: bool = False
    ) -> None:
        self._detector, self._sink, self._context, self._thorough = detector, sink, context, thorough
        self._directions = Directions(detector, context=context, still=still)
        self._anchor: Sample | None = None
        self._waiting: list[Sample] = []
        self._alive: list[Track] = []
        self._pending: dict[int, list[Sighting]] = {}
        self._count, self._view, self._lit = 0, 0, False
        self._doubtful: list[Array] = []
        self.detect_s = 0.0
        self.tracks: list[Track] = []

    def feed(self, picture: Picture, *, view: int, next_frame: int | None, lit: bool = False) -> None:
        """Take the next sampled picture.

        ``view``: another number than that of the last picture after a jump; ``next_frame``: the next sample; ``lit``: the picture may be
        in the light of a flash, in which faces are not interpolated.
        """
        sample = Sample(picture)
        resized = self._anchor is not None and sample.size != self._anchor.size
        if resized:
            self._flush()
            self._resize(sample.size)
        far = self._anchor is not None and sample.frame - self._anchor.frame > 2 * DETECT_EVERY
        jumped, flashed = view != self._view, lit or self._lit
        self._lit = lit
        if jumped or flashed or (far and self._waiting):
            self._flush()
        if jumped:
            self._end_tracks(self._alive)
            self._anchor = None
            self._view = view
            self._doubtful = []
            self._directions.new_view()
        due = self._anchor is None or resized or next_frame is None or next_frame - self._anchor.frame > DETECT_EVERY
        if due or flashed:
            self._advance(sample)
        else:
            self._waiting.append(sample)

    def finish(self) -> list[Track]:
        """Settle the waiting pictures; returns the believed tracks."""
        self._flush()
        self._end_tracks(self._alive)
        return self.tracks

    def last_searched(self) -> int | None:
        """The picture in which faces were searched last; None when the next sampled one is searched in any case."""
        return self._anchor.frame if self._anchor else None

    def ended(self) -> list[Track]:
        """Believed tracks that will not grow any more."""
        alive = {track.number for track in self._alive}
        return [track for track in self.tracks if track.number not in alive]

    def part(self, track: Track, *, frame: int, time_s: float, box: Array) -> Track:
        """A new track of what ``track``, which has ended, shows from ``frame`` on: another person. It continues no other one."""
        later = replace(
            track,
            number=self._count,
            view=-1 - self._count,
            first_frame=frame,
            first_s=time_s,
            first_box=box,
            portraits=[],
        )
        track.last_frame = frame - 1
        track.last_s = min(track.last_s, time_s)
        self._count += 1
        self.tracks.append(later)
        return later

    # -- inside

    def _resize(self, size: tuple[int, int]) -> None:
        """The picture changes its size: bring what was found before to ``size``, in the middle of the view, so that tracks go on."""
        assert self._anchor is not None
        old = self._anchor.size
        factor = max(size[0] / old[0], size[1] / old[1])
        shift = (np.array(size) - np.array(old) * factor) / 2
        move = np.tile(shift, 2).astype(np.float32)
        self._anchor.found = [
            replace(
                item, box=item.box * np.float32(factor) + move, landmarks=item.landmarks * np.float32(factor) + move[:2]
            )
            for item in self._anchor.found
        ]
        self._anchor.size = size
        for track in self._alive:
            track.last_box = track.last_box * np.float32(factor) + move
        self._doubtful = [box * np.float32(factor) + move for box in self._doubtful]

    def _flush(self) -> None:
        if self._waiting:
            self._advance(self._waiting.pop())

    def _advance(self, sample: Sample) -> None:
        """Detect in ``sample`` and settle everything up to it."""
        self._detect(sample, may_try=True)
        waiting, self._waiting = self._waiting, []
        self._settle(self._anchor, waiting, sample)
        self._anchor = sample

    def _detect(self, sample: Sample, *, may_try: bool = False) -> None:
        image = sample.rgb()
        started = time.perf_counter()
        known = [Found(item.last_box, item.last_box, 1.0, turn=item.turn) for item in self._alive if item.confirmed]
        doubtful = np.array(self._doubtful, np.float32).reshape(-1, 4)
        sample.found = self._directions.faces(image, known=known, doubtful=doubtful, may_try=may_try)
        self.detect_s += time.perf_counter() - started

    def _settle(self, before: Sample | None, waiting: list[Sample], after: Sample) -> None:
        """Link two detections and fill the pictures between them; where they disagree, detect in between first."""
        pairs = self._pairs(before, after) if before else []
        if before and waiting:
            doubt = self._fill(before, waiting, after, pairs)
            if doubt is not None:
                self._detect(waiting[doubt])
                self._settle(before, waiting[:doubt], waiting[doubt])
                self._settle(waiting[doubt], waiting[doubt + 1 :], after)
                return
        after.tracks = self._tracks_of(before, after, pairs)
        for sample in waiting:
            for found, (_, j) in zip(sample.found, pairs, strict=True):
                if visible(found.box, width=sample.size[0], height=sample.size[1]):
                    self._see(after.tracks[j], sample, found)
        for track, found in zip(after.tracks, after.found, strict=True):
            self._see(track, after, found)
        self._end_tracks([track for track in self._alive if after.time_s - track.last_s > _FAR_S])

    def _fill(self, before: Sample, waiting: list[Sample], after: Sample, pairs: list[tuple[int, int]]) -> int | None:
        """Give each waiting picture the faces of ``pairs``; the index of one that is to be searched whole first, or None."""
        if self._disagree(before, after, pairs):
            return len(waiting) // 2
        for index, sample in enumerate(waiting):
            share = (sample.frame - before.frame) / (after.frame - before.frame)
            sample.found = []
            for i, j in pairs:
                expected = between(before.found[i], after.found[j], share)
                found = self._near(sample, expected) if self._thorough else expected
                if found is None and before.tracks[i].confirmed:
                    return index
                sample.found.append(found or expected)
        return None

    def _near(self, sample: Sample, expected: Found) -> Found | None:
        image = sample.rgb()
        if not visible(expected.box, width=image.shape[1], height=image.shape[0]):
            return expected
        started = time.perf_counter()
        found = look_near(self._detector, image, expected)
        self.detect_s += time.perf_counter() - started
        return found

    def _pairs(self, before: Sample, after: Sample) -> list[tuple[int, int]]:
        pause = after.time_s - before.time_s
        if pause > _FAR_S:
            return []
        near = pause <= _NEAR_S
        return link(before.boxes, after.boxes, least=_LEAST_OVERLAP if near else _LEAST_OVERLAP_FAR, near=near)

    def _tracks_of(self, before: Sample | None, after: Sample, pairs: list[tuple[int, int]]) -> list[Track]:
        """The track of each face of ``after``: the linked one, one lost a moment ago, or a new one."""
        given = {j: before.tracks[i] for i, j in pairs} if before else {}
        lost = [track for track in self._alive if track not in given.values()]
        left = [j for j in range(len(after.found)) if j not in given]
        old = np.array([placed(track.last_box, turn=track.turn) for track in lost], np.float32).reshape(-1, 4)
        for i, j in link(old, after.boxes[left], least=_LEAST_OVERLAP_FAR):
            given[left[j]] = lost[i]
        return [given.get(j) or self._new_track(after, found) for j, found in enumerate(after.found)]

    def _new_track(self, sample: Sample, found: Found) -> Track:
        track = Track(self._count, self._view, sample.frame, sample.time_s, found.box)
        track.turn = found.turn
        track.failed = int(
            (overlap(found.place[None], np.array(self._doubtful).reshape(-1, 4)) >= _LEAST_OVERLAP).any()
        )
        self._count += 1
        self._alive.append(track)
        self._pending[track.number] = []
        return track

    def _see(self, track: Track, sample: Sample, found: Found) -> None:
        track.see(found, frame=sample.frame, time_s=sample.time_s)
        if track.rejected:
            return
        sighting = Sighting.cut(sample.rgb(), found, context=self._context, frame=sample.frame, time_s=sample.time_s)
        if not track.confirmed and self._believable(track, sighting):
            track.confirmed = True
            self.tracks.append(track)
            for earlier in self._pending.pop(track.number):
                self._sink(track, earlier)
        if track.confirmed:
            self._sink(track, sighting)
        elif not track.rejected and len(self._pending[track.number]) < _MOST_PENDING:
            # a copy: the view would keep the whole picture
            self._pending[track.number].append(replace(sighting, crop=sighting.crop.copy()))

    def _believable(self, track: Track, sighting: Sighting) -> bool:
        """Give a promising face the second look; a track that fails too often is rejected."""
        if sighting.found.tracked or sighting.found.confidence < WORTH_A_LOOK:
            return False
        started = time.perf_counter()
        passed = believable(self._detector, sighting)
        self.detect_s += time.perf_counter() - started
        track.passed, track.failed = track.passed + passed, track.failed + (not passed)
        if track.failed >= _MOST_FAILURES:
            track.rejected = True
            self._pending.pop(track.number)
            self._doubtful.append(sighting.found.place)
        return track.passed > track.failed

    def _disagree(self, before: Sample, after: Sample, pairs: list[tuple[int, int]]) -> bool:
        """True when a sure, large face came, went or moved fast between two detections, or there are too many to look near each."""
        if self._thorough and len(pairs) > _MOST_NEAR:
            return True
        if pairs:
            shared = overlap(before.boxes, after.boxes)
            if any(shared[i, j] < _STEADY for i, j in pairs):
                return True
        went = set(range(len(before.found))) - {i for i, _ in pairs}
        came = set(range(len(after.found))) - {j for _, j in pairs}
        large = 0 if self._thorough else min(before.rgb().shape[:2]) * _LARGE
        if any(before.found[i].side >= large and before.tracks[i].confirmed for i in went):
            return True
        doubtful = np.array(self._doubtful, np.float32).reshape(-1, 4)
        candidates = [
            after.found[j] for j in came if after.found[j].side >= large and after.found[j].confidence >= _SURE
        ]
        return any(not (overlap(item.place[None], doubtful) >= _LEAST_OVERLAP).any() for item in candidates)

    def _end_tracks(self, ended: list[Track]) -> None:
        gone = set(map(id, ended))
        self._alive = [track for track in self._alive if id(track) not in gone]
        for track in ended:
            self._pending.pop(track.number, None)
