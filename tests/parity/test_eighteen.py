"""Our Eighteen Years Old against outputs of the published code: nets, crops and fusion (the golden vectors of the research data).

The tubes' golden vectors were made with RetinaFace, and hold its boxes of single pictures, not of the frames of the clip they were cut
from. Where its file is at hand (``weights/eighteen`` of the research data; ``weights fetch eighteen`` brings it), the product's own finder
draws the boxes. Where it is not, as on the machine of the CI, which has no network, nothing else tells which squares were cut:
``seen_boxes`` finds the ones that have the golden mean of each frame, near the golden box of the picture that the clip is made of. That is
a fit to one number a square; what is tested is not: the golden samples of each tube and network input, and the logits.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from base_detector import FACE_DTYPE, BaseDetector, FacePack, Skip, load_detector
from detectors.eighteen import fusion, tubes
from detectors.eighteen.detector import FINDER as FINDER_FILE
from detectors.eighteen.detector import (
    NETWORKS,
    _finder,
    bare_names,
    build,
    clip_input,
    find_clip,
    image_input,
    image_logits,
    network_score,
)
from detectors.nets.checkpoint import CheckpointError
from detectors.nets.own_finder import Finder, Found, overlaps
from detectors.nets.slowfast import SlowFast
from tests.packs import finish_pack, write_faces
from tests.parity.eighteen_squares import box_about, seen_boxes
from tests.parity.recipe import compare, filled_state, golden_of, listed_names, sighting, wandering

#: kind of network -> its names in the golden vectors
KINDS = {"slowfast": "sf", "xception": "xcp", "b3": "b3", "resnet34": "res34", "b1": "b1", "b0": "b0"}
#: RetinaFace's published file in the research data
FINDER = Path("weights", "eighteen", FINDER_FILE)


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


def published_name(model: str) -> str:
    """A network of the kind that the golden vectors call ``model``: of SlowFast's four any one."""
    return "sf1" if model == "sf" else model


# --------------------------------------------------------------------------- packs


def write_pack(
    folder: Path, frames: dict[int, np.ndarray], faces: list[tuple[int, int, tuple]], *, total: int = 0
) -> FacePack:
    """A pack of ``faces`` (frame, person, box) with context crops as the media pass cuts them for this detector."""
    folder.mkdir()
    table = np.zeros(len(faces), FACE_DTYPE)
    margin, crops = load_detector("detectors.eighteen").card.margin, []
    for row, (frame, person, box) in zip(table, faces, strict=True):
        seen = sighting(frames[frame], box, margin=margin)
        crops.append(seen.crop)
        row["frame"], row["person"], row["box"], row["time_s"] = frame, person, box, frame / 30
        row["confidence"], row["landmarks"], row["crop_origin"] = 1, np.nan, seen.origin
    write_faces(folder, table, crops)
    height, width = next(iter(frames.values())).shape[:2]
    return finish_pack(folder, size=(width, height), sampled=frames, fps=30.0, **({"frames": total} if total else {}))


@pytest.fixture(scope="module")
def frames(research: Path, golden: dict) -> dict[int, np.ndarray]:
    """The golden clip: a picture of two people that wanders, black in one frame."""
    return dict(enumerate(wandering(research, golden["tubes"]["input"])))


@pytest.fixture(scope="module")
def seen(golden: dict, research: Path, frames: dict[int, np.ndarray]) -> list[list[tuple]]:
    """The boxes of each frame of the golden clip, as RetinaFace draws them."""
    if not (research / FINDER).is_file():
        return seen_boxes(golden, list(frames.values()))
    find, drawn = _finder((research / FINDER).parent, load_detector("detectors.eighteen").card, "cpu"), []
    last: list[np.ndarray] = []
    for frame in frames.values():
        found = find(frame, origin=(0, 0), frame_size=frame.shape[1::-1])
        boxes = np.array([one.box for one in found]).reshape(-1, 4)
        # the surest is first, which may be either person: each is the one nearest to where it was
        last = [max(boxes, key=lambda box: overlaps(box[None], one)[0]) for one in last or boxes] if found else last
        drawn.append([tuple(box.tolist()) for box in last] if found else [])
    return drawn


