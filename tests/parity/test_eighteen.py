"""Our Eighteen Years Old against outputs of the published code: nets, crops and fusion (the golden vectors of the research data).

The tubes' golden vectors were made with RetinaFace, whose weights are not here: ``CORNERS`` are the squares that fit the golden
mean of each frame (each is the only one within 12 pixels to do so to 1e-4, but where the frame's border holds it); what is proven
with them is the rest: gaps, the tube's one side, moving inside the frame, scaling, and all that follows.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import base_detector
from base_detector import FACE_DTYPE, BaseDetector, FacePack, Skip, load_detector
from detectors.eighteen import fusion, tubes
from detectors.eighteen.detector import (
    NETWORKS,
    bare_names,
    build,
    clip_input,
    find_clip,
    image_input,
    image_logits,
    network_score,
)
from detectors.nets.checkpoint import CheckpointError
from detectors.nets.slowfast import SlowFast
from tests.packs import finish_pack, write_faces
from tests.parity.recipe import compare, filled_state, golden_of, listed_names, picture

#: kind of network -> its names in the golden vectors
KINDS = {"slowfast": "sf", "xception": "xcp", "b3": "b3", "resnet34": "res34", "b1": "b1", "b0": "b0"}
#: frame -> x, y of the square of each of the two tubes, and the sides of these
CORNERS = {
    0: ((581, 8), (142, 0)),
    1: ((583, 11), (147, 0)),
    2: ((585, 13), (150, 0)),
    3: ((590, 15), (153, 0)),
    4: ((593, 16), (155, 2)),
    6: ((599, 20), (160, 7)),
    7: ((602, 22), (163, 9)),
    8: ((604, 23), (167, 11)),
    9: ((606, 26), (172, 13)),
    10: ((611, 27), (175, 14)),
    11: ((614, 29), (177, 17)),
}
SIDES = (222, 208)
WIDTH, HEIGHT = 900, 528


GOLDEN = "eighteen"


def recipe_state(research: Path, kind: str) -> dict[str, torch.Tensor]:
    """The recipe's tensors of one network under its published names."""
    name = KINDS[kind]
    return filled_state(listed_names(research, f"eighteen_{name}"), golden_of(research, "eighteen")["scale_pow2"][name])


def write_weights(folder: Path, research: Path) -> None:
    """All eleven files as the training code wrote them: its checkpoints hold more than tensors, and names begin with ``module.``."""
    folder.mkdir(parents=True, exist_ok=True)
    first: dict[str, Path] = {}
    for network in NETWORKS:
        path = folder / network.file
        if network.kind in first:
            os.link(first[network.kind], path)
            continue
        prefix = "module.model." if network.kind == "xception" else "module."
        state = {prefix + name: tensor for name, tensor in recipe_state(research, network.kind).items()}
        torch.save({"step": 44000, "arch": network.kind, "state_dict": state, "best_loss": 0.25}, path)
        first[network.kind] = path


@pytest.fixture(scope="module")
def detector(weights: Path) -> BaseDetector:
    """Loaded; of networks with equal weights one is compiled, once."""
    detector = load_detector("detectors.eighteen")
    detector.load(weights, "cpu")
    compile_one, compiled = detector._compile, {}

    def remembered(network):
        if network.kind not in compiled:
            compiled[network.kind] = compile_one(network)
        return compiled[network.kind]

    detector._compile = remembered
    return detector


def named(name: str):
    return next(network for network in NETWORKS if network.name == name)


# --------------------------------------------------------------------------- packs


