"""Our WM against outputs of the published one (the golden vectors of the research data)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from base_detector import FACE_DTYPE, ContractError, Face, FacePack, Skip, load_detector  # noqa: E402
from detectors.nets.checkpoint import CheckpointError, check_names, read_torch  # noqa: E402
from detectors.nets.checkpoint import fill as fill_net  # noqa: E402
from detectors.nets.own_finder import Found  # noqa: E402
from detectors.nets.scores import softmax_at  # noqa: E402
from detectors.nets.wsdan import Attentions, Trio, WsDan  # noqa: E402
from detectors.nets.xception import Xception  # noqa: E402
from detectors.wm.detector import (  # noqa: E402
    FILES,
    MEAN,
    PLACES,
    STD,
    alignment,
    chosen_faces,
    fused,
    largest_faces,
)
from tests.packs import finish_pack, write_faces  # noqa: E402
from tests.parity.recipe import compare, context, filled_state, golden_folder, golden_of, listed_names  # noqa: E402

#: name in the golden vectors, list of names, published file
NETS = (
    ("m1", "wm_m1_xception", FILES[0]),
    ("m2", "wm_m2_wsdan_xception", FILES[1]),
    ("m3", "wm_m3_wsdan_efficientnet_b3", FILES[2]),
)


GOLDEN = "wm"


def make_nets() -> tuple[torch.nn.Module, ...]:
    return Xception(), WsDan("xception"), WsDan("b3")


def write_weights(folder: Path, research: Path) -> None:
    """The card's three files in the published layout: a dictionary with ``state_dict``; one with the prefix of DataParallel."""
    golden = golden_of(research, "wm")
    for name, listed, file in NETS:
        state = filled_state(listed_names(research, listed), golden["scale_pow2"][name])
        prefix = "module." if name == "m2" else ""
        torch.save({"epoch": 3, "state_dict": {f"{prefix}{key}": item for key, item in state.items()}}, folder / file)


@pytest.fixture(scope="module")
def crops(research: Path, golden: dict, pictures: dict) -> dict[str, np.ndarray]:
    """The aligned crop of the first face of each picture, RGB, cut from the whole frame as published."""
    detector, found = load_detector("detectors.wm"), {}
    for entry in golden["crop"]:
        if entry["face_index"] == 0:
            frame = pictures[entry["input"]]
            found[entry["input"]] = detector.crop_face(frame, face_of(entry["landmarks5_int"], frame))
    return found


def face_of(landmarks: list, frame: np.ndarray) -> Face:
    points = np.array(landmarks, np.float32)
    box = np.array([*points.min(axis=0), *points.max(axis=0)], np.float32)
    return Face(box=box, landmarks=points, frame_size=(frame.shape[1], frame.shape[0]))


# --------------------------------------------------------------------------- against the published outputs


def test_names_and_shapes_are_the_published_ones(research: Path):
    with torch.device("meta"):
        nets = make_nets()
    for net, (_, listed, _) in zip(nets, NETS, strict=True):
        names = {name: shape for name, (shape, _) in listed_names(research, listed).items()}
        check_names(names, wanted={name: tuple(item.shape) for name, item in net.state_dict().items()}, net=listed)


def test_the_alignment_is_the_published_one(golden: dict):
    assert golden["crop"]
    for entry in golden["crop"]:
        np.testing.assert_allclose(alignment(np.array(entry["landmarks5_int"])), entry["affine_2x3"], atol=1e-4)


def test_aligned_faces_are_the_published_ones(golden: dict, pictures: dict):
    detector = load_detector("detectors.wm")
    for entry in golden["crop"]:
        frame, summary = pictures[entry["input"]], entry["crop_bgr_320"]
        # a fraction of a pixel is cut off, as published
        crop = detector.crop_face(frame, face_of(np.array(entry["landmarks5_int"]) + 0.7, frame))[..., ::-1]
        assert list(crop.shape) == summary["shape"]
        means = crop.astype(np.float64).mean(axis=(0, 1))
        np.testing.assert_allclose(means, summary["channel_mean"], atol=0.5)
        places, values = zip(*summary["samples"], strict=True)
        differences = np.abs(crop.ravel()[list(places)].astype(float) - values)
        assert differences.mean() < 0.5
        turned = crop[..., ::-1].ravel()[list(places)].astype(float)
        assert np.abs(turned - values).mean() > 5


