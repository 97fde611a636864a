"""One time line: impossible steps of a clip's clock are repaired and said, genuine pauses stay, and all readers agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from backend.media.clock import Habits, Piece, SoundClock, Stamps, time_line
from backend.media.limits import UNLIMITED, MediaLimits
from backend.media.video import VideoMedium
from tests.media.clocks import (
    PICTURES,
    STEP,
    joined,
    patch_clusters,
    patch_flv,
    patch_fragments,
    patch_offsets,
    recording,
)

T = np.arange(PICTURES) * STEP
TWO = [*T, *(T + 1)]
HOURS = [*T, *(T + 7200)]
UNEVEN = [*np.cumsum([0, *([0.033, 0.2, 0.02] * 8)])]
NO_B = {"bf": "0"}
QUIET = {"x265-params": "log-level=none"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
LIVE = {"live": "1", "cluster_time_limit": "990"}
WRAP_S = 2**33 / 90_000


def read(path: Path) -> tuple[np.ndarray, VideoMedium]:
    """Times of the decoded pictures, and the medium, closed."""
    limits = MediaLimits(max_duration_s=600, max_pixels=10**8, max_frames=10_000, max_pack_mb=100, media_timeout_s=60)
    with VideoMedium(path, limits=limits) as medium:
        return np.array([picture.time_s for picture in medium.pictures()]), medium


def repaired(medium: VideoMedium) -> bool:
    """True when the result would say that the clock was repaired, once."""
    codes = [note.code for note in medium.notes]
    assert codes.count("clock_repaired") < 2
    return "clock_repaired" in codes


def stray(path: Path, *, at: int, by_s: float, **options) -> Path:
    """An MP4 in which one stamp is ``by_s`` seconds off."""
    clip = recording(path, TWO, offsets=True, container={"use_editlist": "0"}, **options)
    return patch_offsets(clip, lambda k, ticks: ticks - 900 * (k % 2) + (k == at) * round(by_s * 90_000))


BROKEN: dict[str, Callable[[Path], Path]] = {
    "h264 jumps by hours.mp4": lambda p: recording(p, HOURS),
    "h264 jumps by hours.mkv": lambda p: recording(p, HOURS),
    "h264 jumps by hours.ts": lambda p: recording(p, HOURS),
    "h264 jumps by hours.flv": lambda p: recording(p, HOURS, options=NO_B),
    "hevc jumps by hours.mov": lambda p: recording(p, HOURS, codec="libx265", options=QUIET),
    "vp9 jumps by hours.webm": lambda p: recording(p, HOURS, codec="libvpx-vp9"),
    "three recordings.mkv": lambda p: recording(p, [*T, *(T + 5000), *(T + 19_000)]),
    "fragments jump.mp4": lambda p: patch_fragments(
        recording(p, TWO, container=FRAGMENTS), lambda n, ticks: ticks + (n > 0) * 7200 * 90_000
    ),
    "fragments begin anew.mp4": lambda p: joined(
        p, *(recording(p.with_name(f"{n}.mp4"), container=FRAGMENTS) for n in "ab")
    ),
    "fragments begin anew, no b-frames.mp4": lambda p: joined(
        p, *(recording(p.with_name(f"{n}.mp4"), container=FRAGMENTS, options=NO_B) for n in "ab")
    ),
    "falls back.mp4": lambda p: patch_offsets(
        recording(p, TWO, offsets=True), lambda k, ticks: ticks - 900 * (k % 2) - (k >= PICTURES) * 90_000
    ),
    "restarts.ts": lambda p: joined(p, recording(p.with_name("a.ts")), recording(p.with_name("b.ts"))),
    "hevc restarts.ts": lambda p: joined(
        p, *(recording(p.with_name(f"{n}.ts"), codec="libx265", options=QUIET) for n in "ab")
    ),
    "mpeg2 restarts.mpg": lambda p: joined(
        p, *(recording(p.with_name(f"{n}.mpg"), codec="mpeg2video") for n in "ab")
    ),
    "restarts.mkv": lambda p: patch_clusters(
        recording(p, TWO, container=LIVE), lambda _, ms: ms - 1000 if ms >= 1000 else ms
    ),
    "vp8 restarts.webm": lambda p: patch_clusters(
        recording(p, TWO, container=LIVE, codec="libvpx"), lambda _, ms: ms - 1000 if ms >= 1000 else ms
    ),
    "falls by a moment.flv": lambda p: patch_flv(
        recording(p, TWO, options=NO_B), lambda ms: ms - 300 if ms >= 1500 else ms
    ),
    "one wild stamp.mp4": lambda p: stray(p, at=20, by_s=10_800),
    "one wild stamp, no b-frames.mp4": lambda p: stray(p, at=20, by_s=10_800, options=NO_B),
    "one stamp five seconds ahead.mp4": lambda p: stray(p, at=20, by_s=5),
    "one stamp behind.mp4": lambda p: stray(p, at=40, by_s=-1.2, options=NO_B),
    "first stamp wild.mp4": lambda p: stray(p, at=0, by_s=3600, options=NO_B),
    "last stamp wild.mp4": lambda p: stray(p, at=49, by_s=3600, options=NO_B),
    "one wild stamp.flv": lambda p: patch_flv(
        recording(p, TWO, options=NO_B), lambda ms: ms + 3_600_000 if ms == 800 else ms
    ),
    "all stamps equal.flv": lambda p: patch_flv(recording(p, TWO, options=NO_B), lambda ms: 7),
    "clock stands still.flv": lambda p: patch_flv(recording(p, TWO, options=NO_B), lambda ms: min(ms, 1000)),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_an_impossible_step_becomes_the_usual_one_and_is_noted(tmp_path: Path, name: str):
    times, medium = read(BROKEN[name](tmp_path / name))
    count = 75 if name.startswith("three") else 50
    np.testing.assert_allclose(times, np.arange(count) * STEP, atol=2e-3)
    np.testing.assert_allclose(times, medium.times, atol=1e-6)
    assert medium.facts().duration_s == pytest.approx(count * STEP, abs=0.01)
    assert medium.facts().fps == pytest.approx(25, abs=0.1)
    assert repaired(medium)


GENUINE: dict[str, tuple[Callable[[Path], Path], list[float]]] = {
    "ordinary.mp4": (lambda p: recording(p), [*T]),
    "ordinary.ts": (lambda p: recording(p), [*T]),
    "stood still for five minutes.mkv": (lambda p: recording(p, [*T, *(T + 300)]), [*T, *(T + 300)]),
    "stood still between b-frames.mp4": (lambda p: recording(p, [*T[:13], *(T[13:] + 17)]), [*T[:13], *(T[13:] + 17)]),
    "stood still while sound went on.ts": (
        lambda p: recording(p, [*T, *(T + 30)], sound_s=np.arange(0, 31, 1024 / 48000)),
        [*T, *(T + 30)],
    ),
    "slides.mkv": (lambda p: recording(p, np.arange(12) * 10.0, options=NO_B), [*(np.arange(12) * 10.0)]),
    "slides.ts": (lambda p: recording(p, np.arange(12) * 15.0, options=NO_B), [*(np.arange(12) * 15.0)]),
    "variable rate.webm": (lambda p: recording(p, UNEVEN, codec="libvpx"), UNEVEN),
    "clock of 33 bits wraps.ts": (lambda p: recording(p, T + WRAP_S - 0.5), [*T]),
    "clock of 33 bits wraps.mpg": (lambda p: recording(p, T + WRAP_S - 0.5, codec="mpeg2video", options=NO_B), [*T]),
    "hours from the start.mkv": (lambda p: recording(p, T + 7200), [*T]),
    "b-frames without stamps.avi": (lambda p: recording(p), [*T]),
    "a late picture.flv": (
        lambda p: patch_flv(recording(p, T, options=NO_B), lambda ms: ms - 40 if ms == 400 else ms),
        [*T],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GENUINE)
def test_a_genuine_pause_stays_and_nothing_is_noted(tmp_path: Path, name: str):
    make, expected = GENUINE[name]
    times, medium = read(make(tmp_path / name))
    np.testing.assert_allclose(times, expected, atol=2e-3)
    np.testing.assert_allclose(times, medium.times, atol=1e-6)
    # the last picture is shown for a usual step at most
    assert expected[-1] < medium.facts().duration_s < expected[-1] + 1.05 * max(np.median(np.diff(expected)), STEP)
    assert not repaired(medium)


def test_both_clocks_that_pause_together_tell_a_join_from_a_still_picture(tmp_path: Path):
    sound = [*np.arange(0, 1, 1024 / 48000), *np.arange(30, 31, 1024 / 48000)]
    times, medium = read(recording(tmp_path / "a.ts", [*T, *(T + 30)], sound_s=sound))
    assert times[-1] == pytest.approx(49 * STEP, abs=1e-3)
    assert repaired(medium)
    kept, medium = read(recording(tmp_path / "a.mkv", [*T, *(T + 30)], sound_s=sound))
    assert kept[-1] == pytest.approx(30.96, abs=2e-3)  # its players show the picture for half a minute
    assert not repaired(medium)


@pytest.mark.parametrize(
    ("name", "steps", "median"),
    [
        ("pts_outlier.mp4", 75, STEP),
        ("joined_clock_jumps_2h.mkv", 102, STEP),
        ("joined_clock_restarts.ts", 102, STEP),
        ("h264_bframes.avi", 75, STEP),
        ("slowmo_240fps.mp4", 240, 1 / 240),
        ("mediarecorder_no_duration.webm", 100, STEP),
        ("starts_mid_gop.ts", 70, STEP),
        ("starts_mid_gop_h264.ts", 40, STEP),
        ("editlist_trim.mp4", 32, STEP),
        ("interlaced.mpg", 50, STEP),
    ],
)
def test_clips_from_the_field_play_in_even_steps(research: Path, name: str, steps: int, median: float):
    times, medium = read(research / "field" / name)
    assert len(times) == steps
    np.testing.assert_allclose(np.diff(times), median, atol=1e-4)
    assert medium.facts().duration_s == pytest.approx(steps * median, abs=0.01)
    assert repaired(medium) == name.startswith(("pts", "joined"))


def test_a_screen_recording_keeps_its_pauses(research: Path):
    times, medium = read(research / "field" / "screen_recording_gaps.mkv")
    assert np.diff(times).max() == pytest.approx(17.52)
    assert medium.facts().duration_s == pytest.approx(30.04)
    assert not repaired(medium)


def test_stamps_that_are_missing_are_filled():
    pts = T.copy()
    pts[[3, 4, 20]] = np.nan
    line = time_line(Stamps(pts, np.full(25, np.nan), np.zeros(25, bool)), Habits(reorders=False))
    np.testing.assert_allclose(line.times, T, atol=1e-9)
    assert line.moved.sum() == 3


def test_no_stamps_at_all_are_even_steps_in_the_order_of_the_decoder():
    unknown = np.full(6, np.nan)
    line = time_line(Stamps(unknown, unknown, np.zeros(6, bool)), Habits(step_s=0.1), depth=2)
    place_of = line.follow()
    assert [place_of(packet) for packet in (0, 3, 2, 4, 1, 5)] == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(line.times, np.arange(6) / 10)


@pytest.mark.parametrize("seed", range(5))
def test_any_stamps_give_a_line_that_ascends(seed: int):
    rng = np.random.default_rng(seed)
    for count in (1, 2, 7, 60, 300):
        pts = rng.choice([0.0, 1.0, 7e4, -3.0], count) + rng.random(count) * rng.choice([0, 1e-3, 10, 1e6])
        pts[rng.random(count) < 0.2] = np.nan
        dts = np.where(rng.random(count) < 0.5, np.nan, np.sort(rng.random(count)))
        habits = Habits(reorders=bool(seed % 2), restarts=bool(seed % 3), sound=lambda: rng.random(50) * 1e5)
        line = time_line(Stamps(pts, dts, rng.random(count) < 0.2), habits)
        assert line.times[0] == 0
        assert (np.diff(line.times) >= 0).all()
        assert sorted(line.place) == list(range(count))


def test_a_hostile_clock_costs_no_minutes():
    rng = np.random.default_rng(3)
    pts = rng.choice(np.array([0.0, 5.0, 9000.0]), 40_000) + np.arange(40_000) * STEP
    nothing = np.full(40_000, np.nan)
    line = time_line(
        Stamps(pts, nothing, rng.random(40_000) < 0.5), Habits(sound=lambda: np.sort(rng.random(40_000)) * 1e4)
    )
    assert len(line.times) == 40_000


# --------------------------------------------------------------------------- sound


def test_sound_follows_its_pictures_over_breaks_of_the_clock():
    pieces = (Piece(0, 1, 0), Piece(7200, 7201, -7199), Piece(0, 1, 2))
    clock = SoundClock(pieces, zero_s=0)
    assert [clock.at(stamp) for stamp in (0.5, 0.9, 7200.1, 7200.9, 0.1, 0.2)] == pytest.approx(
        [0.5, 0.9, 1.1, 1.9, 2.1, 2.2]
    )


def test_one_wild_stamp_of_the_sound_moves_nothing_else():
    clock = SoundClock((Piece(0, 5, 0),), zero_s=0)
    assert [clock.at(stamp) for stamp in (0.5, 0.52, 9000, 0.56, 0.58)] == pytest.approx([0.5, 0.52, 0.52, 0.56, 0.58])


def test_the_unlimited_medium_reads_the_same_times(tmp_path: Path):
    clip = recording(tmp_path / "a.mp4", HOURS)
    with VideoMedium(clip, limits=UNLIMITED) as medium:
        assert medium.times[-1] == pytest.approx(49 * STEP)
    with av.open(str(clip)) as container:  # the file itself does jump
        assert container.duration > 7_000_000_000