def box_about(corner: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """A face box whose own square is the one given (or one pixel larger)."""
    longer = int(np.ceil(side / 1.3))
    x, y = corner[0] + side // 2 - longer // 2, corner[1] + side // 2 - longer // 2
    return x, y, x + longer, y + longer


def write_pack(
    folder: Path, frames: dict[int, np.ndarray], faces: list[tuple[int, int, tuple]], *, total: int = 0
) -> FacePack:
    """A pack of ``faces`` (frame, person, box) with context crops as the media pass cuts them for this detector."""
    folder.mkdir()
    table = np.zeros(len(faces), FACE_DTYPE)
    context = base_detector.Card.read(Path(tubes.__file__).parent).margin
    crops = []
    for row, (frame, person, box) in zip(table, faces, strict=True):
        half = max(box[2] - box[0], box[3] - box[1]) * context / 2
        cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        x0, y0 = max(0, int(cx - half)), max(0, int(cy - half))
        crops.append(frames[frame][y0 : int(np.ceil(cy + half)), x0 : int(np.ceil(cx + half))])
        row["frame"], row["person"], row["box"], row["time_s"] = frame, person, box, frame / 30
        row["confidence"], row["landmarks"], row["crop_origin"] = 1, np.nan, (x0, y0)
    write_faces(folder, table, crops)
    height, width = next(iter(frames.values())).shape[:2]
    return finish_pack(folder, size=(width, height), sampled=frames, fps=30.0, **({"frames": total} if total else {}))


def golden_pack(research: Path, folder: Path, count: int) -> FacePack:
    """The golden clip's first ``count`` frames: a picture of two people that wanders, black in frame 5."""
    image = picture(research, "two_people.png")
    assert image.shape == (HEIGHT, WIDTH, 3)
    frames = {t: np.zeros_like(image) if t == 5 else np.roll(image, (2 * t, 3 * t), axis=(0, 1)) for t in range(count)}
    faces = [
        (t, person, box_about(CORNERS[t][person], SIDES[person])) for t in frames if t in CORNERS for person in (0, 1)
    ]
    return write_pack(folder, frames, faces)


@pytest.fixture(scope="module")
def clip(research: Path, tmp_path_factory: pytest.TempPathFactory) -> FacePack:
    return golden_pack(research, tmp_path_factory.mktemp("packs") / "twelve", 12)


@pytest.fixture(scope="module")
def short_clip(research: Path, tmp_path_factory: pytest.TempPathFactory) -> FacePack:
    return golden_pack(research, tmp_path_factory.mktemp("packs") / "seven", 7)


def flat_pack(folder: Path, faces: list[tuple[int, int, tuple]], *, frames: range, total: int = 0) -> FacePack:
    """A pack of even grey frames of 64 x 48."""
    return write_pack(folder, {t: np.full((48, 64, 3), 90, np.uint8) for t in frames}, faces, total=total)


# --------------------------------------------------------------------------- names


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_shapes_are_the_published_ones(research: Path, golden: dict, kind: str):
    wanted = listed_names(research, f"eighteen_{KINDS[kind]}")
    net = build(kind)
    assert {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()} == {
        name: shape for name, (shape, _) in wanted.items()
    }
    assert len(wanted) == golden["state_dict"][KINDS[kind]]["entries"]
    assert sum(item.numel() for item in net.parameters()) == golden["state_dict"][KINDS[kind]]["parameters"]


def test_every_missing_extra_and_misshapen_entry_is_named_when_the_files_are_loaded(research: Path, tmp_path: Path):
    write_weights(tmp_path / "w", research)
    path = tmp_path / "w" / "b0_rgb_58000.pth.tar"
    content = torch.load(path, weights_only=True)
    state = content["state_dict"]
    del state["module._bn0.bias"]
    state["module._bn9.bias"] = torch.zeros(2)
    state["module._fc.bias"] = torch.zeros(1000)
    path.unlink()
    torch.save(content, path)
    with pytest.raises(CheckpointError) as caught:
        load_detector("detectors.eighteen").load(tmp_path / "w", "cpu")
    for part in ("missing _bn0.bias", "extra _bn9.bias", "_fc.bias has shape (1000,), not (2,)"):
        assert part in str(caught.value)


def test_only_a_prefix_all_tensors_share_is_taken_off():
    one = torch.zeros(1)
    assert list(bare_names({"module.a.b": one, "module.c": one}, prefix=1)) == ["a.b", "c"]
    assert list(bare_names({"module.model.a.b": one, "module.model.c": one}, prefix=2)) == ["a.b", "c"]
    assert list(bare_names({"module.a": one, "b": one}, prefix=1)) == ["module.a", "b"]


# --------------------------------------------------------------------------- crops and tubes


def test_squares_are_the_published_ones(golden: dict):
    assert len(golden["crop_synthetic"]) == 8
    for entry in golden["crop_synthetic"]:
        box, frame_size = np.array(entry["face"]), tuple(entry["image_wh"])
        assert tubes.square_side(box, frame_size=frame_size) == entry["get_boundingbox"][2]
        x, y = tubes.square_corner(box, side=entry["size"], frame_size=frame_size)
        assert [x, y, entry["size"]] == entry["adjust_boundingbox"]


def test_tubes_are_cut_as_published(golden: dict, clip: FacePack):
    found, frames = find_clip(clip)
    assert frames.complete
    assert [tube.side for tube in found] == list(SIDES)
    for side in (256, 299):
        pictures = np.stack([tubes.read_tube(clip, tube, positions=np.arange(12), side=side) for tube in found])
        compare(pictures[..., ::-1], golden["tubes"][f"faces_{side}"], atol=1e-4)
        if side == 256:
            means = pictures.reshape(2, 12, -1).mean(axis=2, dtype=np.float64)
            np.testing.assert_allclose(means, golden["tubes"]["per_face_frame_mean_256"], atol=1e-5)


def test_a_tube_has_one_side_the_largest_of_its_faces_even_and_inside_the_frame():
    boxes = np.array([[100.9, 100, 140, 140], [100, 100, 151, 140], [0, 0, 30, 30]], np.float32)
    corners, side = tubes.follow(boxes, frame_size=(200, 200))
    assert side == 66  # int(1.3 * 51)
    assert corners.tolist() == [[87, 87], [92, 87], [0, 0]]
    corners, side = tubes.follow(boxes, frame_size=(200, 150))
    assert side == 62  # 150 - (120 - 33) = 63, even: cut short at the bottom before all are moved inside
    assert corners.tolist() == [[89, 88], [94, 88], [0, 0]]
    corners, side = tubes.follow(np.array([[10, 10, 190, 140]], np.float32), frame_size=(201, 99))
    assert side == 98
    assert corners.tolist() == [[51, 1]]


def test_a_frame_without_the_face_shows_the_nearest_one_the_earlier_of_two_as_near():
    places = np.array([1, 4, 6])
    assert tubes.nearest(places, np.arange(9)).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert tubes.nearest(np.array([3]), np.arange(5)).tolist() == [0] * 5


def test_the_number_of_people_is_what_most_frames_show_at_most_two():
    assert tubes.count_people([1, 2, 2, 0]) == 2
    assert tubes.count_people([1, 2, 2, 1]) == 1  # as frequent: the one seen first
    assert tubes.count_people([3, 3, 1]) == 2
    assert tubes.count_people([0, 0, 1]) == 0


def test_published_frames_are_every_so_manieth_and_a_sparse_pack_is_told_from_a_complete_one():
    every = np.arange(300)
    assert tubes.choose_frames(every, total=300).numbers.tolist() == list(range(0, 300, 2))
    assert tubes.choose_frames(np.arange(160), total=160).numbers.tolist() == list(range(160))
    standard = np.unique(np.linspace(0, 1799, 300).astype(np.int64))  # what the media pass samples of a minute
    long = tubes.choose_frames(standard, total=1800)
    assert long.complete
    assert len(long.numbers) == 150
    assert np.abs(long.numbers - np.arange(0, 1800, 12)).max() <= 6
    quick = tubes.choose_frames(np.unique(np.linspace(0, 299, 32).astype(np.int64)), total=300)
    assert not quick.complete
    assert len(quick.numbers) == 32
    assert len(tubes.choose_frames(np.arange(0, 9000, 30), total=9000).numbers) <= 160


def test_the_two_people_seen_longest_are_followed_and_a_mirror_image_is_not(tmp_path: Path):
    faces = [(t, 0, (10, 10, 20, 20)) for t in range(2)]
    faces += [(t, person, (30, 10 + person, 40, 22)) for t in range(2, 8) for person in (1, 2)]
    faces += [(5, 2, (1, 1, 5, 5))]
    faces.sort(key=lambda face: face[:2])
    found, _ = find_clip(flat_pack(tmp_path / "pack", faces, frames=range(8)))
    assert [tube.person for tube in found] == [1, 2]
    assert all(len(tube) == 8 for tube in found)


def test_a_square_beyond_the_context_crop_repeats_its_border(tmp_path: Path):
    faces = [(0, 0, (30, 20, 34, 24)), *[(t, 0, (10, 2, 50, 42)) for t in range(1, 6)]]
    pack = flat_pack(tmp_path / "pack", faces, frames=range(6))
    (tube,), _ = find_clip(pack)
    assert tube.side == 48
    assert tubes.read_tube(pack, tube, positions=np.arange(6), side=256).min() == 90


# --------------------------------------------------------------------------- networks


@pytest.fixture(scope="module")
def inputs(clip: FacePack) -> dict[str, np.ndarray]:
    """What each network of the golden vectors eats: face 0, frame 0 (SlowFast: frames 0 to 7)."""
    found, _ = find_clip(clip)
    made = {"sf": clip_input(tubes.read_tube(clip, found[0], positions=np.arange(8), side=256))}
    for name in ("xcp", "b3", "b1", "b0", "res34"):
        network = named(name)
        picture = tubes.read_tube(clip, found[0], positions=np.array([0]), side=network.side)
        made[name] = image_input(picture, network=network)
    return made


def test_preprocessing_is_the_published_one(golden: dict, inputs: dict):
    assert {entry["model"] for entry in golden["forward"]} == set(inputs)
    for entry in golden["forward"]:
        tensor = inputs[entry["model"]]
        compare(tensor[0] if len(entry["tensor"]["shape"]) < tensor.ndim else tensor, entry["tensor"], atol=2e-6)


def test_logits_are_the_published_ones(golden: dict, detector: BaseDetector, inputs: dict):
    for entry in golden["forward"]:
        network = named("sf1" if entry["model"] == "sf" else entry["model"])
        found = np.asarray(detector._compile(network)(inputs[entry["model"]]))[0]
        wanted = np.array(entry["logits"])
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted))), entry["model"]
        assert fusion.fake_probability(found) == pytest.approx(entry["softmax1"], abs=1e-4)


