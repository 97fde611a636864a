"""Our FWA against outputs of the published graph with recipe weights (the golden vectors of the research data)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")


from base_detector import FACE_DTYPE, BaseDetector, Judgement, Skip, WorkerFailure, load_detector
from detectors.fwa import detector as own
from detectors.nets import slim_resnet
from detectors.nets.checkpoint import CheckpointError, WeightsUnusable
from detectors.nets.heads import cut_heads
from detectors.nets.scores import softmax_at
from shared.errors import SENTENCES
from tests.parity.recipe import compare, fill, golden_of, picture

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="tensorflow-cpu is not installed: pip install 'tensorflow-cpu<2.21'",
)


GOLDEN = "fwa"


def write_weights(folder: Path, research: Path) -> None:
    """A TensorFlow checkpoint with the recipe's values under the published names, and the counter that upstream's files hold."""
    golden = golden_of(research, "fwa")
    values = {"global_step": np.array(7, np.int64)}
    for name, shape, _ in golden["state_dict"]["tensors"]:
        factor = np.float32(2.0 ** golden["scale_pow2"].get(name, 0))
        values[name] = fill(name, tuple(shape), channels_last=True) * factor
    write_checkpoint(folder, values)


def write_checkpoint(folder: Path, values: dict[str, np.ndarray]) -> None:
    tf = pytest.importorskip("tensorflow")
    folder.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(folder / own.CHECKPOINT),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=[tf.constant(value) for value in values.values()],
    )


def test_names_and_shapes_are_the_published_ones(golden: dict):
    wanted = [(name, tuple(shape)) for name, shape, _ in golden["state_dict"]["tensors"]]
    assert sorted(slim_resnet.variables().items()) == sorted(wanted)
    assert len(wanted) == golden["state_dict"]["entries"]


def test_preprocessing_is_the_published_one(golden: dict, heads: dict):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        compare(own.prepared(heads[entry["input"]])[entry["seed"]][None], entry["tensor"], atol=1e-5)


@needs_tensorflow
def test_logits_and_scores_are_the_published_ones(golden: dict, heads: dict, detector: BaseDetector):
    assert golden["forward"]
    for entry in golden["forward"]:
        batch = own.prepared(heads[entry["input"]])
        wanted = np.array(entry["logits_10"])
        found = detector._net(batch)
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted)))
        np.testing.assert_allclose(softmax_at(found, index=0), entry["p_fake_index0_10"], atol=1e-5)
        (softlabel,) = detector.get_softlabel(batch[None])
        assert 1 - softlabel == pytest.approx(entry["face_score_mean_top5"], abs=1e-5)


@needs_tensorflow
def test_inner_layers_are_the_published_ones(golden: dict, heads: dict, detector: BaseDetector):
    entry = golden["forward"][0]
    stages = detector._net.stages(own.prepared(heads[entry["input"]])[:1])
    assert len(stages) == len(entry["probes"])
    for found, probe in zip(stages, entry["probes"], strict=True):
        compare(np.asarray(found), probe, atol=1e-3)


@needs_tensorflow
def test_swapped_channels_do_not_give_the_published_logits(golden: dict, heads: dict, detector: BaseDetector):
    entry = golden["forward"][0]
    found = detector._net(own.prepared(heads[entry["input"]][..., ::-1]))
    assert np.abs(found - np.array(entry["logits_10"])).max() > 0.1


@needs_tensorflow
def test_a_picture_is_judged_from_the_pixels_to_the_score(research: Path, golden: dict, detector: BaseDetector):
    image = picture(research, golden["forward"][0]["input"])
    score = detector.run(image)
    _, points = detector._landmarker.find(image)
    fake = softmax_at(detector._net(own.prepared(cut_heads(image, points))), index=0)
    assert score == pytest.approx(np.sort(fake)[5:].mean(), abs=1e-9)
    with pytest.raises(Skip, match="landmarks_not_found"):
        detector.run(np.full((200, 200, 3), 128, np.uint8))


def test_videos_and_pictures_score_by_the_published_rule(golden: dict):
    compared = 0
    for case in golden["aggregate"]:
        if "image" in case:
            scores = np.array(case["face_scores"])
            assert own.video_score(scores, np.zeros(len(scores), int), frames=1) == pytest.approx(case["image"])
        elif case["video"] != "NaN":
            scores = np.array(case["frame_scores"])
            scores[scores < 0] = np.nan  # upstream's mark of a frame without a face
            found = own.video_score(scores, np.arange(len(scores)), frames=case["frame_num"])
            assert found == pytest.approx(case["video"], abs=1e-6)
        else:
            assert case["frame_num"] in own.UNJUDGED
        compared += 1
    assert compared


# --------------------------------------------------------------------------- without the research data


@needs_tensorflow
def test_every_missing_extra_and_misshapen_variable_is_named_and_those_of_training_are_not(tmp_path: Path):
    values = {name: np.zeros(shape, np.float32) for name, shape in slim_resnet.variables().items()}
    values["global_step"] = np.array(3, np.int64)
    values["resnet_v1_50/conv1/weights/Momentum"] = values["resnet_v1_50/conv1/weights"]
    del values["resnet_v1_50/conv1/BatchNorm/beta"]
    values["resnet_v1_101/conv1/weights/Momentum"] = values["resnet_v1_50/conv1/weights"]
    values["resnet_v1_50/logits/biases"] = np.zeros(5, np.float32)
    write_checkpoint(tmp_path, values)
    with pytest.raises(CheckpointError) as caught:
        slim_resnet.read_checkpoint(tmp_path / own.CHECKPOINT)
    said = str(caught.value).partition("do not fit resnet_v1_50: ")[2].split("; ")
    assert said == [
        "missing resnet_v1_50/conv1/BatchNorm/beta",
        "extra resnet_v1_101/conv1/weights/Momentum",
        "resnet_v1_50/logits/biases has shape (5,), not (2,)",
    ]


@needs_tensorflow
@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
def test_a_damaged_checkpoint_is_told_by_code(tmp_path: Path, part: str):
    values = {name: np.zeros(shape, np.float32) for name, shape in slim_resnet.variables().items()}
    write_checkpoint(tmp_path, values)
    path = tmp_path / f"{own.CHECKPOINT}.{part}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsUnusable) as caught:
        slim_resnet.read_checkpoint(tmp_path / own.CHECKPOINT)
    assert caught.value.code == "weights_mismatch"


def test_without_tensorflow_the_worker_says_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(WorkerFailure) as caught:
        load_detector("detectors.fwa").load(tmp_path, "cpu")
    assert caught.value.code == "needs_tensorflow"
    assert "container" in SENTENCES["needs_tensorflow"]


class Pack:
    """Faces in ``frames`` of ``looked_at`` frames; face and image are no more than the face's number."""

    def __init__(self, frames: list[int], *, looked_at: int) -> None:
        self.faces = np.zeros(len(frames), FACE_DTYPE)
        self.faces["frame"] = frames
        self.frames = np.arange(looked_at)

    def __len__(self) -> int:
        return len(self.faces)

    def image(self, index: int) -> int:
        return index

    face = image


