"""Our Xception against outputs of FaceForensics++'s own (the golden vectors), and the converter of its pickled modules."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402

from base_detector import ContractError, Face, Skip, load_detector  # noqa: E402
from detectors.nets.checkpoint import CheckpointError, WeightsUnusable, check_names  # noqa: E402
from detectors.nets.checkpoint import fill as fill_net  # noqa: E402
from detectors.nets.crops import square_box  # noqa: E402
from detectors.nets.xception import Wrapped, Xception  # noqa: E402
from detectors.xception import convert  # noqa: E402
from tests.parity.recipe import compare, filled_state, golden_of, listed_names, names_of  # noqa: E402

GOLDEN = "xception_ffpp"


def published_net(research: Path) -> nn.Module:
    """The net filled by the recipe."""
    golden = golden_of(research, "xception_ffpp")
    net = Wrapped().eval()
    fill_net(net, filled_state(names_of(golden["state_dict"]["tensors"]), golden["scale_pow2"]))
    return net


def write_weights(folder: Path, research: Path) -> None:
    """The card's file, made as an operator makes it: a whole-module pickle as published, converted."""
    published = folder / "published.p"
    torch.save(published_net(research), published)
    convert.convert(published, folder / "all_c23.safetensors")
    published.unlink()


def face_of(box: list[int], frame: np.ndarray) -> Face:
    size = (frame.shape[1], frame.shape[0])
    return Face(box=np.array(box, np.float32), landmarks=np.full((5, 2), np.nan, np.float32), frame_size=size)


def square_of(frame: np.ndarray, rectangle: list[int]) -> np.ndarray:
    x, y, side = rectangle
    return frame[y : y + side, x : x + side]


# --------------------------------------------------------------------------- against the published outputs


def test_names_and_shapes_are_the_published_ones(research: Path, golden: dict):
    wanted = {name: tuple(tensor.shape) for name, tensor in Wrapped().state_dict().items()}
    check_names(
        {name: shape for name, (shape, _) in names_of(golden["state_dict"]["tensors"]).items()},
        wanted=wanted,
        net="xception",
    )
    for file, head in (("wm_m1_xception", "last_linear"), ("eighteen_xcp", "fc")):
        net = Xception(head=head)
        listed = {name: shape for name, (shape, _) in listed_names(research, file).items()}
        check_names(listed, wanted={k: tuple(v.shape) for k, v in net.state_dict().items()}, net=file)
    assert sum(parameter.numel() for parameter in Wrapped().parameters()) == golden["state_dict"]["parameters"]


def test_the_square_about_the_face_is_the_published_one(golden: dict, pictures: dict, detector):
    assert golden["crop_synthetic"]
    for entry in golden["crop_synthetic"]:
        assert list(square_box(entry["ltrb"], scale=1.3, frame_size=tuple(entry["image_wh"]))) == entry["x_y_size"]
    assert golden["crop"]
    summarised = 0
    for entry in golden["crop"]:
        frame = pictures[entry["input"]]
        crop = detector.crop_face(frame, face_of(entry["dlib_ltrb"], frame))
        assert np.array_equal(crop, square_of(frame, entry["x_y_size"]))
        if "crop_bgr" in entry:
            summarised += 1
            compare(crop[..., ::-1], entry["crop_bgr"], atol=1e-4)
    assert summarised


def test_the_crop_does_not_depend_on_where_the_context_crop_was_cut(golden: dict, pictures: dict, detector):
    for entry in golden["crop"]:
        frame, box = pictures[entry["input"]], np.array(entry["dlib_ltrb"])
        reach = round(0.5 * (box[2] - box[0]))
        left, top = np.maximum(box[:2] - reach, 0)
        context = frame[top : box[3] + reach, left : box[2] + reach]
        face = replace(
            face_of(entry["dlib_ltrb"], frame), box=(box - [left, top] * 2).astype(np.float32), image_origin=(left, top)
        )
        assert np.array_equal(detector.crop_face(context, face), square_of(frame, entry["x_y_size"]))


