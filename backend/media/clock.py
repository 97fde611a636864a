"""One time line for a video: when each of its pictures is shown, made from the time stamps of its packets.

Owns which steps between stamps are impossible, and their repair (docs/media_pass.md, "Time"). Promises: sampling, decoded
pictures and sound take their times from one ``TimeLine``; stamps without a fault are taken as they are. Pure; may be imported by
``backend.media``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from base_detector import Array

#: A forward step longer than this is a jump where a container's clock may restart: FFmpeg's ``dts_delta_threshold``.
_JUMP_S = 10.0
#: The same in other containers, where players do show a still picture for so long; and how much longer without sound as a witness.
_JUMP_STEADY_S, _SILENT = 60.0, 10.0
#: A jump is also longer than this many usual steps: slide shows and time lapse have long steps only.
_JUMP_STEPS = 20.0
#: Most pictures that precede a picture in the file and follow it on the screen (H.264 and HEVC: ``max_dec_frame_buffering``).
_MOST_REORDERED = 16
#: Pictures closer than this share one stamp: a muxer that must not repeat a stamp adds one tick, 1 ms in Matroska.
_SAME_S = 0.0015
#: So many pictures on one stamp are a clock that stood still, fewer are a late picture.
_STUCK = 4
#: Seconds by which sound and picture may be apart in one recording.
_NEAR_S = 2.0


@dataclass(frozen=True)
class Stamps:
    """Packets of pictures in the order of the file: ``pts``, ``dts`` (n,) float64 seconds, NaN where missing; ``key`` (n,) bool."""

    pts: Array
    dts: Array
    key: Array


@dataclass(frozen=True)
class Habits:
    """What a stream may do.

    ``step_s``: as its container says. ``reorders``: pictures are not stored in the order of showing. ``restarts``: its container
    allows a clock that starts anew. ``unordered``: its container has no stamps for showing, only an order of decoding.
    ``guessed``: its stamps for decoding are FFmpeg's guess. ``sound`` reads the stamps of its sound, (m,) seconds, when needed.
    """

    step_s: float = 0.04
    reorders: bool = True
    restarts: bool = False
    unordered: bool = False
    guessed: bool = False
    sound: Callable[[], Array] = lambda: np.zeros(0)


@dataclass(frozen=True)
class Piece:
    """A part of the recording whose clock runs evenly: stamps ``low``..``high``, shown ``shift`` seconds later on the line."""

    low: float
    high: float
    shift: float


@dataclass(frozen=True)
class TimeLine:
    """``times`` (n,) float64: when pictures are shown, ascending from 0. ``step_s`` is the usual step.

    ``place`` (n,): the picture's place in ``times``, by packet; ``moved`` (n,) bool, by place: shown at another time than its stamp says;
    ``held``: pictures a decoder may hold back where ``place`` only knows the order of decoding, else None.
    """

    times: Array
    place: Array
    moved: Array
    pieces: tuple[Piece, ...]
    step_s: float
    held: int | None = None

    def follow(self) -> Callable[[int], int]:
        """Packet number -> place in ``times``, asked for the pictures in the order in which the decoder gives them."""
        last = -1

        def place_of(packet: int) -> int:
            nonlocal last
            place = int(self.place[packet])
            if (
                self.held is not None
            ):  # the decoder's order is the only one: the next place, further where packets were lost
                place = min(max(last + 1, place - self.held), len(self.times) - 1)
            last = max(last, place)
            return last

        return place_of


def time_line(stamps: Stamps, habits: Habits, *, depth: int = 2) -> TimeLine:
    """The line of at least one packet; ``depth``: pictures the decoder holds back, where only the order of decoding is known."""
    count = len(stamps.pts)
    missing = np.isnan(stamps.pts)
    known = stamps.pts[~missing]
    if not len(known) or (count > 1 and known.max() == known.min()):
        return _evenly(stamps, habits, depth=depth)
    step = _usual_step(stamps, habits)
    filled = _filled(stamps, step)
    blind = habits.reorders and (habits.unordered or missing.mean() > 0.5) and bool((np.diff(filled) > 0).all())
    stream = _Stream(filled, stamps, habits, step)
    order, times = (np.argsort(filled, kind="stable"), None) if stream.ordinary() else stream.repaired()
    raw = filled[order] - filled[order[0]]
    if times is None:
        times = raw
    times = _spread(times, step)
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    return TimeLine(
        times=times,
        place=place,
        moved=missing[order] | (np.abs(times - raw) > 1.5 * step),
        pieces=_pieces(filled[order], times, step),
        step_s=step,
        held=depth if blind else None,
    )


def _evenly(stamps: Stamps, habits: Habits, *, depth: int) -> TimeLine:
    """All stamps missing or the same: pictures follow each other at the container's rate."""
    count = len(stamps.pts)
    first = float(np.nan_to_num(stamps.pts[0]))
    times = np.arange(count) * habits.step_s
    return TimeLine(
        times=times,
        place=np.arange(count),
        moved=np.full(count, count > 1),
        pieces=(Piece(first, first + float(times[-1]), -first),),
        step_s=habits.step_s,
        held=depth if habits.reorders else None,
    )


