"""Compiles a torch network for the device at hand: OpenVINO on a CPU, torch itself on a GPU.

Owns: the choice of the inference engine and its settings.
Promises: fp32 arithmetic unless ``half`` is asked for (no bf16 on a CPU, no TF32 on a GPU); the same input gives the same bits; a
batch gives what its items give one by one (to float32 rounding); a compiled network that differs from torch's own answer for a face
(or a sound) is refused when it is made, and so is one whose answers float32 cannot hold; a network that ``detectors.kept`` has from an
earlier start answers bit by bit as it did then, and torch is not imported for it; no network traffic.
May be imported by detectors and by the media pass, in workers only. Torch and OpenVINO are imported on the first call.
"""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from base_detector import Array
from detectors import gpu, graphs, kept, probes

if TYPE_CHECKING:
    import torch

#: A compiled network: float32 arrays in, one float32 array out, or a tuple of them where the network gives several.
Compiled = Callable[..., Any]

#: Largest difference from torch's own fp32 answer on the CPU, relative where the answer is above 1. In half precision, which keeps 11
#: bits, a logit may be off by as much as moves a probability by a thousandth; a network that is off by more computes in float32.
_TOLERANCE, _HALF_TOLERANCE = 1e-4, 4e-3
#: Where that is exceeded, float64 decides: a compiled network may be this many times as far from it as torch in fp32 ...
_AS_TORCH = 4
#: ... and this far at most: a logit off by a hundredth moves a probability by a four-hundredth.
_UNSURE = 1e-2
#: How often torch is asked again, with an input that differs in its last bits: one answer may be right by chance.
_NUDGES = 3

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
    half: bool = False,
    probe: Array | tuple[Array, ...] | None = None,
) -> Compiled:
    """Make ``net`` ready for inference on ``device`` (``cpu`` or ``cuda:N``); weights are those it holds now.

    ``example`` is one float32 input (or a tuple, one an input) with a leading batch dimension; its values do not matter,
    its shape becomes the input shape, with the batch left open when ``dynamic_batch``.
    ``input_shapes`` overrides that, one shape an input, None for an open dimension: ``[(None, 3, None, None)]`` for a fully
    convolutional net. ``threads`` counts CPU threads, 0 = as many as torch would take (the cores this process may use;
    ``OMP_NUM_THREADS`` limits them). ``half`` computes in float16 on a GPU where the card is made for it and the check against
    float32 holds, for large networks; a CPU has no use for it. On a GPU a batch with ``dynamic_batch`` is cut as memory asks.
    ``probe`` is what the compiled network is checked with, as ``example``: give one in the network's own range, for example
    ``self.preproc(probes.face(299))[None]``. By default it is a face (or a sound) of mean 0 and deviation about 1, see ``probes.like``.

    The returned function takes one float32 array an input and gives one float32 array, or a tuple when the net
    returns a tuple. Raises ValueError for another device, RuntimeError when CUDA is asked for and not there, when
    the compiled network answers otherwise than torch, or when float32 cannot hold the answers of the network.
    """
    examples = example if isinstance(example, tuple) else (example,)
    if device != "cpu" and not device.startswith("cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda:N', not {device!r}")
    if device != "cpu":
        _find_gpu(device)
    net = net.eval().requires_grad_(False)
    inputs = _probes(examples, probe)
    expected = _eager(net, inputs)
    if device == "cpu":
        shapes = _shapes(examples, input_shapes, dynamic_batch=dynamic_batch)
        compiled = _compile_openvino(net, examples, shapes, threads=threads)
    else:
        cut = dynamic_batch and input_shapes is None
        placed = _in_half(net, device, inputs=inputs, expected=expected, cut=cut) if half else None
        if placed is not None:
            return placed
        compiled = _place_on_gpu(net, device, half=False, cut=cut)
    _check(compiled(*inputs), expected, net=net, inputs=inputs, device=device)
    return compiled


def _in_half(
    net: torch.nn.Module, device: str, *, inputs: tuple[Array, ...], expected: Any, cut: bool
) -> Compiled | None:
    """``net`` in half precision; None where the card or the check against float32 speaks against it."""
    placed = _place_on_gpu(net, device, half=True, cut=cut) if gpu.takes_halves(device) else None
    return placed if placed is not None and _error(placed(*inputs), expected) <= _HALF_TOLERANCE else None