def test_preprocessing_is_the_published_one(golden: dict, pictures: dict, detector):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        crop = square_of(pictures[entry["input"]], entry["crop_x_y_size"])
        compare(detector.preproc(crop)[None], entry["tensor"], atol=1e-6)


def test_logits_and_scores_are_the_published_ones(golden: dict, pictures: dict, detector):
    squares = {entry["input"]: entry["crop_x_y_size"] for entry in golden["preprocess"]}
    crops = [square_of(pictures[entry["input"]], squares[entry["input"]]) for entry in golden["forward"]]
    batch = np.stack([detector.preproc(crop) for crop in crops])
    logits = detector._net(batch)
    assert golden["forward"]
    np.testing.assert_allclose(logits[1:2], detector._net(batch[1:2]), atol=1e-5)
    for entry, crop, found in zip(golden["forward"], crops, logits, strict=True):
        wanted = np.array(entry["logits"])
        assert np.all(np.abs(found - wanted) <= 1e-4 * np.maximum(1, np.abs(wanted)))
        # the detector alone, its own square about the same box
        place = entry["input"], squares[entry["input"]]
        origin = next(item for item in golden["crop"] if (item["input"], item["x_y_size"]) == place)
        frame = pictures[entry["input"]]
        score = detector.run(frame, face_of(origin["dlib_ltrb"], frame))
        assert score == pytest.approx(entry["p_fake"], abs=1e-4)
        assert 1 - score == pytest.approx(entry["softmax"][0], abs=1e-4)
        assert detector.get_hardlabel(1 - score) == ("fake" if entry["softmax"][1] > entry["softmax"][0] else "real")
        # negative controls: the other channel order, and the other rule of shrinking
        swapped = detector.get_softlabel(detector.preproc(crop[..., ::-1])[None])
        assert abs(swapped[0] - entry["softmax"][0]) > 1e-3
    of_first = next(item for item in golden["preprocess"] if item["input"] == golden["forward"][0]["input"])
    nearest = np.asarray(Image.fromarray(crops[0]).resize((299, 299), Image.Resampling.NEAREST))
    plain = (nearest.astype(np.float32).transpose(2, 0, 1) / 255 - 0.5) / 0.5
    with pytest.raises(AssertionError):
        compare(plain[None], of_first["tensor"], atol=1e-6)


def test_inner_layers_are_the_published_ones(research: Path, golden: dict, pictures: dict, detector):
    net, entry = published_net(research), golden["forward"][0]
    seen = {}
    for probe in entry["probes"]:
        net.get_submodule(probe["module"]).register_forward_hook(
            lambda _, __, out, name=probe["module"]: seen.update({name: out.clone()})
        )
    place = next(item for item in golden["preprocess"] if item["input"] == entry["input"])
    crop = square_of(pictures[entry["input"]], place["crop_x_y_size"])
    with torch.inference_mode():
        net(torch.from_numpy(detector.preproc(crop)[None]))
    assert seen
    for probe in entry["probes"]:
        found = seen[probe["module"]].numpy().astype(np.float64)
        assert list(found.shape) == probe["shape"]
        np.testing.assert_allclose([found.mean(), found.std()], [probe["mean"], probe["std"]], atol=1e-4)


# --------------------------------------------------------------------------- without research data


def small() -> Wrapped:
    torch.manual_seed(3)
    return Wrapped(classes=2).eval()


@pytest.fixture(scope="module")
def net() -> Wrapped:
    return small()


