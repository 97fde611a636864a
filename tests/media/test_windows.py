"""The windows of a sound: whole ones each hop, one at the end, never more than sixty."""

from __future__ import annotations

import numpy as np
import pytest

from backend.media.windows import MOST_WINDOWS, sound_windows

AASIST = (64_600 / 16_000, 32_300 / 16_000)


def spans(samples: int) -> list[tuple[int, int]]:
    rows = sound_windows(samples, [AASIST])
    return list(zip(rows["start"].tolist(), rows["stop"].tolist(), strict=True))


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        (0, []),
        (2, [(0, 2)]),
        (64_600, [(0, 64_600)]),
        (72_599, [(0, 64_600)]),
        (72_600, [(0, 64_600), (8_000, 72_600)]),
        (96_900, [(0, 64_600), (32_300, 96_900)]),
        (104_900, [(0, 64_600), (32_300, 96_900), (40_300, 104_900)]),
    ],
)
def test_whole_windows_each_hop_and_one_that_ends_with_the_sound(samples: int, wanted: list[tuple[int, int]]):
    assert spans(samples) == wanted


def test_an_hour_has_sixty_windows_evenly_spread_from_its_start_to_its_end():
    found = spans(3600 * 16_000)
    starts = np.array([start for start, _ in found])
    assert len(found) == MOST_WINDOWS
    assert (starts[0], found[-1][1]) == (0, 3600 * 16_000)
    assert np.ptp(np.diff(starts)) <= 2 * 32_300


def test_two_cards_get_their_own_windows_and_the_same_lengths_are_not_written_twice():
    rows = sound_windows(64_600, [AASIST, (1.0, 1.0), AASIST])
    assert rows["window_s"].tolist() == [1.0, 1.0, 1.0, 1.0, AASIST[0]]


def test_windows_without_speech_are_left_out():
    lengths, four_s = [(4.0, 4.0)], 4 * 16_000
    found = sound_windows(5 * four_s, lengths, speech=[(3.9, 4.3), (11.8, 12.1), (18.0, 20.0)])
    assert (found["start"] // four_s).tolist() == [1, 4]
    assert len(sound_windows(5 * four_s, lengths, speech=[])) == 0
    assert len(sound_windows(5 * four_s, lengths)) == 5