def golden_pack(frames: dict[int, np.ndarray], seen: list[list[tuple]], folder: Path, count: int) -> FacePack:
    """The golden clip's first ``count`` frames with the boxes that were ``seen`` in them."""
    some = {at: frames[at] for at in range(count)}
    return write_pack(folder, some, [(at, person, box) for at in some for person, box in enumerate(seen[at])])


@pytest.fixture(scope="module")
def clip(frames: dict, seen: list, tmp_path_factory: pytest.TempPathFactory) -> FacePack:
    return golden_pack(frames, seen, tmp_path_factory.mktemp("packs") / "whole", len(frames))


@pytest.fixture(scope="module")
def short_clip(
    golden: dict, frames: dict, seen: list, clip: FacePack, tmp_path_factory: pytest.TempPathFactory
) -> FacePack:
    """What the golden scores were made of: the first frames of the whole clip's tubes, whose side is that of their largest face."""
    (count,) = {int(re.findall(r"first (\d+) frames", entry["input"])[0]) for entry in golden["image_score"]}
    (whole, _), folder = find_clip(clip), tmp_path_factory.mktemp("packs") / "short"
    boxes = [
        [box_about(*tube.corners[at].astype(int).tolist(), tube.side) for tube in whole] if seen[at] else []
        for at in range(count)
    ]
    pack = golden_pack(frames, boxes, folder, count)
    for tube, wanted in zip(find_clip(pack)[0], whole, strict=True):
        assert tube.side == wanted.side
        np.testing.assert_array_equal(tube.corners, wanted.corners[:count])
    return pack


def flat_pack(folder: Path, faces: list[tuple[int, int, tuple]], *, frames: range, total: int = 0) -> FacePack:
    """A pack of even grey frames of 64 x 48."""
    return write_pack(folder, {t: np.full((48, 64, 3), 90, np.uint8) for t in frames}, faces, total=total)


# --------------------------------------------------------------------------- names


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_shapes_are_the_published_ones(research: Path, golden: dict, kind: str):
    wanted = listed_names(research, f"eighteen_{KINDS[kind]}")
    with torch.device("meta"):
        net = build(kind)
    assert {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()} == {
        name: shape for name, (shape, _) in wanted.items()
    }
    assert len(wanted) == golden["state_dict"][KINDS[kind]]["entries"]
    assert sum(item.numel() for item in net.parameters()) == golden["state_dict"][KINDS[kind]]["parameters"]


def test_every_missing_extra_and_misshapen_entry_is_named_when_the_files_are_loaded(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "w").mkdir()
    path = tmp_path / "w" / "b0_rgb_58000.pth.tar"
    content = torch.load(weights / path.name, weights_only=True)
    state = content["state_dict"]
    del state["module._bn0.bias"]
    state["module._bn9.bias"] = torch.zeros(2)
    state["module._fc.bias"] = torch.zeros(1000)
    torch.save(content, path)
    # the ten that fit are another test's
    monkeypatch.setattr("detectors.eighteen.detector.NETWORKS", (named("b0"),))
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
    assert golden["crop_synthetic"]
    for entry in golden["crop_synthetic"]:
        box, frame_size = np.array(entry["face"]), tuple(entry["image_wh"])
        assert tubes.square_side(box, frame_size=frame_size) == entry["get_boundingbox"][2]
        x, y = tubes.square_corner(box, side=entry["size"], frame_size=frame_size)
        assert [x, y, entry["size"]] == entry["adjust_boundingbox"]


def assert_published(golden: dict, clip: FacePack, found: list[tubes.Tube]) -> None:
    """The tubes hold the golden pixels."""
    for side in (256, 299):
        every = np.arange(len(clip.frames))
        pictures = np.stack([tubes.read_tube(clip, tube, positions=every, side=side) for tube in found])
        compare(pictures[..., ::-1], golden["tubes"][f"faces_{side}"], atol=1e-4)
        if side == 256:
            means = pictures.reshape(*pictures.shape[:2], -1).mean(axis=2, dtype=np.float64)
            np.testing.assert_allclose(means, golden["tubes"]["per_face_frame_mean_256"], atol=1e-5)