@pytest.fixture(scope="module")
def pickled(net: Wrapped, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same whole module in both layouts of torch.save."""
    folder = tmp_path_factory.mktemp("pickles")
    files = {"zip": folder / "zip.p", "legacy": folder / "legacy.p"}
    torch.save(net, files["zip"])
    torch.save(net, files["legacy"], _use_new_zipfile_serialization=False)
    return files


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_a_pickled_module_is_converted_exactly(net: Wrapped, pickled: dict[str, Path], layout: str, tmp_path: Path):
    _, names = convert.convert(pickled[layout], tmp_path / "out.safetensors")
    found, wanted = load_file(tmp_path / "out.safetensors"), net.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert "detectors.nets.xception.Wrapped" in names
    assert os.listdir(tmp_path) == ["out.safetensors"]


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_the_names_in_a_module_are_never_imported(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As published: a pickle whose class lies in a module ``network.models`` that is nowhere when it is read."""
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "models.py").write_text(
        "from torch import nn\n"
        "class TransferModel(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))\n"
    )
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        module = importlib.import_module("network.models").TransferModel()
        source = tmp_path / "all_c23.p"
        torch.save(module, source, _use_new_zipfile_serialization=layout == "zip")
    monkeypatch.delitem(sys.modules, "network.models")
    monkeypatch.delitem(sys.modules, "network")
    state, names = convert.convert(source, tmp_path / "out.safetensors")
    assert "network.models.TransferModel" in names
    assert not {"network", "network.models"} & set(sys.modules)
    wanted = module.state_dict()
    assert set(state) == set(wanted)
    for name, array in state.items():
        np.testing.assert_array_equal(array, wanted[name].numpy())


class _Bomb:
    def __init__(self, call, *arguments) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_a_malicious_file_runs_nothing(layout: str, tmp_path: Path):
    sign = tmp_path / "ran"
    root = nn.Linear(2, 2)
    root.trap = _Bomb(os.system, f"touch {sign}")
    root.other = _Bomb(exec, f"import pathlib; pathlib.Path({str(sign)!r}).touch()")
    source = tmp_path / "evil.p"
    torch.save(root, source, _use_new_zipfile_serialization=layout == "zip")
    state, names = convert.convert(source, tmp_path / "out.safetensors")
    assert set(state) == {"weight", "bias"}
    assert "posix.system" in names
    assert {"builtins.exec", "__builtin__.exec"} & names
    assert not sign.exists()
    # the test would notice: the file does run where pickles are trusted
    torch.load(source, weights_only=False)
    assert sign.exists()


def test_a_file_that_is_no_module_or_is_damaged_is_refused_with_a_sentence(
    pickled: dict[str, Path], tmp_path: Path, capsys
):
    damaged = {"empty": b"", "text": b"no pickle", "bomb": pickle.dumps(_Bomb(os.system, "true"))}
    for layout in ("zip", "legacy"):
        content = pickled[layout].read_bytes()
        damaged[f"half of {layout}"] = content[: len(content) // 2]
        damaged[f"start of {layout}"] = content[:300]
    for name, content in damaged.items():
        source = tmp_path / "damaged.p"
        source.write_bytes(content)
        assert convert.main([str(source), str(tmp_path / "out.safetensors")]) == 1, name
        assert "was not converted: " in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()
    assert convert.main([str(tmp_path / "absent.p"), str(tmp_path / "out.safetensors")]) == 1
    assert convert.main([str(pickled["zip"]), str(tmp_path / "out.safetensors")]) == 0
    assert "276 tensors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(1, (4,), (1,)), (0, (5,), (1,)), (0, (2,), (-1,)), (-1, (1,), (1,)), (0, (1 << 40,), (0,)), (0, (2, 2), (1,))],
)
def test_a_view_outside_its_storage_is_refused(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]):
    storage = convert._Storage("0", "<f4", 4)
    with pytest.raises((convert.NotConvertible, ValueError)):
        convert._RebuildTensor()(storage, offset, shape, strides, False, OrderedDict()).cut(bytes(16))


