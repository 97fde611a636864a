"""Who is who: clustering under what time forbids, keyfaces, chips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.media import persons as module
from backend.media.persons import FaceEmbedder, Gallery, aligned_chip, consider_portrait, keyface_rows
from backend.media.tracks import Found, Portrait, Sighting, Track


class Told:
    """An embedder whose descriptors are written in the chips: the first pixel is the distance along one axis, in hundredths."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, chips):
        self.batches.append(len(chips))
        return np.array([[chip[0, 0, 0] / 100, 0.0] for chip in chips])


def track(
    number: int, first: int, last: int, at: int, *, view: int = 0, frontality: float = 1.0, box=(0, 0, 9, 9)
) -> Track:
    """A track over frames ``first``..``last`` whose portrait is described as ``at``."""
    item = Track(number, view, first, first / 25, np.array(box, np.float32))
    item.last_frame, item.last_s, item.last_box = last, last / 25, np.array(box, np.float32)
    item.confirmed, item.rows = True, last - first + 1
    item.portraits.append(
        Portrait(np.full((1, 1, 3), at, np.uint8), 0.5 + number / 100, frontality, number, first / 25)
    )
    return item


def test_alike_tracks_of_different_times_are_one_person_and_persons_are_numbered_by_their_faces():
    tracks = [
        track(0, 0, 9, 10),
        track(1, 20, 79, 180, view=1),
        track(2, 80, 119, 20, view=2),
        track(3, 130, 139, 250, view=3),
    ]
    assert Gallery(Told()).persons(tracks) == {1: 0, 0: 1, 2: 1, 3: 2}


def test_two_faces_of_one_moment_are_never_one_person():
    tracks = [track(0, 0, 50, 10), track(1, 40, 90, 10), track(2, 200, 220, 10, view=1)]
    persons = Gallery(Told()).persons(tracks)
    assert persons[0] != persons[1]
    assert persons[2] in (persons[0], persons[1])


def test_a_face_that_turned_away_and_back_gets_the_benefit_of_the_doubt():
    apart = 55  # beyond the threshold of 0.5, within the bonus
    same_place = [track(0, 0, 50, 10), track(1, 60, 90, 10 + apart)]
    assert len(set(Gallery(Told()).persons(same_place).values())) == 1
    elsewhere = [track(0, 0, 50, 10), track(1, 60, 90, 10 + apart, box=(50, 50, 59, 59))]
    assert len(set(Gallery(Told()).persons(elsewhere).values())) == 2
    after_a_cut = [track(0, 0, 50, 10), track(1, 60, 90, 10 + apart, view=1)]
    assert len(set(Gallery(Told()).persons(after_a_cut).values())) == 2


def test_profiles_are_joined_with_more_care():
    frontal = [track(0, 0, 5, 10), track(1, 20, 25, 55, view=1)]
    profiles = [track(0, 0, 5, 10, frontality=0.0), track(1, 20, 25, 55, view=1, frontality=0.1)]
    assert len(set(Gallery(Told()).persons(frontal).values())) == 1
    assert len(set(Gallery(Told()).persons(profiles).values())) == 2


def test_one_track_or_one_moment_needs_no_embedding():
    told = Told()
    assert Gallery(told).persons([]) == {}
    assert Gallery(told).persons([track(0, 0, 5, 10)]) == {0: 0}
    assert Gallery(told).persons([track(0, 0, 5, 10), track(1, 3, 9, 10)]) == {1: 0, 0: 1}
    assert told.batches == []


def test_chips_become_descriptors_in_batches():
    told = Told()
    gallery = Gallery(told)
    tracks = [track(i, 10 * i, 10 * i + 5, 10, view=i) for i in range(40)]
    gallery.describe(tracks[:31])
    assert told.batches == []
    gallery.describe(tracks)
    assert told.batches == [40]
    assert all(item.portraits[0].chip.size == 0 for item in tracks)
    assert set(gallery.persons(tracks).values()) == {0}
    assert told.batches == [40]


def test_more_tracks_than_clustering_takes_join_the_nearest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MOST_TRACKS", 2)
    tracks = [track(0, 0, 50, 10), track(1, 60, 99, 200, view=1), track(2, 110, 115, 30, view=2), track(3, 20, 22, 10)]
    persons = Gallery(Told()).persons(tracks)
    assert persons[2] == persons[0]
    assert persons[3] not in (persons[0], persons[1])  # at the same moment as the only one it resembles
    assert len(set(persons.values())) == 3


