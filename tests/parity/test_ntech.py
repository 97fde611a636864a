"""Our NTechLab ensemble against outputs of the published one (golden vectors), and the rules that choose its frames."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from base_detector import FACE_DTYPE, BaseDetector, FacePack, Skip, load_detector  # noqa: E402
from detectors import kept, probes  # noqa: E402
from detectors.nets import sequence_b7  # noqa: E402
from detectors.nets.efficientnet import EfficientNet  # noqa: E402
from detectors.nets.own_finder import Found  # noqa: E402
from detectors.ntech import detector as ntech  # noqa: E402
from detectors.ntech import tracker, tracks  # noqa: E402
from tests.packs import finish_pack, write_faces  # noqa: E402
from tests.parity.recipe import (  # noqa: E402
    assert_each_difference_is_named,
    compare,
    filled_state,
    golden_of,
    listed_names,
    sighting,
    wandering,
)

GOLDEN = "ntech"


def write_weights(folder: Path, research: Path) -> None:
    """The card's files as published, filled by the recipe: flat state dicts of halves, counters of batches among them."""
    _write(folder, research, half=True)


def _write(folder: Path, research: Path, *, half: bool) -> dict:
    """The same, or in full precision, which the golden vectors were made with. Returns the state of the frame nets."""
    scales = golden_of(research, "ntech")["scale_pow2"]
    for kind, file in (("sequence", ntech.SEQUENCE), ("frame", ntech.FIRST)):
        state = filled_state(listed_names(research, f"ntech_{kind}_b7"), scales[kind])
        # the published counters stood at 100000, which is infinite in halves
        counters = {name: torch.tensor(100000) for name in state if name.endswith("num_batches_tracked")}
        saved = {name: tensor.half() for name, tensor in (state | counters).items()} if half else state
        torch.save(saved, folder / file)
    os.link(folder / ntech.FIRST, folder / ntech.SECOND)
    return state


@pytest.fixture(scope="module")
def frame_state(research: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("weights") / "ntech"
    folder.mkdir()
    return folder, _write(folder, research, half=False)


@pytest.fixture(scope="module")
def loaded(frame_state: tuple[Path, dict], tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseDetector]:
    """The ensemble with kept networks: both frame nets hold the same numbers here, so the second is read, not made."""
    detector = load_detector("detectors.ntech")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(kept.VARIABLE, str(tmp_path_factory.mktemp("compiled")))
        detector.load(frame_state[0], "cpu")
        yield detector


def write_pack(
    folder: Path, frames: list[np.ndarray], rows: list[dict], *, fps: float | None = 15.0, mode: str = "standard"
) -> FacePack:
    """A pack whose context crops are whole frames; a row names its frame ``at`` and may set fields of ``FACE_DTYPE``."""
    folder.mkdir()
    faces = np.zeros(len(rows), FACE_DTYPE)
    for face, row in zip(faces, rows, strict=True):
        face["frame"], face["time_s"] = row["at"], row["at"] / (fps or 15)
        face["confidence"], face["box"] = 1, row["box"]
        for name in set(row) & {"shot", "person", "time_s", "confidence", "crop_origin"}:
            face[name] = row[name]
    write_faces(folder, faces, [row.get("image", frames[row["at"]]) for row in rows])
    height, width = frames[0].shape[:2]
    return finish_pack(folder, size=(width, height), sampled=range(len(frames)), fps=fps, mode=mode)


# --------------------------------------------------------------------------- networks


@pytest.mark.parametrize(("kind", "build"), [("frame", sequence_b7.frame_b7), ("sequence", sequence_b7.sequence_b7)])
def test_names_and_shapes_are_the_published_ones(research: Path, golden: dict, kind: str, build):
    with torch.device("meta"):
        net = build()
    names = listed_names(research, f"ntech_{kind}_b7")
    assert len(names) == golden["state_dict"][kind]["entries"]
    assert {name: tuple(item.shape) for name, item in net.state_dict().items()} == {
        name: shape for name, (shape, _) in names.items()
    }
    assert sum(item.numel() for item in net.parameters()) == golden["state_dict"][kind]["parameters"]


def test_frames_get_the_published_logits(golden: dict, pictures: dict, loaded, tmp_path: Path):
    entries = [entry for entry in golden["forward"] if entry["model"].startswith("frame")]
    assert entries
    boxes = {entry["input"]: entry["box"] for entry in golden["crop"] if not entry["flip"]}
    for transform, net, side in (
        ("first", loaded._first, ntech.FIRST_SIDE),
        ("second", loaded._second, ntech.SECOND_SIDE),
    ):
        chosen = [entry for entry in entries if entry["transform"] == transform]
        looks = [in_pack(tmp_path, pictures, entry["input"], boxes[entry["input"]]) for entry in chosen]
        batch = np.concatenate([ntech.frames_of(*look, side=side) for look in looks])
        found = net(batch)
        wanted = np.array([entry["logits"] for entry in chosen])
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            1 / (1 + np.exp(-found[:, 0])), [entry["sigmoid"] for entry in chosen], atol=1e-4, rtol=0
        )
        swapped = net(
            np.stack(
                [ntech.prepare(np.ascontiguousarray(ntech.cuts(*look)[0][..., ::-1]), side=side) for look in looks]
            )
        )
        # one of the pictures hardly cares about colour with these weights, the other one of each net does
        assert np.abs(swapped - wanted).max() > 0.02