def test_a_context_crop_of_the_cards_margin_gives_the_face_of_the_whole_frame(
    research: Path, golden: dict, pictures: dict
):
    detector = load_detector("detectors.wm")
    known = json.loads((golden_folder(research) / "inputs" / "landmarks.json").read_text())["faces"]
    for entry in golden["crop"]:
        frame = pictures[entry["input"]]
        measured = known[entry["input"]][entry["face_index"]]
        box, points = np.array(measured["mtcnn_box"]), np.array(measured["mtcnn_points5"], np.float32)
        assert np.trunc(points).tolist() == entry["landmarks5_int"]
        whole = Face(box=box, landmarks=points, frame_size=(frame.shape[1], frame.shape[0]))
        cut = context(frame, box, margin=detector.card.margin, landmarks=points)
        found, wanted = detector.crop_face(*cut), detector.crop_face(frame, whole)
        # the same pixels; OpenCV rounds positions to 1/32 pixel
        assert np.abs(found.astype(int) - wanted.astype(int)).mean() < 0.05


def test_what_the_nets_see_is_the_published_input(golden: dict, crops: dict):
    detector, trio = (
        load_detector("detectors.wm"),
        Trio([torch.nn.Identity()] * 3, mean=MEAN.tolist(), std=STD.tolist()),
    )
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        with torch.inference_mode():
            inputs = trio.inputs(torch.from_numpy(detector.preproc(crops[entry["input"]])[None]))
        for name, found in zip(("m1", "m2", "m3"), inputs, strict=True):
            summary, wide = entry[name], found.numpy().astype(np.float64)
            assert list(found.shape) == summary["shape"]
            # OpenCV's warp differs between versions by single grey levels (README.md of the golden vectors): means are sharp
            np.testing.assert_allclose([wide.mean(), wide.std()], [summary["mean"], summary["std"]], atol=2e-3)
            np.testing.assert_allclose(wide.mean(axis=(0, 2, 3)), summary["channel_mean"], atol=2e-3)
            places, values = zip(*summary["samples"], strict=True)
            assert np.abs(wide.ravel()[list(places)] - values).mean() < 0.5 / 255 / 0.2424


def test_logits_and_scores_are_the_published_ones(golden: dict, crops: dict, pictures: dict, detector):
    assert golden["forward"]
    batch = np.stack([detector.preproc(crops[entry["input"]]) for entry in golden["forward"]])
    logits = dict(zip(("m1", "m2", "m3"), detector._trio(batch), strict=True))
    for row, entry in enumerate(golden["forward"]):
        for name, tolerance in (("m1", 1e-4), ("m2", 1e-4), ("m3", 1e-3)):
            wanted = np.array(entry[name]["logits"])
            assert np.all(np.abs(logits[name][row] - wanted) <= tolerance * np.maximum(1, np.abs(wanted))), name
            assert softmax_at(logits[name][row : row + 1], index=1)[0] == pytest.approx(
                entry[name]["softmax1"], abs=1e-4
            )
        assert 1 - detector.get_softlabel(batch)[row] == pytest.approx(entry["face_score"], abs=1e-4)
        (landmarks,) = (
            item["landmarks5_int"]
            for item in golden["crop"]
            if (item["input"], item["face_index"]) == (entry["input"], 0)
        )
        score = detector.run(pictures[entry["input"]], face_of(landmarks, pictures[entry["input"]]))
        assert score == pytest.approx(entry["face_score"], abs=1e-4)
        assert detector.get_hardlabel(1 - score) == ("fake" if entry["face_score"] > 0.5 else "real")
    # batch = single, and a negative control: the other channel order
    np.testing.assert_allclose(detector.get_softlabel(batch[1:2]), detector.get_softlabel(batch)[1:2], atol=1e-6)
    swapped = detector._trio(np.ascontiguousarray(batch[:1, ::-1]))
    assert all(np.abs(found - logits[name][:1]).max() > 1e-3 for name, found in zip(logits, swapped, strict=True))


def test_attention_and_pooled_features_are_the_published_ones(weights: Path, golden: dict, crops: dict):
    detector, trio = (
        load_detector("detectors.wm"),
        Trio([torch.nn.Identity()] * 3, mean=MEAN.tolist(), std=STD.tolist()),
    )
    entry = golden["forward"][0]
    x = torch.from_numpy(detector.preproc(crops[entry["input"]])[None])
    for index, (name, _, file) in list(enumerate(NETS))[1:]:
        net = WsDan("xception" if name == "m2" else "b3").eval()
        fill_net(net, read_torch((weights / file).read_bytes(), inside="state_dict", prefix="module."))
        with torch.inference_mode():
            matrix, attentions = net.pooled(trio.inputs(x)[index])
        compare(matrix.numpy(), entry[name]["feature_matrix"], atol=1e-4)
        compare(attentions.mean(dim=1, keepdim=True).numpy(), entry[name]["attention_map_mean"], atol=2e-3)


