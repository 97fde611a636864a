"""Compiles a torch network for the device at hand: OpenVINO on a CPU, torch itself on a GPU.

Owns: the choice of the inference engine and its settings.
Promises: fp32 arithmetic everywhere (no bf16 on a CPU, no TF32 on a GPU); the same input gives the same bits; a
batch gives what its items give one by one (to float32 rounding); no network traffic.
May be imported by detectors and by the media pass, in workers only. Torch and OpenVINO are imported on the first call.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]

#: A compiled network: float32 arrays in, one float32 array out, or a tuple of them where the network gives several.
Compiled = Callable[..., Any]

#: One entry a dimension; None (or -1) = any size.
Shape = Sequence[int | None]


def compile_net(
    net: torch.nn.Module,
    *,
    example: Array | tuple[Array, ...],
    device: str,
    threads: int = 0,
    dynamic_batch: bool = True,
    input_shapes: Sequence[Shape] | None = None,
) -> Compiled:
    """Make ``net`` ready for inference on ``device`` (``cpu`` or ``cuda:N``); weights are those it holds now.

    ``example`` is one float32 input (or a tuple, one an input) with a leading batch dimension; its values do not
    matter, its shape becomes the input shape, with the batch left open when ``dynamic_batch``. ``input_shapes``
    overrides that, one shape an input, None for an open dimension: ``[(None, 3, None, None)]`` for a fully
    convolutional net. ``threads`` counts CPU threads, 0 = as many as torch would take (the cores this process may
    use; ``OMP_NUM_THREADS`` limits them).

    The returned function takes one float32 array an input and gives one float32 array, or a tuple when the net
    returns a tuple. Raises ValueError for another device, RuntimeError when CUDA is asked for and not there.
    """
    examples = example if isinstance(example, tuple) else (example,)
    net = net.eval().requires_grad_(False)
    if device == "cpu":
        shapes = _shapes(examples, input_shapes, dynamic_batch=dynamic_batch)
        return _compile_openvino(net, examples, shapes, threads=threads)
    if device.startswith("cuda"):
        return _place_on_gpu(net, device)
    raise ValueError(f"device must be 'cpu' or 'cuda:N', not {device!r}")


def _shapes(examples: tuple[Array, ...], given: Sequence[Shape] | None, *, dynamic_batch: bool) -> list[list[int]]:
    if given is not None:
        return [[-1 if size is None else int(size) for size in shape] for shape in given]
    return [[-1 if dynamic_batch else item.shape[0], *item.shape[1:]] for item in examples]


def _import_openvino() -> Any:
    """Import OpenVINO without its telemetry: the package reports each import and conversion unless it is absent.

    ``openvino.tools.ovc`` falls back to a stub of its own when ``openvino_telemetry`` cannot be imported.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def _compile_openvino(
    net: torch.nn.Module, examples: tuple[Array, ...], shapes: list[list[int]], *, threads: int
) -> Compiled:
    import torch

    openvino = _import_openvino()
    with warnings.catch_warnings():
        # OpenVINO's torch front end traces the net; torch announces the end of tracing, in a distant version.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        tensors = tuple(torch.from_numpy(np.ascontiguousarray(item, np.float32)) for item in examples)
        model = openvino.convert_model(net, example_input=tensors if len(tensors) > 1 else tensors[0])
    model.reshape({port: openvino.PartialShape(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
    compiled = openvino.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
        },
    )
    request = compiled.create_infer_request()
    count = len(compiled.outputs)

    def infer(*inputs: Array) -> Any:
        # C order and float32 are what shared inputs need; the outputs are copied, so the caller may keep them.
        results = request.infer([np.ascontiguousarray(item, np.float32) for item in inputs], share_inputs=True)
        return results[0] if count == 1 else tuple(results[index] for index in range(count))

    return infer


def _place_on_gpu(net: torch.nn.Module, device: str) -> Compiled:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(f"{device} was asked for, but torch sees no CUDA device; use device 'cpu'")
    # TF32 keeps 10 bits of the mantissa: scores would move by 1e-3 between machines. Process-wide, as a worker is ours.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    placed = net.to(device)

    def infer(*inputs: Array) -> Any:
        with torch.inference_mode():
            outputs = placed(*(torch.from_numpy(np.ascontiguousarray(item, np.float32)).to(device) for item in inputs))
        if isinstance(outputs, tuple):
            return tuple(item.cpu().numpy() for item in outputs)
        return outputs.cpu().numpy()

    return infer