def compiled(
    build: Callable[..., torch.nn.Module],
    *arguments: Any,
    example: Array | tuple[Array, ...],
    device: str,
    threads: int = 0,
    dynamic_batch: bool = True,
    input_shapes: Sequence[Shape] | None = None,
    half: bool = False,
    probe: Array | tuple[Array, ...] | None = None,
) -> Compiled:
    """``build(*arguments)`` ready for inference on ``device``, as ``compile_net`` makes it; on a CPU from disk where it was made before.

    ``build`` is a function of a module (no lambda, no method) which imports torch itself; all that decides about the network is among
    its ``arguments``: the content of weights as bytes (large files as ``Published``), numbers, texts, None, and tuples, lists or dicts
    of those. They are part of the name the network is kept under (``detectors.kept``), with the code of ``build`` and of all
    networks, the versions of torch and OpenVINO, and what follows here. When it is there and intact, neither ``build`` nor the check
    against torch runs.
    The other parameters and errors are those of ``compile_net``; errors of ``build`` pass through.
    """
    examples = example if isinstance(example, tuple) else (example,)
    if device != "cpu" or kept.folder() is None:
        return compile_net(
            build(*arguments),
            example=example,
            device=device,
            threads=threads,
            dynamic_batch=dynamic_batch,
            input_shapes=input_shapes,
            half=half,
            probe=probe,
        )
    shapes = _shapes(examples, input_shapes, dynamic_batch=dynamic_batch)
    key = _key(build, arguments, example=example, dynamic_batch=dynamic_batch, input_shapes=input_shapes, probe=probe)
    return _read(kept.find(key), threads=threads) or _make(
        build(*arguments), examples, shapes, key=key, threads=threads, probe=probe
    )


def make_sure(build: Callable[..., torch.nn.Module], *arguments: Any, **compilation: Any) -> None:
    """Find out now whether ``compiled(build, *arguments, **compilation)`` will work, for detectors that call it once a clip.

    Where networks are kept, it is made and kept unless it is there; where none is, or there is no room, it is built and dropped.
    Errors as ``compiled``.
    """
    keeps = compilation["device"] == "cpu" and kept.folder() is not None
    if keeps and kept.find(_key(build, arguments, **compilation)) is not None:
        return
    net = build(*arguments)
    if keeps:
        with kept.draft(size=_size(net)) as draft:
            keeps = draft is not None
    del net  # before it is built again
    if keeps:
        compiled(build, *arguments, **compilation)


def _key(
    build: Callable[..., torch.nn.Module],
    arguments: Sequence[Any],
    *,
    example: Array | tuple[Array, ...],
    dynamic_batch: bool = True,
    input_shapes: Sequence[Shape] | None = None,
    probe: Array | tuple[Array, ...] | None = None,
    **others: Any,
) -> str:
    """The name under which ``compiled`` keeps a network; ``others`` (device, threads, half) do not change what is kept."""
    examples = example if isinstance(example, tuple) else (example,)
    shapes = _shapes(examples, input_shapes, dynamic_batch=dynamic_batch)
    return kept.key_of(build, arguments, examples=[item.shape for item in examples], shapes=shapes, probe=probe)


def _read(path: Path | None, *, threads: int) -> Compiled | None:
    """The network at ``path``; None when there is none, or one that OpenVINO cannot read."""
    if path is None:
        return None
    openvino = _import_openvino()
    try:
        return _infer_with(openvino.Core().read_model(path), threads=threads)
    except (RuntimeError, OSError):  # removed at this moment, for example: OpenVINO's errors are RuntimeErrors
        return None


def _make(
    net: torch.nn.Module,
    examples: tuple[Array, ...],
    shapes: list[list[int]],
    *,
    key: str,
    threads: int,
    probe: Array | tuple[Array, ...] | None,
) -> Compiled:
    """Convert ``net``, keep it, and check what was kept against torch: the very file that the next start reads."""
    net = net.eval().requires_grad_(False)
    inputs = _probes(examples, probe)
    expected = _eager(net, inputs)
    model = _converted(net, examples, shapes)
    with kept.draft(size=_size(net)) as draft:
        if draft is not None:
            try:
                _import_openvino().save_model(model, draft / kept.NET, compress_to_fp16=False)
                read = _read(draft / kept.NET, threads=threads)
                if read is not None:
                    _check(read(*inputs), expected, net=net, inputs=inputs, device="cpu")
                    kept.publish(draft, key)
                    return read
            except (RuntimeError, OSError):  # a full disk, or a file cut off by the limit of the process: see below
                pass
    compiled = _infer_with(model, threads=threads)
    _check(compiled(*inputs), expected, net=net, inputs=inputs, device="cpu")
    return compiled