def test_the_video_score_is_the_published_one(golden: dict, tmp_path: Path):
    assert golden["aggregate"]
    for number, entry in enumerate(golden["aggregate"]):
        scores = fused([np.array(entry[name]) for name in ("o1", "o2", "o3")])
        pack = write_pack(tmp_path / str(number), [(frame, 0, 50) for frame in range(len(scores))])
        judged = scripted(list(1 - scores)).judge(pack, lambda done, total: None)
        if scores.size:
            assert 1 - judged.video == pytest.approx(entry["video"], abs=1e-6)
        else:
            # the published code answers 0.5 without a face; here there is no score
            assert judged.video is None


# --------------------------------------------------------------------------- without research data


def write_pack(folder: Path, faces: list[tuple[int, int, float]]) -> FacePack:
    """A pack of faces (frame, person, side of the box) whose landmarks lie where the aligned face has them."""
    folder.mkdir()
    rows = np.zeros(len(faces), FACE_DTYPE)
    for row, (frame, person, side) in zip(rows, faces, strict=True):
        row["frame"], row["person"], row["box"] = frame, person, (100, 100, 100 + side, 100 + side)
        row["landmarks"] = PLACES
    write_faces(folder, rows, [np.zeros((320, 320, 3), np.uint8)] * len(faces))
    return finish_pack(folder, size=(320, 320))


def scripted(softlabels: list[float]):
    """A detector whose nets are replaced by an answer a face, in order."""
    detector, left = load_detector("detectors.wm"), list(softlabels)
    detector.get_softlabel = lambda batch: np.array([left.pop(0) for _ in batch])
    return detector


def test_the_largest_face_of_each_frame_is_the_videos_and_each_face_its_persons(tmp_path: Path):
    pack = write_pack(tmp_path / "pack", [(0, 0, 50), (0, 1, 90), (3, 0, 70), (3, 1, 60), (9, 1, 20)])
    told: list[tuple[int, int]] = []
    judged = scripted([0.1, 0.2, 0.3, 0.4, 0.6]).judge(pack, lambda done, total: told.append((done, total)))
    assert judged.softlabels.tolist() == [0.1, 0.2, 0.3, 0.4, 0.6]
    assert judged.video == pytest.approx((0.2 + 0.3 + 0.6) / 3)
    assert told[-1] == (5, 5)


def test_no_more_frames_are_judged_than_the_card_says(tmp_path: Path):
    pack = write_pack(tmp_path / "pack", [(2 * frame, person, 50 + person) for frame in range(60) for person in (0, 1)])
    judged = scripted([0.25] * 120).judge(pack, lambda done, total: None)
    scored = np.flatnonzero(~np.isnan(judged.softlabels))
    frames = np.unique(pack.faces["frame"][scored])
    assert len(scored) == 50
    assert len(frames) == 25
    assert (frames[0], frames[-1]) == (0, 118)
    assert np.diff(frames).max() <= 6
    assert judged.video == pytest.approx(0.25)


def test_in_thorough_mode_faces_and_landmarks_are_those_of_the_published_finder(tmp_path: Path):
    """Of several boxes of a face the largest one counts; a face that RetinaFace does not see is skipped."""
    pack = write_pack(tmp_path / "pack", [(0, 0, 60), (0, 1, 50), (4, 0, 60)])
    detector, seen = scripted([0.1, 0.2]), []
    crop_face = detector.crop_face
    detector.crop_face = lambda image, face: seen.append(face) or crop_face(image, face)
    answers = iter([
        [found((100, 100, 150, 150)), found((98, 98, 160, 160), points=PLACES + 1)],
        [found((100, 100, 164, 164), points=PLACES + 2), found((300, 300, 310, 310))],
        [],
    ])  # fmt: skip
    detector._finder = lambda image, **_: next(answers)
    judged = detector.judge(pack, lambda done, total: None)
    assert [face.landmarks.tolist() for face in seen] == [(PLACES + 1).tolist(), (PLACES + 2).tolist()]
    assert judged.skipped == {"landmarks_not_found": 1}
    # the second face is the larger one as RetinaFace draws it
    assert judged.video == pytest.approx(0.2)
    detector, pack.mode = scripted([0.1, 0.2, 0.3]), "standard"
    detector._finder = None
    assert detector.judge(pack, lambda done, total: None).video == pytest.approx(0.2)


def found(box: tuple, *, points: np.ndarray = PLACES) -> Found:
    return Found(np.float32(box), 0.9, points.astype(np.float32))


