"""Our UnivFD against outputs of the published code: CLIP with recipe weights, and the published layer on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from base_detector import BaseDetector, load_detector  # noqa: E402
from detectors.nets.checkpoint import CheckpointError, Published  # noqa: E402
from detectors.nets.pictures import CLIP_MEAN, CLIP_STD, centre, normalized, scaled_centre  # noqa: E402
from detectors.nets.vit import CLIP_L14, VisionTransformer, projection_of, tower_of  # noqa: E402
from detectors.univfd import detector as univfd  # noqa: E402
from tests.parity.clip_files import as_they_are, write_clip  # noqa: E402
from tests.parity.recipe import compare, listed_names, picture, unchecked  # noqa: E402

GOLDEN = "univfd"
RECIPE_WEIGHTS = True


def write_weights(folder: Path, research: Path) -> None:
    """CLIP filled by the recipe, as OpenAI and open_clip name its tensors, and the published layer."""
    write_clip(folder / univfd.CLIP, research)
    shutil.copy(research / "weights" / "univfd" / univfd.HEAD, folder)


@pytest.fixture(scope="module")
def net(weights: Path) -> Any:
    """The network as the detector builds it, run by torch: compiling it would double the time of this module."""
    card = unchecked(load_detector("detectors.univfd")).card
    built = univfd._net(Published(weights, card, univfd.CLIP), (weights / univfd.HEAD).read_bytes()).eval()

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return built(torch.from_numpy(np.ascontiguousarray(x))).numpy()

    return run


def prepared(research: Path, entries: list[dict]) -> np.ndarray:
    detector = load_detector("detectors.univfd")
    return np.stack([detector.preproc(picture(research, entry["input"])) for entry in entries])


# --------------------------------------------------------------------------- against the published code


def test_every_tensor_of_the_published_file_has_its_place(research: Path):
    """OpenAI's layout, complete; the tower for texts beside it is left out."""
    listed = listed_names(research, "clip_vit_l14_visual_openai")
    state = as_they_are(listed, research, "clip_vit_l14_visual_openai")
    texts = {"transformer.resblocks.0.ln_1.weight": (768,), "token_embedding.weight": (49408, 768), "logit_scale": ()}
    ours = tower_of(state | {name: torch.empty(shape, device="meta") for name, shape in texts.items()})
    with torch.device("meta"):
        net = VisionTransformer(CLIP_L14)
    assert {name: item.shape for name, item in ours.items()} == {
        name: item.shape for name, item in net.state_dict().items()
    }
    assert tuple(projection_of(state).shape) == (768, 1024)
    with pytest.raises(CheckpointError, match=r"extra visual\.transformer\.resblocks\.24\.ln_1\.weight"):
        tower_of(state | {"visual.transformer.resblocks.24.ln_1.weight": torch.empty(1024, device="meta")})
    del state["visual.proj"]
    with pytest.raises(CheckpointError, match=r"missing visual_projection\.weight"):
        projection_of(state)


def test_preprocessing_is_the_published_one(golden: dict, research: Path):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        compare(prepared(research, [entry]), entry["tensor"], atol=1e-6)


@pytest.mark.slow
def test_logits_and_scores_are_the_published_ones(
    golden: dict, research: Path, net: Any, monkeypatch: pytest.MonkeyPatch
):
    detector, seen = load_detector("detectors.univfd"), []
    entries = golden["forward"][:2]
    # a published fault: scaled first, as CLIP itself wants its pictures
    control = next(entry for entry in golden["negative_controls"] if entry["what"].startswith("Resize"))
    scaled = scaled_centre(picture(research, control["input"]), shorter=224, side=224, method=3)
    faulty = normalized(scaled, mean=CLIP_MEAN, deviation=CLIP_STD)
    monkeypatch.setattr(detector, "_net", lambda x: seen.append(net(x)) or seen[-1], raising=False)
    batch = np.concatenate([prepared(research, entries), faulty[None]])
    for entry, soft, (found,) in zip(entries, detector.get_softlabel(batch), seen[0], strict=False):
        (wanted,) = entry["logits"]
        assert abs(found - wanted) <= 1e-4 * max(1, abs(wanted))
        assert 1 - soft == pytest.approx(entry["p_fake"], abs=1e-4)
    assert seen[0][2, 0] == pytest.approx(control["logits"][0], abs=1e-3)


