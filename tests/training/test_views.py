"""The two views of a face: banks of large faces, people without names told apart, a fine net that begins as the coarse one."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from detectors.nets.selfblend import WIDTHS, SelfBlendNet
from detectors.training import selfblend
from detectors.training.doubles import ALIKE, tell_apart
from detectors.training.faces import FINE_SIDE, PARTS, UNNAMED, Bank, part_of, read_bank, stored_face
from detectors.training.loop import read_log
from detectors.training.selfblend import export, main
from detectors.training.stream import batch_of_step
from detectors.training.views import COARSE, FINE, ROBUST, TAUGHT, VIEWS, net_for
from tests.training.conftest import BOX, POINTS


@pytest.fixture
def unnamed(bank_folder: Path, tmp_path: Path) -> Path:
    """A bank of twelve named faces and 28 that name nobody."""
    folder = Path(shutil.copytree(bank_folder, tmp_path / "bank"))
    names = [*json.loads((folder / "bank.json").read_text())["identities"], UNNAMED]
    rows = np.load(folder / "rows.npy")
    rows["identity"][12:], rows["part"][12:] = len(names) - 1, PARTS.index("train")
    np.save(folder / "rows.npy", rows)
    (folder / "bank.json").write_text(json.dumps({"identities": names}))
    return folder


def test_people_without_names_are_told_apart_and_some_are_held_out(unnamed: Path):
    before = read_bank(unnamed)
    descriptors = np.eye(len(before.rows), 128, dtype=np.float32)  # everybody far from everybody
    descriptors[13] = descriptors[12] + 0.9 * ALIKE / np.sqrt(128)
    descriptors[14] = descriptors[13] + 0.9 * ALIKE / np.sqrt(128)  # like 13, not like 12: one person by a step between
    told = tell_apart(unnamed, descriptors)
    np.testing.assert_array_equal(told.rows["identity"][:12], before.rows["identity"][:12])
    identity = told.rows["identity"][12:]
    assert len(set(identity[:3])) == 1
    assert len(set(identity)) == 26
    names = [told.identities[i] for i in identity]
    assert all(name.startswith(f"{UNNAMED}:") for name in names)
    assert [PARTS[part] for part in told.rows["part"][12:]] == [part_of(name) for name in names]
    assert set(told.rows["part"][12:]) == {0, 1, 2}


def test_a_bank_of_large_faces_makes_fine_batches_half_of_colour_pictures(astronaut: np.ndarray):
    luma = np.ascontiguousarray(np.repeat(np.repeat(astronaut[:, :, 1], 2, 0), 2, 1))
    face, row = stored_face(luma, BOX * 2, POINTS * 2, side=FINE_SIDE)
    assert face.shape == (224, 224)
    rows = np.repeat(row[None], 40)
    rows["identity"], rows["part"] = np.arange(40), 0
    names = tuple(("colour" if n < 4 else "grey") + f":{n}" for n in range(40))
    bank = Bank(pixels=np.repeat(face[None], 40, 0), rows=rows, identities=names)
    drawn = np.concatenate(
        [batch_of_step(bank, part="train", recipe=FINE.recipe, seed=1, step=s).indices for s in range(6)]
    )
    assert np.mean(drawn < 4) < 0.2  # four are too few to be half without drawing them twice, which one batch does not
    wide = replace(FINE.recipe, pairs=4)
    drawn = np.concatenate([batch_of_step(bank, part="train", recipe=wide, seed=1, step=s).indices for s in range(30)])
    assert 0.3 < np.mean(drawn < 4) < 0.6
    batch = batch_of_step(bank, part="train", recipe=FINE.recipe, seed=1, step=0)
    assert batch.faces.shape == (64, 160, 160)
    assert batch.masks.shape == (64, 20, 20)


def test_the_fine_net_begins_with_what_the_coarse_one_learnt(tmp_path: Path):
    torch.manual_seed(3)
    coarse = SelfBlendNet()
    torch.nn.init.normal_(coarse.place)
    export(coarse, tmp_path / COARSE.file)
    fine = net_for(FINE, widths=WIDTHS, starts=[tmp_path / COARSE.file])
    for (name, ours), theirs in zip(fine.state_dict().items(), coarse.state_dict().values(), strict=True):
        if name == "place":
            assert ours.shape == (1, 64, 20, 20)
            torch.testing.assert_close(ours.mean(), theirs.mean(), atol=0.02, rtol=0)
        else:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_net_begins_with_the_mean_of_two_runs(tmp_path: Path):
    files, nets = [tmp_path / f"{number}.safetensors" for number in range(2)], [SelfBlendNet() for _ in range(2)]
    for net, file in zip(nets, files, strict=True):
        torch.nn.init.normal_(net.place)
        net(torch.rand(4, 1, 80, 80) * 255)  # moves the batch norms' statistics
        export(net, file)
    mean = net_for(TAUGHT, widths=WIDTHS, starts=files).state_dict()
    for name, first in nets[0].state_dict().items():
        second = nets[1].state_dict()[name]
        if first.is_floating_point():
            torch.testing.assert_close(mean[name], (first + second) / 2)
        else:
            assert mean[name] == first == 1


def test_a_run_comes_after_those_it_begins_with():
    names = list(VIEWS)
    for view in VIEWS.values():
        assert all(names.index(start) < names.index(view.name) for start in view.start)
        assert view.recipe.both == bool(view.taught)
    assert len({view.file for view in VIEWS.values()}) == len(VIEWS)


@pytest.mark.timeout(240)
def test_one_command_trains_all_nets_and_a_broken_off_run_goes_on(
    bank_folder: Path, astronaut: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(selfblend, "CHECK_BATCHES", 1)
    monkeypatch.setattr(selfblend, "CALIBRATION_BATCHES", 2)
    banks = tmp_path / "banks"
    shutil.copytree(bank_folder, banks / COARSE.bank)
    shutil.copytree(bank_folder, banks / FINE.bank)
    luma = np.ascontiguousarray(np.repeat(np.repeat(astronaut[:, :, 1], 2, 0), 2, 1))
    face, row = stored_face(luma, BOX * 2, POINTS * 2, side=FINE_SIDE)
    rows = np.load(bank_folder / "rows.npy")
    for name in ("landmarks", "box", "shown"):
        rows[name] = row[name]
    np.save(banks / FINE.bank / "pixels.npy", np.repeat(face[None], len(rows), 0))
    np.save(banks / FINE.bank / "rows.npy", rows)
    command = ["train", "--faces", str(tmp_path), "--out", str(tmp_path / "out"), "--banks", str(banks)]
    threads = torch.get_num_threads()
    try:
        assert main([*command, "--steps", "2", "--check-every", "1", "--widths", "4", "8", "8", "16"]) == 0
        assert main([*command, "--steps", "3", "--check-every", "1", "--widths", "4", "8", "8", "16"]) == 0
    finally:
        torch.set_num_threads(threads)
    for view in (COARSE, ROBUST, TAUGHT, FINE):
        out = tmp_path / "out" / view.name
        card = json.loads((out / "card.json").read_text())
        assert card["side"] == view.recipe.side
        assert hashlib.sha256((out / view.file).read_bytes()).hexdigest() == card["sha256"]
        assert [line["step"] for line in read_log(out / "log.csv")] == [1, 2, 3]
        assert (out / "curves.png").stat().st_size > 1000
    assert {path.name for path in banks.iterdir()} == {"coarse", "fine"}  # the coarse net's runs share its bank
    assert "teacher_auc" in read_log(tmp_path / "out" / TAUGHT.name / "log.csv")[0]


def test_a_run_that_follows_another_says_so_when_that_has_not_been_made(bank_folder: Path, tmp_path: Path):
    command = ["train", "--faces", str(tmp_path), "--out", str(tmp_path / "out"), "--banks", str(bank_folder.parent)]
    with pytest.raises(SystemExit, match=r"coarse\.safetensors is not there.*--view coarse"):
        main([*command, "--view", "robust"])
    (tmp_path / "out" / "coarse").mkdir(parents=True)
    (tmp_path / "out" / "coarse" / COARSE.file).touch()
    with pytest.raises(SystemExit, match=r"robust\.safetensors is not there.*--view robust"):
        main([*command, "--view", "taught"])