def _usual_step(stamps: Stamps, habits: Habits) -> float:
    """Median step of decoding times (they ascend in the file), else of presentation times; the container's where there is none."""
    for steps in (np.diff(stamps.dts), np.diff(np.sort(stamps.pts[~np.isnan(stamps.pts)]))):
        steps = steps[steps > 0]
        real = steps[steps > _SAME_S]
        if len(steps):
            return float(np.median(real if len(real) else steps))
    return habits.step_s


def _filled(stamps: Stamps, step: float) -> Array:
    """``pts`` without holes: from ``dts``, else one step after the packet before."""
    filled: Array = stamps.pts.copy()
    both = stamps.pts - stamps.dts
    late = float(np.nanmedian(both)) if not np.isnan(both).all() else 0.0
    filled = np.where(np.isnan(filled), stamps.dts + late, filled)
    holes = np.isnan(filled)
    first = int(np.argmin(holes))
    for k in range(first - 1, -1, -1):
        filled[k] = filled[k + 1] - step
    for hole in np.flatnonzero(holes[first:]) + first:
        filled[hole] = filled[hole - 1] + step
    return filled


@dataclass
class _Part:
    """Packets between two breaks of the clock; ``strays`` have a stamp of their own that belongs nowhere."""

    members: list[int] = field(default_factory=list)
    strays: list[int] = field(default_factory=list)
    high: float = -np.inf

    def add(self, packet: int, stamp: float) -> None:
        self.members.append(packet)
        self.high = max(self.high, stamp)


