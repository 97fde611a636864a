"""Whole pictures: how many are kept of which shot, and that they are the decoder's own pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.media.pictures import candidates, how_many, spread
from base_detector import Shot
from tests.media.clips import encode, moving, scene


def shots(*lengths: int) -> list[Shot]:
    ends = np.cumsum(lengths).tolist()
    return [
        Shot(number, end - length, end - 1, 0.0, 0.0)
        for number, (end, length) in enumerate(zip(ends, lengths, strict=True))
    ]


def taken(frames: list[int], listed: list[Shot], *, kept: int = 8) -> list[int]:
    """How many pictures each shot gets."""
    chosen = spread(frames, listed, kept=kept)
    assert chosen == sorted(set(chosen))
    return [sum(shot.start <= frame <= shot.end for frame in chosen) for shot in listed]


@pytest.mark.parametrize(
    ("lengths", "wanted"),
    [
        ([800], [8]),
        ([400, 400], [4, 4]),
        ([600, 200], [6, 2]),
        ([700, 50, 50], [7, 1, 0]),
        ([100] * 8, [1] * 8),
        ([100, 20, 100, 20, 100, 20, 100, 20, 100, 20, 100, 20, 100, 20, 100, 20], [1, 0] * 8),
    ],
)
def test_each_shot_gets_its_share_and_the_longest_ones_come_first(lengths: list[int], wanted: list[int]):
    assert taken(list(range(sum(lengths))), shots(*lengths)) == wanted


def test_pictures_are_evenly_spread_away_from_the_ends_of_a_shot():
    assert spread(list(range(80)), shots(80), kept=4) == [10, 30, 50, 70]


def test_a_shot_without_whole_pictures_leaves_its_share_to_the_others():
    assert taken(list(range(40, 80)), shots(40, 40), kept=4) == [0, 4]
    assert spread([], shots(40), kept=4) == []


def test_more_are_taken_on_the_way_than_kept_but_no_more_than_there_is_room():
    among = np.arange(1000)
    assert len(candidates(among, kept=8, most=100)) == 32
    assert len(candidates(among, kept=8, most=20)) == 20
    assert len(candidates(among, kept=8, most=0)) == 8
    assert candidates(among[:3], kept=3, most=100).tolist() == [0, 1, 2]
    assert how_many(np.arange(1000) / 25, samplings=["frames:8"]) == 8
    assert how_many(np.arange(100_000) / 25, samplings=["every_frame"]) == 32


def test_pictures_of_a_clip_are_its_decoded_pixels_and_know_their_shot(run_pass, tmp_path: Path, astronaut: np.ndarray):
    first = moving(astronaut, count=60, step=1)
    second = [np.full((240, 320, 3), (200, 30, 90), np.uint8)] * 20
    clip = encode(tmp_path / "a.mp4", [*first, *second], options={"qp": "0"}, pix_fmt="yuv444p")
    pack = run_pass(clip, samplings=(), pictures=["frames:8"])
    assert pack.pictures["shot"].tolist() == [0] * 6 + [1] * 2
    assert len(pack) == 0
    for index, row in enumerate(pack.pictures):
        wanted = [*first, *second][row["frame"]]
        assert pack.picture(index).shape == wanted.shape
        assert np.abs(pack.picture(index).astype(int) - wanted).mean() < 2
        assert row["time_s"] == pytest.approx(row["frame"] / 25)
    assert (tmp_path / "pack" / "pictures.bin").stat().st_size == 8 * 320 * 240 * 3


def test_pictures_are_upright(run_pass, tmp_path: Path, astronaut: np.ndarray):
    clip = encode(tmp_path / "a.mp4", [scene(astronaut)] * 4, rotation=90)
    assert run_pass(clip, samplings=(), pictures=["frames:2"]).picture(0).shape == (320, 240, 3)


def test_a_still_is_one_picture_in_native_pixels(run_pass, tmp_path: Path, astronaut: np.ndarray):
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    pack = run_pass(tmp_path / "a.png", samplings=(), pictures=["frames:8"])
    assert len(pack.pictures) == 1
    assert np.array_equal(pack.picture(0), astronaut)


def test_no_face_is_searched_where_nobody_asks_for_faces(tmp_path: Path, astronaut: np.ndarray):
    from backend.media.extract import extract_pack

    class Never:
        def __getattr__(self, name: str):
            raise AssertionError("a face was searched")

    Image.fromarray(astronaut).save(tmp_path / "a.png")
    answer = extract_pack(tmp_path / "a.png", tmp_path / "pack", samplings=(), pictures=["frames:8"], detector=Never())
    assert answer["faces"] == 0


def test_what_nobody_asked_for_is_not_written(run_pass, tmp_path: Path, astronaut: np.ndarray):
    clip = encode(tmp_path / "a.mp4", moving(astronaut, count=10))
    pack = run_pass(clip)
    assert len(pack) > 0
    assert (len(pack.pictures), len(pack.windows), len(pack.sound)) == (0, 0, 0)
    assert (tmp_path / "pack" / "pictures.bin").stat().st_size == 0


def test_faces_and_pictures_are_of_the_same_frames(run_pass, tmp_path: Path, astronaut: np.ndarray):
    """A frame in the list of a pack is one in which faces were searched."""
    clip = encode(tmp_path / "a.mp4", moving(astronaut, count=40, step=1))
    pack = run_pass(clip, samplings=["frames:16"], pictures=["frames:4"])
    assert len(pack.pictures) == 4
    assert set(pack.pictures["frame"].tolist()) <= set(pack.frames.tolist())
    assert len(pack.frames) == 16