def test_another_librarys_padding_gives_other_logits_and_the_check_at_load_notices(
    golden: dict, pictures: dict, frame_state: tuple[Path, dict], loaded, tmp_path: Path
):
    with torch.device("meta"):
        net = EfficientNet("b7", classes=1, padding="0.7.1")
    net.load_state_dict(frame_state[1], assign=True)
    entry = next(item for item in golden["forward"] if item.get("transform") == "first")
    box = next(item["box"] for item in golden["crop"] if item["input"] == entry["input"])
    probe = probes.like(np.zeros((1, 3, ntech.HEIGHT, ntech.WIDTH), np.float32))
    look = in_pack(tmp_path, pictures, entry["input"], box)
    inputs = np.concatenate([ntech.frames_of(*look, side=ntech.FIRST_SIDE), probe])
    with torch.inference_mode():
        picture, face = net.eval()(torch.from_numpy(inputs))[:, 0].tolist()
    assert abs(picture - entry["logits"][0]) > 0.01
    # a compiled network is refused from 1e-4 on
    assert abs(face - float(loaded._first(inputs[1:])[0, 0])) > 1e-4


def test_a_network_read_from_disk_answers_bit_by_bit_as_the_one_that_was_made(loaded):
    x = np.random.default_rng(5).standard_normal((1, 3, ntech.HEIGHT, ntech.WIDTH)).astype(np.float32)
    assert len(list(Path(os.environ[kept.VARIABLE]).iterdir())) == 2
    assert np.array_equal(loaded._first(x), loaded._second(x))


def test_a_sequence_in_a_pack_gets_the_published_logits(golden: dict, research: Path, loaded, tmp_path: Path):
    entry = next(entry for entry in golden["forward"] if entry["model"] == "sequence net")
    clip = wandering(research, entry["input"])
    face = next(item["box"] for item in golden["crop"] if entry["input"].startswith(item["input"]))
    middle = len(clip) // 2
    # only the middle frame's box is the face's: the others must not matter to the sequence
    boxes = [np.array(face) - 20 * (at != middle) for at in range(len(clip))]
    pack = write_pack(tmp_path / "pack", clip, [{"at": at, "box": box} for at, box in enumerate(boxes)])
    given = {}
    seen = loaded._sequence
    try:
        loaded._sequence = lambda batch: given.setdefault("logits", seen(given.setdefault("batch", batch)))
        judgement = loaded.judge(pack, lambda done, total: None)
    finally:
        loaded._sequence = seen
    compare(given["batch"], entry["tensor"], atol=2e-6)
    assert list(given["logits"].shape) == entry["output_shape"]
    np.testing.assert_allclose(given["logits"][:, 0], entry["logits"], rtol=1e-4, atol=1e-4)
    assert 1 - judgement.softlabels[3] == pytest.approx(np.mean(entry["sigmoid"]), abs=1e-4)
    # 7 of the sequence, and of the frames 0, 2 (first net), 4, 6 (second net)
    singles = 1 - judgement.softlabels[[0, 2, 4, 6]]
    assert np.isnan(judgement.softlabels[[1, 5]]).all()
    assert judgement.video == pytest.approx(1 - ntech.pool([*entry["sigmoid"], *singles]), abs=1e-4)
    assert judgement.skipped == {}


