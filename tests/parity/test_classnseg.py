"""Our ClassNSeg against outputs of the published one (the golden vectors of the research data)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from base_detector import load_detector  # noqa: E402
from detectors.nets import classnseg  # noqa: E402
from detectors.nets.checkpoint import fill as fill_net  # noqa: E402
from tests.parity.recipe import assert_each_difference_is_named, compare, fill, picture  # noqa: E402

GOLDEN = "classnseg"


@pytest.fixture(scope="module")
def faces(research: Path, golden: dict) -> dict[str, np.ndarray]:
    pictures = {entry["input"]: picture(research, entry["input"]) for entry in golden["preprocess"]}
    # the sample files show the crop in their left half and its mask in the right one
    return {name: image[:, :256] if image.shape == (256, 512, 3) else image for name, image in pictures.items()}


@pytest.fixture(scope="module")
def loaded(weights_folder: Path) -> dict:
    detectors = {}
    for variant in ("full_46", "finetune_26"):
        detector = load_detector("detectors.classnseg")
        detector.card = replace(detector.card, parameters={"variant": variant})
        detector.load(weights_folder / "classnseg", "cpu")
        detectors[variant.removeprefix("full_").removeprefix("finetune_")] = detector
    return detectors


def _of(entry: dict, loaded: dict):
    return loaded["46" if "46" in entry["weights"]["encoder"] else "26"]


def test_preprocessing_is_the_published_one(golden: dict, faces: dict, loaded: dict):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        compare(loaded["46"].preproc(faces[entry["input"]])[None], entry["tensor"], atol=1e-6)


def test_scores_and_masks_are_the_published_ones(golden: dict, faces: dict, loaded: dict):
    assert golden["forward"]
    masked = 0
    for entry in golden["forward"]:
        detector = _of(entry, loaded)
        score = detector.run(faces[entry["input"]])
        assert score == pytest.approx(entry["softmax"][0], abs=1e-4)
        assert 1 - score == pytest.approx(entry["softmax"][1], abs=1e-4)
        assert detector.get_hardlabel(1 - score) == ("fake", "real")[entry["predicted_class"]]
        batch = detector.preproc(faces[entry["input"]])[None]
        mask = detector.evidence(batch)
        assert mask.shape == (1, 256, 256)
        assert set(np.unique(mask)) <= {0, 255}
        assert abs(int((mask == 255).sum()) - entry["segmentation_pixels_ge_0.5"]) <= 2
        compare(detector._segmenter(batch)[0], entry["segmentation_channel1"], atol=1e-3)
        masked += bool(mask.any())
    assert masked


def test_swapped_channels_do_not_give_the_published_scores(golden: dict, faces: dict, loaded: dict):
    for entry in golden["forward"]:
        swapped = _of(entry, loaded).run(np.ascontiguousarray(faces[entry["input"]][..., ::-1]))
        assert abs(swapped - entry["softmax"][0]) > 1e-3


def _recipe_nets(golden: dict) -> tuple[classnseg.Encoder, classnseg.Decoder]:
    nets = classnseg.Encoder().eval(), classnseg.Decoder().eval()
    for net, part in zip(nets, ("encoder", "decoder"), strict=True):
        state = {}
        for key, shape, kind in golden["state_dict"][part]["tensors"]:
            integer = kind.startswith("int")
            state[key] = torch.zeros(shape, dtype=torch.int64) if integer else torch.from_numpy(fill(key, tuple(shape)))
        fill_net(net, state)
    return nets


def test_networks_with_recipe_weights_give_the_published_latent_and_pictures(golden: dict, faces: dict, loaded: dict):
    encoder, decoder = _recipe_nets(golden)
    assert golden["recipe_forward"]
    for entry in golden["recipe_forward"]:
        batch = torch.from_numpy(loaded["46"].preproc(faces[entry["input"]])[None])
        with torch.no_grad():
            latent = encoder(batch)
            found = classnseg.activations(latent)[0].numpy()
            np.testing.assert_allclose(found, entry["a0_a1"], atol=1e-4)
            compare(latent.numpy(), entry["latent"], atol=1e-4)
            np.testing.assert_allclose(classnseg.Classifier(encoder)(batch)[0].numpy(), entry["softmax"], atol=1e-4)
            segmentation = classnseg.Segmenter(encoder, decoder)(batch)[0].numpy()
            compare(segmentation, entry["segmentation_channel1"], atol=1e-4)
            selected = latent.clone()
            selected[:, int(np.argmin(found))] = 0
            compare(decoder(selected)[1].numpy(), entry["reconstruction"], atol=1e-4)
            wrong_half = latent.clone()
            wrong_half[:, int(np.argmax(found))] = 0
            assert not np.allclose(decoder(wrong_half)[0][0, 1].numpy(), segmentation, atol=1e-3)


def test_on_a_tie_the_original_half_is_kept():
    class Even(classnseg.Encoder):
        def forward(self, x):
            return torch.ones(len(x), *classnseg.LATENT)

    decoder = classnseg.Decoder().eval()
    original = torch.ones(1, *classnseg.LATENT)
    original[:, 0] = 0
    with torch.no_grad():
        found = classnseg.Segmenter(Even(), decoder)(torch.zeros(1, 3, 256, 256))
        assert torch.equal(found, decoder(original)[0][:, 1])


def test_every_missing_extra_and_misshapen_entry_is_named():
    net = classnseg.Encoder()
    assert_each_difference_is_named(
        net, missing="encoder.3.weight", extra="encoder.99.bias", misshapen=("encoder.0.bias", (9,), (8,))
    )