class _Stream:
    """Stamps in the order of the file, without holes, and where their clock breaks."""

    def __init__(self, filled: Array, stamps: Stamps, habits: Habits, step: float) -> None:
        self._stamps, self._habits, self._step = filled, habits, step
        self._near = max(_MOST_REORDERED * step, 0.5)
        self._highest = np.maximum.accumulate(np.concatenate([[-np.inf], filled[:-1]]))
        back = self._highest - filled > step
        # a stream that falls back all the time does reorder, whatever its decoder says of it
        self._reorders = habits.reorders or bool(back.mean() > 0.05)
        # a file that calls most packets key frames, B-frames among them, says nothing by it
        key = stamps.key if stamps.key.mean() <= 0.5 else np.zeros(len(filled), bool)
        dts_back = np.r_[False, (np.diff(stamps.dts) < -step / 2) & (not habits.guessed)]
        self._sudden = key | dts_back
        self._falls = back & (self._sudden | self._beyond_reordering(back)) if self._reorders else back
        self._leaps = self._strays_ahead()

    def ordinary(self) -> bool:
        """True when no step is impossible."""
        ordered = np.sort(self._stamps)
        long = np.flatnonzero(np.diff(ordered) > _JUMP_S)
        faults = self._falls.any() or self._leaps.any()
        return not faults and not any(self._is_jump(ordered[k], ordered[k + 1]) for k in long)

    def repaired(self) -> tuple[Array, Array]:
        """(packets in the order of showing, their times from 0), both (n,)."""
        order: list[Array] = []
        times: list[Array] = []
        start = 0.0
        for part in self._parts():
            stamps = {packet: float(self._stamps[packet]) for packet in part.members}
            self._settle(part, stamps)
            packets = np.array(sorted(stamps, key=lambda packet: (stamps[packet], packet)), np.int64)
            shown = np.array([stamps[packet] for packet in packets])
            order.append(packets)
            times.append(shown - shown[0] + start)
            start = float(times[-1][-1]) + self._step
        return np.concatenate(order), np.concatenate(times)

    # -- inside

    def _beyond_reordering(self, back: Array) -> Array:
        """Which of the falls no reordering explains, (n,) bool: sixteen pictures before are shown later, or it stays far below."""
        window = 2 * _MOST_REORDERED + 1
        padded = np.concatenate([np.full(window, -np.inf), self._stamps])
        before = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(back)][back]
        many = (before > self._stamps[back][:, None] + self._step).sum(axis=1) > _MOST_REORDERED
        padded = np.concatenate([self._stamps, np.full(_MOST_REORDERED, -np.inf)])
        ahead = np.lib.stride_tricks.sliding_window_view(padded, _MOST_REORDERED + 1)[back].max(axis=1)
        result = back.copy()
        result[back] = many | (self._highest[back] - ahead > max(_JUMP_S, self._near))
        return result

    def _strays_ahead(self) -> Array:
        """Where a stamp runs ahead and those that follow in the file do not follow it, (n,) bool."""
        result = np.zeros(len(self._stamps), bool)
        reach = _MOST_REORDERED + 1 if self._reorders else 4
        for k in np.flatnonzero(self._stamps - self._highest > self._near):
            following = self._stamps[k + 1 : k + 1 + reach]
            behind = int((following < self._stamps[k] - self._step).sum())
            result[k] = k > 0 and len(following) > reach // 2 and behind >= 0.8 * reach
        return result

    def _stays_down(self, k: int, high: float) -> bool:
        """True when the clock is far below ``high`` from packet ``k`` on, for longer than reordering lasts."""
        following = self._stamps[k : k + _MOST_REORDERED + 1]
        return bool(high - following.max() > max(_JUMP_S, self._near))

    def _parts(self) -> list[_Part]:
        parts = [_Part()]
        for k, stamp in enumerate(map(float, self._stamps)):
            part = parts[-1]
            if len(parts) > 1 and self._returns(parts[-2], part, stamp):
                parts.pop()
                parts[-1].strays += part.members + part.strays
            elif part.members and (self._leaps[k] or self._is_jump(part.high, stamp) or self._breaks(part, k, stamp)):
                parts.append(_Part())
            parts[-1].add(k, stamp)
        return parts

    def _breaks(self, part: _Part, k: int, stamp: float) -> bool:
        """True when the clock falls back within ``part``: ``_falls`` compares with all of the file."""
        if not self._falls[k] or part.high - stamp <= self._step:
            return False
        later = sum(self._stamps[j] > stamp + self._step for j in part.members[-2 * _MOST_REORDERED - 1 :])
        return later > 0 and (
            not self._reorders or later > _MOST_REORDERED or self._sudden[k] or self._stays_down(k, part.high)
        )

    def _returns(self, before: _Part, part: _Part, stamp: float) -> bool:
        """True when the clock goes on where it was before a few stray stamps."""
        if len(part.members) > _MOST_REORDERED:
            return False
        expected = before.high + self._step * (len(part.members) + 1)
        return abs(stamp - expected) <= self._near < abs(stamp - part.high)

    def _settle(self, part: _Part, stamps: dict[int, float]) -> None:
        """Give each stray a stamp: in the hole it left near its neighbour in the file, else just behind that neighbour."""
        ordered = sorted(stamps.values())
        for packet in part.strays:
            anchor = self._stamps[part.members[max(0, bisect_left(part.members, packet) - 1)]]
            middle = bisect_left(ordered, anchor)
            low, high = max(0, middle - _MOST_REORDERED), middle + _MOST_REORDERED
            pairs = zip(ordered[low:high], ordered[low + 1 : high + 1], strict=False)
            holes = [a for a, b in pairs if b - a > 1.5 * self._step and abs(a - anchor) < self._near]
            hole = min(holes, key=lambda a: abs(a - anchor), default=None)
            stamps[packet] = float(anchor) + self._step / 2 if hole is None else hole + self._step
            insort(ordered, stamps[packet])

    def _is_jump(self, before: float, after: float) -> bool:
        """True when a forward step cannot be a picture that was shown for so long."""
        step = after - before
        if step <= max(_JUMP_S, _JUMP_STEPS * self._step):
            return False
        sound = self._sound
        first, last = np.searchsorted(sound, before), np.searchsorted(sound, after)
        if last > first:
            long = self._pauses[np.searchsorted(self._pauses, first) : np.searchsorted(self._pauses, last - 1)]
            pause = (sound[long + 1] - sound[long]).max() if len(long) else 0.0
            if max(pause, sound[first] - before, after - sound[last - 1]) < step / 2:
                return False  # the sound goes on meanwhile
        pauses = len(sound) > 0 and sound[0] <= before + _NEAR_S and sound[-1] >= after - _NEAR_S
        limit = _JUMP_S if self._habits.restarts else _JUMP_STEADY_S
        return bool(step > (limit if pauses else limit * _SILENT))

    @cached_property
    def _sound(self) -> Array:
        return np.sort(self._habits.sound())

    @cached_property
    def _pauses(self) -> Array:
        """Where the sound pauses for long enough to matter: indices into ``_sound``."""
        return np.flatnonzero(np.diff(self._sound) > _JUMP_S / 2)


