"""Batches on a GPU are cut so that they fit; the card is played here, with the memory that each test makes up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detectors.gpu import batch_that_fits, in_pieces

MB = 1_000_000


class OutOfMemoryError(Exception):
    pass


class Card:
    """``free`` bytes as it says, ``real`` as it has; a net on it takes ``an_item`` bytes an item."""

    def __init__(self, *, free: int, an_item: int, real: int | None = None) -> None:
        self.said, self.real, self.an_item = free, free if real is None else real, an_item
        self.sizes: list[int] = []
        self.released = 0

    def free(self) -> int:
        return self.said

    def peak(self, run: Callable[[], Any]) -> tuple[Any, int]:
        answer = run()
        return answer, self.sizes[-1] * self.an_item

    def release(self) -> None:
        self.released += 1

    def ran_out(self, error: Exception) -> bool:
        return isinstance(error, OutOfMemoryError)

    def net(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(first) * self.an_item > self.real:
            raise OutOfMemoryError
        self.sizes.append(len(first))
        return first + second, first.sum(axis=1)


def asked(card: Card, count: int) -> None:
    """Two inputs of ``count`` items: the answers are those of the whole batch in its order."""
    first = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    found = in_pieces(card.net, card)(first, first * 2)
    assert np.array_equal(found[0], first * 3)
    assert np.array_equal(found[1], first.sum(axis=1))


@pytest.mark.parametrize(
    ("free", "an_item", "size"),
    [
        (1000 * MB, 100 * MB, 8),
        (1000 * MB, 801 * MB, 1),
        (50 * MB, 100 * MB, 1),
        (0, 1, 1),
        (80_000 * MB, 2 * MB, 32_000),
    ],
)
def test_a_batch_takes_four_fifths_of_the_free_memory_and_one_item_is_always_tried(free: int, an_item: int, size: int):
    assert batch_that_fits(free, an_item=an_item) == size


def test_a_batch_that_fits_is_computed_at_once():
    card = Card(free=1000 * MB, an_item=MB)
    asked(card, 64)
    assert (card.sizes, card.released) == ([64], 0)


def test_a_batch_that_does_not_fit_is_halved_and_the_rest_is_no_larger():
    card = Card(free=100 * MB, an_item=10 * MB)
    asked(card, 30)
    assert card.sizes == [7, 7, 7, 7, 2]
    assert card.released == 2  # thirty and fifteen were too many
    asked(card, 8)
    assert card.sizes[5:] == [8]


def test_memory_that_others_take_meanwhile_makes_pieces_smaller():
    card = Card(free=100 * MB, an_item=10 * MB)
    run = in_pieces(card.net, card)
    ones = np.ones((8, 3), np.float32)
    run(ones, ones)
    card.said = card.real = 40 * MB
    run(ones, ones)
    card.said, card.real = 100 * MB, 20 * MB  # it says more than it has
    run(ones, ones)
    assert card.sizes == [8, 3, 3, 2, 2, 2, 2, 2]


def test_one_item_that_does_not_fit_is_an_error_and_so_is_any_other():
    card = Card(free=100 * MB, an_item=200 * MB)
    with pytest.raises(OutOfMemoryError):
        asked(card, 4)

    def broken(*inputs: np.ndarray) -> np.ndarray:
        raise ValueError("not the memory")

    with pytest.raises(ValueError, match="not the memory"):
        in_pieces(broken, card)(np.ones((4, 3), np.float32))


def test_inputs_without_a_common_batch_are_left_whole():
    card = Card(free=1, an_item=1)
    run = in_pieces(lambda first, second: (len(first), len(second)), card)
    assert run(np.ones((4, 3)), np.ones((2, 3))) == (4, 2)
    assert run(np.ones((0, 3)), np.ones((0, 3))) == (0, 0)
