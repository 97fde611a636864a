"""When faces are detected, how they are followed, what is interpolated; with a detector that reads faces from a script."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backend.media import sweep as module
from backend.media.medium import Orientation
from backend.media.sweep import FaceSweep
from backend.media.tracks import Found, Sighting, link, overlap

SHAPE = (np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])).astype(np.float32)


class Scripted:
    """Says what ``where(frame)`` says: (x, y, side, confidence) for each face. The frame number stands in the picture.

    In a near look the face is where it is looked for, as long as there is one in the frame.
    """

    def __init__(self, where) -> None:
        self.where, self.asked, self.near = where, [], []

    def detect(self, image: np.ndarray, *, min_face: float = 20.0):
        frame = int(image[0, 0, 0])
        faces = self.where(frame)
        self.asked.append(frame)
        boxes = np.array([[x, y, x + side, y + side] for x, y, side, _ in faces], np.float32).reshape(-1, 4)
        points = boxes[:, None, :2] + SHAPE * (boxes[:, 2:] - boxes[:, :2])[:, None]
        return SimpleNamespace(boxes=boxes, confidence=np.array([face[3] for face in faces]), landmarks=points)

    def settle(self, image: np.ndarray, boxes: np.ndarray):
        frame = int(image[0, 0, 0])
        self.near.append(frame)
        confidence = np.full(len(boxes), max((face[3] for face in self.where(frame)), default=0.0))
        points = boxes[:, None, :2] + SHAPE * (boxes[:, 2:] - boxes[:, :2])[:, None]
        return SimpleNamespace(boxes=boxes, confidence=confidence, landmarks=points)


class Picture:
    """A 400 x 300 picture that carries its number."""

    damaged = False
    size = (400, 300)

    def __init__(self, index: int) -> None:
        self.index, self.time_s = index, index / 25

    def rgb(self) -> np.ndarray:
        return np.full((300, 400, 3), self.index % 256, np.uint8)


@pytest.fixture(autouse=True)
def believing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "believable", lambda detector, sighting: True)


def run(where, frames, *, jumps=(), thorough: bool = False):
    """Sweep ``frames``; the detector, the believed tracks and the sightings as (track, frame, tracked, box)."""
    detector, seen = Scripted(where), []

    def keep(track, sighting: Sighting) -> None:
        seen.append((track.number, sighting.frame, sighting.found.tracked, sighting.found.box.copy()))

    sweep = FaceSweep(detector, keep, context=2.0, still=False, thorough=thorough)
    for place, frame in enumerate(frames):
        follower = frames[place + 1] if place + 1 < len(frames) else None
        sweep.feed(Picture(frame), view=sum(jump <= frame for jump in jumps), next_frame=follower)
    return detector, sweep.finish(), seen


def test_a_calm_face_is_detected_every_fifth_picture_and_interpolated_between():
    detector, tracks, seen = run(lambda frame: [(50 + frame, 60, 80, 1.0)], list(range(21)))
    assert detector.asked == [0, 5, 10, 15, 20]
    assert len(tracks) == 1
    assert [frame for _, frame, _, _ in seen] == list(range(21))
    assert [tracked for _, _, tracked, _ in seen] == [frame % 5 != 0 for frame in range(21)]
    for _, frame, _, box in seen:
        np.testing.assert_allclose(box, [50 + frame, 60, 130 + frame, 140], atol=1e-3)


def test_thorough_looks_near_the_face_between_two_searches_of_the_whole_picture():
    detector, _, seen = run(lambda frame: [(150 + frame, 100, 80, 1.0)], list(range(7)), thorough=True)
    assert detector.asked == [0, 5, 6]
    assert detector.near == [1, 2, 3, 4]
    assert not any(tracked for _, _, tracked, _ in seen)
    for _, frame, _, box in seen:
        np.testing.assert_allclose(box, [150 + frame, 100, 230 + frame, 180], atol=1)


def test_thorough_searches_every_picture_of_a_crowd_whole():
    crowd = [(5 + 60 * number, 100, 40, 1.0) for number in range(6)]
    detector, tracks, seen = run(lambda frame: crowd, list(range(6)), thorough=True)
    assert sorted(detector.asked) == list(range(6))
    assert detector.near == []
    assert len(tracks) == 6
    assert not any(tracked for _, _, tracked, _ in seen)


def test_thorough_searches_the_whole_picture_where_the_face_is_not_near():
    detector, tracks, seen = run(lambda frame: [(150, 100, 80, 1.0)] * (frame != 3), list(range(6)), thorough=True)
    assert 3 in detector.asked
    assert len(tracks) == 1
    assert [frame for _, frame, _, _ in seen] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("first", [6, 7, 8, 9])
def test_thorough_finds_a_small_face_from_its_first_picture_on(first: int):
    _, _, seen = run(lambda frame: [(150, 100, 24, 1.0)] * (frame >= first), list(range(16)), thorough=True)
    assert [frame for _, frame, _, _ in seen] == list(range(first, 16))


def test_sparse_samples_are_all_detected():
    detector, tracks, _ = run(lambda frame: [(50, 60, 80, 1.0)], [0, 10, 20, 30])
    assert detector.asked == [0, 10, 20, 30]
    assert len(tracks) == 1


def test_both_sides_of_a_jump_are_detected_and_nothing_crosses_it():
    def where(frame):
        return [(50, 60, 80, 1.0)] if frame < 8 else [(60, 60, 80, 1.0)]

    detector, tracks, seen = run(where, list(range(15)), jumps={8})
    assert {7, 8} <= set(detector.asked)
    assert len(tracks) == 2
    assert {track.view for track in tracks} == {0, 1}
    for number, frame, _, box in seen:
        assert box[0] == (50 if frame < 8 else 60)
        assert number == (0 if frame < 8 else 1)


def test_a_fast_face_is_looked_for_in_between():
    detector, tracks, seen = run(lambda frame: [(10 + 4 * abs(frame - 5) ** 1.5, 60, 80, 1.0)], list(range(11)))
    assert len(detector.asked) > 3
    assert len(tracks) == 1
    for _, frame, _, box in seen:
        truth = 10 + 4 * abs(frame - 5) ** 1.5
        assert overlap(box[None], np.array([[truth, 60, truth + 80, 140]]))[0, 0] > 0.7


def test_a_large_face_that_comes_is_found_to_the_picture():
    _, _, seen = run(lambda frame: [(50, 60, 80, 1.0)] if frame >= 7 else [], list(range(11)))
    assert [frame for _, frame, _, _ in seen] == [7, 8, 9, 10]


def test_a_small_face_in_the_background_costs_no_extra_look():
    detector, _, seen = run(lambda frame: [(50, 60, 20, 1.0)] if frame >= 7 else [], list(range(11)))
    assert detector.asked == [0, 5, 10]
    assert [frame for _, frame, _, _ in seen] == [10]


def test_a_small_face_that_moved_by_half_its_width_is_the_same():
    detector, tracks, _ = run(lambda frame: [(50 + 3 * frame, 60, 24, 1.0)], list(range(16)))
    assert len(tracks) == 1
    assert len(detector.asked) < 16


def test_a_face_missed_for_a_moment_stays_the_same_track():
    _, tracks, seen = run(lambda frame: [] if frame == 10 else [(50, 60, 80, 1.0)], list(range(21)))
    assert len(tracks) == 1
    assert 10 not in [frame for _, frame, _, _ in seen]


def test_two_faces_that_pass_keep_their_tracks():
    def where(frame):
        return [(20 + 4 * frame, 40, 60, 1.0), (200 - 4 * frame, 130, 60, 1.0)]

    _, tracks, seen = run(where, list(range(31)))
    assert len(tracks) == 2
    for number, _, _, box in seen:
        assert box[1] == (40 if number == 0 else 130)


def test_what_fails_the_second_look_is_never_written(monkeypatch: pytest.MonkeyPatch):
    looks = []

    def doubt(detector, sighting):
        looks.append(sighting.frame)
        return False

    monkeypatch.setattr(module, "believable", doubt)
    _, tracks, seen = run(lambda frame: [(50, 60, 80, 0.97)], list(range(60)))
    assert (tracks, seen) == ([], [])
    assert len(looks) == 4


def test_a_face_believed_late_is_written_from_its_beginning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "believable", lambda detector, sighting: sighting.frame != 0)
    _, _, seen = run(lambda frame: [(50, 60, 80, 0.97)], list(range(16)))
    assert [frame for _, frame, _, _ in seen] == list(range(16))


def test_one_lucky_look_does_not_redeem_a_place_given_up(monkeypatch: pytest.MonkeyPatch):
    """A backdrop fails four times, vanishes, comes back as a new track, and passes once."""
    looks: list[int] = []

    def doubt(detector, sighting):
        looks.append(sighting.frame)
        return len(looks) == 5

    monkeypatch.setattr(module, "believable", doubt)
    _, tracks, _ = run(lambda frame: [] if 30 <= frame < 120 else [(50, 60, 80, 0.97)], list(range(160)))
    assert len(looks) > 5
    assert tracks == []


def test_pictures_held_do_not_grow_with_the_clip():
    alive: list[int] = []
    most = 0

    class Counted(Picture):
        def __init__(self, index: int) -> None:
            super().__init__(index)
            alive.append(index)

        def __del__(self) -> None:
            alive.remove(self.index)

    sweep = FaceSweep(Scripted(lambda frame: [(50, 60, 80, 1.0)]), lambda *_: None, context=2.0, still=False)
    for index in range(400):
        sweep.feed(Counted(index), view=0, next_frame=index + 1)
        most = max(most, len(alive))
    assert most <= 7


# --------------------------------------------------------------------------- geometry


def test_linking_prefers_the_best_sum_and_refuses_what_hardly_overlaps():
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10]], float)
    assert link(boxes, boxes[::-1], least=0.3) == [(0, 1), (1, 0)]
    assert link(boxes, np.array([[100, 0, 110, 10]]), least=0.3) == []
    assert link(np.zeros((0, 4)), boxes, least=0.3) == []


def test_crops_stay_inside_the_picture():
    image = np.arange(20 * 30 * 3, dtype=np.uint16).astype(np.uint8).reshape(20, 30, 3)
    for box in ([-5, -5, 5, 5], [25, 15, 40, 30], [0, 0, 30, 20], [10, 5, 12, 7]):
        found = Found(np.array(box, np.float32), np.zeros((5, 2), np.float32), 1.0)
        cut = Sighting.cut(image, found, context=2.0, frame=0, time_s=0.0)
        x, y = cut.origin
        height, width = cut.crop.shape[:2]
        assert height >= 1
        assert width >= 1
        assert np.array_equal(cut.crop, image[y : y + height, x : x + width])


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_display_matrices_place_every_pixel_as_they_say(turns: int, mirrored: bool):
    """The matrix moves points; the array must be moved to the same places."""
    turn = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][turns]  # x' = a x + c y, y' = b x + d y
    a, b, c, d = turn
    if mirrored:
        a, b = -a, -b
    matrix = np.array([a * 65536, b * 65536, 0, c * 65536, d * 65536, 0, 0, 0, 1 << 30], np.int32).tobytes()
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    shown = Orientation.from_display_matrix(matrix).upright(image)
    places = np.array([(a * x + c * y, b * x + d * y) for y in range(2) for x in range(3)])
    places -= places.min(axis=0)
    for (x, y), pixel in zip(places, image.reshape(-1, 3), strict=True):
        assert np.array_equal(shown[y, x], pixel)
