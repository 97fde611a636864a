"""Decoding ahead: the same pictures in the same order, errors where they belong, nothing left behind."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from backend.media.ahead import Ahead, depth_for
from base_detector import WorkerFailure


@dataclass
class Numbered:
    """A picture with nothing on it."""

    index: int


def source(count: int, *, error: Exception | None = None):
    for index in range(count):
        yield Numbered(index)
    if error:
        raise error


def threads() -> list[str]:
    return [item.name for item in threading.enumerate() if item.name == "decode-ahead"]


def test_all_pictures_come_in_order_each_prepared_once():
    prepared = []
    with Ahead(source(50), prepare=lambda picture: prepared.append(picture.index), depth=3) as pictures:
        assert [picture.index for picture in pictures] == list(range(50))
    assert prepared == list(range(50))
    assert threads() == []


def test_an_error_of_the_decoder_comes_after_the_pictures_before_it():
    seen = []
    with Ahead(source(5, error=WorkerFailure("media_too_long")), depth=2) as pictures:
        with pytest.raises(WorkerFailure, match="media_too_long"):
            seen.extend(picture.index for picture in pictures)
        with pytest.raises(WorkerFailure, match="media_too_long"):
            next(pictures)
    assert seen == [0, 1, 2, 3, 4], "what was decoded is not lost"


def test_an_error_in_preparing_is_not_lost():
    def fails(picture: Numbered) -> None:
        raise MemoryError

    with pytest.raises(MemoryError), Ahead(source(5), prepare=fails, depth=2) as pictures:
        next(pictures)


def test_never_more_than_depth_pictures_wait():
    given = 0

    def counted():
        nonlocal given
        for picture in source(20):
            given += 1
            yield picture

    with Ahead(counted(), depth=2) as pictures:
        next(pictures)
        time.sleep(0.1)
        assert given <= 1 + 2 + 1  # taken, waiting, in the thread's hand


def test_a_caller_who_leaves_early_ends_the_thread():
    with Ahead(source(10_000), depth=1) as pictures:
        next(pictures)
    assert threads() == []


def test_large_pictures_wait_in_small_numbers():
    assert depth_for(640, 480) == 8
    assert depth_for(3840, 2160) == 2
    assert depth_for(8192, 8192) == 1
