"""What a network on a GPU needs beside torch: batches cut so that they fit into the memory that is free now.

Owns the rule of the size of a batch, and the readings of the card that it follows.
Promises: the answers are those of the whole batch in its order; a batch that does not fit is cut, one item that does not fit is an
error. Imported by ``detectors.runtime``. Torch is imported on the first reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from base_detector import Array

#: Share of the free memory that a batch may take: other workers on the card, and the libraries' own workspaces, need room too.
_SHARE = 0.8
#: Least compute capability at which half precision is worth it: from Volta on cards multiply halves in units of their own (CUDA
#: programming guide, "Compute Capabilities", 7.x). Before that most are slower with them.
_HALVES = (7, 0)


class Memory(Protocol):
    """The memory of a card."""

    def free(self) -> int:
        """Bytes that this process could take now."""

    def peak(self, run: Callable[[], Any]) -> tuple[Any, int]:
        """What ``run`` answers, and the most bytes it took meanwhile beyond what was taken before."""

    def release(self) -> None:
        """Give back what is kept for later."""

    def ran_out(self, error: Exception) -> bool:
        """Whether ``error`` says that the memory did not suffice."""


class CardMemory:
    """That of torch's device ``cuda:N``."""

    def __init__(self, device: str) -> None:
        import torch

        self._device, self._torch = device, torch

    def free(self) -> int:
        cuda = self._torch.cuda
        kept = cuda.memory_reserved(self._device) - cuda.memory_allocated(self._device)
        return int(cuda.mem_get_info(self._device)[0]) + kept

    def peak(self, run: Callable[[], Any]) -> tuple[Any, int]:
        cuda = self._torch.cuda
        cuda.reset_peak_memory_stats(self._device)
        before = cuda.memory_allocated(self._device)
        answer = run()
        return answer, cuda.max_memory_allocated(self._device) - before

    def release(self) -> None:
        self._torch.cuda.empty_cache()

    def ran_out(self, error: Exception) -> bool:
        return isinstance(error, self._torch.cuda.OutOfMemoryError)


def takes_halves(device: str) -> bool:
    """Whether the card computes faster in half precision."""
    import torch

    return torch.cuda.get_device_capability(device) >= _HALVES


def in_pieces(run: Callable[..., Any], memory: Memory) -> Callable[..., Any]:
    """``run``, whose inputs and outputs all begin with the batch, on pieces of a batch that fit into ``memory``.

    How much an item takes is learnt from each call. Raises what ``run`` raises, and its out-of-memory error for one item.
    """
    an_item = 0  # bytes, the most seen

    def piece(*inputs: Array, most: int) -> tuple[Any, int]:
        """The answer for the largest piece from the front that fits, of at most ``most`` items, and how many it has."""
        nonlocal an_item
        size = min(len(inputs[0]), most, batch_that_fits(memory.free(), an_item=an_item))
        while True:
            some = [item[:size] for item in inputs]
            try:
                answer, taken = memory.peak(lambda some=some: run(*some))  # type: ignore[misc]
            except Exception as error:
                if size == 1 or not memory.ran_out(error):
                    raise
            else:
                an_item = max(an_item, -(-taken // size))
                return answer, size
            # outside the handler, whose traceback holds the tensors of the piece that was too large
            memory.release()
            size //= 2

    def whole(*inputs: Array) -> Any:
        if len({len(item) for item in inputs}) != 1 or not len(inputs[0]):
            return run(*inputs)  # no batch
        answers: list[Any] = []
        size = len(inputs[0])
        while len(inputs[0]):
            answer, size = piece(*inputs, most=size)  # what did not fit just now is not tried again
            answers.append(answer)
            inputs = tuple(item[size:] for item in inputs)
        if isinstance(answers[0], tuple):
            return tuple(np.concatenate(items) for items in zip(*answers, strict=True))
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    return whole


def batch_that_fits(free: int, *, an_item: int) -> int:
    """Items of ``an_item`` bytes each that may be computed at once with ``free`` bytes; at least one, any number where it is unknown."""
    return max(1, int(free * _SHARE) // an_item) if an_item > 0 else 1_000_000