def _probes(examples: tuple[Array, ...], probe: Array | tuple[Array, ...] | None) -> tuple[Array, ...]:
    """The inputs of the check: those given, float32, else like the examples."""
    given = tuple(map(probes.like, examples)) if probe is None else probe if isinstance(probe, tuple) else (probe,)
    return tuple(np.ascontiguousarray(item, np.float32) for item in given)


def _eager(net: torch.nn.Module, inputs: tuple[Array, ...]) -> Any:
    import torch

    with torch.inference_mode():
        outputs = net(*map(torch.from_numpy, inputs))
    return tuple(item.numpy() for item in outputs) if isinstance(outputs, tuple) else outputs.numpy()


def _check(
    found: Any,
    expected: Any,
    *,
    net: torch.nn.Module,
    inputs: tuple[Array, ...],
    device: str,
) -> None:
    """Compare what the compiled network ``found`` for ``inputs`` with torch's ``expected``; RuntimeError where it is wrong.

    Where the two differ, float64 says who is right. That costs a few runs of the network, so it is asked only then.
    """
    if _error(found, expected) <= _TOLERANCE:
        return
    exact = _eager(copy.deepcopy(net).double(), tuple(item.astype(np.float64) for item in inputs))
    ours = _error(found, exact)
    if ours <= _TOLERANCE:
        return
    theirs = max(_error(expected, exact), *(_error(_eager(net, nudged), exact) for nudged in _nudged(inputs)))
    name = type(net).__name__
    if not theirs <= _UNSURE / _AS_TORCH:
        raise RuntimeError(
            f"{name}: with these weights float32 cannot hold the answer (for a plain face or sound torch is off by {theirs:.1e} of it), "
            "so a score would mean nothing. The weights are probably not the published ones: compare their sha256."
        )
    if not ours <= _AS_TORCH * theirs:
        raise RuntimeError(
            f"{name} compiled for {device} answers otherwise than torch does: off by {ours:.1e}, torch by {theirs:.1e} of the exact "
            "answer. It is not used. It is a fault of the compiler on this kind of processor (or GPU): please report it with the "
            "output of lscpu and the versions of torch and OpenVINO; another device or another version of OpenVINO may do."
        )


def _error(found: Any, reference: Any) -> float:
    """Largest difference, relative where ``reference`` is above 1; infinite where shapes differ or a number is none."""
    worst = 0.0
    pairs = zip(found, reference, strict=True) if isinstance(reference, tuple) else [(found, reference)]
    for ours, theirs in pairs:
        if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
            return float("inf")
        scale = np.maximum(1, np.abs(theirs))
        worst = max(worst, float(np.max(np.abs(ours - theirs) / scale, initial=0.0)))
    return worst