def test_temporal_expansion_is_the_published_convolution():
    torch.manual_seed(1)
    layer = sequence_b7.TemporalExpansion(5, 8)
    x = torch.randn(21, 5, 3, 4)
    with torch.inference_mode():
        wanted = layer.conv(x.reshape(3, 7, 5, 3, 4).transpose(1, 2)).transpose(1, 2).reshape(21, 8, 3, 4)
        np.testing.assert_allclose(layer(x).numpy(), wanted.numpy(), atol=1e-5)


def test_every_missing_extra_and_misshapen_entry_is_named():
    with torch.device("meta"):
        net = sequence_b7.sequence_b7()
    assert_each_difference_is_named(
        net,
        missing="_blocks.4._expand_conv.conv.weight",
        extra="_blocks.4._expand_conv.weight",
        misshapen=("_fc.bias", (2,), (1,)),
    )


def test_halves_become_floats_and_infinite_counters_zeros():
    state = {"w": torch.tensor([0.1]).half(), "bn.num_batches_tracked": torch.tensor(100000).half()}
    assert torch.isinf(state["bn.num_batches_tracked"])
    found = ntech.in_float(state)
    assert found["w"].dtype == torch.float32
    assert float(found["w"][0]) == pytest.approx(0.1, abs=1e-4)
    assert found["bn.num_batches_tracked"].dtype == torch.int64
    assert int(found["bn.num_batches_tracked"]) == 0


# --------------------------------------------------------------------------- pixels


def in_pack(
    folder: Path, pictures: dict, name: str, box: list[float], *, mirrored: bool = False
) -> tuple[FacePack, tracks.Look]:
    """A golden picture as the one frame of a pack, with the media pass's crop of the card's margin, and a look at it."""
    detector, picture = load_detector("detectors.ntech"), pictures[name]
    seen = sighting(picture, box, margin=detector.card.margin)
    pack = write_pack(
        folder / f"pack{len(list(folder.iterdir()))}",
        [picture],
        [{"at": 0, "box": box, "image": seen.crop, "crop_origin": seen.origin}],
    )
    return pack, tracks.Look((0,), mirrored, np.float32(box))


def test_crops_are_the_published_ones(golden: dict, pictures: dict, tmp_path: Path):
    assert golden["crop"]
    for entry in golden["crop"]:
        (face,) = ntech.cuts(*in_pack(tmp_path, pictures, entry["input"], entry["box"], mirrored=entry["flip"]))
        assert list(face.shape) == entry["face_shape"]
        compare(face, entry["face_rgb"], atol=1e-6 * 255)


def test_preprocessing_is_the_published_one(golden: dict, pictures: dict, tmp_path: Path):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        side = ntech.FIRST_SIDE if entry["transform"].startswith("first") else ntech.SECOND_SIDE
        if entry["input"].startswith("synthetic"):
            *shape, levels = map(int, re.findall(r"reshape\((\d+),(\d+),(\d+)\) % (\d+)", entry["input"])[0])
            crop = (np.arange(np.prod(shape)).reshape(shape) % levels).astype(np.uint8)
            found = ntech.prepare(crop, side=side)[None]
        else:
            found = ntech.frames_of(*in_pack(tmp_path, pictures, entry["input"], entry["box"]), side=side)
        compare(found, entry["tensor"], atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (192, 192), (224, 192), (500, 400)])
@pytest.mark.parametrize("side", [ntech.FIRST_SIDE, ntech.SECOND_SIDE])
def test_a_crop_of_any_shape_becomes_an_input(shape: tuple[int, int], side: int):
    crop = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
    found = ntech.prepare(crop, side=side)
    assert found.shape == (3, 224, 192)
    assert found.dtype == np.float32


# --------------------------------------------------------------------------- which frames


