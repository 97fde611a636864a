"""Networks that the operator trains: how a face becomes their picture, how a logit becomes a score, and the file they are kept in.

Owns: scaling, calibration, and the file format: safetensors whose header says which detector it is of and with which figures it was
trained. What names and shapes cannot show (the sigma of a blur, the margin of a crop) is written there, so a file and a card that differ in
it are refused instead of giving the scores of another network.
Promises: nothing in a file is executed; equal content gives equal bytes; every figure that differs is named.
May be imported by detectors, in workers, and by detectors.training. Torch is imported with this module.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from base_detector import Array, Card, ContractError
from detectors.nets.checkpoint import CheckpointError, fill, read_published
from detectors.runtime import compiled

#: Longest header that is read; ours have a few hundred bytes.
_LONGEST_HEADER = 1 << 20


class Calibrated(nn.Module):
    """A net of one logit with the line that makes its score: fake = sigmoid(slope * (logit - threshold)).

    The two numbers are buffers of the file (``calibration`` = slope, threshold): 1 and 0 until a training run has chosen them.
    """

    calibration: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))


class Judge(nn.Module):
    """The net as a detector runs it: probability of *fake*, (N,), from what ``net`` takes."""

    def __init__(self, net: Calibrated) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        slope, threshold = self.net.calibration[0], self.net.calibration[1]
        return torch.sigmoid(slope * (self.net(x) - threshold))


def pack_trained(net: nn.Module, *, detector: str, parameters: Mapping[str, Any]) -> bytes:
    """The numbers of ``net`` as a safetensors file of ``detector``, with its ``parameters`` (plain JSON) in the header."""
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    return save(state, {"detector": detector, "parameters": json.dumps(dict(parameters), sort_keys=True)})


def read_trained(content: bytes, *, detector: str, parameters: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a file ``pack_trained`` wrote.

    CheckpointError when the file is of another detector or none of ours, ContractError when one of ``parameters`` (the card's) is not
    what the net was trained with.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    header = _header(content)
    if header.get("detector") != detector:
        found = header.get("detector") or "nothing we know"
        raise CheckpointError(
            f"the weights are of {found}, not of {detector}: make them with 'python -m detectors.training train {detector}'"
        )
    trained = json.loads(header["parameters"])
    for name, value in parameters.items():
        if trained.get(name) != value:
            raise ContractError(
                f"{detector}: parameters.{name} must be {trained.get(name)!r}, as the weights were trained, not {value!r}"
            )
    try:
        return load(content)
    except SafetensorError as error:
        raise CheckpointError(f"the weights of {detector} are damaged ({error}): install them again") from None


def compile_trained(
    build: Callable[..., Calibrated],
    weights: Path,
    *,
    card: Card,
    numbers: Mapping[str, Any],
    probe: Array,
    device: str,
) -> Callable[[Array], Array]:
    """The ``Judge`` of ``build(**numbers)`` with the card's own file, ``<id>.safetensors``, compiled for inputs like ``probe``.

    ``build``: a class or function of a module; ``numbers``: plain values. Raises as ``read_published`` and ``read_trained`` do.
    """
    content = read_published(weights, card, f"{card.id}.safetensors")
    parameters = {"margin": card.margin, **card.parameters}
    name = f"{build.__module__}:{build.__qualname__}"
    return compiled(
        _judge, name, dict(numbers), content, card.id, parameters, example=probe, device=device, probe=probe
    )


def _judge(
    name: str, numbers: Mapping[str, Any], content: bytes, detector: str, parameters: Mapping[str, Any]
) -> nn.Module:
    """The network of the class ``name`` (module:class) with the numbers of ``content``."""
    module, _, kind = name.partition(":")
    net = getattr(sys.modules[module], kind)(**numbers)
    fill(net, read_trained(content, detector=detector, parameters=parameters))
    return Judge(net)


def _header(content: bytes) -> dict[str, str]:
    """The text entries of a safetensors header (length as 8 bytes little-endian, then JSON); empty where the file is none."""
    if len(content) < 8:
        return {}
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(_LONGEST_HEADER, len(content) - 8):
        return {}
    try:
        entries = json.loads(content[8 : 8 + length])
    except ValueError:
        return {}
    found = entries.get("__metadata__") if isinstance(entries, dict) else None
    return found if isinstance(found, dict) else {}
