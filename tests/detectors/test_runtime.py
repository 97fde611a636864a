"""Compiling networks: the same numbers as torch, for any batch, every time; a compiler that answers otherwise is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from detectors import probes, runtime  # noqa: E402


class Small(nn.Module):
    """A convolution with batch norm, and its mean: two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)

    def forward(self, x):
        maps = torch.relu(self.norm(self.conv(x)))
        return maps, maps.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def net() -> Small:
    torch.manual_seed(3)
    return Small().eval()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def test_the_answers_are_torchs_for_any_batch_and_repeat_bit_by_bit(net: Small):
    compiled = runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cpu")
    batch = noise(7, 3, 16, 16)
    with torch.no_grad():
        expected = [item.numpy() for item in net(torch.from_numpy(batch))]
    for ours, theirs in zip(compiled(batch), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for first, second in zip(compiled(batch), compiled(batch), strict=True):
        assert np.array_equal(first, second)
    for index in range(7):
        np.testing.assert_allclose(compiled(batch[index : index + 1])[1][0], expected[1][index], atol=1e-6)


def test_torch_keeps_nothing_of_a_network_that_was_compiled(net: Small):
    runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cpu")
    assert not torch.jit._recursive.concrete_type_store.methods_compiled


def test_results_stay_what_they_are_after_the_next_call(net: Small):
    compiled = runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cpu")
    first = compiled(noise(2, 3, 16, 16))[1]
    kept = first.copy()
    compiled(10 * noise(2, 3, 16, 16))
    assert np.array_equal(first, kept)


def test_open_dimensions_take_pictures_of_any_size(net: Small):
    compiled = runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cpu", input_shapes=[(None, 3, None, None)])
    assert compiled(noise(2, 3, 9, 31))[0].shape == (2, 5, 9, 31)


def test_layout_and_type_of_the_input_do_not_matter(net: Small):
    compiled = runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cpu")
    batch = noise(2, 3, 16, 16)
    turned = np.asfortranarray(batch.astype(np.float64))
    assert np.array_equal(compiled(turned)[1], compiled(batch)[1])


def test_a_network_that_answers_otherwise_once_compiled_is_refused(net: Small, monkeypatch: pytest.MonkeyPatch):
    honest = runtime._compile_openvino

    def shifted(*args, **kwargs):
        compiled = honest(*args, **kwargs)
        return lambda *inputs: tuple(item + np.float32(1e-3) for item in compiled(*inputs))

    def broken(*args, **kwargs):
        compiled = honest(*args, **kwargs)
        return lambda *inputs: tuple(item * np.float32("nan") for item in compiled(*inputs))

    for wrong in (shifted, broken):
        monkeypatch.setattr(runtime, "_compile_openvino", wrong)
        with pytest.raises(RuntimeError, match="Small compiled for cpu answers otherwise"):
            runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cpu")


class Cancelling(nn.Module):
    """A sum of numbers as large as ``scale`` that cancel for the probe, so that float32 is far off."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        weights, probe = noise(1, 3, 16, 16).astype(np.float64), probes.like(noise(1, 3, 16, 16))
        weights -= (weights * probe).sum() / np.square(probe, dtype=np.float64).sum() * probe
        self.weights = nn.Parameter(torch.from_numpy(weights * scale).float())

    def forward(self, x):
        return (x * self.weights).sum((1, 2, 3))[:, None]


def answering(wanted: float, *, times: float, monkeypatch: pytest.MonkeyPatch, net: nn.Module) -> runtime.Compiled:
    """``net`` compiled by a compiler whose answer is ``wanted`` plus ``times`` torch's own largest error."""
    (probe,) = runtime._probes((noise(1, 3, 16, 16),), None)
    tried = [(probe,), *runtime._nudged((probe,))]
    off = max(abs(float(runtime._eager(net, one)[0, 0]) - wanted) for one in tried)
    answer = np.array([[wanted + times * off]])
    monkeypatch.setattr(runtime, "_compile_openvino", lambda *args, **kwargs: lambda *inputs: answer)
    return runtime.compile_net(net, example=probe, device="cpu")


def exact_answer(net: nn.Module) -> float:
    (probe,) = runtime._probes((noise(1, 3, 16, 16),), None)
    with torch.no_grad():
        return float((torch.from_numpy(probe).double() * net.weights.double()).sum())


def test_where_float32_is_unsure_float64_says_how_far_off_is_too_far(monkeypatch: pytest.MonkeyPatch):
    net = Cancelling(100)
    exact = exact_answer(net)
    assert answering(exact, times=3, monkeypatch=monkeypatch, net=net)(noise(1, 3, 16, 16)).shape == (1, 1)
    with pytest.raises(RuntimeError, match="Cancelling compiled for cpu answers otherwise than torch does: off by"):
        answering(exact, times=200, monkeypatch=monkeypatch, net=net)


def test_a_network_that_float32_cannot_compute_is_refused_whoever_compiles_it(monkeypatch: pytest.MonkeyPatch):
    net = Cancelling(1e9)
    with pytest.raises(RuntimeError, match=r"float32 cannot hold the answer .* compare their sha256"):
        answering(exact_answer(net), times=3, monkeypatch=monkeypatch, net=net)


def test_float64_is_asked_only_where_float32_is_unsure(net: Small, monkeypatch: pytest.MonkeyPatch):
    asked = []
    honest = runtime._eager
    monkeypatch.setattr(
        runtime, "_eager", lambda net, inputs: asked.append(inputs[0].dtype.name) or honest(net, inputs)
    )
    runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cpu")
    assert asked == ["float32"]


def test_the_check_is_made_with_a_face_a_sound_or_what_the_detector_gives(net: Small, monkeypatch: pytest.MonkeyPatch):
    face, clip, sound = (probes.like(noise(*shape)) for shape in ((2, 3, 40, 32), (1, 3, 5, 24, 24), (1, 16000)))
    assert abs(float(face.mean())) < 1e-3
    assert float(face.std()) == pytest.approx(1, abs=1e-3)
    assert np.array_equal(np.roll(face[0], (1, 1), axis=(1, 2)), face[1])
    assert np.array_equal(np.roll(clip[0, :, 0], (1, 1), axis=(1, 2)), clip[0, :, 1])
    assert 0.1 < float(np.abs(sound).max()) < 1
    # neighbouring pixels of a face are alike, those of noise are not
    assert float(np.abs(np.diff(face)).mean()) < 0.3
    seen = []
    honest = runtime._eager
    monkeypatch.setattr(runtime, "_eager", lambda net, inputs: seen.append(inputs[0]) or honest(net, inputs))
    runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cpu", probe=noise(2, 3, 16, 16) * 7)
    assert np.array_equal(seen[0], noise(2, 3, 16, 16) * 7)


def test_another_device_is_refused_with_the_known_ones(net: Small):
    with pytest.raises(ValueError, match=r"'cpu' or 'cuda:N', not 'tpu'"):
        runtime.compile_net(net, example=noise(1, 3, 16, 16), device="tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_says_to_use_the_cpu(net: Small):
    with pytest.raises(RuntimeError, match="use device 'cpu'"):
        runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cuda:0")


def assert_as_torch(compiled: runtime.Compiled, net: Small, *, atol: float) -> None:
    batch = noise(4, 3, 16, 16)
    with torch.no_grad():
        expected = net(torch.from_numpy(batch))
    for ours, theirs in zip(compiled(batch), expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), atol=atol)


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-5), (True, 2e-2)])
def test_the_way_through_torch_gives_the_same_numbers_and_leaves_the_network_as_it_was(
    net: Small, half: bool, tolerance: float
):
    """The GPU's code on the CPU: layout, precision and copies are the same, only the device is not."""
    compiled = runtime._place_on_gpu(net, "cpu", half=half)
    assert_as_torch(compiled, net, atol=tolerance)
    assert net.conv.weight.dtype == torch.float32
    assert net.conv.weight.is_contiguous()


