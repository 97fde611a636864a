"""What a training step sees: balanced draws from the stored faces, and the fixed samples of the held-out parts.

Owns: the draw, after Deepware's description of its own training: an identity, one of its real clips, a fair coin, on heads one of the
fakes made of it, then a random face (for nets of clips: a random window). Rare people and rare real clips weigh as much as others.
Promises: the draws of a step depend on (seed, step) and nothing else; held-out samples are always the same; nothing leaves its part.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from base_detector import Array
from detectors.nets.noise import windows
from detectors.training.dataset import DataError
from detectors.training.store import Stored


@dataclass(frozen=True)
class Source:
    """An item that can be drawn from: each of ``places`` holds indices of faces, (1,) for nets of faces, (20,) for nets of clips."""

    stored: Stored
    places: tuple[Array, ...]

    def faces(self, place: int) -> Array:
        """The faces of one place, (k, S, S, 3) uint8 RGB."""
        return np.asarray(self.stored.pixels[self.places[place]])

    @property
    def identity(self) -> str:
        """Whose item it is."""
        return self.stored.item.identity

    @property
    def fake(self) -> bool:
        """Whether it is a fake."""
        return self.stored.item.fake


def sources_of(stored: Sequence[Stored], *, clips: bool, overlap: bool) -> list[Source]:
    """What can be drawn from; items without a single window are left out when ``clips``."""
    found = []
    for item in stored:
        if clips:
            nobody_else = np.zeros(len(item.times), np.int64)
            places = tuple(windows(item.times, nobody_else, item.shots, overlap=overlap))
        else:
            places = tuple(np.arange(len(item.times))[:, None])
        if places:
            found.append(Source(item, places))
    return found


class Draws:
    """Balanced draws from the sources of one part."""

    def __init__(self, sources: Sequence[Source], *, part: str) -> None:
        own = [source for source in sources if source.stored.item.part == part]
        self.reals, self.fakes = (
            _by_identity([source for source in own if source.fake == fake]) for fake in (False, True)
        )
        if not self.reals or not self.fakes:
            raise DataError(
                f"the {part} part holds real faces of {len(self.reals)} people and fake ones of {len(self.fakes)}: too few. Parts follow "
                "from a hash of the identity's name. Add clips or pictures of more people; nets of clips need 3.2 seconds of a face."
            )
        self._people, self._faked = sorted(self.reals), sorted(self.fakes)

    def draw(self, rng: np.random.Generator) -> tuple[Source, int]:
        """One source and one of its places."""
        person = self._people[rng.integers(len(self._people))]
        real = _one(self.reals[person], rng)
        # without a fake of this person, the fake is of someone else
        faked = person if person in self.fakes else self._faked[rng.integers(len(self._faked))]
        source = _one(self.fakes[faked], rng) if rng.random() < 0.5 else real
        return source, int(rng.integers(len(source.places)))

    def step(self, count: int, *, seed: int, step: int) -> tuple[list[Array], Array, np.random.Generator]:
        """Faces of ``count`` draws, their labels (count,) float32 (1 = fake), and the generator to continue with."""
        rng = np.random.default_rng([seed, step])
        drawn = [self.draw(rng) for _ in range(count)]
        labels = np.array([source.fake for source, _ in drawn], np.float32)
        return [source.faces(place) for source, place in drawn], labels, rng


def _by_identity(sources: Sequence[Source]) -> dict[str, list[Source]]:
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(source.identity, []).append(source)
    return found


def _one(sources: Sequence[Source], rng: np.random.Generator) -> Source:
    return sources[int(rng.integers(len(sources)))]


@dataclass(frozen=True)
class HeldOut:
    """The fixed samples of a part: sources, and up to ``each`` of their places, evenly."""

    sources: tuple[Source, ...]
    each: int

    @classmethod
    def of(cls, sources: Sequence[Source], *, part: str, each: int, most: int | None = None) -> HeldOut:
        """The sources of ``part``; at most ``most`` of them, evenly over reals and fakes. DataError when a kind is missing."""
        Draws(sources, part=part)
        own = [source for source in sources if source.stored.item.part == part]
        kinds = [[source for source in own if source.fake == fake] for fake in (False, True)]
        kept = [_evenly(kind, most // 2 if most else len(kind)) for kind in kinds]
        return cls(tuple(kept[0] + kept[1]), each)

    @property
    def labels(self) -> Array:
        """(sources,) float32, 1 = fake."""
        return np.array([source.fake for source in self.sources], np.float32)

    @property
    def groups(self) -> Array:
        """(sources,) identities."""
        return np.array([source.identity for source in self.sources])

    def places(self, source: Source) -> list[int]:
        """The places of ``source`` that are scored."""
        return _evenly(range(len(source.places)), self.each)


def _evenly(items: Sequence[Any], count: int) -> list[Any]:
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]