def judged(scores: list[float], frames: list[int], *, looked_at: int) -> Judgement:
    """What ``judge`` says of faces that score ``scores`` (1 = fake, NaN = no landmarks)."""

    def preproc(index: int) -> np.ndarray:
        if np.isnan(scores[index]):
            raise Skip("landmarks_not_found")
        return np.array(scores[index])

    detector = load_detector("detectors.fwa")
    detector.crop_face = lambda image, face: image
    detector.preproc = preproc
    detector.get_softlabel = lambda batch: 1 - batch
    return detector.judge(Pack(frames, looked_at=looked_at), lambda done, total: None)


def test_a_frame_is_its_highest_face_and_a_video_its_highest_third():
    told = judged([0.1, 0.9, 0.4, np.nan, 0.6], [0, 0, 1, 2, 5], looked_at=6)
    # frames 0.9, 0.4, 0.6; two of six count
    assert told.video == pytest.approx(1 - (0.9 + 0.6) / 2)
    np.testing.assert_allclose(told.softlabels, [0.9, 0.1, 0.6, np.nan, 0.4])
    assert told.skipped == {"landmarks_not_found": 1}


def test_few_frames_with_a_face_are_averaged_as_they_are():
    assert judged([0.2, 0.4], [3, 8], looked_at=30).video == pytest.approx(1 - 0.3)


def test_one_frame_is_a_picture():
    assert judged([0.2, 0.7, 0.4], [0, 0, 0], looked_at=1).video == pytest.approx(1 - 0.7)


def test_two_frames_have_no_third_and_get_no_score():
    told = judged([0.2, 0.7], [0, 1], looked_at=2)
    assert told.video is None
    assert np.isnan(told.softlabels).all()
    assert told.skipped == {"too_few_frames": 2}
    assert "too_few_frames" in SENTENCES


def test_without_a_scored_face_there_is_no_score():
    assert judged([np.nan] * 3, [0, 1, 2], looked_at=3).video is None


def test_the_first_output_is_fake():
    np.testing.assert_allclose(
        softmax_at(np.array([[900.0, -3.0], [-900.0, 3.0], [1.0, 1.0]]), index=0), [1, 0, 0.5], atol=1e-12
    )