def test_swapped_channels_do_not_give_the_published_logits(golden: dict, detector: BaseDetector, inputs: dict):
    for entry in golden["forward"]:
        network = named("sf1" if entry["model"] == "sf" else entry["model"])
        swapped = np.asarray(detector._compile(network)(inputs[entry["model"]][:, ::-1]))[0]
        assert np.abs(swapped - entry["logits"]).max() > 1e-2, entry["model"]


def test_a_batch_of_pictures_gives_what_they_give_one_by_one(detector: BaseDetector, clip: FacePack):
    found, _ = find_clip(clip)
    network = named("res34")
    pictures = tubes.read_tube(clip, found[1], positions=np.arange(3), side=network.side)
    run = detector._compile(network)
    single = np.concatenate([image_logits(run, pictures[i : i + 1], network=network) for i in range(3)])
    np.testing.assert_allclose(image_logits(run, pictures, network=network), single, atol=2e-5)


@pytest.mark.parametrize("frames", [1, 4, 5, 9])
def test_both_pathways_of_slowfast_fit_for_any_number_of_pictures(frames: int):
    torch.manual_seed(0)
    net = SlowFast().eval()
    with torch.inference_mode():
        assert net(torch.randn(1, 3, frames, 64, 64)).shape == (1, 2)


# --------------------------------------------------------------------------- the whole