@pytest.mark.slow
def test_the_compiled_network_gives_the_published_logits(golden: dict, research: Path, detector: BaseDetector):
    for entry in golden["forward"]:
        (wanted,) = entry["logits"]
        assert abs(detector._net(prepared(research, [entry]))[0, 0] - wanted) <= 1e-4 * max(1, abs(wanted))


# --------------------------------------------------------------------------- rules on their own


def test_both_layouts_of_clip_give_the_same_tower(research: Path):
    """Rows of q, k and v are stacked in this order; numbers are carried over unchanged, half precision included."""
    from dataclasses import replace

    small = replace(CLIP_L14, side=28, width=8, layers=1)
    rng = np.random.default_rng(5)

    def draw(*shape: int) -> Any:
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float16))

    block, top = "visual.transformer.resblocks.0", "vision_model.encoder.layers.0"
    openai = {
        "visual.class_embedding": draw(8), "visual.positional_embedding": draw(5, 8), "visual.conv1.weight": draw(8, 3, 14, 14),
        **{f"visual.{name}.{kind}": draw(8) for name in ("ln_pre", "ln_post") for kind in ("weight", "bias")},
        **{f"{block}.{name}.{kind}": draw(8) for name in ("ln_1", "ln_2") for kind in ("weight", "bias")},
        f"{block}.attn.in_proj_weight": draw(24, 8), f"{block}.attn.in_proj_bias": draw(24),
        f"{block}.attn.out_proj.weight": draw(8, 8), f"{block}.attn.out_proj.bias": draw(8),
        f"{block}.mlp.c_fc.weight": draw(32, 8), f"{block}.mlp.c_fc.bias": draw(32),
        f"{block}.mlp.c_proj.weight": draw(8, 32), f"{block}.mlp.c_proj.bias": draw(8),
    }  # fmt: skip
    words = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.conv1": "vision_model.embeddings.patch_embedding", "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm", f"{block}.ln_1": f"{top}.layer_norm1", f"{block}.ln_2": f"{top}.layer_norm2",
        f"{block}.attn.out_proj": f"{top}.self_attn.out_proj",
        f"{block}.mlp.c_fc": f"{top}.mlp.fc1", f"{block}.mlp.c_proj": f"{top}.mlp.fc2",
    }  # fmt: skip
    face = {"vision_model.embeddings.position_ids": torch.arange(5)[None]}
    for name, item in openai.items():
        if "in_proj" in name:
            parts = zip("qkv", item.chunk(3), strict=True)
            face |= {f"{top}.self_attn.{part}_proj.{name.rpartition('_')[2]}": rows for part, rows in parts}
        else:
            (stem,) = (word for word in words if name == word or name.startswith(f"{word}."))
            face[name.replace(stem, words[stem])] = item
    first, second = tower_of(openai, plan=small), tower_of(face, plan=small)
    assert first.keys() == second.keys()
    for name, item in first.items():
        assert item.dtype == torch.float32
        np.testing.assert_array_equal(item.numpy(), second[name].numpy())


def test_small_pictures_get_black_borders_and_large_ones_are_cut():
    picture = np.full((100, 301, 3), 200, np.uint8)
    found = centre(picture, 224)
    assert found.shape == (224, 224, 3)
    assert found[:62].max() == found[162:].max() == 0
    assert found[62:162].min() == 200
    wide = np.arange(227 * 231 * 3).reshape(227, 231, 3)
    # (227 - 224) / 2 = 1.5 and (231 - 224) / 2 = 3.5 are rounded to even
    np.testing.assert_array_equal(centre(wide, 224), wide[2:226, 4:228])


def test_a_strip_does_not_blow_up_when_it_is_scaled():
    """30,000 pixels on one side of 10 would be a picture of 1.7 GB at 440 on the shorter one."""
    strip = np.zeros((10, 30_000, 3), np.uint8)
    strip[:, 15_000:] = 255
    found = scaled_centre(strip, shorter=440, side=384, method=2)
    assert found.shape == (384, 384, 3)
    assert found[:, :150].max() == 0
    assert found[:, 234:].min() == 255
