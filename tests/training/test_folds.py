"""The splits: no scene on both sides, no method of the judged fakes in training, each clip at home once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("torch")

from detectors.training.clips import Clip
from detectors.training.dataset import DataError
from detectors.training.folds import Fold, keep_for_calibration, leave_methods_out, leave_scenes_out, method_groups


def clip(name: str, *, method: str = "", scene: str = "") -> Clip:
    return Clip(Path(name), bool(method), method, "swap" if method else "", name, "", scene or name)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Sixty real scenes; ten with swaps of their own, and two montages that show three methods each."""
    found = [clip(f"r{n}", scene=f"s{n}") for n in range(60)]
    found += [clip(f"big{n}", method="big", scene=f"s{n}") for n in range(10)]
    found += [clip(f"{m}{n}", method=m, scene=f"montage{n}") for m in ("p", "q", "r") for n in range(2)]
    found += [clip(f"{m}0", method=m) for m in ("x", "y", "z")]
    return found


@pytest.fixture(scope="module")
def folds(clips: list[Clip]) -> list[Fold]:
    return leave_methods_out(clips, count=3)


def test_no_scene_and_no_method_is_on_both_sides(folds: list[Fold]):
    for fold in folds:
        assert not {c.scene for c in fold.train} & {c.scene for c in fold.judged}
        assert not {c.method for c in fold.train if c.fake} & {c.method for c in fold.judged if c.fake}
        assert {c.method for c in fold.judged if c.fake} == set(fold.methods)


def test_each_clip_is_at_home_once(clips: list[Clip], folds: list[Fold]):
    homes = Counter(c for fold in folds for c in fold.home)
    assert homes == Counter(clips)


def test_originals_of_the_judged_fakes_are_judged_beside_them(folds: list[Fold]):
    for fold in folds:
        scenes = {c.scene for c in fold.home if c.fake}
        judged = {c.path.name for c in fold.judged if not c.fake}
        assert {f"r{n}" for n in range(60) if f"s{n}" in scenes} <= judged


def test_methods_of_one_montage_are_left_out_together(clips: list[Clip]):
    groups = method_groups(clips, count=3)
    assert any({"p", "q", "r"} <= set(group) for group in groups)
    assert sorted(method for group in groups for method in group) == ["big", "p", "q", "r", "x", "y", "z"]


def test_the_split_does_not_depend_on_the_order_of_the_table(clips: list[Clip], folds: list[Fold]):
    again = leave_methods_out(clips[::-1], count=3)
    assert [(f.methods, set(f.train), set(f.home)) for f in again] == [
        (f.methods, set(f.train), set(f.home)) for f in folds
    ]


def test_scenes_alone_are_left_out_evenly_and_methods_stay_known(clips: list[Clip]):
    folds = leave_scenes_out(clips, count=3)
    assert Counter(c for fold in folds for c in fold.home) == Counter(clips)
    for fold in folds:
        assert not {c.scene for c in fold.train} & {c.scene for c in fold.home}
        assert "big" in {c.method for c in fold.train}
        fakes = sum(c.fake for c in fold.home)
        assert 5 <= fakes <= 8  # nineteen in all, montages dealt first


def test_more_groups_than_methods_are_refused(clips: list[Clip]):
    with pytest.raises(DataError, match="fewer folds"):
        method_groups(clips, count=8)


def test_calibration_scenes_train_nothing_not_even_their_fakes(clips: list[Clip]):
    drawn, kept = keep_for_calibration(clips)
    scenes = {c.scene for c in kept}
    assert len(scenes) == 12
    assert not any(c.fake for c in kept)
    assert not scenes & {c.scene for c in drawn}
    assert {c for c in clips if c.scene not in scenes} == set(drawn)
