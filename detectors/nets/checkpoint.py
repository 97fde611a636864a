"""Reads published weights files without running anything in them, and fills networks strictly.

Owns: the sha256 check of a card's files, the readers of torch state dicts, safetensors and Keras HDF5
files, the comparison of names and shapes.
Promises: the bytes that are parsed are the bytes that were hashed; no pickle is executed (``torch.load`` with
``weights_only``); a network is either filled completely or not at all, and every missing, extra or misshapen entry is named.
May be imported by detectors, in workers only. Torch and h5py are imported on the first call.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from base_detector import Array, Card, ContractError, WorkerFailure

if TYPE_CHECKING:
    import torch


Choice = TypeVar("Choice")


class CheckpointError(WorkerFailure, ContractError):
    """A weights file does not fit its network; the message names every entry that differs. The worker answers ``weights_do_not_fit``.

    ``file``: the one that ``read_published`` read last; the message begins with it, so that another file is not blamed.
    """

    file: ClassVar[str] = ""

    def __init__(self, sentence: str) -> None:
        super().__init__("weights_do_not_fit")
        self.args = (f"{self.file}: {sentence}" if self.file else sentence,)


class WeightsUnusable(WorkerFailure):
    """A weights file is absent or not the published one. The code crosses the worker's boundary, the sentence does not."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code)
        self.args = (sentence,)


def variant_of(card: Card, variants: Mapping[str, Choice]) -> Choice:
    """The meaning of ``parameters.variant`` of the card; ContractError names the known variants."""
    variant = card.parameters["variant"]
    if variant not in variants:
        raise ContractError(f"{card.id}: parameters.variant must be one of {', '.join(variants)}, not {variant!r}")
    return variants[variant]


def read_published(weights: Path, card: Card, file: str) -> bytes:
    """The content of ``file`` of ``card`` below folder ``weights``, checked against the card's size and sha256 where it has them.

    Raises ContractError when the card does not list the file, WeightsUnusable (``weights_missing``, ``weights_mismatch``)
    when it is not there or holds something else.
    """
    item = next((entry for entry in card.weights if entry.file == file), None)
    if item is None:
        raise ContractError(f"{card.id}: add a [[weights]] entry for {file!r} to detector.toml")
    path = weights / file
    try:
        with path.open("rb") as stream:
            # one byte more than wanted shows a longer file
            content = stream.read(item.bytes + 1 if item.sha256 else -1)
    except FileNotFoundError:
        raise WeightsUnusable(
            "weights_missing", f"{path} is not there: run 'deepfake-o-meter weights fetch {card.id}'"
        ) from None
    if item.sha256 and (len(content) != item.bytes or hashlib.sha256(content).hexdigest() != item.sha256):
        raise WeightsUnusable(
            "weights_mismatch",
            f"{path} is not the published file (sha256): run 'deepfake-o-meter weights fetch {card.id}'",
        )
    CheckpointError.file = file
    return content


@dataclass(frozen=True)
class Published:
    """A large file of ``card`` as an argument for ``detectors.runtime.compiled``: read when it is needed, and not in memory meanwhile."""

    weights: Path
    card: Card
    file: str

    def read(self) -> bytes:
        """Its content; errors as ``read_published``."""
        return read_published(self.weights, self.card, self.file)

    def digest(self) -> str:
        """sha256 of its content, which ``read`` compares with the card's; errors as ``read_published``."""
        content = self.read()
        known = next((item.sha256 for item in self.card.weights if item.file == self.file), None)
        return known or hashlib.sha256(content).hexdigest()


def read_torch(content: bytes, *, inside: str = "", prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a torch state dict, on the CPU; anything else than tensors in plain containers is refused.

    ``inside``: the entry of a checkpoint that holds the state dict (``state_dict``, ``model``, ``net``), taken where it is there.
    ``prefix`` (``module.``) is taken off the names that carry it; names that would then be equal are refused.
    """
    import pickle

    import torch

    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, LookupError) as error:
        # torch's reader of its old format walks into whatever is not one
        raise CheckpointError(f"this is not a torch file of plain tensors ({str(error)[:300]})") from None
    except RuntimeError as error:
        if "PytorchStreamReader" not in str(error):
            raise
        raise CheckpointError(f"this torch file is damaged ({str(error)[:300]})") from None
    if inside and isinstance(state, dict) and isinstance(state.get(inside), dict):
        state = state[inside]
    if not isinstance(state, dict) or not all(isinstance(item, torch.Tensor) for item in state.values()):
        raise CheckpointError("the file holds no plain state dict (name -> tensor)")
    named = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if len(named) != len(state):
        raise CheckpointError(f"the file names the same tensor with and without {prefix!r}")
    return named


def read_safetensors(content: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU; CheckpointError when it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except SafetensorError as error:
        raise CheckpointError(f"the file is no safetensors file: {error}") from None


def read_keras(content: bytes) -> dict[str, Array]:
    """The arrays of a Keras 2 weights-only HDF5 file by ``layer/variable`` (``conv2d_1/kernel``), float32.

    The layout is ``<layer>/<layer>/<variable>:0``. The file's order of layers is that of the graph, not of the numbers in their
    names, so only the names are trusted.
    """
    import h5py

    arrays: dict[str, Array] = {}

    def take(path: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            parts = path.removesuffix(":0").split("/")
            name = "/".join(parts[1:]) if len(parts) == 3 and parts[0] == parts[1] else path
            arrays[name] = np.asarray(node[()], np.float32)

    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(take)
    return arrays


def fill(net: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load ``state`` into ``net``; CheckpointError names every missing, extra or misshapen entry."""
    wanted = net.state_dict()
    check_names(
        {name: tuple(tensor.shape) for name, tensor in state.items()},
        wanted={name: tuple(tensor.shape) for name, tensor in wanted.items()},
        net=type(net).__name__,
    )
    net.load_state_dict(dict(state))


def filled(build: Callable[[], torch.nn.Module], state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The network of ``build`` with the numbers of ``state``, as ``fill``; drawing random ones first would be lost time."""
    import torch

    with torch.device("meta"):
        net = build()
    net.to_empty(device="cpu")
    fill(net, state)
    return net


def check_names(found: Mapping[str, tuple[int, ...]], *, wanted: Mapping[str, tuple[int, ...]], net: str) -> None:
    """Compare names and shapes of a file with those of a network; CheckpointError names all that differ."""
    remarks = [f"missing {name}" for name in sorted(set(wanted) - set(found))]
    remarks += [f"extra {name}" for name in sorted(set(found) - set(wanted))]
    remarks += [
        f"{name} has shape {found[name]}, not {wanted[name]}"
        for name in sorted(set(found) & set(wanted))
        if found[name] != wanted[name]
    ]
    if remarks:
        raise CheckpointError(f"the weights do not fit {net}: {'; '.join(remarks)}")
