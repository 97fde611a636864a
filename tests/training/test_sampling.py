"""Draws are balanced as described, depend on seed and step only, and stay in their part."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from detectors.training.augment import OFTEN, augmented
from detectors.training.dataset import DataError, Item, part_of
from detectors.training.sampling import Draws, HeldOut, Source, sources_of
from detectors.training.store import Stored


def names_in(part: str, count: int) -> list[str]:
    return [name for name in (f"p{n}" for n in range(2000)) if part_of(name) == part][:count]


def stored(
    identity: str, *, fake: bool, number: int = 0, faces: int = 4, step_s: float = 1 / 6, level: int = 0
) -> Stored:
    name = f"{'fake' if fake else 'real'}/{identity}_{number}.mp4"
    pixels = np.full((faces, 8, 8, 3), level, np.uint8) + np.arange(faces, dtype=np.uint8)[:, None, None, None]
    item = Item(Path(name), name, fake, identity)
    return Stored(item, pixels, step_s * np.arange(faces), np.zeros(faces, np.int64))


@pytest.fixture(scope="module")
def uneven() -> tuple[list[str], list[Source]]:
    """One person with one real clip and fifty fakes, one with three real clips and no fake, one with one of each."""
    many, none, one = people = names_in("train", 3)
    items = [stored(many, fake=False, faces=9), stored(one, fake=False), stored(one, fake=True)]
    items += [stored(many, fake=True, number=n, faces=2) for n in range(50)]
    items += [stored(none, fake=False, number=n) for n in range(3)]
    items += [stored(name, fake=fake) for name in names_in("test", 2) for fake in (False, True)]
    return people, sources_of(items, clips=False, overlap=True)


def test_draws_are_balanced_over_kinds_people_and_clips(uneven: tuple):
    (many, none, one), sources = uneven
    draws, rng = Draws(sources, part="train"), np.random.default_rng(1)
    drawn = [draws.draw(rng) for _ in range(12_000)]
    kinds = Counter(source.fake for source, _ in drawn)
    assert kinds[True] / 12_000 == pytest.approx(0.5, abs=0.02)
    reals = Counter(source.identity for source, _ in drawn if not source.fake)
    assert {name: reals[name] / kinds[False] for name in reals} == {
        name: pytest.approx(1 / 3, abs=0.02) for name in (many, none, one)
    }
    fakes = Counter(source.identity for source, _ in drawn if source.fake)
    # of whom nobody made a fake: half the time the one's, half the time the other's
    assert set(fakes) == {many, one}
    assert fakes[many] / kinds[True] == pytest.approx(0.5, abs=0.02)
    clips = Counter(source.stored.item.name for source, _ in drawn if source.identity == none)
    assert len(clips) == 3
    assert max(clips.values()) < 1.2 * min(clips.values())
    places = Counter(place for source, place in drawn if source.identity == many and not source.fake)
    assert len(places) == 9
    assert max(places.values()) < 1.4 * min(places.values())


def test_a_step_depends_on_seed_and_number_only(uneven: tuple):
    draws = Draws(uneven[1], part="train")
    faces, labels, rng = draws.step(16, seed=3, step=7)
    other = Draws(uneven[1], part="train")
    other.step(5, seed=3, step=6)
    again, same, further = other.step(16, seed=3, step=7)
    np.testing.assert_array_equal(labels, same)
    for one, two in zip(faces, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert rng.random() == further.random()
    assert any((one != two).any() for one, two in zip(labels, draws.step(16, seed=3, step=8)[1], strict=True))


def test_nothing_leaves_its_part(uneven: tuple):
    rng = np.random.default_rng(2)
    for part in ("train", "test"):
        draws = Draws(uneven[1], part=part)
        assert {draws.draw(rng)[0].stored.item.part for _ in range(500)} == {part}
        assert {source.stored.item.part for source in HeldOut.of(uneven[1], part=part, each=2).sources} == {part}
    with pytest.raises(DataError, match="the validation part holds real faces of 0 people and fake ones of 0: too few"):
        Draws(uneven[1], part="validation")


def test_held_out_samples_are_the_same_each_time_and_spread(uneven: tuple):
    held = HeldOut.of(uneven[1], part="train", each=3, most=10)
    assert held == HeldOut.of(uneven[1], part="train", each=3, most=10)
    assert held.labels.tolist() == [0.0] * 5 + [1.0] * 5
    assert held.groups.tolist() == [source.identity for source in held.sources]
    assert [held.places(source) for source in held.sources if len(source.places) == 9] == [[0, 4, 8]]


def test_nets_of_clips_draw_windows_and_leave_short_clips_out():
    people = names_in("train", 2)
    items = [stored(name, fake=fake, faces=24) for name in people for fake in (False, True)]
    items.append(stored(people[0], fake=True, number=5, faces=19))
    overlapping, apart = (sources_of(items, clips=True, overlap=overlap) for overlap in (True, False))
    assert [len(source.places) for source in overlapping] == [5] * 4
    assert [len(source.places) for source in apart] == [1] * 4
    assert overlapping[0].faces(2).shape == (20, 8, 8, 3)
    assert overlapping[0].faces(2)[:, 0, 0, 0].tolist() == list(range(2, 22))


# --------------------------------------------------------------------------- augmentation


def test_augmentation_happens_as_often_as_it_says_and_keeps_shape_and_kind():
    rng = np.random.default_rng(5)
    face = np.random.default_rng(6).integers(0, 256, (1, 32, 32, 3), np.uint8)
    same = sum(np.array_equal(augmented(face, rng=rng), face) for _ in range(2000)) / 2000
    assert same == pytest.approx(np.prod([1 - often for often in OFTEN.values()]), abs=0.03)
    changed = augmented(face, rng=rng)
    assert changed.shape == face.shape
    assert changed.dtype == np.uint8


def test_the_faces_of_a_window_are_changed_alike_and_the_generator_goes_on_the_same():
    face = np.random.default_rng(6).integers(0, 256, (32, 32, 3), np.uint8)
    after = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        window = augmented(np.stack([face] * 3), rng=rng)
        assert (window == window[0]).all()
        other = np.random.default_rng(seed)
        np.testing.assert_array_equal(augmented(face[None], rng=other)[0], window[0])
        after.add(rng.random() == other.random())
    assert after == {True}
