"""A track in which one face dissolves into another is two people; one person in changing surroundings remains one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.media.identity import Part, Ways
from backend.media.tracks import Found, Sighting, Track
from tests.media.clips import encode

BOX = np.array([60, 60, 140, 140], np.float32)
POINTS = np.array([[85, 90], [115, 90], [100, 105], [88, 122], [112, 122]], np.float32)


class Reds:
    """An embedder that takes the red of a chip's middle for the person: a hundred levels are a distance of 1."""

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, chips):
        self.asked += len(chips)
        return np.array([[chip[75, 75, 0] / 100.0] for chip in chips])


def parts(reds: list[float], *dissolves: int) -> tuple[list[Part], Reds]:
    """The parts of a track of faces so red, five a second, 25 pictures a second."""
    embedder = Reds()
    ways, track = Ways(embedder), Track(0, 0, 0, 0.0, BOX)  # type: ignore[arg-type]
    for place, red in enumerate(reds):
        image = np.full((200, 200, 3), red, np.uint8)
        sighting = Sighting.cut(image, Found(BOX, POINTS, 1.0), context=2.0, frame=5 * place, time_s=place / 5)
        ways.consider(track, sighting, row=place)
    return ways.parts(track, dissolves=dissolves), embedder


@pytest.mark.parametrize("length", [0, 1, 3, 6])
@pytest.mark.parametrize(("before", "after"), [(6, 6), (3, 12), (12, 3), (40, 30)])
def test_a_dissolve_parts_the_track_where_the_other_person_begins(before: int, length: int, after: int):
    reds = [*[40.0] * before, *np.linspace(40, 180, length + 2)[1:-1], *[180.0] * after]
    middle = round(5 * (before + length / 2))
    found, _ = parts(reds, middle)
    assert [part.frame for part in found] == [0, middle]
    assert found[0].views[-1].frame < middle <= found[1].views[0].frame


def test_three_people_one_after_the_other_are_three_parts():
    found, _ = parts([20.0] * 20 + [120.0] * 20 + [220.0] * 20, 100, 200)
    assert [part.frame for part in found] == [0, 100, 200]


def test_one_person_in_other_surroundings_remains_one_and_costs_six_views():
    found, embedder = parts(list(100 + 15 * np.sin(np.arange(30))), 75)
    assert (len(found), embedder.asked) == (1, 6)


def test_a_clip_without_a_dissolve_is_not_described_at_all():
    found, embedder = parts([60.0] * 30 + [200.0] * 30)
    assert (len(found), embedder.asked) == (1, 0)
    assert len(found[0].views) <= 16


@pytest.mark.parametrize("length", [6, 12, 40])
def test_two_people_who_dissolve_into_each_other_are_two_persons(run_pass, tmp_path: Path, research: Path, length: int):
    import av
    import cv2

    from backend.media.extract import warm_detector

    scenes = []
    for name in ("ffpp_real_004.mp4", "ffpp_real_519.mp4"):
        with av.open(str(research / "media" / name)) as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
        x1, y1, x2, y2 = max(warm_detector().detect(picture).boxes, key=lambda box: box[2] - box[0])
        side, middle = (x2 - x1) * 2.2, ((x1 + x2) / 2, (y1 + y2) / 2)
        part = cv2.getRectSubPix(picture, (int(side), int(side)), middle)
        scenes.append(cv2.resize(part, (320, 320)).astype(np.float32))
    shares = [0.0] * 25 + list(np.linspace(0, 1, length)) + [1.0] * 25
    pictures = [(scenes[0] * (1 - share) + scenes[1] * share).astype(np.uint8) for share in shares]
    pack = run_pass(encode(tmp_path / "a.mp4", pictures))
    assert set(pack.faces["person"].tolist()) == {0, 1}
    people = pack.faces["person"][np.isin(pack.faces["frame"], (5, 20, len(shares) - 20, len(shares) - 5))]
    assert len(people) == 4
    assert people[0] == people[1] != people[2] == people[3]