@pytest.mark.parametrize(
    ("fps", "step", "steady"),
    [(7.99, 1, False), (8, 1, True), (15, 1, True), (22.4, 1, True), (23.976, 2, True), (25, 2, True), (29.97, 2, True),
     (50, 3, True), (60, 4, True), (None, 1, False)],
)  # fmt: skip
def test_the_step_is_the_published_one(fps: float | None, step: int, steady: bool):
    found = tracks.rhythm_of(fps)
    assert (found.step, found.steady) == (step, steady)
    assert found.period_s == pytest.approx(step / fps if fps else 0)


@pytest.mark.parametrize("fps", [8, 15, 25, 30, 50, 60])
def test_with_all_frames_at_hand_the_published_ones_are_kept(fps: int):
    rhythm = tracks.rhythm_of(fps)
    for count in (1, 99, 100, 101, 102):
        kept = tracks.keep_frames(np.arange(count), rhythm)
        assert kept.frames.tolist() == list(range(0, count, rhythm.step))
        assert kept.places.tolist() == list(range(len(kept.frames)))


def one_person(sampled: np.ndarray, *, fps: float, **columns) -> np.ndarray:
    faces = np.zeros(len(sampled), FACE_DTYPE)
    faces["frame"], faces["time_s"], faces["confidence"] = sampled, sampled / fps, 1
    for name, values in columns.items():
        faces[name] = values
    return faces


def picks(sampled: np.ndarray, *, fps: float, **columns) -> tuple[list, list, int]:
    """(singles, sequences, sequences that could not be formed) over all tracks."""
    rhythm = tracks.rhythm_of(fps)
    found = tracks.tracks_of(one_person(sampled, fps=fps, **columns), tracks.keep_frames(sampled, rhythm), shortest=7)
    sequences = [tracks.sequence_looks(track, rhythm) for track in found]
    return (
        [look for track in found for look in tracks.single_looks(track)],
        [look for looks, _ in sequences for look in looks],
        sum(missing for _, missing in sequences),
    )


@pytest.mark.parametrize(
    ("kept", "singles", "starts"), [(7, 4, [0]), (19, 10, [0]), (21, 11, [0, 14]), (58, 29, [0, 14, 28, 42])]
)
def test_a_track_is_picked_from_as_published(kept: int, singles: int, starts: list[int]):
    found, sequences, missing = picks(np.arange(kept), fps=15)
    assert [look.rows for look in found] == [(2 * i,) for i in range(singles)]
    assert [look.mirrored for look in found] == [i % 2 == 0 for i in range(singles)]
    assert [look.rows for look in sequences] == [tuple(range(start, start + 7)) for start in starts]
    assert [look.mirrored for look in sequences] == [i % 2 == 0 for i in range(len(starts))]
    assert [look.middle for look in sequences] == [start + 3 for start in starts]
    assert missing == 0
    assert [tracks.is_first_nets(i) for i in range(6)] == [True, True, False, False, True, True]


def test_the_counts_of_the_published_run_are_met(golden: dict):
    checked = 0
    for entry in golden["aggregate"]["main"]:
        for sequences, faces in zip(entry["sequence_scores_per_track"], entry["face_scores_per_track"], strict=True):
            # upstream detects on every third kept frame and its tracks end with a detection
            length = (entry["kept_frames"] - 1) // 3 * 3 + 1
            found, formed, _ = picks(np.arange(length), fps=15)
            assert (len(formed), len(found)) == (len(sequences), len(faces))
            checked += 1
    assert checked


