"""CUDA graphs where they help: a network's calls of one shape are recorded once and replayed, which saves launching each kernel anew.

Promises: a graph is used only when its answers are bit for bit those of the plain call, for two inputs, and when it is faster; a network
that cannot be recorded (it asks the card for a number on the way) is called plainly for good. Imported by ``detectors.runtime``. Which of
our networks gain is not known: no card has run this yet (docs/gpu.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import torch

#: A network on the card: tensors there in and out.
Run = Callable[..., Any]
#: Calls of one shape after which it is worth a recording, and shapes that are recorded at most: each holds its memory on the card.
_OFTEN, _MOST = 4, 2
#: Share of the plain time that a replay may take.
_FASTER: Final = 0.95


class Recorder(Protocol):
    """What records and times on a card."""

    def record(self, run: Run, inputs: tuple[torch.Tensor, ...]) -> Run:
        """``run`` for inputs of these shapes, to be replayed; its answer is valid until the next replay. RuntimeError where that fails."""

    def seconds(self, run: Run, inputs: tuple[torch.Tensor, ...]) -> float:
        """How long one call takes, until its answer is there."""


class CardRecorder:
    """That of torch's current CUDA device."""

    def record(self, run: Run, inputs: tuple[torch.Tensor, ...]) -> Run:
        """See ``Recorder``; as torch's notes on CUDA graphs ask for, it is warmed up on a stream of its own."""
        import torch

        held = tuple(item.clone() for item in inputs)
        with torch.cuda.device(inputs[0].device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    run(*held)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outputs = run(*held)

        def replay(*given: torch.Tensor) -> Any:
            for place, item in zip(held, given, strict=True):
                place.copy_(item)
            graph.replay()
            return outputs

        return replay

    def seconds(self, run: Run, inputs: tuple[torch.Tensor, ...]) -> float:
        """Median of seven."""
        import statistics
        import time

        import torch

        found = []
        for _ in range(7):
            torch.cuda.synchronize(inputs[0].device)
            started = time.perf_counter()
            run(*inputs)
            torch.cuda.synchronize(inputs[0].device)
            found.append(time.perf_counter() - started)
        return statistics.median(found)


def with_graphs(run: Run, recorder: Recorder) -> Run:
    """``run``, whose frequent shapes are replayed where that is the same and faster."""
    seen: Counter[tuple[Any, ...]] = Counter()
    recorded: dict[tuple[Any, ...], Run] = {}

    def call(*inputs: torch.Tensor) -> Any:
        shape = tuple(item.shape for item in inputs)
        seen[shape] += 1
        if seen[shape] == _OFTEN and len(recorded) < _MOST:
            replay = _recorded(run, recorder, inputs)
            if replay is not None:
                recorded[shape] = replay
        return recorded.get(shape, run)(*inputs)

    return call


def _recorded(run: Run, recorder: Recorder, inputs: tuple[torch.Tensor, ...]) -> Run | None:
    """``run`` recorded for the shapes of ``inputs``; None where that fails, answers otherwise or gains nothing."""
    try:
        replay = recorder.record(run, inputs)
        for given in (inputs, tuple(item.flip(0, -1) * 0.5 for item in inputs)):
            if not _equal(replay(*given), run(*given)):
                return None
    except RuntimeError:  # torch's errors, that of the memory too
        return None
    faster = recorder.seconds(replay, inputs) <= _FASTER * recorder.seconds(run, inputs)
    return replay if faster else None


def _equal(found: Any, expected: Any) -> bool:
    import torch

    if isinstance(expected, tuple):
        return len(found) == len(expected) and all(map(_equal, found, expected))
    return bool(torch.equal(found, expected))