def _nudged(inputs: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
    """``inputs`` with each number moved by at most the last bit of a float32, a few times."""
    rng = np.random.default_rng(20180904)
    for _ in range(_NUDGES):
        yield tuple(
            np.asarray(item * (1 + 2.0**-23 * rng.uniform(-1, 1, item.shape)), np.float32).copy() for item in inputs
        )


def _shapes(examples: tuple[Array, ...], given: Sequence[Shape] | None, *, dynamic_batch: bool) -> list[list[int]]:
    if given is not None:
        return [[-1 if size is None else int(size) for size in shape] for shape in given]
    return [[-1 if dynamic_batch else item.shape[0], *item.shape[1:]] for item in examples]


def _import_openvino() -> Any:
    """Import OpenVINO without its converter, which is more than half of the time and a network already kept does not need.

    The package imports ``openvino.tools.ovc`` where it can, and goes on where it cannot.
    """
    first = "openvino" not in sys.modules
    if first:
        sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
    import openvino

    if first:
        del sys.modules["openvino.tools.ovc"]
    return openvino


def _import_converter() -> Any:
    """``convert_model`` without OpenVINO's telemetry: it reports each import and conversion unless its package is absent.

    ``openvino.tools.ovc`` falls back to its own stub when ``openvino_telemetry`` cannot be imported.
    """
    _import_openvino()
    if "openvino.tools.ovc" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    from openvino.tools.ovc import convert_model

    return convert_model


def _compile_openvino(
    net: torch.nn.Module, examples: tuple[Array, ...], shapes: list[list[int]], *, threads: int
) -> Compiled:
    return _infer_with(_converted(net, examples, shapes), threads=threads)


def _converted(net: torch.nn.Module, examples: tuple[Array, ...], shapes: list[list[int]]) -> Any:
    """``net`` as OpenVINO's model, with inputs of ``shapes``."""
    import torch

    convert_model = _import_converter()
    with warnings.catch_warnings():
        # OpenVINO's torch front end traces the net; torch announces the end of tracing, in a distant version.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        tensors = tuple(torch.from_numpy(np.ascontiguousarray(item, np.float32)) for item in examples)
        # Traced here, not by OpenVINO: its call lets torch trace a second time and compare, two thirds of the time of a large net
        # (EfficientNet-B7: 13.8 s of processor against 5.4). We compare the compiled net with torch's own answer.
        traced = torch.jit.trace(net, tensors, strict=False, check_trace=False)
        model = convert_model(traced, example_input=tensors if len(tensors) > 1 else tensors[0])
    _forget_traces()
    openvino = _import_openvino()
    model.reshape({port: openvino.PartialShape(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
    return model


def _size(net: torch.nn.Module) -> int:
    """Bytes of its numbers."""
    return sum(item.numel() * item.element_size() for item in (*net.parameters(), *net.buffers()))


def _infer_with(model: Any, *, threads: int) -> Compiled:
    """``model`` compiled for the CPU."""
    openvino = _import_openvino()
    threads = threads or own_threads()
    compiled = openvino.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # each process pins its threads from the first core on: two with one thread each would share that one
            "ENABLE_CPU_PINNING": threads >= len(os.sched_getaffinity(0)),
        },
    )
    request = compiled.create_infer_request()
    count = len(compiled.outputs)

    def infer(*inputs: Array) -> Any:
        # C order and float32 are what shared inputs need; the outputs are copied, so the caller may keep them.
        results = request.infer([np.ascontiguousarray(item, np.float32) for item in inputs], share_inputs=True)
        return results[0] if count == 1 else tuple(results[index] for index in range(count))

    return infer


def own_threads() -> int:
    """Threads that torch would take: what ``OMP_NUM_THREADS`` says, else the cores this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0))


def channels_last(net: torch.nn.Module) -> torch.nn.Module:
    """``net`` itself, in the layout 2-D convolutions are fastest in; a net of 3-D ones refuses it and stays as it is."""
    import torch

    if all(item.ndim < 5 for item in net.parameters()):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def _forget_traces() -> None:
    """Free the classes torch keeps of every traced network until the process ends.

    It is 17 MB for each compilation of a ResNet-34; a worker that compiles its networks for each clip would grow without end.
    torch has no public call for it.
    """
    import torch

    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()


def _find_gpu(device: str) -> None:
    """The first call of CUDA: RuntimeError where torch has none."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(f"{device} was asked for, but torch sees no CUDA device; use device 'cpu'")


def _place_on_gpu(net: torch.nn.Module, device: str, *, half: bool, cut: bool = False) -> Compiled:
    import torch

    # TF32 keeps 10 bits of the mantissa: scores would move by 1e-3 between machines. Process-wide, as a worker is ours.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    kind = torch.float16 if half else torch.float32
    # a copy: the caller may build another network from the same parts
    placed = channels_last(copy.deepcopy(net).to(device, kind))

    def upload(item: Array) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(item, np.float32)).to(device=device, dtype=kind)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    run = graphs.with_graphs(placed, graphs.CardRecorder()) if device != "cpu" else placed

    def infer(*inputs: Array) -> Any:
        with torch.inference_mode():
            outputs = run(*map(upload, inputs))
        if isinstance(outputs, tuple):
            return tuple(item.float().cpu().numpy() for item in outputs)
        return outputs.float().cpu().numpy()

    return gpu.in_pieces(infer, gpu.CardMemory(device)) if cut else infer