def _spread(times: Array, step: float) -> Array:
    """Pictures that share one time, evenly over the time up to the next one; a clock that stood still goes on by ``step``."""
    same = np.diff(times) <= min(_SAME_S, step / 10)
    if not same.any():
        return times
    result, count = times.copy(), len(times)
    shift, k = 0.0, 0
    while k < count:
        end = k + 1
        while end < count and same[end - 1]:
            end += 1
        pictures = end - k
        room = float(times[end] - times[k]) if end < count else pictures * step
        stuck = pictures >= _STUCK and room < pictures * step / 2
        pace = step if stuck else min(step, room / pictures)
        result[k:end] = times[k] + shift + pace * np.arange(pictures)
        if stuck:
            shift += pictures * step - room
        k = end
    return result


def _pieces(stamps: Array, times: Array, step: float) -> tuple[Piece, ...]:
    """Runs of at least five pictures whose times are their stamps plus one shift, in the order of showing."""
    shifts = times - stamps
    starts = np.flatnonzero(np.r_[True, np.abs(np.diff(shifts)) > 0.75 * step])
    ends = np.r_[starts[1:], len(stamps)]
    runs = [(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b - a >= 5]
    return tuple(
        Piece(float(stamps[a:b].min()), float(stamps[a:b].max()), float(np.median(shifts[a:b])))
        for a, b in runs or [(0, len(stamps))]
    )


class SoundClock:
    """Turns the stamps of the sound, asked in the order of the file, into seconds from the first picture (``zero_s`` on the line)."""

    def __init__(self, pieces: tuple[Piece, ...], *, zero_s: float) -> None:
        self._pieces, self._zero_s = pieces, zero_s
        self._at, self._shift = 0, 0.0
        self._last: float | None = None

    def at(self, stamp: float) -> float:
        """When the sound stamped ``stamp`` is heard."""
        if self._last is None:
            self._enter(next((k for k in range(len(self._pieces)) if self._within(k, stamp)), 0))
        elif not -0.2 < stamp - self._last < 1.0:
            self._jump(stamp, self._last)
        self._last = stamp
        return stamp + self._shift - self._zero_s

    def _jump(self, stamp: float, last: float) -> None:
        later = next((k for k in range(self._at + 1, len(self._pieces)) if self._within(k, stamp)), None)
        if later is not None:
            self._enter(later)
        elif self._within(self._at, stamp):
            self._enter(self._at)
        elif stamp < last or stamp - last > _JUMP_S:  # the sound's own fault: it goes on
            self._shift += last - stamp

    def _enter(self, piece: int) -> None:
        self._at, self._shift = piece, self._pieces[piece].shift

    def _within(self, piece: int, stamp: float) -> bool:
        return self._pieces[piece].low - _NEAR_S <= stamp <= self._pieces[piece].high + _NEAR_S
