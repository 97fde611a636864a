"""Which pictures are sampled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.media.sampling import choose_pictures
from base_detector import WorkerFailure

TIMES = np.arange(751) / 25.0


def test_every_frame_of_a_short_clip():
    assert choose_pictures(TIMES[:300], samplings=["every_frame"], mode="standard").tolist() == list(range(300))


def test_frames_are_spread_from_first_to_last():
    chosen = choose_pictures(TIMES, samplings=["frames:32"], mode="standard")
    assert len(chosen) == 32
    assert (chosen[0], chosen[-1]) == (0, 750)
    assert np.diff(chosen).max() - np.diff(chosen).min() <= 1


def test_frames_a_second_follow_time_and_not_numbers():
    times = np.array([0.0, 0.1, 0.2, 0.9, 1.4, 1.5, 2.0, 5.0])
    assert choose_pictures(times, samplings=["fps:1"], mode="standard").tolist() == [0, 4, 6, 7]
    assert len(choose_pictures(TIMES, samplings=["fps:1"], mode="standard")) == 31


def test_the_union_serves_every_detector():
    one = choose_pictures(TIMES, samplings=["fps:1"], mode="standard")
    two = choose_pictures(TIMES, samplings=["frames:32"], mode="standard")
    both = choose_pictures(TIMES, samplings=["frames:32", "fps:1"], mode="standard")
    assert both.tolist() == sorted(set(one.tolist()) | set(two.tolist()))


@pytest.mark.parametrize(("mode", "most"), [("quick", 32), ("standard", 300)])
def test_modes_bound_the_count(mode: str, most: int):
    chosen = choose_pictures(TIMES, samplings=["every_frame"], mode=mode)
    assert len(chosen) == most
    assert (chosen[0], chosen[-1]) == (0, 750)


def test_thorough_takes_every_picture_whatever_is_asked():
    assert len(choose_pictures(TIMES, samplings=["frames:4"], mode="thorough")) == 751


@pytest.mark.parametrize(
    ("samplings", "mode"), [(["all"], "quick"), (["fps:0"], "quick"), (["fps:1"], "slow"), ([3], "quick")]
)
def test_unknown_requests_are_refused(samplings: list, mode: str):
    with pytest.raises(WorkerFailure, match="bad_request"):
        choose_pictures(TIMES, samplings=samplings, mode=mode)


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.floats(0, 10), max_size=60),
    samplings=st.lists(
        st.sampled_from(["every_frame", "fps:1", "fps:12.5", "frames:1", "frames:7", "frames:500"]), max_size=3
    ),
    mode=st.sampled_from(["quick", "standard", "thorough"]),
)
def test_choices_are_valid_for_any_times(steps: list[float], samplings: list[str], mode: str):
    times = np.concatenate([[0.0], np.cumsum(steps)])
    chosen = choose_pictures(times, samplings=samplings, mode=mode)
    assert 1 <= len(chosen) <= {"quick": 32, "standard": 300, "thorough": len(times)}[mode]
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < len(times)