def test_tube_scores_of_the_image_networks_are_the_published_ones(
    golden: dict, detector: BaseDetector, short_clip: FacePack
):
    found, _ = find_clip(short_clip)
    assert len(golden["image_score"]) == 5
    for entry in golden["image_score"]:
        network = named(entry["model"])
        assert (network.softened, network.flipped) == (entry["isScale"], entry["isFlip"])
        run = detector._compile(network)
        groups = [detector._score_tube(run, network, pack=short_clip, tube=tube) for tube in found]
        score = network_score(network, groups)
        assert score == pytest.approx(entry["score"], abs=1e-4), entry["model"]


def test_a_clip_is_judged_by_all_eleven_networks(
    golden: dict, detector: BaseDetector, short_clip: FacePack, tmp_path: Path
):
    steps: list[tuple[int, int]] = []
    scores = detector.run_pack(short_clip, tmp_path, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 22) for done in range(1, 23)]  # 11 networks, 2 tubes
    published = {entry["model"]: entry["score"] for entry in golden["image_score"]}
    found, _ = find_clip(short_clip)
    clips = [
        fusion.fake_probability(
            detector._compile(named("sf1"))(
                clip_input(tubes.read_tube(short_clip, tube, positions=np.arange(7), side=256))
            )
        )[0]
        for tube in found
    ]
    # b1long and b1short have b1's weights here and no mirror images
    plain = [
        fusion.face_score(
            detector._score_tube(detector._compile(named("b1")), named("b1long"), pack=short_clip, tube=t)
        )
        for t in found
    ]
    expected = {name: fusion.score_of_faces(np.array(clips)) for name in fusion.SLOWFAST_WEIGHTS}
    expected |= published | dict.fromkeys(("b1long", "b1short"), fusion.score_of_faces(np.array(plain)))
    assert scores["video_fake_score"] == pytest.approx(fusion.fuse(expected), abs=1e-4)
    # one group of five a face: its middle frame
    assert [(int(short_clip.faces["frame"][i]), int(short_clip.faces["person"][i])) for i in scores["index"]] == [
        (2, 0),
        (2, 1),
    ]
    assert [item["person"] for item in scores["persons"]] == [0, 1]
    assert scores["skipped"] == {}


