"""CUDA graphs are used where they answer as the plain call does and are faster; here with a card that is played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from detectors.graphs import CardRecorder, with_graphs  # noqa: E402


@dataclass
class Played:
    """Records with ``made``, and says that a replay takes ``share`` of the plain time."""

    made: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda run: run
    share: float = 0.5
    recorded: list[tuple[int, ...]] = field(default_factory=list)
    replayed: int = 0

    def record(self, run: Any, inputs: Any) -> Any:
        self.recorded.append(tuple(inputs[0].shape))
        made = self.made(run)

        def replay(*given: Any) -> Any:
            self.replayed += 1
            return made(*given)

        self._replay = replay
        return replay

    def seconds(self, run: Any, inputs: Any) -> float:
        return self.share if run is self._replay else 1.0


def net(given: Any) -> Any:
    return given * 2 + 1, given.sum()


def asked(played: Played, *, times: int = 8, shape: tuple[int, ...] = (2, 3)) -> int:
    """Call the network ``times``; how often the graph answered after it was judged."""
    run = with_graphs(net, played)
    for number in range(times):
        given = torch.full(shape, float(number))
        doubled, total = run(given)
        assert torch.equal(doubled, given * 2 + 1)
        assert torch.equal(total, given.sum())
    return played.replayed - 2 if played.replayed else 0


def test_a_shape_that_comes_often_is_replayed():
    assert asked(Played()) == 5
    assert asked(Played(), times=3) == 0


def off_by_a_bit(run: Any) -> Any:
    return lambda given: (torch.nextafter(run(given)[0], torch.tensor(99.0)), run(given)[1])


def frozen(run: Any) -> Any:
    """Answers for the input it was recorded with, whatever it is given: a branch of Python was recorded with it."""
    kept: list[Any] = []

    def answer(given: Any) -> Any:
        kept.append(run(given))
        return kept[0]

    return answer


@pytest.mark.parametrize("made", [off_by_a_bit, frozen])
def test_a_graph_that_answers_otherwise_by_one_bit_or_for_another_input_is_never_used(made):
    played = Played(made)
    run = with_graphs(net, played)
    for number in range(8):
        given = torch.full((2, 3), float(number))
        assert torch.equal(run(given)[0], given * 2 + 1)
    assert len(played.recorded) == 1, "it is not tried again"


def test_a_graph_that_gains_nothing_or_cannot_be_recorded_is_not_used():
    assert asked(Played(share=0.99)) == 0

    def refuses(run: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    assert asked(Played(refuses)) == 0


def test_two_shapes_are_recorded_at_most():
    played = Played()
    run = with_graphs(net, played)
    for side in (2, 3, 4):
        for _ in range(5):
            run(torch.zeros(side, side))
    assert played.recorded == [(2, 2), (3, 3)]


@pytest.mark.gpu
def test_on_a_card_a_recorded_network_answers_bit_for_bit_as_plainly():
    from detectors.nets.selfblend import SelfBlendNet

    plain = SelfBlendNet().eval().to("cuda:0")
    with torch.inference_mode():
        given = torch.rand((8, 1, 80, 80), device="cuda:0")
        replay = CardRecorder().record(plain, (given,))
        for _ in range(3):
            given = torch.rand((8, 1, 80, 80), device="cuda:0")
            assert torch.equal(replay(given), plain(given))
