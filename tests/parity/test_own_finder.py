"""Published face finders run again about the platform's faces: places, scales, and which face is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from base_detector import FACE_DTYPE, ContractError, FacePack, load_detector
from detectors.nets import dsfd_boxes, own_finder, retinaface_boxes
from detectors.nets.own_finder import DsfdFinder, Found, RetinaFinder, found_again
from tests.packs import finish_pack, turned_pack, write_faces
from tests.parity.recipe import sighting

SIZE = (900, 528)


def drawn(pixels: np.ndarray, *, height: int, width: int) -> tuple[np.ndarray, ...]:
    """What RetinaFace would answer for an input of this size with faces where ``pixels`` (n,) says: anchors as they are."""
    count = len(retinaface_boxes.priors(height, width))
    conf = np.zeros((1, count, 2), np.float32)
    conf[0, pixels, 1] = 0.99
    return np.zeros((1, count, 4), np.float32), conf, np.zeros((1, count, 10), np.float32)


def bright(batch: np.ndarray) -> tuple[np.ndarray, ...]:
    """A finder of bright pixels: the anchor of 64 nearest to their middle."""
    height, width = batch.shape[2:]
    y, x = (float(places.mean()) for places in np.nonzero(batch[0].sum(axis=0) > 0))
    anchors = retinaface_boxes.priors(height, width) * [width, height, width, height]
    far = np.hypot(anchors[:, 0] - x, anchors[:, 1] - y) + 1e6 * (np.abs(anchors[:, 2] - 64) > 1)
    return drawn(np.array([far.argmin()]), height=height, width=width)


FACE = (500.0, 200.0, 584.0, 284.0)


@pytest.fixture
def pack(tmp_path: Path) -> FacePack:
    """One bright face in a black frame, cut with more surroundings than any detector asks for."""
    folder = tmp_path / "pack"
    folder.mkdir()
    frame = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    frame[202:282, 502:582] = 255
    seen = sighting(frame, FACE, margin=5.0)
    rows = np.zeros(1, FACE_DTYPE)
    rows["box"], rows["crop_origin"], rows["landmarks"], rows["confidence"] = FACE, seen.origin, np.nan, 1
    write_faces(folder, rows, [seen.crop])
    return finish_pack(folder, size=SIZE)


@pytest.mark.parametrize("context", [2.6, 5.0])
def test_a_face_has_its_place_in_the_frame_whatever_is_around_it(pack: FacePack, context: float):
    find = RetinaFinder(bright, least=0.8, shorter=400, longest=2150, overlap=0.4)
    (found,) = found_again(pack, 0, find, context=context)
    np.testing.assert_allclose(
        (found.box[:2] + found.box[2:]) / 2, [542, 242], atol=12
    )  # an anchor's step, in pixels of the frame
    assert found.box[2] - found.box[0] == pytest.approx(64 * 528 / 400, rel=0.01)
    np.testing.assert_allclose(found.points[0], (found.box[:2] + found.box[2:]) / 2, atol=1e-3)


def test_what_other_detectors_asked_for_changes_nothing(pack: FacePack):
    sizes = []
    for context in (2.0, 2.6):
        found_again(
            pack, 0, lambda image, **where: sizes.append((image.shape[:2], where["origin"])) or [], context=context
        )
    assert sizes == [((168, 168), (458, 158)), ((220, 220), (432, 132))]


def test_a_turned_face_has_its_place_in_the_frame_that_is_turned_like_it(pack: FacePack, tmp_path: Path):
    turned = turned_pack(pack, tmp_path / "turned", turn=90)
    seen = []
    find = RetinaFinder(bright, least=0.8)
    (upright,) = found_again(pack, 0, find, context=2.6)
    (found,) = found_again(turned, 0, lambda *a, **k: seen.append(k["frame_size"]) or find(*a, **k), context=2.6)
    assert seen == [SIZE]
    np.testing.assert_allclose(found.box, upright.box, atol=0.5)


def test_of_several_faces_those_that_overlap_the_platforms_box_count_the_nearest_first(pack: FacePack):
    def at(shift: float) -> Found:
        return Found(np.float32(FACE) + np.float32(shift), 0.9, np.zeros((5, 2), np.float32))

    shifts = [60, 20, 4, 200]
    found = found_again(pack, 0, lambda image, **_: [at(shift) for shift in shifts], context=2.6)
    assert [item.box[0] - FACE[0] for item in found] == [4, 20]


def test_scaled_frames_have_the_published_places():
    """Shares of the side rounded down, pixels of the side rounded to the nearest: 681 and 682 of a frame of 900 x 528."""
    find = RetinaFinder(lambda batch: drawn(np.array([0]), height=400, width=682), least=0.5, shorter=400, longest=2150)
    (found,) = find(np.zeros((528, 900, 3), np.uint8), origin=(0, 0), frame_size=SIZE)
    width = 16 / 682 * 900 * (682 / (400 / 528 * 900)) * 682 / 681
    assert found.box[2] - found.box[0] == pytest.approx(width, rel=1e-5)
    long = RetinaFinder(lambda batch: drawn(np.array([0]), height=63, width=2150), least=0.5, shorter=400, longest=2150)
    (found,) = long(np.zeros((88, 3000, 3), np.uint8), origin=(0, 0), frame_size=(3000, 88))
    assert found.box[2] - found.box[0] == pytest.approx(16 * 3000 / 2150, rel=1e-3)


@pytest.mark.parametrize("size", [(900, 528), (1280, 720), (300, 470)])
def test_dsfd_on_a_crop_that_is_the_frame_gives_the_boxes_of_the_frame(size: tuple[int, int]):
    y, x = np.mgrid[: size[1], : size[0]]
    frame = np.stack([x % 251, y % 241, (x + y) // 8], axis=-1).astype(np.uint8)
    batch, filled = dsfd_boxes.prepare(frame)
    places = dsfd_boxes.anchors(*batch.shape[2:])
    rng = np.random.default_rng(3)
    offsets = rng.normal(0, 0.3, (len(places), 4)).astype(np.float32)
    logits = np.stack([np.zeros(len(places)), np.where(rng.random(len(places)) < 0.01, 2, -9)], 1).astype(np.float32)
    kept = dsfd_boxes.suppress(dsfd_boxes.decode(offsets, places), dsfd_boxes.face_probability(logits))
    boxes, scores = dsfd_boxes.in_frame(kept, filled=filled, frame=(size[1], size[0]))
    given = []
    find = DsfdFinder(lambda inputs: given.append(inputs) or (offsets[None], logits[None]))
    found = find(np.ascontiguousarray(frame[..., ::-1]), origin=(0, 0), frame_size=size)
    assert given[0].shape == batch.shape
    assert np.abs(given[0] - batch).mean() < 2  # resized by a factor that differs in its fourth digit
    assert [item.score for item in found] == pytest.approx(scores.tolist())
    np.testing.assert_allclose([item.box for item in found], boxes, rtol=0, atol=0.6)


def test_a_part_of_the_frame_is_where_the_frame_has_it():
    """One anchor of a crop, moved to the frame with the published fault of padded frames (528 lines: 300 of 320)."""
    logits = np.full((1, len(dsfd_boxes.anchors(64, 64)), 2), (0, -9), np.float32)
    logits[0, 5 * 16 + 7, 1] = 9  # stride 4: row 5, column 7
    find = DsfdFinder(lambda inputs: (np.zeros((1, logits.shape[1], 4), np.float32), logits))
    (found,) = find(np.zeros((112, 112, 3), np.uint8), origin=(400, 200), frame_size=SIZE)
    factor = 512 / 900
    centre = [400 + 7.5 * 4 / factor, (200 + 5.5 * 4 / factor) * factor * 528 / 320]
    np.testing.assert_allclose((found.box[:2] + found.box[2:]) / 2, centre, atol=0.01)


def test_a_card_that_names_no_mode_is_told_so():
    card = load_detector("detectors.ntech").card
    assert [own_finder.is_wanted(card, mode) for mode in ("quick", "standard", "thorough")] == [False, False, True]
    assert own_finder.by_mode(card, "shortest_track", "thorough") == 19
    for wrong in ("thorough", ["always"]):
        with pytest.raises(ContractError, match=r"parameters\.own_finder must be a list of modes"):
            own_finder.is_wanted(replace(card, parameters={"own_finder": wrong}), "quick")
    with pytest.raises(ContractError, match=r"parameters\.shortest_track must be a table of quick, standard, thorough"):
        own_finder.by_mode(replace(card, parameters={"shortest_track": {"quick": 7}}), "shortest_track", "quick")
