"""Where a clip is cut: real cuts are, flashes and what happens inside black are not."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from backend.media.shots import ShotFinder
from tests.media.clips import encode, moving

FPS = 25.0


@dataclass
class Picture:
    """A small picture as the shot finder sees it."""

    index: int
    bgr: np.ndarray
    damaged: bool = False

    @property
    def time_s(self) -> float:
        return self.index / FPS

    def thumb(self) -> np.ndarray:
        return self.bgr


def find(pictures: list[np.ndarray]) -> tuple[list[int], list[int]]:
    """Where shots start, and the view of each picture."""
    finder = ShotFinder(fps=FPS)
    views = [finder.feed(Picture(index, np.ascontiguousarray(picture))) for index, picture in enumerate(pictures)]
    return [shot.start for shot in finder.shots()], views


def room(seed: int, count: int, *, sway: int = 1) -> list[np.ndarray]:
    """A scene of its own colours, seen by a camera that moves a little, with noise."""
    rng = np.random.default_rng(seed)
    wall = cv2.resize(rng.integers(20, 170, (4, 7, 3)).astype(np.uint8), (300, 144), interpolation=cv2.INTER_CUBIC)
    return [
        np.clip(wall[:, abs(40 - index * sway // 3 % 80) :][:, :256] + rng.normal(0, 2, (144, 256, 3)), 0, 255).astype(
            np.uint8
        )
        for index in range(count)
    ]


def lit(picture: np.ndarray, strength: float) -> np.ndarray:
    """The picture in the light of a flash: 0 nothing, 1 white."""
    return np.clip(picture * (1 + 2 * strength) + 255 * strength**2, 0, 255).astype(np.uint8)


def black(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(index).integers(0, 4, (144, 256, 3)).astype(np.uint8) for index in range(count)]


FLASHES = {
    "one picture, overexposed": [0.7],
    "two, overexposed": [0.7, 0.6],
    "white": [1.0],
    "three, white": [1.0] * 3,
    "a strobe of ten": [0.8] * 10,
    "fast up, slowly down": [0.9, 0.7, 0.55, 0.45, 0.35, 0.25, 0.18, 0.12, 0.06],
    "slowly up, fast down": [0.1, 0.2, 0.35, 0.5, 0.8],
    "weak": [0.3, 0.3],
    "two within a quarter second": [0.8, 0.0, 0.0, 0.9],
}


@pytest.mark.parametrize("name", FLASHES)
@pytest.mark.parametrize("at", [3, 40, 88])
def test_a_flash_is_no_cut_and_the_view_goes_on(name: str, at: int):
    pictures = room(1, 100)
    for place, strength in enumerate(FLASHES[name], at):
        pictures[place] = lit(pictures[place], strength)
    starts, views = find(pictures)
    assert starts == [0]
    assert views[at - 1] == views[min(99, at + len(FLASHES[name]) + 1)]


@pytest.mark.parametrize("length", [1, 4, 10])
def test_a_moment_of_black_is_no_cut(length: int):
    pictures = room(2, 100)
    pictures[50 : 50 + length] = black(length)
    starts, views = find(pictures)
    assert starts == [0]
    assert views[49] == views[50 + length]


def test_many_flashes_at_a_press_conference_are_one_shot():
    pictures = room(3, 250)
    for at in range(10, 240, 9):
        pictures[at] = lit(pictures[at], 0.8)
    starts, views = find(pictures)
    assert (starts, set(views)) == ([0], {0})


# --------------------------------------------------------------------------- what is a cut


@pytest.mark.parametrize("between", [[], [1.0], [0.8, 0.4]], ids=["plain", "white", "in a flash"])
def test_a_cut_is_a_cut_with_a_flash_too(between: list[float]):
    first, second = room(4, 50), room(5, 50)
    pictures = first + [lit(first[-1], strength) for strength in between] + second
    starts, views = find(pictures)
    assert len(starts) == 2
    assert 50 <= starts[1] <= 50 + len(between)
    assert views[49] != views[50 + len(between)]


def test_two_scenes_in_quick_turns_are_never_one_view():
    first, second = room(6, 64), room(7, 64)
    pictures = [first[index] if index // 8 % 2 == 0 else second[index] for index in range(64)]
    starts, views = find(pictures)
    assert len(starts) >= 4
    assert not set(views[0:8] + views[16:24]) & set(views[8:16] + views[24:32])


def test_a_light_that_stays_on_is_another_view():
    pictures = room(8, 100)
    pictures[50:] = [lit(picture, 0.5) for picture in pictures[50:]]
    starts, views = find(pictures)
    assert starts == [0, 50]
    assert views[-1] != views[0]


# --------------------------------------------------------------------------- dissolves


def half_ways(pictures: list[np.ndarray]) -> list[int]:
    finder = ShotFinder(fps=FPS)
    for index, picture in enumerate(pictures):
        finder.feed(Picture(index, np.ascontiguousarray(picture)))
    return finder.dissolves


@pytest.mark.parametrize("length", [6, 12, 25, 50, 75])
@pytest.mark.parametrize(("before", "after"), [(50, 50), (15, 90)])
def test_a_dissolve_is_noticed_half_way(length: int, before: int, after: int):
    first, second = room(14, before + length, sway=0), room(15, length + after, sway=0)
    mixed = [
        (a * (1 - share) + b * share).astype(np.uint8)
        for a, b, share in zip(first[before:], second[:length], np.linspace(0, 1, length), strict=True)
    ]
    found = half_ways(first[:before] + mixed + second[length:])
    assert len(found) == 1
    assert abs(found[0] - (before + length / 2)) <= 2 + length / 8


@pytest.mark.parametrize("kind", ["still", "cut", "flash", "black"])
def test_what_is_no_dissolve_is_not_taken_for_one(kind: str):
    pictures = room(16, 120, sway=0)
    if kind == "cut":
        pictures[60:] = room(17, 60, sway=0)
    if kind == "flash":
        pictures[60] = lit(pictures[60], 0.8)
    if kind == "black":
        pictures[60:] = black(60)
    assert not half_ways(pictures)


# --------------------------------------------------------------------------- black


def faded(pictures: list[np.ndarray], *, come: bool) -> list[np.ndarray]:
    steps = np.linspace(0, 1, len(pictures)) if come else np.linspace(1, 0, len(pictures))
    return [(picture * step).astype(np.uint8) for picture, step in zip(pictures, steps, strict=True)]


def test_a_black_start_is_one_shot_up_to_the_picture():
    assert find(black(60) + room(9, 50))[0] == [0, 60]


def test_a_black_start_that_fades_in_is_cut_where_the_picture_comes():
    starts, _ = find(black(60) + faded(room(10, 20), come=True) + room(10, 50))
    assert len(starts) == 2
    assert 60 <= starts[1] <= 70


def test_black_in_the_middle_belongs_to_one_shot():
    starts, _ = find(faded(room(11, 50), come=False) + black(40) + faded(room(12, 50), come=True))
    assert len(starts) == 2
    assert 90 <= starts[1] <= 100
    starts, _ = find(room(11, 50) + black(40) + room(12, 50))
    assert starts == [0, 50, 90]


def test_a_black_end_is_not_cut_in_its_middle():
    assert find(room(13, 50) + black(60))[0] == [0, 50]
    assert find(room(13, 50) + faded(room(13, 30), come=False) + black(60))[0] == [0]


# --------------------------------------------------------------------------- faces


def test_a_face_goes_on_through_flashes_and_is_not_judged_where_it_is_white(run_pass, tmp_path, astronaut: np.ndarray):
    pictures = moving(astronaut, count=30, step=1)
    for at in (9, 20):
        pictures[at] = np.full_like(pictures[at], 255)
        pictures[at + 1] = lit(pictures[at + 1], 0.5)
    pack = run_pass(encode(tmp_path / "a.mp4", pictures))
    assert (len(pack.shots), len(pack.persons)) == (1, 1)
    assert not set(pack.faces["frame"].tolist()) & {9, 20}
    assert set(range(30)) - set(pack.faces["frame"].tolist()) <= {9, 10, 20, 21}
