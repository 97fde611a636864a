"""Trains and exports the detector that ships with the project: ``python -m detectors.training.selfblend train --faces DIR --out DIR``.

Owns: the held-out check, the schedule of the shipped weights, calibration and export. ``evaluate`` is in
``detectors.training.evaluate``. Guide: docs/training.md.
May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from base_detector import Array
from detectors.nets.scores import sigmoid
from detectors.nets.selfblend import WIDTHS, mirrored
from detectors.training.doubles import descriptors_of, doubles, tell_apart
from detectors.training.faces import Bank, build_bank, leave_out, read_bank
from detectors.training.loop import Loss, Plan, read_log, train
from detectors.training.losses import Taught, as_input, loss_of
from detectors.training.measure import calibration_error, fit_platt, roc_auc
from detectors.training.stream import Batch, Recipe, batch_of_step, stream
from detectors.training.views import COARSE, VIEWS, View, net_for

#: Seeds of held-out data, far from any training seed: checks during training, calibration, test.
CHECK_SEED, CALIBRATION_SEED, TEST_SEED = 900_001, 900_002, 900_003
#: Share of real faces of the calibration part that may reach the threshold; people of real video score higher than those faces.
FLAGGED = 0.015
#: Batches of held-out data: for a check during training, and for the calibration of the finished net.
CHECK_BATCHES, CALIBRATION_BATCHES = 12, 30


@torch.inference_mode()
def logits_of(net: nn.Module, faces: Array) -> Array:
    """Logits of fake, (N,), of (N, S, S) uint8 luma, as the detector takes them: with their mirror images."""
    parts = np.array_split(faces, -(-len(faces) // 128))
    return np.concatenate([mirrored(net, as_input(part))[0].numpy() for part in parts])


def held_out(bank: Bank, *, part: str, recipe: Recipe, seed: int, batches: int) -> Batch:
    """Hard self-blends of ``part``, always the same for the same bank."""
    hard = replace(recipe, hard=True, both=False)
    made = [batch_of_step(bank, part=part, recipe=hard, seed=seed, step=step) for step in range(batches)]
    reals = np.concatenate([b.faces[: len(b.indices)] for b in made])
    blends = np.concatenate([b.faces[len(b.indices) :] for b in made])
    masks = np.concatenate([b.masks[: len(b.indices)] for b in made] + [b.masks[len(b.indices) :] for b in made])
    return Batch(np.concatenate([reals, blends]), masks, np.concatenate([b.indices for b in made]))


def check_on(batch: Batch) -> Callable[[nn.Module], dict[str, float]]:
    """Figures of a net on held-out pairs: ROC-AUC, and how often a blend scores above its own original."""

    def check(net: nn.Module) -> dict[str, float]:
        scores = logits_of(net, batch.faces)
        half = len(scores) // 2
        return {
            "held_out_auc": roc_auc(batch.labels, scores),
            "held_out_pairs": float(np.mean(scores[half:] > scores[:half])),
        }

    return check


def bank_of(faces: Path, folder: Path, *, view: View = COARSE) -> Bank:
    """The face bank in ``folder``, made from the pictures below ``faces`` when it is not there yet.

    ``faces`` holds the pictures or the tar files they come in.
    """
    if (folder / "bank.json").is_file():
        return read_bank(folder)
    from detectors.nets.mtcnn import Mtcnn

    print("finding the faces and comparing them (some minutes, once) ...", flush=True)
    mtcnn = Mtcnn(threads=1)
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as unfinished:
        for archive in sorted(faces.glob("*.tar")):
            with tarfile.open(archive) as opened:
                opened.extractall(scratch, filter="data")
        pictures = [*faces.rglob("*.jpg"), *Path(scratch).rglob("*.jpg")]
        made = Path(unfinished) / "bank"
        bank = build_bank(
            pictures,
            made,
            detect=lambda image: mtcnn.detect(image, min_face=40.0),
            side=view.stored,
            smallest=view.smallest,
        )
        descriptors = descriptors_of(bank)
        if view.tells_apart:
            bank = tell_apart(made, descriptors)
        leave_out(made, doubles(bank, descriptors))
        shutil.copytree(made, folder)
    return read_bank(folder)


def run_training(
    bank: Path, *, out: Path, plan: Plan, recipe: Recipe, net: nn.Module, loss: Loss, replicas: int
) -> nn.Module:
    """One run on the train part, checked on hard blends of the calibration part; the averaged net."""
    held = held_out(read_bank(bank), part="calibration", recipe=recipe, seed=CHECK_SEED, batches=CHECK_BATCHES)

    def batches(first: int, last: int) -> Iterator[Batch]:
        return stream(bank, part="train", recipe=recipe, seed=plan.seed, first=first, last=last)

    return train(net, batches=batches, loss=loss, plan=plan, out=out, check=check_on(held), replicas=replicas)


def calibrate(net: nn.Module, bank: Bank, *, recipe: Recipe) -> dict[str, float]:
    """Slope and offset of the logit, and the threshold, from the calibration part.

    The threshold is the lowest two-digit score at which at most FLAGGED of the real faces reach it, at least 0.5.
    """
    held = held_out(bank, part="calibration", recipe=recipe, seed=CALIBRATION_SEED, batches=CALIBRATION_BATCHES)
    logits = logits_of(net, held.faces)
    slope, offset = fit_platt(held.labels, logits)
    scores = sigmoid(slope * logits + offset)
    threshold = float(np.quantile(scores[held.labels < 0.5], 1 - FLAGGED))
    return {
        "slope": round(slope, 4),
        "offset": round(offset, 4),
        "threshold": max(0.5, math.ceil(threshold * 100) / 100),
        "auc": roc_auc(held.labels, logits),
        "calibration_error": calibration_error(held.labels, scores),
    }


def export(net: nn.Module, path: Path) -> str:
    """Write the net's numbers as safetensors; their sha256, which the card names."""
    from safetensors.torch import save

    state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    content = save(state)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def draw_curves(log: Path, picture: Path, *, pairs: int) -> None:
    """The run's log as a small PNG: losses, and the held-out AUC."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = read_log(log)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for name in ("entropy", "rank", "map"):
        left.plot([line["step"] for line in lines], [line[name] for line in lines], label=name)
    for name, label in (
        ("auc", "training batches"),
        ("held_out_auc", "held-out hard"),
        ("held_out_pairs", "held-out pairs"),
    ):
        own = [line for line in lines if name in line]
        right.plot([line["step"] for line in own], [line[name] for line in own], ".-", label=label)
    for axes, title in ((left, "losses"), (right, "ROC-AUC, share of pairs")):
        axes.set_title(title)
        axes.set_xlabel(f"step of {pairs} faces and their blends")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)


def train_view(view: View, args: argparse.Namespace) -> None:
    """One view: bank, run, calibration, export; the weights file in OUT/<view>/."""
    out, folder = args.out / view.name, args.banks / view.bank
    begins = {name: args.out / name / VIEWS[name].file for name in view.start}
    if args.start:
        begins = {COARSE.name: args.start}
    for name, file in begins.items():
        if not file.is_file():
            raise SystemExit(f"{file} is not there: train it first (--view {name}), or name another with --start")
    bank = bank_of(args.faces, folder, view=view)
    if args.side:
        view = replace(view, recipe=replace(view.recipe, side=args.side))
    asked = {name: getattr(args, name) for name in ("steps", "rate", "seed", "check_every")}
    plan = replace(view.plan, **{name: value for name, value in asked.items() if value is not None})
    torch.manual_seed(plan.seed)
    begun = net_for(view, widths=tuple(args.widths), starts=list(begins.values()))
    loss = Taught(copy.deepcopy(begun).eval(), view.taught) if view.taught else loss_of
    net = run_training(folder, out=out, plan=plan, recipe=view.recipe, net=begun, loss=loss, replicas=args.replicas)
    card = {"side": view.recipe.side, "widths": list(args.widths)} | calibrate(net, bank, recipe=view.recipe)
    card["sha256"] = export(net, out / view.file)
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    draw_curves(out / "log.csv", out / "curves.png", pairs=view.recipe.pairs)
    print(json.dumps(card, indent=2))


def main(argv: list[str] | None = None) -> int:
    """Train the nets of the shipped detector, or one; writes weights, card.json, log.csv and curves.png to OUT/<view>/."""
    parser = argparse.ArgumentParser(prog="detectors.training.selfblend", description=main.__doc__)
    parser.add_argument("verb", choices=("train",))
    parser.add_argument(
        "--faces", type=Path, required=True, help="folder of the real faces (pictures, or tar files of them)"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--banks", type=Path, help="folder of the face banks, made when not there (default: OUT/banks)")
    parser.add_argument("--view", choices=tuple(VIEWS), help="train this net only")
    parser.add_argument(
        "--start", type=Path, help="weights file a net begins with (default: OUT's, of the runs it follows, if any)"
    )
    parser.add_argument("--steps", type=int, help="default: the shipped run's, as for what follows")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--check-every", type=int)
    parser.add_argument("--side", type=int)
    parser.add_argument("--widths", type=int, nargs=4, default=WIDTHS)
    parser.add_argument("--replicas", type=int, default=2, help="CPU cores to train on; the weights depend on it")
    args = parser.parse_args(argv)
    if args.start and not args.view:
        parser.error("--start belongs to one net: name it with --view")
    args.banks = args.banks or args.out / "banks"
    torch.set_num_threads(1)  # the replicas are the threads
    for view in [VIEWS[args.view]] if args.view else VIEWS.values():
        train_view(view, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