def test_tubes_are_cut_as_published(golden: dict, clip: FacePack):
    found, frames = find_clip(clip)
    assert frames.complete
    assert_published(golden, clip, found)


def drawn_elsewhere(seen: list[list[tuple]], frames: dict[int, np.ndarray], folder: Path) -> tuple[FacePack, Finder]:
    """A pack whose boxes are a fifth too small and off, as another finder's, and a finder that draws those that were ``seen``."""
    faces = [
        (at, person, (x1 + 0.15 * (x2 - x1), y1 + 0.05 * (y2 - y1), x2 - 0.05 * (x2 - x1), y2 - 0.15 * (y2 - y1)))
        for at, boxes in enumerate(seen)
        for person, (x1, y1, x2, y2) in enumerate(boxes)
    ]
    right = [np.float32(box) for boxes in seen for box in boxes]
    calls = iter(right)

    def find(image: np.ndarray, *, origin: tuple[int, int], frame_size: tuple[int, int]) -> list[Found]:
        box = next(calls)
        assert (box[:2] >= origin).all()
        assert (box[2:] <= np.array(origin) + image.shape[1::-1]).all()
        return [Found(box + 1000, 0.99, np.zeros((5, 2))), Found(box, 0.9, np.zeros((5, 2)))]

    return write_pack(folder, frames, faces), find


def test_in_thorough_mode_tubes_are_those_of_the_published_finder(
    golden: dict, frames: dict, seen: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pack, find = drawn_elsewhere(seen, frames, tmp_path / "pack")
    detector = load_detector("detectors.eighteen")
    found, _ = find_clip(pack, find=find, context=detector.card.margin)
    assert_published(golden, pack, found)
    used = []
    monkeypatch.setattr(
        "detectors.eighteen.detector.find_clip", lambda pack, **how: used.append(how["find"]) or _skipped()
    )
    for mode, wanted in (("thorough", find), ("standard", None), ("quick", None)):
        detector._finder, pack.mode = find, mode
        detector.judge(pack, lambda done, total: None)
        assert used.pop() is wanted


def _skipped() -> None:
    raise Skip("needs_a_clip")


def test_a_chain_of_boxes_is_followed_as_published():
    """Half of the union, pixels at both ends; the box of the last time a tube was seen; one face a frame; surer faces first."""
    here, there = (10, 10, 29, 29), (100, 10, 119, 29)
    shares_half, shares_less = (10, 10, 29, 49), (10, 10, 29, 50)
    cases = [
        ([(0, here), (0, there), (1, there), (1, here)], [[0, 3], [1, 2]]),
        ([(0, here), (1, shares_half), (2, shares_less)], [[0, 1, 2]]),
        ([(0, here), (1, shares_less)], [[0], [1]]),
        ([(0, here), (9, here)], [[0, 1]]),
        ([(0, here), (1, here), (1, (11, 10, 30, 29))], [[0, 1]]),
        ([(0, here), (0, (12, 10, 31, 29)), (1, (11, 10, 30, 29))], [[0, 2], [1]]),
        ([(0, (10.9, 10.9, 29.9, 29.9)), (1, here)], [[0, 1]]),
        ([], []),
    ]
    for faces, wanted in cases:
        places = np.array([place for place, _ in faces], np.int64)
        assert tubes.chained(places, np.array([box for _, box in faces]).reshape(-1, 4)) == wanted


def test_a_person_in_anothers_chain_has_the_mean_of_the_own_groups(tmp_path: Path):
    """The platform tells two people apart where boxes overlap: one chain, and each gets a score."""
    detector, _ = faked(DIFFERENCES)
    pack = flat_pack(tmp_path / "pack", [(t, int(t >= 14), FACE) for t in range(20)], frames=range(20))
    detector._finder = lambda image, **_: [Found(np.float32(FACE), 0.9, np.zeros((5, 2)))]
    (tmp_path / "out").mkdir()
    scores = detector.run_pack(pack, tmp_path / "out")
    assert [item["person"] for item in scores["persons"]] == [0, 1]
    images = 1 / (1 + np.exp(1))
    assert scores["persons"][0]["fake_score"] == pytest.approx(scores["video_fake_score"], abs=1e-6)
    assert scores["persons"][1]["fake_score"] == pytest.approx(images, abs=1e-6)


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
def inputs(golden: dict, clip: FacePack) -> dict[str, np.ndarray]:
    """What each network of the golden vectors eats: a frame of a face, SlowFast several."""
    (found, _), made = find_clip(clip), {}
    for entry in golden["forward"]:
        face, first, last = re.findall(r"face (\d+), frames? (\d+)(?:\.\.(\d+))?", entry["input"])[0]
        network = named(published_name(entry["model"]))
        positions = np.arange(int(first), int(last or first) + 1)
        pixels = tubes.read_tube(clip, found[int(face)], positions=positions, side=network.side)
        made[entry["model"]] = (
            clip_input(pixels) if network.kind == "slowfast" else image_input(pixels, network=network)
        )
    return made


def test_preprocessing_is_the_published_one(golden: dict, inputs: dict):
    assert set(inputs) == set(KINDS.values())
    for entry in golden["forward"]:
        tensor = inputs[entry["model"]]
        compare(tensor[0] if len(entry["tensor"]["shape"]) < tensor.ndim else tensor, entry["tensor"], atol=2e-6)


def test_logits_are_the_published_ones(golden: dict, detector: BaseDetector, inputs: dict):
    for entry in golden["forward"]:
        network = named(published_name(entry["model"]))
        found = np.asarray(detector._compile(network)(inputs[entry["model"]]))[0]
        wanted = np.array(entry["logits"])
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted))), entry["model"]
        assert fusion.fake_probability(found) == pytest.approx(entry["softmax1"], abs=1e-4)


