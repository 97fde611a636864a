"""Stretches: where a detector stays on one side of its threshold, and where several do at one time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.scores.stretches import StretchRule, Track, joint_stretches, stretches
from shared.how_sure import STRETCHES
from shared.results import Stretch

STEP = 0.04


def track(scores, *, piece=None, step: float = STEP, first: float = 0.0) -> Track:
    """Units one after the other from ``first``, each ``step`` seconds."""
    start = first + np.arange(len(scores)) * step
    pieces = np.zeros(len(scores), np.int64) if piece is None else np.asarray(piece)
    return Track(start, start + step, np.asarray(scores, np.float64), pieces)


def noisy(*parts: tuple[float, float], seed: int = 0, spread: float = 0.15) -> np.ndarray:
    """(level, seconds) parts, 25 units a second, with noise."""
    rnd = np.random.default_rng(seed)
    return np.concatenate([np.clip(rnd.normal(level, spread, round(s / STEP)), 0, 1) for level, s in parts])


@pytest.mark.parametrize("seed", range(5))
def test_the_second_half_of_a_splice_is_found_within_half_a_second(seed: int):
    """Four seconds real and four seconds fake, whose mean says "real"."""
    scores = noisy((0.1, 4), (0.75, 4), seed=seed)
    assert scores.mean() < 0.5
    found = stretches(track(scores), threshold=0.5)
    assert [each.side for each in found] == ["real", "fake"]
    assert found[1].start_s == pytest.approx(4, abs=0.5)
    assert found[1].end_s == pytest.approx(8, abs=0.1)
    assert found[1].median == pytest.approx(0.75, abs=0.1)


def test_single_high_units_are_no_stretch():
    scores = noisy((0.1, 8))
    scores[::20] = 0.99
    assert [each.side for each in stretches(track(scores), threshold=0.5)] == ["real"]


def test_what_swings_around_the_threshold_is_on_no_side():
    scores = np.tile([0.49, 0.51], 100)
    assert stretches(track(scores), threshold=0.5) == []


def test_a_cut_and_a_pause_end_a_stretch():
    scores = np.full(100, 0.9)
    cut = stretches(track(scores, piece=np.repeat([0, 1], 50)), threshold=0.5)
    assert [(each.start_s, each.end_s) for each in cut] == [pytest.approx((0, 2)), pytest.approx((2, 4))]
    scores[40:60] = np.nan
    paused = stretches(track(scores), threshold=0.5)
    assert [(each.start_s, each.end_s) for each in paused] == [pytest.approx((0, 1.6)), pytest.approx((2.4, 4))]


def test_a_person_with_two_faces_in_each_picture_has_no_pauses():
    """A mirror: half of the steps of time are none."""
    twice = track(np.full(50, 0.9))
    twice = Track(*(np.repeat(part, 2) for part in (twice.start_s, twice.end_s, twice.scores, twice.piece)))
    assert [(one.start_s, one.end_s, one.units) for one in stretches(twice, threshold=0.5)] == [(0.0, 2.0, 100)]


@pytest.mark.parametrize("first", [0.0, 1000.0, -0.3])
def test_a_stretch_is_entered_beyond_the_margin_and_kept_at_the_threshold_wherever_time_begins(first: float):
    """Exactly at the threshold is above it; there a stretch goes on, and none begins."""
    found = [
        stretches(track(scores, first=first), threshold=0.5)
        for scores in (np.full(50, 0.5), np.repeat([0.51, 0.5], 25), np.repeat([0.8, 0.499], 25))
    ]
    ends = [[(one.side, round(one.start_s - first, 3), round(one.end_s - first, 3)) for one in part] for part in found]
    assert ends[:2] == [[], [("fake", 0.0, 2.0)]]
    assert ends[2][0] == ("fake", 0.0, 1.0)


def test_too_few_judged_units_say_nothing():
    sparse = np.full(100, np.nan)
    sparse[[3, 60]] = 0.99
    assert stretches(track(sparse), threshold=0.5) == []
    assert stretches(track([0.9, 0.9], step=4.0), threshold=0.5) == []
    assert stretches(track([]), threshold=0.5) == []


@pytest.mark.parametrize("threshold", [0.02, 0.98, 1.0])
def test_a_threshold_near_an_end_can_be_passed(threshold: float):
    above = stretches(track(np.full(50, 1.0)), threshold=threshold)
    assert [each.side for each in above] == ["fake"]
    below = stretches(track(np.full(50, 0.0)), threshold=threshold)
    assert [each.side for each in below] == ["real"]


def test_windows_of_sound_that_overlap_make_one_stretch():
    start = np.arange(0, 20, 2.0)
    voice = Track(start, start + 4, np.full(10, 0.8), np.zeros(10, np.int64))
    (found,) = stretches(voice, threshold=0.5, rule=StretchRule(window_s=6.0))
    assert (found.start_s, found.end_s, found.units) == (0, 22, 10)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.just(float("nan")), st.floats(0, 1)), max_size=120),
    st.floats(0, 1),
    st.lists(st.booleans(), min_size=120, max_size=120),
)
def test_stretches_are_in_order_apart_and_made_of_judged_units(scores: list[float], threshold: float, cuts: list[bool]):
    piece = np.cumsum(cuts[: len(scores)])
    asked = track(scores, piece=piece)
    found = stretches(asked, threshold=threshold)
    for each in found:
        inside = (asked.start_s >= each.start_s - 1e-9) & (asked.end_s <= each.end_s + 1e-9) & ~np.isnan(asked.scores)
        assert inside.sum() == each.units >= 3
        assert len(set(piece[inside])) == 1
        assert np.median(asked.scores[inside]) == each.median
    assert all(one.end_s <= two.start_s + 1e-9 for one, two in itertools.pairwise(found))


def test_detectors_are_joined_where_two_are_above_at_one_time_and_their_families_counted():
    def fake(start: float, end: float, side: str = "fake") -> Stretch:
        return Stretch(person=3, side=side, start_s=start, end_s=end, units=10, median=0.9)

    families = {"a": "blending", "b": "synthesis", "c": "synthesis", "d": "motion"}
    joint = joint_stretches(
        {"a": [fake(0, 4)], "b": [fake(2, 6)], "c": [fake(3, 8)], "d": [fake(0, 8, "real")]},
        families=families,
        person=3,
    )
    assert [(each.person, each.start_s, each.end_s, each.detectors, each.families) for each in joint] == [
        (3, 2, 3, ("a", "b"), 2),
        (3, 3, 4, ("a", "b", "c"), 2),
        (3, 4, 6, ("b", "c"), 1),
    ]
    assert joint_stretches({"a": [fake(0, 4)]}, families=families) == []
    assert joint_stretches({"a": [fake(0, 4)], "b": [fake(2.6, 6)]}, families=families) == [], "1.4 s in one go"
    assert len(joint_stretches({"a": [fake(0, 4)], "b": [fake(2.5, 6)]}, families=families)) == 1, "1.5 s"


def test_the_words_of_a_joint_stretch_say_how_long_it_is_at_least():
    """The words are the portal's, too, which does not know the rule: "one and a half seconds" there is this number."""
    assert StretchRule().joint_s == 1.5, "change the words in shared/stretch_words.py and shared/how_sure.py with it"
    assert "one and a half seconds" in STRETCHES