def test_what_older_torch_wrote_otherwise_is_put_right():
    state = {
        "module.model.conv3.pointwise.weight": np.ones((4, 3), np.float32),
        "module.model.last_linear.1.bias": np.ones(2, np.float32),
        "module.model.bn1.running_var": np.ones(2, np.float32),
    }
    found = convert.renamed(state)
    assert {name: array.shape for name, array in found.items()} == {
        "model.conv3.pointwise.weight": (4, 3, 1, 1),
        "model.last_linear.bias": (2,),
        "model.bn1.running_var": (2,),
        "model.bn1.num_batches_tracked": (),
    }


def test_a_published_pickle_is_not_loaded_but_explained(pickled: dict[str, Path], tmp_path: Path):
    detector = load_detector("detectors.xception")
    with pytest.raises(WeightsUnusable, match=r"all_c23\.safetensors is not there"):
        detector.load(tmp_path, "cpu")
    (tmp_path / "all_c23.p").write_bytes(b"any")
    with pytest.raises(
        WeightsUnusable, match=r"python -m detectors\.xception\.convert all_c23\.p all_c23\.safetensors"
    ):
        detector.load(tmp_path, "cpu")
    (tmp_path / "all_c23.p").unlink()
    os.link(pickled["zip"], tmp_path / "all_c23.safetensors")
    with pytest.raises(WeightsUnusable, match="pickled program") as caught:
        detector.load(tmp_path, "cpu")
    assert caught.value.code == "weights_not_converted"


def test_every_missing_extra_and_misshapen_entry_is_named(net: Wrapped, tmp_path: Path):
    state = dict(net.state_dict())
    del state["model.bn4.bias"]
    state["model.bn5.bias"] = torch.zeros(2)
    state["model.last_linear.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "all_c40.safetensors")
    detector = load_detector("detectors.xception")
    detector.card = replace(detector.card, parameters={"variant": "c40", "scale": 1.3})
    with pytest.raises(CheckpointError) as caught:
        detector.load(tmp_path, "cpu")
    for part in ("missing model.bn4.bias", "extra model.bn5.bias", "model.last_linear.bias has shape (3,), not (2,)"):
        assert part in str(caught.value)
    detector.card = replace(detector.card, parameters={"variant": "c99", "scale": 1.3})
    with pytest.raises(ContractError, match="raw, c23, c40"):
        detector.load(tmp_path, "cpu")
    detector.card = replace(detector.card, parameters={"variant": "c40", "scale": 1.9})
    with pytest.raises(ContractError, match=r"parameters\.scale"):
        detector.load(tmp_path, "cpu")


def test_a_batch_gives_what_its_faces_give_and_extreme_logits_stay_in_range(net: Wrapped):
    detector = load_detector("detectors.xception")

    def eager(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net(torch.from_numpy(batch)).numpy()

    detector._net = eager
    batch = np.random.default_rng(4).uniform(-1, 1, (3, 3, 299, 299)).astype(np.float32)
    together = detector.get_softlabel(batch)
    np.testing.assert_allclose(together, [detector.get_softlabel(face[None])[0] for face in batch], atol=1e-6)
    detector._net = lambda _: np.array([[-900.0, 900.0], [900.0, -900.0], [3.0, 3.0]], np.float32)
    np.testing.assert_allclose(detector.get_softlabel(batch), [0, 1, 0.5])


def test_a_face_outside_its_frame_is_skipped():
    detector = load_detector("detectors.xception")
    frame = np.zeros((50, 60, 3), np.uint8)
    with pytest.raises(Skip, match="face_too_small"):
        detector.crop_face(frame, face_of([70, 10, 90, 30], frame))
    assert detector.preproc(detector.crop_face(frame, face_of([10, 10, 11, 11], frame))).shape == (3, 299, 299)


def test_a_net_without_a_head_gives_the_maps_before_it():
    net = Xception(head=None).eval()
    x = torch.rand(2, 3, 75, 75)
    with torch.inference_mode():
        assert net(x).shape == (2, 2048, 3, 3)
        assert torch.equal(net(x), net.features(x))
    assert not [name for name in net.state_dict() if name.startswith(("fc", "last_linear"))]