def test_a_count_of_frames_that_is_none_is_refused(tmp_path: Path):
    detector = load_detector("detectors.wm")
    for frames in (0, "all"):
        detector.card = replace(detector.card, parameters={"frames": frames})
        with pytest.raises(ContractError, match=r"parameters\.frames"):
            detector.load(tmp_path, "cpu")


def test_faces_without_landmarks_are_skipped_and_none_left_is_no_score(tmp_path: Path):
    pack = write_pack(tmp_path / "pack", [(0, 0, 50), (0, 1, 90), (1, 0, 50)])
    rows = np.load(tmp_path / "pack" / "faces.npy")
    rows["landmarks"][1] = np.nan
    np.save(tmp_path / "pack" / "faces.npy", rows)
    pack = FacePack(tmp_path / "pack")
    judged = scripted([0.1, 0.3]).judge(pack, lambda done, total: None)
    assert judged.skipped == {"landmarks_not_found": 1}
    assert judged.video == pytest.approx(0.2)
    rows["landmarks"] = 7
    np.save(tmp_path / "pack" / "faces.npy", rows)
    judged = scripted([]).judge(FacePack(tmp_path / "pack"), lambda done, total: None)
    assert judged.video is None
    assert np.isnan(judged.softlabels).all()
    assert judged.skipped == {"landmarks_not_found": 3}


def test_one_face_is_its_own_video(tmp_path: Path):
    pack = write_pack(tmp_path / "pack", [(4, 0, 50)])
    answer = scripted([0.75]).run_pack(pack, tmp_path)
    assert answer["video_fake_score"] == pytest.approx(0.25)
    assert answer["fake_score"] == [pytest.approx(0.25)]
    assert answer["persons"][0]["hard_label"] == "real"


def test_alignment_of_known_places_and_of_none():
    np.testing.assert_allclose(alignment(PLACES), [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    turn = np.array([[0, -2.0], [2.0, 0]])
    moved = PLACES @ turn.T + [30, -5]
    found = alignment(moved)
    np.testing.assert_allclose(found[:, :2] @ moved.T + found[:, 2:], PLACES.T, atol=1e-9)
    assert np.linalg.det(found[:, :2]) > 0
    # mirrored points are turned and scaled, never mirrored
    assert np.linalg.det(alignment(PLACES * [-1, 1])[:, :2]) > 0
    on_a_line = alignment(np.stack([np.arange(5.0), np.zeros(5)], axis=1))
    assert np.isfinite(on_a_line).all()
    for points in (np.full((5, 2), 3.0), np.full((5, 2), np.nan)):
        with pytest.raises(Skip, match="landmarks_not_found"):
            alignment(points)


def test_beyond_the_frame_is_black():
    detector = load_detector("detectors.wm")
    frame = np.full((200, 320, 3), 255, np.uint8)
    crop = detector.crop_face(frame, face_of(PLACES, frame))
    assert crop[3:196, 3:-3].min() == 255
    assert crop[204:].max() == 0


def test_faces_of_a_frame_and_frames_of_a_clip():
    assert chosen_faces(np.array([5, 5, 7, 9]), most=25).tolist() == [0, 1, 2, 3]
    assert chosen_faces(np.array([5, 5, 7, 9]), most=2).tolist() == [0, 1, 3]
    assert chosen_faces(np.array([], int), most=2).tolist() == []
    boxes = np.array([[0, 0, 2, 9], [0, 0, 4, 4], [0, 0, 5, 5]], np.float32)
    assert largest_faces(np.array([3, 3, 1]), boxes).tolist() == [2, 0]


def test_every_missing_extra_and_misshapen_entry_is_named():
    net = Attentions(4, 2)
    state = dict(net.state_dict())
    del state["bn.weight"]
    state |= {"bn.gamma": torch.zeros(2), "conv.weight": torch.zeros(2, 3, 1, 1)}
    with pytest.raises(CheckpointError) as caught:
        fill_net(net, state)
    for part in ("missing bn.weight", "extra bn.gamma", "conv.weight has shape (2, 3, 1, 1), not (2, 4, 1, 1)"):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match="xception"):
        WsDan("b7")
    assert net.bn.eps == 1e-3


def test_extreme_logits_stay_in_range():
    np.testing.assert_allclose(
        softmax_at(np.array([[-900.0, 900.0], [900.0, -900.0], [2.0, 2.0]]), index=1), [1, 0, 0.5]
    )
    np.testing.assert_allclose(fused([np.ones(2), np.zeros(2), np.zeros(2)]), [0.2, 0.2])