def test_a_short_agreement_counts_as_part_of_a_longer_one_of_as_many_families_only():
    def fake(start: float, end: float) -> Stretch:
        return Stretch(person=0, side="fake", start_s=start, end_s=end, units=10, median=0.9)

    def times(families: dict[str, str], **found: list[Stretch]) -> list[tuple[float, float]]:
        return [(each.start_s, each.end_s) for each in joint_stretches(found, families=families)]

    parts = {"a": [fake(0, 9)], "b": [fake(2, 3)], "c": [fake(3, 4)]}
    three = {"a": "blending", "b": "synthesis", "c": "motion"}
    assert times(three, **parts) == [(2, 3), (3, 4)], "two families for two seconds, though not the same two"
    assert times(three | {"c": "blending"}, **parts) == [(3, 4)], (
        "two families for one second only; one kind of evidence for two"
    )
    shots = {"a": [fake(0, 1), fake(1, 2)], "b": [fake(0, 1), fake(1, 2)]}
    assert times(three, **shots) == [(0, 1), (1, 2)], "shots bound stretches, and the agreement goes on"
    apart = {"a": [fake(0, 1), fake(1.2, 2.2)], "b": [fake(0, 1), fake(1.2, 2.2)]}
    assert times(three, **apart) == [], "never 1.5 s in one go"