@pytest.mark.parametrize(
    ("capable", "off", "kinds"), [(True, 1e-3, [True]), (True, 1e-2, [True, False]), (False, 0.0, [False])]
)
def test_half_precision_is_left_where_the_card_or_the_check_against_float32_speaks_against_it(
    net: Small, capable: bool, off: float, kinds: list[bool], monkeypatch: pytest.MonkeyPatch
):
    """``off``: how far the network in half precision is from float32."""
    tried: list[bool] = []

    def placed(net: nn.Module, device: str, *, half: bool, cut: bool) -> runtime.Compiled:
        tried.append(half)
        return lambda *inputs: tuple(item + np.float32(off * half) for item in runtime._eager(net, inputs))

    monkeypatch.setattr(runtime, "_find_gpu", lambda device: None)
    monkeypatch.setattr(runtime, "_place_on_gpu", placed)
    monkeypatch.setattr(runtime.gpu, "takes_halves", lambda device: capable)
    compiled = runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cuda:0", half=True)
    assert tried == kinds
    assert_as_torch(compiled, net, atol=1e-5 + off * kinds[-1])


@pytest.mark.gpu
@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-4), (True, 4e-3)])
def test_a_gpu_gives_the_numbers_of_the_cpu_and_leaves_the_network_where_it_was(
    net: Small, half: bool, tolerance: float
):
    compiled = runtime.compile_net(net, example=noise(1, 3, 16, 16), device="cuda:0", half=half)
    assert_as_torch(compiled, net, atol=tolerance)


def test_importing_openvinos_converter_starts_no_telemetry():
    code = "from detectors import runtime; runtime._import_converter(); import sys; print(sys.modules['openvino_telemetry'])"
    root = Path(runtime.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
