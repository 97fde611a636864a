"""Compiling networks: the same numbers as torch, for any batch, every time; a compiler that answers otherwise is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from detectors import runtime  # noqa: E402


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
    net: Small, half: bool, tolerance: float, monkeypatch: pytest.MonkeyPatch
):
    """The GPU's code on the CPU: layout, precision and copies are the same, only the device is not."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    compiled = runtime._place_on_gpu(net, "cpu", half=half)
    assert_as_torch(compiled, net, atol=tolerance)
    assert net.conv.weight.dtype == torch.float32
    assert net.conv.weight.is_contiguous()


@pytest.mark.gpu
@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-4), (True, 2e-2)])
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
