"""The loop learns, and goes on where it was broken off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from detectors.nets.selfblend import SelfBlendNet
from detectors.training.faces import Bank
from detectors.training.loop import Plan, read_log, train
from detectors.training.losses import Taught, loss_of
from detectors.training.selfblend import check_on
from detectors.training.stream import Batch, Recipe, batch_of_step

RECIPE = Recipe(side=64, pairs=8, codec="none")


def small_net(seed: int = 1) -> SelfBlendNet:
    torch.manual_seed(seed)
    return SelfBlendNet(side=64, widths=(8, 12, 16, 24))


@pytest.fixture(scope="module")
def batches(bank: Bank) -> list[Batch]:
    return [batch_of_step(bank, part="train", recipe=RECIPE, seed=1, step=step) for step in range(4)]


def test_a_tiny_run_learns(batches: list[Batch], tmp_path: Path):
    def again(first: int, last: int) -> Iterator[Batch]:
        return (batches[step % len(batches)] for step in range(first, last))

    plan = Plan(steps=80, warm_up=5, average=0.9, report_every=20, check_every=80)
    net = train(small_net(), batches=again, loss=loss_of, plan=plan, out=tmp_path, check=check_on(batches[0]))
    lines = read_log(tmp_path / "log.csv")
    assert [line["step"] for line in lines] == [20, 40, 60, 80]
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert lines[-1]["auc"] > 0.9
    assert lines[-1]["held_out_auc"] > 0.7  # the averaged net, on pictures it saw: it works at all
    assert not net.training


def test_a_run_that_was_broken_off_ends_with_the_same_weights(batches: list[Batch], tmp_path: Path):
    plan = Plan(steps=6, warm_up=2, report_every=2, check_every=3)

    def going(first: int, last: int) -> Iterator[Batch]:
        return (batches[step % len(batches)] for step in range(first, last))

    def breaking(first: int, last: int) -> Iterator[Batch]:
        for step in range(first, last):
            if step == 4:
                raise KeyboardInterrupt
            yield batches[step % len(batches)]

    whole = train(small_net(), batches=going, loss=loss_of, plan=plan, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(small_net(), batches=breaking, loss=loss_of, plan=plan, out=tmp_path / "broken")
    assert [line["step"] for line in read_log(tmp_path / "broken" / "log.csv")][-1] == 4
    resumed = train(small_net(seed=9), batches=going, loss=loss_of, plan=plan, out=tmp_path / "broken")
    for ours, theirs in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert [line["step"] for line in read_log(tmp_path / "broken" / "log.csv")] == [2, 4, 6]


def test_a_short_run_learns_in_bfloat16_and_its_weights_stay_float32(batches: list[Batch], tmp_path: Path):
    seen = set()

    def watching(net: SelfBlendNet, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        handle = net.map.register_forward_hook(lambda _, __, answer: seen.add(answer.dtype))
        value = loss_of(net, batch)
        handle.remove()
        assert value[0].dtype == torch.float32
        return value

    def again(first: int, last: int) -> Iterator[Batch]:
        return (batches[step % len(batches)] for step in range(first, last))

    plan = Plan(steps=40, warm_up=5, average=0.9, report_every=20, check_every=40, short=True)
    net = train(small_net(), batches=again, loss=watching, plan=plan, out=tmp_path)
    assert seen == {torch.bfloat16}
    assert all(part.dtype == torch.float32 for part in net.parameters())
    first, last = read_log(tmp_path / "log.csv")
    assert last["loss"] < 0.8 * first["loss"]


def test_replicas_share_one_set_of_weights_and_repeat(batches: list[Batch], tmp_path: Path):
    def going(first: int, last: int) -> Iterator[Batch]:
        return (batches[step % len(batches)] for step in range(first, last))

    plan = Plan(steps=4, warm_up=2, check_every=4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first, second = (
            train(small_net(), batches=going, loss=loss_of, plan=plan, out=tmp_path / name, replicas=2) for name in "ab"
        )
    finally:
        torch.set_num_threads(threads)
    for ours, theirs in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    lines = read_log(tmp_path / "a" / "log.csv")
    assert lines[-1]["loss"] < 3


def test_a_batch_is_split_without_parting_a_face_from_its_blend(batches: list[Batch]):
    pieces = batches[0].split(3)
    assert sum(len(piece.indices) for piece in pieces) == len(batches[0].indices)
    for piece in pieces:
        half = len(piece.indices)
        assert piece.labels.tolist() == [0.0] * half + [1.0] * half
        assert piece.masks[:half].max() == 0
        assert (piece.masks[half:].max(axis=(1, 2)) > 0).all()


def test_the_rate_warms_up_and_falls():
    plan = Plan(steps=1000, warm_up=100, rate=1.0)
    rates = [plan.rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.011
    assert all(a >= b for a, b in pairwise(rates[100:]))
    assert replace(plan, steps=2000).rate_at(999) > rates[999]
    assert replace(plan, lowest=0.2).rate_at(999) == pytest.approx(0.2, abs=0.001)


def test_a_teacher_needs_the_pictures_before_their_codec(batches: list[Batch]):
    with pytest.raises(ValueError, match="'both' in the recipe"):
        Taught(small_net(), 0.5)(small_net(), batches[0])


@pytest.mark.parametrize(("share", "asks_for_more"), [(1.0, False), (0.5, True)])
def test_a_pupil_that_agrees_with_its_teacher_has_nothing_to_learn_from_it(
    batches: list[Batch], share: float, asks_for_more: bool
):
    net = small_net().eval()
    seen = replace(batches[0], before=batches[0].faces)
    value, figures = Taught(small_net().eval(), share)(net, seen)
    value.backward()
    assert (float(net.score.weight.grad.abs().max()) > 1e-4) == asks_for_more
    assert figures["auc"] == figures["teacher_auc"]


def test_a_pupil_comes_nearer_to_its_teacher(batches: list[Batch], tmp_path: Path):
    teacher = small_net(seed=5).eval()
    torch.nn.init.constant_(teacher.score.bias, 4.0)  # calls everything fake, whatever the labels say
    seen = [replace(batch, before=batch.faces) for batch in batches]

    def again(first: int, last: int) -> Iterator[Batch]:
        return (seen[step % len(seen)] for step in range(first, last))

    plan = Plan(steps=40, rate=0.01, warm_up=20, average=0.9, report_every=5)
    train(small_net(), batches=again, loss=Taught(teacher, 1.0), plan=plan, out=tmp_path, replicas=2)
    first, *_, last = read_log(tmp_path / "log.csv")
    assert last["taught"] < 0.7 * first["taught"]
    assert last["entropy"] > first["entropy"]  # the labels have no say
