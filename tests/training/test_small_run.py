"""A run on a small set: each network learns, a run goes on where it broke off, stops early, and fills a card the detector accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from base_detector import load_detector
from detectors.training import __main__ as command
from detectors.training import run as running
from detectors.training.dataset import Item, part_of
from detectors.training.kinds import MEVER, NAMES, Kind, Uncalibrated, kind_of
from detectors.training.loop import Plan, read_log
from detectors.training.measure import identity_interval
from detectors.training.run import best_threshold, calibrate, fit, logits_of
from detectors.training.sampling import Draws, HeldOut, Source, sources_of
from detectors.training.store import Stored
from tests.parity.clips import write_clip_pack


def noisy(rng: np.random.Generator, *, fake: bool, side: int, count: int) -> np.ndarray:
    """Grey faces, darker or brighter, with sensor noise that a fake has less of, and a darker middle."""
    tone = rng.uniform(90, 160)
    picture = np.full((count, side, side, 1), tone) + rng.normal(0, 3 if fake else 7, (count, side, side, 1))
    if fake:
        picture[:, side // 4 : side // 2, side // 4 : side // 2] -= 25
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8), 3, axis=3)


def made_sources(*, side: int, faces: int, people: dict[str, int], overlap: bool, clips: bool) -> list[Source]:
    rng = np.random.default_rng(4)
    listed = []
    for part, count in people.items():
        names = [name for name in (f"p{n}" for n in range(3000)) if part_of(name) == part][:count]
        for name in names:
            for fake in (False, True):
                path = f"{'fake' if fake else 'real'}/{name}_1.mp4"
                pixels = noisy(rng, fake=fake, side=side, count=faces)
                times = np.arange(faces) / 6
                listed.append(Stored(Item(Path(path), path, fake, name), pixels, times, np.zeros(faces, np.int64)))
    return sources_of(listed, clips=clips, overlap=overlap)


PEOPLE = {"train": 10, "validation": 5, "test": 5}


@pytest.fixture(scope="module")
def clips() -> list[Source]:
    return made_sources(side=16, faces=22, people=PEOPLE, overlap=True, clips=True)


def fitted(kind: Kind, sources: list[Source], out: Path, *, plan: Plan, patience: int = 100) -> tuple:
    held = HeldOut.of(sources, part="validation", each=2)
    return fit(kind, Draws(sources, part="train"), held=held, plan=plan, patience=patience, out=out)


#: Network -> (side of its faces here, faces a clip, batch, steps, rate).
SMALL = {"meso_cnn": (150, 2, 8, 40, 4e-3), "noise_3dcnn": (16, 20, 8, 40, 2e-2), "noise_gru": (16, 20, 16, 40, 2e-2)}


@pytest.mark.parametrize("name", SMALL)
def test_a_few_dozen_steps_learn(name: str, tmp_path: Path):
    side, faces, batch, steps, rate = SMALL[name]
    kind = replace(kind_of(name), batch=batch)
    sources = made_sources(side=side, faces=faces, people=PEOPLE, overlap=False, clips=kind.clips)
    plan = Plan(steps=steps, rate=rate, warm_up=5, average=0.8, report_every=10, check_every=20)
    net, best = fitted(kind, sources, tmp_path, plan=plan)
    lines = read_log(tmp_path / "log.csv")
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    test = HeldOut.of(sources, part="test", each=2)
    logits = logits_of(kind, net, test)
    reals, fakes = logits[test.labels < 0.5], logits[test.labels > 0.5]
    assert np.mean(fakes[:, None] > reals) > 0.9  # logits are of fake
    assert best["validation_auc"] > 0.9


# --------------------------------------------------------------------------- going on, stopping

PLAN = Plan(steps=12, rate=1e-2, warm_up=2, report_every=2, check_every=4)


def weights(net: torch.nn.Module) -> list[torch.Tensor]:
    return list(net.state_dict().values())


def columns(out: Path) -> list[dict]:
    """Lines of the log but for the clock."""
    return [{name: value for name, value in line.items() if name != "seconds"} for line in read_log(out / "log.csv")]


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> None:
    for ours, theirs in zip(one, two, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "side"), [("noise_gru", 16), ("meso_cnn", 150)])  # the second has dropout
def test_a_run_that_was_broken_off_takes_the_same_steps(
    name: str, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind = replace(kind_of(name), batch=3)
    people = {"train": 3, "validation": 2}
    sources = made_sources(side=side, faces=22 if kind.clips else 2, people=people, overlap=True, clips=kind.clips)
    plan = replace(PLAN, steps=6, check_every=2)
    whole, best = fitted(kind, sources, tmp_path / "whole", plan=plan)
    made = running.batch_of_step

    def breaking(kind, draws, *, seed, step):
        if step == 3:
            raise KeyboardInterrupt
        return made(kind, draws, seed=seed, step=step)

    monkeypatch.setattr(running, "batch_of_step", breaking)
    with pytest.raises(KeyboardInterrupt):
        fitted(kind, sources, tmp_path / "broken", plan=plan)
    assert read_log(tmp_path / "broken" / "log.csv")[-1]["step"] == 2
    monkeypatch.setattr(running, "batch_of_step", made)
    resumed, again = fitted(kind, sources, tmp_path / "broken", plan=plan)
    same(weights(whole), weights(resumed))
    assert columns(tmp_path / "whole") == columns(tmp_path / "broken")
    assert {k: v for k, v in best.items() if k != "seconds"} == {k: v for k, v in again.items() if k != "seconds"}
    assert len({line["loss"] for line in columns(tmp_path / "whole")}) == 3


def test_a_run_ends_when_nothing_gets_better_and_keeps_the_best(
    clips: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    losses = iter([0.9, 0.5, 0.6, 0.7, 0.4])
    seen: list[list[torch.Tensor]] = []

    def check_on(kind, held) -> Callable:
        def check(net):
            seen.append([tensor.clone() for tensor in net.state_dict().values()])
            return {"validation_loss": next(losses), "validation_auc": 0.5}

        return check

    monkeypatch.setattr(running, "check_on", check_on)
    kind = replace(kind_of("noise_gru"), batch=2)
    plan = replace(PLAN, steps=1000, check_every=2)
    net, best = fitted(kind, clips, tmp_path, plan=plan, patience=2)
    assert [line["step"] for line in read_log(tmp_path / "log.csv")] == [2, 4, 6, 8]
    assert best["step"] == 4
    same(weights(net), seen[1])
    # started again it is finished, and gives the same net without a step
    again, _ = fitted(kind, clips, tmp_path, plan=plan, patience=2)
    same(weights(again), seen[1])
    assert len(seen) == 4


def test_power_that_fails_before_the_best_net_is_kept_loses_nothing(clips: list[Source], tmp_path: Path):
    kind = replace(kind_of("noise_gru"), batch=2)
    net, best = fitted(kind, clips, tmp_path, plan=replace(PLAN, steps=4))
    assert best["step"] == 4
    (tmp_path / "best.pt").unlink()
    again, _ = fitted(kind, clips, tmp_path, plan=replace(PLAN, steps=4))
    same(weights(net), weights(again))


# --------------------------------------------------------------------------- threshold, figures


def test_the_threshold_is_the_best_balanced_accuracy_and_the_middle_of_equals():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    logits = np.array([-3.0, -2.0, 1.0, 0.0, 2.0, 2.5, 3.0, 4.0])
    threshold, accuracy = best_threshold(labels, logits)
    # above 1.0 all but one fake and no real one are flagged: (4/5 + 1) / 2; below 0.0: (1 + 2/3) / 2
    assert threshold == pytest.approx(1.5)
    assert accuracy == pytest.approx(0.9)
    assert best_threshold(np.array([0, 1]), np.array([1.0, 1.0]))[1] == pytest.approx(0.5)


def test_a_net_that_learnt_the_wrong_way_is_not_turned_around():
    net = kind_of("noise_gru").build()
    calibration = calibrate(net, np.array([1.0, 1.0, 0.0, 0.0]), np.array([-2.0, -1.0, 1.0, 2.5]))
    assert calibration["slope"] == 0.1
    assert float(net.calibration[0]) > 0


def test_the_interval_draws_identities_with_all_they_have():
    rng = np.random.default_rng(1)
    groups = np.repeat([f"p{n}" for n in range(30)], 2)
    labels = np.tile([0.0, 1.0], 30)
    logits = rng.normal(0, 1, 60) + labels
    low, high = identity_interval(labels, logits, groups=groups, rng=np.random.default_rng(2))
    assert 0.55 < low < 0.76 < high < 0.95
    assert np.isnan(identity_interval(np.zeros(3), np.arange(3.0), groups=np.array(["a", "b", "c"]), rng=rng)).all()


def test_networks_of_others_keep_their_own_file_and_no_calibration(monkeypatch: pytest.MonkeyPatch):
    """The networks of the MeVer service are too large to be trained here; their entry in the table is tried with a small one."""
    from safetensors.torch import load

    from detectors.nets import mever

    assert set(MEVER) < set(NAMES)
    monkeypatch.setattr(
        mever,
        "build",
        lambda name: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(270_000, 1), torch.nn.Flatten(0)),
    )
    kind = kind_of("mever-m3")
    assert kind.file == "m3.safetensors"
    grey = kind.prepare(np.full((1, 300, 300, 3), 124, np.uint8))
    assert grey.shape == (3, 300, 300)
    assert np.abs(grey).max() < 0.4  # ImageNet's mean is near there
    net = kind.build()
    assert isinstance(net, Uncalibrated)
    assert net(torch.from_numpy(grey[None])).shape == (1,)
    found = calibrate(net, np.array([0.0, 1.0]), np.array([3.0, 4.0]))
    assert (found["slope"], found["threshold_logit"], found["balanced_accuracy"]) == (1.0, 0.0, 0.5)
    state = load(kind.content(net))
    assert set(state) == {"1.weight", "1.bias"}


# --------------------------------------------------------------------------- the command


def test_the_command_writes_a_card_and_weights_that_the_detector_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "data").mkdir()
    sources = made_sources(side=100, faces=21, people=PEOPLE, overlap=False, clips=True)
    for source in sources:
        path = tmp_path / "data" / source.stored.item.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"clip")
    found = ([source.stored for source in sources], {"no_face": 2})
    monkeypatch.setattr(command, "find_faces", lambda items, folder, *, look: found)
    arguments = [
        "train",
        "noise_gru",
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "out"),
        "--steps",
        "40",
    ]
    arguments += ["--check-every", "20", "--rate", "0.02", "--install", str(tmp_path / "weights")]
    assert command.main(arguments) == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["data"]["used"] == {part: {"real": n, "fake": n, "identities": n} for part, n in PEOPLE.items()}
    assert card["data"]["without"] == {"no_face": 2}
    assert card["parameters"] == {"margin": 1.2, "sigma": 2.0, "units": 16}
    assert card["test"]["auc"] > 0.9
    assert card["test"]["auc_low"] <= card["test"]["auc"] <= card["test"]["auc_high"]
    text = (tmp_path / "out" / "model_card.md").read_text()
    assert text in capsys.readouterr().out
    for part in (
        f"ROC-AUC {card['test']['auc']:.3f}",
        "| train | 10 | 10 | 10 |",
        card["weights"]["sha256"],
        "2 no_face",
    ):
        assert part in text
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000
    detector = load_detector("detectors.noise_gru")
    detector.load(tmp_path / "weights" / "noise_gru", "cpu")
    scores = {}
    for fake in (False, True):
        face = noisy(np.random.default_rng(11), fake=fake, side=100, count=1)[0]
        pack = write_clip_pack(tmp_path / f"pack{fake}", face, [(n / 6, 0, 0) for n in range(20)])
        scores[fake] = detector.run_pack(pack, tmp_path)["video_fake_score"]
    assert scores[True] > scores[False] + 0.05


def test_the_command_says_what_is_wrong_with_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "real").mkdir()
    assert command.main(["train", "meso_cnn", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "has 0 real and 0 fake" in capsys.readouterr().err
