"""Batches: reproducible, and with no cue but the blend."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from detectors.training import stream as module
from detectors.training.degrade import (
    ALL_RATES,
    LOW_RATES,
    STRONG,
    encode_lightly,
    encode_mixed,
    through_h264,
    through_jpeg,
    through_mpeg4,
)
from detectors.training.faces import Bank
from detectors.training.stream import Recipe, batch_of_step, stream

SMALL = Recipe(side=64, pairs=8)


def test_a_batch_depends_on_seed_and_step_only(bank: Bank):
    first, again = (batch_of_step(bank, part="train", recipe=SMALL, seed=3, step=7) for _ in range(2))
    np.testing.assert_array_equal(first.faces, again.faces)
    np.testing.assert_array_equal(first.masks, again.masks)
    other = batch_of_step(bank, part="train", recipe=SMALL, seed=3, step=8)
    assert not np.array_equal(first.faces, other.faces)


def test_processes_give_the_batches_in_order(bank_folder: Path, bank: Bank):
    made = list(stream(bank_folder, part="train", recipe=SMALL, seed=3, first=5, last=9, processes=2))
    for step, batch in zip(range(5, 9), made, strict=True):
        wanted = batch_of_step(bank, part="train", recipe=SMALL, seed=3, step=step)
        np.testing.assert_array_equal(batch.faces, wanted.faces)


@pytest.mark.parametrize("part", ["train", "calibration", "test"])
def test_only_the_asked_for_part_is_read(bank: Bank, part: str):
    for step in range(4):
        batch = batch_of_step(bank, part=part, recipe=SMALL, seed=1, step=step)
        assert set(batch.indices) <= set(bank.of_part(part))


def test_real_faces_have_no_mask_and_blends_have_one(bank: Bank):
    batch = batch_of_step(bank, part="train", recipe=replace(SMALL, pairs=16), seed=2, step=0)
    assert batch.faces.shape == (32, 64, 64)
    assert batch.labels.tolist() == [0.0] * 16 + [1.0] * 16
    assert batch.masks[:16].max() == 0
    assert (batch.masks[16:].max(axis=(1, 2)) > 0.2).all()


def test_without_the_blend_nothing_tells_the_two_apart(bank: Bank, monkeypatch: pytest.MonkeyPatch):
    # every global step of the fakes is a step of the real ones: with blends that change nothing, sharpness, contrast and
    # brightness of the two halves come from one distribution
    monkeypatch.setattr(module, "blend", lambda face, landmarks, rng, pasted: (face, np.ones_like(face)))
    for kind in ({}, {"hard": True}, {"codec": "strong", "reshaped": 0.7, "mingled": True}):
        figures: list[list[float]] = [[], []]
        for step in range(24):
            batch = batch_of_step(bank, part="train", recipe=replace(SMALL, pairs=16, **kind), seed=4, step=step)
            for picture, label in zip(batch.faces.astype(np.float64), batch.labels, strict=True):
                figures[int(label)].append(np.log(np.abs(np.diff(picture, 2)).mean() + 0.1))
        real, fake = (np.array(values) for values in figures)
        # whole batches share a codec: 24 of them are the independent draws
        error = np.sqrt((real.reshape(24, -1).mean(1).var() + fake.reshape(24, -1).mean(1).var()) / 24)
        assert abs(real.mean() - fake.mean()) < 3.5 * error


def test_faces_of_other_shapes_train_and_are_never_measured_with(bank: Bank):
    for hard in (False, True):
        plain, changed = (
            batch_of_step(bank, part="train", recipe=replace(SMALL, hard=hard, reshaped=share), seed=6, step=1)
            for share in (0.0, 1.0)
        )
        np.testing.assert_array_equal(plain.indices, changed.indices)
        assert np.array_equal(plain.faces, changed.faces) == hard


def test_mingled_batches_give_each_codec_real_faces_and_blends(bank: Bank, monkeypatch: pytest.MonkeyPatch):
    painted = iter(range(10_000))

    def paint(tiles: np.ndarray, recipe: Recipe, *, rng: np.random.Generator) -> np.ndarray:
        return np.full_like(tiles, next(painted) % 2)

    monkeypatch.setattr(module, "_coded", paint)

    def groups(*, hard: bool, mingled: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        recipe = replace(SMALL, pairs=32, hard=hard, mingled=mingled)
        made = [batch_of_step(bank, part="train", recipe=recipe, seed=9, step=step) for step in range(12)]
        found = [batch.faces[:, 0, 0] for batch in made]
        return [(own[:32], own[32:]) for own in found if (own[:32] != own[32:]).all()]  # those that are processed apart

    apart = groups(hard=False, mingled=True)
    assert 2 < len(apart) < 10
    assert 0.3 < np.mean([real for real, _ in apart]) < 0.7
    for hard, mingled in ((False, False), (True, True)):
        apart = groups(hard=hard, mingled=mingled)
        assert len(apart) == 12 if hard else len(apart) < 10
        assert all(len(set(real)) == len(set(fake)) == 1 for real, fake in apart)


def test_strong_compression_is_for_training_only(bank: Bank):
    for hard in (False, True):
        drawn, strong = (
            batch_of_step(bank, part="train", recipe=replace(SMALL, hard=hard, codec=codec), seed=8, step=0)
            for codec in ("drawn", "strong")
        )
        assert np.array_equal(drawn.faces, strong.faces) == hard
        np.testing.assert_array_equal(drawn.masks, strong.masks)


def test_a_batch_may_hold_its_pictures_before_the_codec(bank: Bank):
    both = replace(SMALL, hard=True, both=True)
    plain, found = (
        batch_of_step(bank, part="train", recipe=recipe, seed=8, step=2)
        for recipe in (replace(both, codec="none", both=False), both)
    )
    assert plain.before is None
    np.testing.assert_array_equal(found.before, plain.faces)
    assert (found.faces != found.before).any()
    joined = [half.before for half in found.split(2)]
    np.testing.assert_array_equal(np.concatenate([part[: len(part) // 2] for part in joined]), found.before[:8])


def test_recipes_that_differ_in_the_codec_make_the_same_blends(bank: Bank):
    plain = batch_of_step(bank, part="test", recipe=replace(SMALL, hard=True, codec="none"), seed=5, step=0)
    for last in ("jpeg60", "h264_32"):
        recipe = replace(SMALL, hard=True, codec="none", last=last)
        coded = batch_of_step(bank, part="test", recipe=recipe, seed=5, step=0)
        np.testing.assert_array_equal(plain.masks, coded.masks)
        difference = np.abs(plain.faces.astype(float) - coded.faces)
        assert 0.2 < difference.mean() < 12


@pytest.mark.parametrize("count", [1, 5, 64])
def test_codecs_give_every_tile_back_at_its_place(bank: Bank, count: int):
    tiles = np.stack([np.roll(bank.pixels[n % 40], n * 7, axis=1)[:80, :80] for n in range(count)])
    for coded in (
        through_jpeg(tiles, quality=90, offset=5),
        through_h264(tiles, crf=20, offset=7),
        through_mpeg4(tiles, scale=2, offset=3),
        through_mpeg4(tiles, scale=2, moving=True),
        through_h264(tiles, crf=20, moving=True, offset=3),
    ):
        assert coded.shape == tiles.shape
        assert coded.dtype == np.uint8
        assert np.abs(coded.astype(float) - tiles).mean(axis=(1, 2)).max() < 6
        # full range stays full range
        assert abs(coded.astype(float).mean() - tiles.mean()) < 0.6


def test_stronger_compression_changes_more(bank: Bank):
    tiles = np.asarray(bank.pixels[:16, :96, :96])
    losses = [np.abs(through_h264(tiles, crf=crf).astype(float) - tiles).mean() for crf in (18, 26, 34)]
    assert losses[0] < losses[1] < losses[2]


def test_the_codecs_of_training_keep_brightness_and_the_second_generation_is_the_stronger(bank: Bank):
    tiles = np.asarray(bank.pixels[:16, :96, :96])
    kinds = {
        "lightly": encode_lightly,
        "all": partial(encode_mixed, mixture=ALL_RATES),
        "strong": partial(encode_mixed, mixture=STRONG),
        "low": partial(encode_mixed, mixture=LOW_RATES),
    }
    changes: dict[str, list[float]] = {name: [] for name in kinds}
    for seed in range(40):
        for name, encode in kinds.items():
            coded = encode(tiles, rng=np.random.default_rng(seed)).astype(float)
            assert abs(coded.mean() - tiles.mean()) < 1.0
            changes[name].append(np.abs(coded - tiles).mean())
    assert min(changes["all"]) == 0  # some clips reach us as they were
    assert min(changes["lightly"]) > 0.3
    assert max(changes["all"]) > max(changes["lightly"])
    medians = [np.median(changes[name]) for name in ("lightly", "all", "strong", "low")]
    assert medians == sorted(set(medians))


def test_half_of_the_training_batches_show_clips_that_were_compressed_before(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
):
    calls = []
    monkeypatch.setattr(module, "encode_lightly", lambda tiles, rng: calls.append(len(tiles)) or tiles)
    for step in range(40):
        batch_of_step(bank, part="train", recipe=SMALL, seed=6, step=step)
    assert 15 < len(calls) < 65  # one or two groups a batch, each with a chance of one half
    calls.clear()
    batch_of_step(bank, part="test", recipe=replace(SMALL, hard=True), seed=6, step=0)
    assert calls == []
