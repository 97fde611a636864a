"""Our MTCNN against outputs of facenet-pytorch and dface (the golden vectors of the research data)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")

from PIL import Image  # noqa: E402

from detectors.nets import mtcnn  # noqa: E402
from tests.parity.recipe import golden_folder, part_of  # noqa: E402

GOLDEN = "mtcnn"


@pytest.fixture(scope="module")
def detector() -> mtcnn.Mtcnn:
    return mtcnn.Mtcnn()


def _settings(run: dict) -> dict:
    kwargs = run.get("kwargs")
    if kwargs is None:  # dface: thresholds and factor are in the description of the configuration
        assert run["code"] == "dface"
        texts = re.findall(r"thresholds ([.\d]+)/([.\d]+)/([.\d]+), factor ([.\d]+)", run["config"])[0]
        *thresholds, factor = map(float, texts)
        return {"min_face": run["minsize"], "thresholds": tuple(thresholds), "factor": factor, "largest_first": False}
    settings = {}
    if "thresholds" in kwargs:
        settings["thresholds"] = tuple(kwargs["thresholds"])
    if "factor" in kwargs:
        settings["factor"] = kwargs["factor"]
    return settings


def test_every_golden_run_gives_the_same_faces(golden: dict, detector: mtcnn.Mtcnn, research: Path):
    assert golden["runs"]
    for run in golden["runs"]:
        image = Image.open(golden_folder(research) / "inputs" / run["input"]).convert("RGB")
        if run["config"].startswith("selim"):
            image = image.resize((image.width // 2, image.height // 2))
        where = f"{run['config']} on {run['input']}"
        if "image_size_wh" in run:
            assert list(image.size) == run["image_size_wh"], where
        found = detector.detect(np.asarray(image), **_settings(run))
        assert len(found) == len(run["boxes"]), where
        np.testing.assert_allclose(found.boxes, run["boxes"], atol=0.5, err_msg=where)
        np.testing.assert_allclose(found.confidence, run["probs"], atol=1e-3, err_msg=where)
        np.testing.assert_allclose(found.landmarks, run["landmarks"], atol=0.5, err_msg=where)


def test_the_nets_give_the_published_outputs(golden: dict, detector: mtcnn.Mtcnn, research: Path):
    assert golden["networks"]
    for entry in golden["networks"]:
        net = {"pnet": detector._pnet, "rnet": detector._rnet, "onet": detector._onet}[entry["net"]]
        patch = part_of(research, entry["input"]).astype(np.float32).transpose(2, 0, 1)[None]
        for ours, theirs in zip(net((patch - 127.5) * 0.0078125), entry["outputs"], strict=True):
            assert list(ours.shape) == theirs["shape"]
            np.testing.assert_allclose(
                ours.ravel()[: len(theirs["values"])], theirs["values"], atol=1e-4, err_msg=entry["net"]
            )


def test_area_means_equal_torch_area_interpolation():
    import torch

    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (61, 83, 3), np.uint8)
    means = mtcnn._AreaMeans(image)
    planes = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    for size in ((7, 11), (61, 83), (40, 83), (100, 90)):
        wanted = (torch.nn.functional.interpolate(planes, size=size, mode="area") - 127.5) * 0.0078125
        np.testing.assert_allclose(means.resized(*size), wanted.numpy(), atol=1e-6)
    boxes = np.array([[0, 0, 83, 61], [3, 5, 50, 40], [80, 59, 83, 61], [10, 10, 11, 11]])
    for crop, (x1, y1, x2, y2) in zip(means.crops(boxes, 24), boxes, strict=True):
        wanted = torch.nn.functional.interpolate(planes[:, :, y1:y2, x1:x2], size=(24, 24), mode="area")
        np.testing.assert_allclose(crop, (wanted[0].numpy() - 127.5) * 0.0078125, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression_follows_the_written_rule(threshold: float):
    """The rule spelt out box by box, in float32 as the reference kernel computes."""
    rng = np.random.default_rng(7)
    corner = rng.integers(0, 60, (120, 2)).astype(np.float32)
    boxes = np.hstack([corner, corner + rng.integers(0, 40, (120, 2))]).astype(np.float32)
    scores = rng.integers(0, 20, 120).astype(np.float32) / 20  # many ties
    kept: list[int] = []
    for index in sorted(range(120), key=lambda i: (-scores[i], i)):
        if not any(_iou(boxes[index], boxes[other]) > threshold for other in kept):
            kept.append(index)
    assert mtcnn.suppress(boxes, scores, threshold=threshold).tolist() == kept


@pytest.mark.parametrize("by_smaller", [False, True])
def test_suppression_of_a_crowd_follows_the_written_rule(by_smaller: bool):
    """More boxes than are compared at once: one kept in an earlier block drops those of later ones."""
    count = 2 * mtcnn._BLOCK + 88
    rng = np.random.default_rng(8)
    corner = rng.integers(0, 200, (count, 2)).astype(np.float32)
    boxes = np.hstack([corner, corner + rng.integers(8, 60, (count, 2))]).astype(np.float32)
    scores = rng.permutation(count).astype(np.float32)
    measure = _share_of_smaller if by_smaller else _iou
    kept: list[int] = []
    order = np.argsort(-scores).tolist()
    for index in order:
        if not any(measure(boxes[index], boxes[other]) > 0.5 for other in kept):
            kept.append(index)
    later = set(order[mtcnn._BLOCK :])
    assert 0 < len(later & set(kept)) < len(later)
    assert mtcnn.suppress(boxes, scores, threshold=0.5, by_smaller=by_smaller).tolist() == kept


def _share_of_smaller(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1, 0))
    return float(np.float32(shared) / np.float32(min(np.prod(a[2:] - a[:2] + 1), np.prod(b[2:] - b[:2] + 1))))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    with np.errstate(invalid="ignore"):
        return float(np.float32(shared) / np.float32(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def test_pictures_without_a_face_or_too_small_for_one_give_none(detector: mtcnn.Mtcnn):
    assert len(detector.detect(np.full((480, 640, 3), 128, np.uint8))) == 0
    assert len(detector.detect(np.zeros((2, 2, 3), np.uint8))) == 0
    noise = np.random.default_rng(3).integers(0, 256, (64, 8, 3), np.uint8)
    assert detector.detect(noise).landmarks.shape == (0, 5, 2)


def test_a_face_cut_by_the_border_is_found(detector: mtcnn.Mtcnn, astronaut: np.ndarray):
    whole = detector.detect(astronaut)
    assert len(whole) == 1
    x1, y1, x2, y2 = whole.boxes[0].round().astype(int)
    cut = detector.detect(np.ascontiguousarray(astronaut[:, (x1 + x2 * 3) // 4 - (x2 - x1) // 2 :]))
    assert len(cut) == 1
    assert y1 - 30 < cut.boxes[0][1] < y2


def test_sums_beyond_32_bits_give_exact_means():
    image = np.random.default_rng(3).integers(
        200, 256, (4100, 5000, 3), np.uint8
    )  # a channel sums up to 4.7 thousand million
    means = mtcnn._AreaMeans(image)
    box = np.array([[4000, 3000, 4960, 3960]])
    wanted = image[3000:3960, 4000:4960].reshape(24, 40, 24, 40, 3).mean((1, 3), np.float64).transpose(2, 0, 1)
    np.testing.assert_allclose(means.crops(box, 24)[0], (wanted - 127.5) * 0.0078125, atol=1e-6)
    level = image.reshape(41, 100, 50, 100, 3).mean((1, 3), np.float64).transpose(2, 0, 1)
    np.testing.assert_allclose(means.resized(41, 50)[0], (level - 127.5) * 0.0078125, atol=1e-6)