def test_swapped_channels_do_not_give_the_published_logits(golden: dict, detector: BaseDetector, inputs: dict):
    for entry in golden["forward"]:
        network = named(published_name(entry["model"]))
        swapped = np.asarray(detector._compile(network)(inputs[entry["model"]][:, ::-1]))[0]
        assert np.abs(swapped - entry["logits"]).max() > 1e-2, entry["model"]


def test_a_batch_of_pictures_gives_what_they_give_one_by_one(detector: BaseDetector, clip: FacePack):
    found, _ = find_clip(clip)
    network = named("res34")
    pictures = tubes.read_tube(clip, found[-1], positions=np.arange(3), side=network.side)
    run = detector._compile(network)
    single = np.concatenate([image_logits(run, pictures[i : i + 1], network=network) for i in range(3)])
    np.testing.assert_allclose(image_logits(run, pictures, network=network), single, atol=2e-5)


def test_both_pathways_of_slowfast_fit_for_any_number_of_pictures():
    with torch.device("meta"), torch.inference_mode():
        net = SlowFast().eval()
        for frames in (1, 4, 5, 9):
            assert net(torch.randn(1, 3, frames, 64, 64)).shape == (1, 2)


# --------------------------------------------------------------------------- the whole


def test_tube_scores_of_the_image_networks_are_the_published_ones(
    golden: dict, detector: BaseDetector, short_clip: FacePack
):
    found, _ = find_clip(short_clip)
    assert golden["image_score"]
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
    published = {entry["model"]: entry["score"] for entry in golden["image_score"]}
    found, _ = find_clip(short_clip)
    rounds = len(NETWORKS) * len(found)
    assert steps == [(done, rounds) for done in range(1, rounds + 1)]
    clips = [
        fusion.fake_probability(
            detector._compile(named("sf1"))(
                clip_input(tubes.read_tube(short_clip, tube, positions=np.arange(len(short_clip.frames)), side=256))
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
    # of each group of five of a face: its middle frame
    middles = fusion.image_frames(len(short_clip.frames))[2::5]
    people = [tube.person for tube in found]
    judged = [(int(short_clip.faces["frame"][i]), int(short_clip.faces["person"][i])) for i in scores["index"]]
    assert sorted(judged) == sorted((int(frame), person) for frame in middles for person in people)
    assert [item["person"] for item in scores["persons"]] == people
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