def test_tracks_of_given_detections_are_the_published_ones(golden: dict):
    assert golden["aggregate"]["tracks"]
    for entry in golden["aggregate"]["tracks"]:
        detections = [
            (np.array(item["boxes"]).reshape(-1, 4), np.array(item["scores"])) for item in entry["detections"]
        ]
        found = tracker.follow(detections)
        assert [(item.start, len(item.boxes)) for item in found] == [(t["start"], t["length"]) for t in entry["tracks"]]
        for item, wanted in zip(found, entry["tracks"], strict=True):
            for at, name in ((0, "first_box"), (len(item.boxes) // 2, "mid_box"), (-1, "last_box")):
                np.testing.assert_allclose(item.boxes[at], wanted[name], atol=1e-4)


def test_a_track_takes_the_detection_that_overlaps_it_most_before_later_ones_do():
    def row(*starts: float, score: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        return np.array([(x, 0, x + 100, 100) for x in starts], np.float32), np.full(len(starts), score)

    (one,) = tracker.follow([row(0)] + [row(60, 10)] * 6 + [row(60, 10, score=0.29)])
    assert one.boxes[:, 0].tolist()[::3] == [0, 10, 10, 10, 10, 10, 10]
    assert tracker.follow([row(0)] * 6) == []
    assert tracker.follow([row(0, score=0.89)] * 7) == []
    assert len(tracker.follow([row(0, score=0.89)] * 6 + [row(0)])) == 1
    moved, ended = tracker.follow([row(0, 500)] * 7 + [row(500)] * 2)[::-1]
    assert (moved.boxes[0, 0], len(moved.boxes), ended.boxes[0, 0], len(ended.boxes)) == (500, 25, 0, 19)


def test_a_clip_thinned_to_the_right_rate_is_read_in_sequences():
    """15 s of 25 frames a second in standard mode: 300 of 375 frames, each at most half a step from its place."""
    sampled = np.linspace(0, 374, 300).astype(int)
    singles, sequences, missing = picks(sampled, fps=25)
    assert missing == 0
    assert len(sequences) == len(range(0, 188 - 6, 14))
    for look in sequences:
        assert np.diff(sampled[list(look.rows)]).max() <= 3
        assert abs(sampled[look.rows[-1]] - sampled[look.rows[0]] - 12) <= 1
    assert len(singles) == 94


def test_a_clip_thinned_out_further_has_no_sequences_but_single_frames():
    sampled = np.linspace(0, 899, 300).astype(int)
    singles, sequences, missing = picks(sampled, fps=30)
    assert sequences == []
    assert missing == len(range(0, 294, 14))
    assert 200 <= len(singles) <= 300
    singles, sequences, missing = picks(np.linspace(0, 899, 32).astype(int), fps=30)
    # the place of the last one, frame 899, would be 900
    assert (len(singles), sequences, missing > 0) == (31, [], True)


def test_tracks_end_where_the_shot_changes_or_the_face_is_not_seen():
    shots = np.repeat([0, 1], [10, 10])
    singles, sequences, _ = picks(np.arange(20), fps=15, shot=shots)
    assert [look.rows[0] for look in sequences] == [0, 10]
    assert len(singles) == 10
    faces = one_person(np.delete(np.arange(20), 8), fps=15)
    kept = tracks.keep_frames(np.arange(20), tracks.rhythm_of(15))
    assert [len(track.rows) for track in tracks.tracks_of(faces, kept, shortest=7)] == [8, 11]


def test_too_few_frames_and_faces_of_nobody_make_no_track():
    assert picks(np.arange(6), fps=15) == ([], [], 0)
    assert picks(np.arange(20), fps=15, person=-1) == ([], [], 0)
    assert picks(np.zeros(0, int), fps=15) == ([], [], 0)


def test_the_surer_of_two_faces_of_one_person_in_a_frame_counts():
    sampled = np.repeat(np.arange(8), 2)
    faces = one_person(sampled, fps=15, confidence=np.tile([0.8, 0.9], 8))
    kept = tracks.keep_frames(np.arange(8), tracks.rhythm_of(15))
    assert [track.rows for track in tracks.tracks_of(faces, kept, shortest=7)] == [tuple(range(1, 16, 2))]


def test_neighbouring_frames_far_apart_in_time_are_no_sequence():
    late = np.arange(7) / 15 + np.repeat([0, 3], [4, 3])
    singles, sequences, missing = picks(np.arange(7), fps=15, time_s=late)
    assert (len(singles), sequences, missing) == (4, [], 1)


def test_a_clip_below_8_frames_a_second_is_judged_by_single_frames():
    singles, sequences, missing = picks(np.arange(20), fps=6)
    assert (len(singles), sequences, missing) == (10, [], 1)


# --------------------------------------------------------------------------- scores


def test_scores_are_pooled_as_published(golden: dict):
    aggregate = golden["aggregate"]
    for entry in aggregate["pooling_formula_retyped"]:
        assert ntech.pool(entry["scores"]) == pytest.approx(entry["video"], abs=1e-6)
    scored = [entry for entry in aggregate["main"] if entry["face_scores_per_track"]]
    assert scored
    beside_means = []
    for entry in scored:
        tracks_scores = entry["sequence_scores_per_track"] + entry["face_scores_per_track"]
        found = ntech.pool([score for scores in tracks_scores for score in scores])
        assert found == pytest.approx(entry["video_score"], abs=1e-6)
        beside_means.append(abs(found - np.mean(np.concatenate(tracks_scores))))
    assert max(beside_means) > 0.01  # a plain mean is not it


def test_a_sure_score_outweighs_unsure_ones():
    assert ntech.pool([0.99] + 9 * [0.5]) > 0.98
    assert ntech.pool([0.5]) == 0.5
    assert ntech.pool([1.0]) == 0.99
    assert ntech.pool([0.0]) == 0.01


class Told:
    """Stands in for a compiled net: remembers its inputs and answers with a logit that depends on them."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.batches: list[np.ndarray] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(batch)
        return self.scale * batch.mean(axis=(1, 2, 3))[:, None]


def told_detector(batch: int = 8):
    detector = load_detector("detectors.ntech")
    detector.card = replace(detector.card, batch=batch)
    detector._first, detector._second, detector._sequence = Told(1.0), Told(2.0), Told(-1.0)
    return detector


@pytest.fixture
def clip() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (90, 120, 3), np.uint8) for _ in range(22)]


def rows_of(count: int, **fields) -> list[dict]:
    return [{"at": at, "box": (30, 20, 70, 70)} | fields for at in range(count)]


def test_two_people_get_scores_of_their_own_and_one_of_the_clip(clip: list[np.ndarray], tmp_path: Path):
    rows = [row for pair in zip(rows_of(22), rows_of(22, person=1, box=(80, 5, 110, 40)), strict=True) for row in pair]
    pack = write_pack(tmp_path / "pack", clip, rows)
    detector, steps = told_detector(), []
    judgement = detector.judge(pack, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (26, 26)  # of each person: 11 frames and sequences from 0 and 14
    assert [done for done, _ in steps] == list(range(1, 27))
    pools = {0: [], 1: []}
    for person in (0, 1):
        own = [person + 2 * at for at in range(22)]
        scored = {at for at in range(22) if not np.isnan(judgement.softlabels[own[at]])}
        assert scored == set(range(0, 22, 2)) | {3, 17}
        pools[person] = [1 - judgement.softlabels[own[at]] for at in range(0, 22, 2)]
    sequences = 1 / (1 + np.exp(np.concatenate([b.mean(axis=(1, 2, 3)) for b in detector._sequence.batches])))
    for person in (0, 1):
        scores = pools[person] + list(sequences[14 * person : 14 * person + 14])
        assert judgement.persons[person] == pytest.approx(1 - ntech.pool(scores), abs=1e-6)
    everything = pools[0] + pools[1] + list(sequences)
    assert judgement.video == pytest.approx(1 - ntech.pool(everything), abs=1e-6)
    assert sum(map(len, detector._first.batches)) == 12
    assert sum(map(len, detector._second.batches)) == 10
    result = detector.run_pack(pack, tmp_path)
    assert result["video_fake_score"] == pytest.approx(1 - judgement.video)
    assert [entry["faces"] for entry in result["persons"]] == [13, 13]


def test_batches_change_nothing_and_stay_small(clip: list[np.ndarray], tmp_path: Path):
    pack = write_pack(tmp_path / "pack", clip, rows_of(22))
    single, many = told_detector(batch=1), told_detector(batch=14)
    one, all_ = (detector.judge(pack, lambda done, total: None) for detector in (single, many))
    np.testing.assert_allclose(one.softlabels, all_.softlabels, atol=1e-7)
    assert one.video == pytest.approx(all_.video, abs=1e-7)
    assert {len(batch) for batch in single._first.batches} == {1}
    assert {len(batch) for batch in single._sequence.batches} == {7}
    assert {len(batch) for batch in many._sequence.batches} == {14}


def test_a_picture_has_no_score_and_says_why(clip: list[np.ndarray], tmp_path: Path):
    pack = write_pack(tmp_path / "pack", clip[:1], rows_of(1), fps=None)
    judgement = told_detector().judge(pack, lambda done, total: None)
    assert judgement.video is None
    assert judgement.skipped == {"needs_a_clip": 1}
    assert np.isnan(judgement.softlabels).all()
    with pytest.raises(Skip, match="needs_a_clip"):
        told_detector().run(clip[0])


def test_a_rate_the_container_does_not_state_comes_from_the_times(clip: list[np.ndarray], tmp_path: Path):
    pack = write_pack(tmp_path / "pack", clip[:8], rows_of(8), fps=None)
    detector = told_detector()
    assert detector.judge(pack, lambda done, total: None).video is not None
    assert sum(map(len, detector._sequence.batches)) == 7
    still = write_pack(tmp_path / "still", clip[:8], rows_of(8, time_s=0.0), fps=None)
    judgement = told_detector().judge(still, lambda done, total: None)
    assert judgement.video is not None
    assert judgement.skipped == {"needs_a_clip": 1}  # no known rate, no sequence


def test_a_face_that_leaves_its_surroundings_is_judged_by_single_frames_only(clip: list[np.ndarray], tmp_path: Path):
    rows = rows_of(8)
    for at, row in enumerate(rows):  # the context crop of the last frames lies elsewhere
        x = 0 if at < 5 else 40
        row |= {"image": clip[at][:80, x : x + 80], "crop_origin": (x, 0), "box": (30 + x, 20, 60 + x, 60)}
    detector = told_detector()
    judgement = detector.judge(write_pack(tmp_path / "pack", clip[:8], rows), lambda done, total: None)
    assert detector._sequence.batches == []
    assert judgement.skipped == {"needs_a_clip": 1}
    assert np.flatnonzero(~np.isnan(judgement.softlabels)).tolist() == [0, 2, 4, 6]


def test_a_face_outside_the_frame_is_skipped_not_scored(clip: list[np.ndarray], tmp_path: Path):
    rows = rows_of(8, box=(200, 200, 210, 210))
    judgement = told_detector().judge(write_pack(tmp_path / "pack", clip[:8], rows), lambda done, total: None)
    assert judgement.video is None
    assert set(judgement.skipped) == {"face_too_small", "needs_a_clip"}


# --------------------------------------------------------------------------- thorough mode


@pytest.mark.parametrize(
    ("mode", "count", "judged"), [("standard", 7, True), ("thorough", 18, False), ("thorough", 19, True)]
)
def test_in_thorough_mode_a_track_is_as_long_as_the_published_ones(
    clip: list[np.ndarray], tmp_path: Path, mode: str, count: int, judged: bool
):
    pack = write_pack(tmp_path / "pack", clip[:count], rows_of(count), mode=mode)
    judgement = told_detector().judge(pack, lambda done, total: None)
    assert (judgement.video is not None) == judged
    assert judgement.skipped == ({} if judged else {"needs_a_clip": count})


def finding(box: tuple, *, score: float = 0.95) -> Callable[..., list[Found]]:
    return lambda image, **_: [Found(np.float32(box), score, np.full((5, 2), np.nan))]


def test_in_thorough_mode_the_published_finder_draws_and_follows_the_faces(clip: list[np.ndarray], tmp_path: Path):
    drawn, detector = (34, 24, 74, 72), told_detector()
    detector._finder = finding(drawn)
    # a frame in which the platform found no face, between two detections
    pack = write_pack(tmp_path / "pack", clip, [row for row in rows_of(22) if row["at"] != 16], mode="thorough")
    judgement = detector.judge(pack, lambda done, total: None)
    assert judgement.skipped == {"needs_a_clip": 2}  # the single frame 16, and the sequence 14 to 20
    (first, *_) = detector._first.batches
    left, top, right, bottom = ntech.wide_box(drawn, frame_size=(120, 90))
    wanted = ntech.prepare(np.ascontiguousarray(clip[0][top:bottom, left:right][:, ::-1]), side=ntech.FIRST_SIDE)
    np.testing.assert_array_equal(first[0], wanted)
    detector._finder = finding(drawn, score=0.89)
    assert detector.judge(pack, lambda done, total: None).video is None
    short = write_pack(tmp_path / "short", clip[:18], rows_of(18), mode="thorough")
    detector._finder = finding(drawn)
    assert detector.judge(short, lambda done, total: None).video is None
    standard = write_pack(tmp_path / "standard", clip[:18], rows_of(18))
    detector._finder = None
    assert detector.judge(standard, lambda done, total: None).video is not None
