"""Our Community Forensics against outputs of the published code with recipe weights (the golden vectors of the research data)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from base_detector import FACE_DTYPE, PICTURE_DTYPE, BaseDetector, ContractError, FacePack, load_detector  # noqa: E402
from detectors.commfor import detector as commfor  # noqa: E402
from detectors.nets.checkpoint import CheckpointError  # noqa: E402
from detectors.nets.faces import IMAGENET_MEAN, IMAGENET_STD  # noqa: E402
from detectors.nets.pictures import normalized  # noqa: E402
from tests.packs import finish_pack, write_faces  # noqa: E402
from tests.parity.recipe import compare, filled_state, golden_of, listed_names, picture, unchecked  # noqa: E402

GOLDEN = "commfor"
RECIPE_WEIGHTS = True
#: README of the golden vectors: an approximated GELU would move the logit by 8e-5
TOLERANCE = 2e-5


def write_weights(folder: Path, research: Path) -> None:
    """Both published files, filled by the recipe."""
    for variant, (file, _, _) in commfor.VARIANTS.items():
        names = listed_names(research, f"commfor_{variant}")
        save_file(filled_state(names, golden_of(research, "commfor")["scale_pow2"][variant]), folder / file)


def variant_of(name: str) -> BaseDetector:
    detector = unchecked(load_detector("detectors.commfor"))
    detector.card = replace(detector.card, parameters={"variant": name})
    return detector


@pytest.fixture(scope="module")
def detectors(weights: Path) -> dict[int, BaseDetector]:
    """The detector with each of its networks, by the side of the input."""
    found = {int(name): variant_of(name) for name in commfor.VARIANTS}
    for detector in found.values():
        detector.load(weights, "cpu")
    return found


# --------------------------------------------------------------------------- against the published code


def test_preprocessing_is_the_published_one(golden: dict, research: Path, detectors: dict[int, BaseDetector]):
    assert {entry["net"] for entry in golden["preprocess"]} == set(detectors)
    for entry in golden["preprocess"]:
        found = detectors[entry["net"]].preproc(picture(research, entry["input"]))[None]
        compare(found, entry["tensor"], atol=1e-6)


def test_logits_and_scores_are_the_published_ones(golden: dict, research: Path, detectors: dict[int, BaseDetector]):
    assert {entry["net"] for entry in golden["forward"]} == set(detectors)
    for entry in golden["forward"]:
        detector = detectors[entry["net"]]
        batch = detector.preproc(picture(research, entry["input"]))[None]
        assert abs(detector._net(batch)[0, 0] - entry["logits"][0]) <= TOLERANCE
        assert 1 - detector.get_softlabel(batch)[0] == pytest.approx(entry["p_fake"], abs=1e-4)


def test_what_is_done_wrongly_gives_what_the_published_code_gives_then(
    golden: dict, research: Path, detectors: dict[int, BaseDetector]
):
    """Channels the other way, or the picture squashed: each is another score, and we have none of these faults."""

    def squashed(image: np.ndarray) -> np.ndarray:
        return normalized(np.asarray(Image.fromarray(image).resize((384, 384), Image.Resampling.BILINEAR)))

    controls = {(entry["what"], entry["input"]): entry for entry in golden["negative_controls"]}
    squash = "squashed to 384x384 instead of 440 + crop"
    name = next(name for what, name in controls if what == squash)
    image, detector = picture(research, name), detectors[384]
    (right,) = next(e["logits"] for e in golden["forward"] if (e["input"], e["net"]) == (name, 384))
    for what, x in (
        ("BGR before normalisation", detector.preproc(np.ascontiguousarray(image[..., ::-1]))),
        (squash, squashed(image)),
    ):
        (wanted,) = controls[what, name]["logits"]
        assert detector._net(x[None])[0, 0] == pytest.approx(wanted, abs=1e-3)
        assert abs(wanted - right) > 10 * TOLERANCE


def test_a_batch_gives_what_its_pictures_give_one_by_one(
    golden: dict, research: Path, detectors: dict[int, BaseDetector]
):
    detector = detectors[224]
    batch = np.stack([detector.preproc(picture(research, entry["input"])) for entry in golden["forward"][:3]])
    single = np.concatenate([detector.get_softlabel(item[None]) for item in batch])
    np.testing.assert_allclose(detector.get_softlabel(batch), single, atol=1e-5)
    assert len(set(np.round(single, 4))) > 1


# --------------------------------------------------------------------------- rules on their own


def test_the_pictures_of_a_pack_are_judged_one_by_one(tmp_path: Path):
    """Pictures of other shapes in one pack, as the media pass writes them: each has a score, and the file has their mean."""
    detector = load_detector("detectors.commfor")
    detector._side, detector._shorter = 384, 440
    # the logit is what is left of the picture's brightness
    detector._net = lambda batch: batch.mean(axis=(1, 2, 3))[:, None]
    shapes, levels = [(60, 90), (500, 300), (384, 384)], [20, 128, 240]
    rows, offset = np.zeros(3, PICTURE_DTYPE), 0
    with (tmp_path / "pictures.bin").open("wb") as stream:
        for row, shape, level in zip(rows, shapes, levels, strict=True):
            row["offset"], row["height"], row["width"] = offset, *shape
            offset += stream.write(np.full((*shape, 3), level, np.uint8).tobytes())
    write_faces(tmp_path, np.zeros(0, FACE_DTYPE), [])
    pictures = (tmp_path / "pictures.bin").read_bytes()
    finish_pack(tmp_path, size=(90, 60), sampled=range(3))
    (tmp_path / "pictures.bin").write_bytes(pictures)
    np.save(tmp_path / "pictures.npy", rows)
    found = detector.run_pack(FacePack(tmp_path), tmp_path / "out")
    assert (found["unit"], found["index"]) == ("picture", [0, 1, 2])
    bright = [np.mean((level / 255 - IMAGENET_MEAN) / IMAGENET_STD) for level in levels]
    np.testing.assert_allclose(found["fake_score"], [1 / (1 + np.exp(-x)) for x in bright], atol=1e-5)
    assert found["persons"] == []


def test_the_network_of_another_size_is_refused_with_what_differs(weights: Path, tmp_path: Path):
    (tmp_path / "commfor-model-384.safetensors").write_bytes((weights / "commfor-model-224.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"pos_embed has shape \(1, 197, 384\), not \(1, 577, 384\)"):
        variant_of("384").load(tmp_path, "cpu")
    (tmp_path / "commfor-model-384.safetensors").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        variant_of("384").load(tmp_path, "cpu")


def test_an_unknown_variant_is_told_with_the_known_ones(tmp_path: Path):
    with pytest.raises(ContractError, match="must be one of 384, 224, not 'vit'"):
        variant_of("vit").load(tmp_path, "cpu")
