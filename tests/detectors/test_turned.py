"""Faces that are shown on their side or head: a detector sees them upright, and places compare as in the upright clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.harvest.media_pack import harvest_pack
from base_detector import FACE_DTYPE, FacePack
from tests.packs import finish_pack, turned_pack, write_faces

WIDTH, HEIGHT, FRAMES = 320, 240, 60


def scene(frame: int) -> np.ndarray:
    noise = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return np.roll(noise, (frame, 2 * frame), axis=(0, 1))


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> FacePack:
    """A face that walks to the right, cut as the media pass cuts it."""
    folder = tmp_path_factory.mktemp("upright")
    rows, crops = np.zeros(FRAMES, FACE_DTYPE), []
    for frame, row in enumerate(rows):
        x = 30 + frame / 2
        row["frame"], row["time_s"], row["confidence"] = frame, frame / 25, 1
        row["box"] = x, 60, x + 60, 140
        row["landmarks"] = [(x + 20, 90), (x + 42, 91), (x + 31, 105), (x + 22, 120), (x + 40, 121)]
        left, top = max(0, int(x + 30 - 80)), 20
        row["crop_origin"] = left, top
        crops.append(scene(frame)[top:180, left : int(x + 110)])
    write_faces(folder, rows, crops)
    return finish_pack(folder, size=(WIDTH, HEIGHT), shots=[{"shot": 0, "start": 0, "end": FRAMES - 1}])


@pytest.fixture(params=[90, 180, 270])
def turned(request: pytest.FixtureRequest, upright: FacePack, tmp_path: Path) -> FacePack:
    return turned_pack(upright, tmp_path / "turned", turn=request.param)


def test_a_detector_sees_a_turned_face_as_in_the_upright_picture(upright: FacePack, turned: FacePack):
    for index in range(len(upright)):
        face, wanted = turned.face(index), upright.face(index)
        np.testing.assert_allclose(face.box, wanted.box, atol=1e-4)
        np.testing.assert_allclose(face.landmarks, wanted.landmarks, atol=1e-4)
        assert face.image_origin == wanted.image_origin
        assert face.frame_size == wanted.frame_size == (WIDTH, HEIGHT)


def test_the_row_of_a_turned_face_says_where_it_is_in_the_frame_as_shown(turned: FacePack):
    turn = int(turned.faces["turn"][0])
    for index in (0, FRAMES - 1):
        shown = np.rot90(scene(index), turn // 90)  # counter-clockwise: upright again after ``turn`` clockwise
        row, crop = turned.faces[index], np.rot90(turned.image(index), turn // 90)
        x, y = row["crop_origin"]
        np.testing.assert_array_equal(shown[y : y + crop.shape[0], x : x + crop.shape[1]], crop)
        assert (row["box"][:2] >= row["crop_origin"]).all()
        assert (row["box"][2:] <= row["crop_origin"] + crop.shape[1::-1]).all()


def test_the_other_side_takes_a_turned_pack_and_holds_its_crops_to_the_frame(turned: FacePack, tmp_path: Path):
    harvest_pack(turned.folder, tmp_path / "harvested")
    np.testing.assert_array_equal(FacePack(tmp_path / "harvested").upright, turned.upright)


def test_tubes_stays_and_sequences_are_those_of_the_upright_clip(upright: FacePack, turned: FacePack):
    pytest.importorskip("torch")
    from detectors.eighteen import tubes
    from detectors.medics import clips
    from detectors.medics.detector import find_stays
    from detectors.ntech.detector import frames_of
    from detectors.ntech.tracks import Look

    turn = int(turned.faces["turn"][0])
    frames = tubes.choose_frames(upright.frames, total=FRAMES)
    (tube,), (wanted,) = tubes.find_tubes(turned, frames), tubes.find_tubes(upright, frames)
    positions = np.arange(0, len(tube), 10)
    np.testing.assert_array_equal(
        tubes.read_tube(turned, tube, positions=positions, side=64),
        tubes.read_tube(upright, wanted, positions=positions, side=64),
    )
    (stay,), (same) = find_stays(turned), find_stays(upright)
    assert stay.region.columns == same[0].region.columns
    assert clips.unseen_share(turned, stay.region, turn=turn) == clips.unseen_share(upright, stay.region)
    np.testing.assert_array_equal(
        clips.cut_clip(turned, stay.region, turn=turn).video, clips.cut_clip(upright, stay.region).video
    )
    both = [
        frames_of(pack, Look(tuple(range(7)), mirrored=False, box=pack.upright["box"][3]), side=224)
        for pack in (turned, upright)
    ]
    np.testing.assert_array_equal(*both)