def test_distances_of_all_pairs_are_those_of_each_pair():
    rnd = np.random.default_rng(5)
    tracks = []
    for number in range(60):
        first, at = int(rnd.integers(0, 400)), int(rnd.integers(0, 4)) * 3
        last = first + int(rnd.integers(0, 40))
        tracks.append(track(number, first, last, 0, view=number % 3, frontality=rnd.random(), box=(at, 0, at + 9, 9)))
    vectors = rnd.normal(0, 0.05, (60, 128))
    found = module._distances(tracks, vectors)
    bonuses = 0
    for i, one in enumerate(tracks):
        for j, other in enumerate(tracks[:i]):
            before, after = (one, other) if one.last_frame < other.first_frame else (other, one)
            wanted = float(np.linalg.norm(vectors[i] - vectors[j]))
            wanted += 0.05 * sum(item.portraits[0].frontality < 0.3 for item in (one, other))
            if before.last_frame >= after.first_frame:
                wanted = 1e6
            elif before.view == after.view and after.first_s - before.last_s <= 2.0:
                bonus = float(module.overlap(before.last_box[None], after.first_box[None])[0, 0]) >= 0.3
                bonuses += bonus
                wanted = max(0.0, wanted - 0.12 * bonus)
            assert found[i, j] == found[j, i] == pytest.approx(wanted, abs=1e-9)
    assert bonuses > 20


def sighting(
    image: np.ndarray, landmarks, *, frame: int = 0, tracked: bool = False, confidence: float = 1.0
) -> Sighting:
    points = np.array(landmarks, np.float32)
    low, high = points.min(axis=0) - 40, points.max(axis=0) + 40
    return Sighting(
        frame, frame / 25, Found(np.array([*low, *high], np.float32), points, confidence, tracked), image, (0, 0)
    )


ASTRONAUT = [[205, 110], [245, 108], [227, 130], [208, 152], [246, 150]]


def test_chips_put_the_landmarks_where_the_network_expects_them(astronaut: np.ndarray):
    marked = astronaut.copy()
    for x, y in ASTRONAUT:
        marked[y - 1 : y + 2, x - 1 : x + 2] = (0, 255, 0)
    chip = aligned_chip(sighting(marked, ASTRONAUT))
    assert chip.shape == (150, 150, 3)
    ys, xs = np.nonzero((chip[..., 1] > 200) & (chip[..., 0] < 80))
    for x, y in module._TEMPLATE:
        assert np.hypot(xs - x, ys - y).min() < 6


def test_keyfaces_are_sharp_frontal_detections(astronaut: np.ndarray):
    import cv2

    item = Track(0, 0, 0, 0.0, np.zeros(4, np.float32))
    blurred = cv2.GaussianBlur(astronaut, (0, 0), 6)
    consider_portrait(item, sighting(blurred, ASTRONAUT, frame=0), row=0)
    consider_portrait(item, sighting(astronaut, ASTRONAUT, frame=50), row=1)
    consider_portrait(item, sighting(astronaut, ASTRONAUT, frame=100, tracked=True), row=2)
    assert keyface_rows([item], {0: 0}) == {0: 1}
    assert len(item.portraits) == 2


def test_a_better_view_of_the_same_moment_replaces_the_first(astronaut: np.ndarray):
    item = Track(0, 0, 0, 0.0, np.zeros(4, np.float32))
    for frame, confidence in ((0, 0.8), (5, 1.0), (10, 0.7)):
        consider_portrait(item, sighting(astronaut, ASTRONAUT, frame=frame, confidence=confidence), row=frame)
    assert [portrait.row for portrait in item.portraits] == [5]


def test_the_published_embedding_knows_a_mirrored_face_from_another(astronaut: np.ndarray, research: Path):
    from PIL import Image

    from backend.media.extract import warm_detector

    two = np.asarray(Image.open(research / "media" / "image_two_people.jpg").convert("RGB"))
    chips = []
    for image in (astronaut, np.ascontiguousarray(astronaut[:, ::-1]), two):
        faces = warm_detector().detect(image)
        for box, points in zip(faces.boxes[:2], faces.landmarks[:2], strict=True):
            chips.append(aligned_chip(Sighting(0, 0.0, Found(box, points, 1.0), image, (0, 0))))
    vectors = FaceEmbedder().embed(chips)
    assert vectors.shape == (4, 128)
    assert np.linalg.norm(vectors[0] - vectors[1]) < 0.3
    assert np.linalg.norm(vectors[2] - vectors[3]) > 0.6
    assert np.linalg.norm(vectors[0] - vectors[2]) > 0.6