class _Fixed:
    """A compiled network that gives the same logits for every picture or clip; counts its calls."""

    def __init__(self, difference: float) -> None:
        self.difference, self.calls = difference, 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.tile(np.float32([0, self.difference]), (len(batch), 1))


def faked(differences: dict[str, float]) -> tuple[BaseDetector, dict[str, _Fixed]]:
    detector = load_detector("detectors.eighteen")
    runs = {network.name: _Fixed(differences[network.kind]) for network in NETWORKS}
    detector._compile = lambda network: runs[network.name]
    return detector, runs


DIFFERENCES = {"slowfast": 1.0, "xception": -1.0, "b3": -1.0, "resnet34": -1.0, "b1": -1.0, "b0": -1.0}
FACE = (20, 10, 40, 30)


def test_frames_too_far_apart_leave_slowfast_out_and_its_weight_to_the_others(tmp_path: Path):
    detector, runs = faked(DIFFERENCES)
    dense = flat_pack(tmp_path / "dense", [(t, 0, FACE) for t in range(20)], frames=range(20))
    low, high = (1 / (1 + np.exp(1)), 1 / (1 + np.exp(-1)))
    (tmp_path / "out").mkdir()
    scores = detector.run_pack(dense, tmp_path / "out")
    assert scores["video_fake_score"] == pytest.approx(0.4 * high + 0.6 * low, abs=1e-6)
    assert scores["persons"][0]["fake_score"] == pytest.approx(scores["video_fake_score"], abs=1e-6)
    assert runs["sf1"].calls == 1
    every = range(0, 600, 30)
    sparse = flat_pack(tmp_path / "sparse", [(t, 0, FACE) for t in every], frames=every, total=600)
    detector, runs = faked(DIFFERENCES)
    scores = detector.run_pack(sparse, tmp_path / "out")
    assert scores["video_fake_score"] == pytest.approx(low, abs=1e-6)
    assert [runs[f"sf{number}"].calls for number in (1, 2, 3, 4)] == [0, 0, 0, 0]
    assert len(scores["index"]) == 4


@pytest.mark.parametrize(
    ("faces", "count", "code"),
    [
        ([(0, 0, FACE)], 1, "needs_a_clip"),
        ([(t, 0, FACE) for t in range(4)], 4, "needs_a_clip"),
        ([(t, 0, FACE) for t in range(4)], 12, "face_seldom_seen"),
        ([(t, -1, FACE) for t in range(12)], 12, "face_seldom_seen"),
        ([(t, 0, (20, 10, 21, 11)) for t in range(12)], 12, "face_too_small"),
    ],
)
def test_what_cannot_be_judged_gets_a_reason_and_no_score(tmp_path: Path, faces: list, count: int, code: str):
    from shared.errors import SENTENCES

    detector, runs = faked(DIFFERENCES)
    (tmp_path / "out").mkdir()
    scores = detector.run_pack(flat_pack(tmp_path / "pack", faces, frames=range(count)), tmp_path / "out")
    assert scores["skipped"] == {code: len(faces)}
    assert code in SENTENCES
    assert (scores["index"], scores["video_fake_score"], scores["persons"]) == ([], None, [])
    assert sum(run.calls for run in runs.values()) == 0


def test_one_picture_is_not_judged():
    with pytest.raises(Skip, match="needs_a_clip"):
        faked(DIFFERENCES)[0].run(np.zeros((64, 64, 3), np.uint8))


def test_memory_of_a_long_clip_is_that_of_160_frames(tmp_path: Path):
    detector, _ = faked(DIFFERENCES)
    seen: list[tuple] = []
    run = _Fixed(1.0)
    detector._compile = lambda network: lambda batch: seen.append(batch.shape) or run(batch)
    count = 1000
    pack = flat_pack(tmp_path / "pack", [(t, 0, FACE) for t in range(count)], frames=range(count))
    (tmp_path / "out").mkdir()
    scores = detector.run_pack(pack, tmp_path / "out")
    assert max(shape[2] for shape in seen if len(shape) == 5) == 143  # every 7th of 1000
    assert max(shape[0] for shape in seen if len(shape) == 4) == detector.card.batch
    assert len(scores["index"]) == 5  # 143 frames: every 5th, 29, in groups of five
