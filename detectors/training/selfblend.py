"""Trains and exports the detector that ships with the project: ``python -m detectors.training.selfblend train --faces DIR --out DIR``.

Owns: the loss, the held-out check, the schedule of the shipped weights, calibration and export. ``evaluate`` is in
``detectors.training.evaluate``. Guide: docs/training.md.
May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from detectors.nets.selfblend import SelfBlendNet
from detectors.training.faces import Bank, build_bank, read_bank
from detectors.training.loop import Plan, train
from detectors.training.measure import calibration_error, fit_platt, roc_auc
from detectors.training.stream import Batch, Recipe, batch_of_step, stream

Array = npt.NDArray[Any]

#: Seeds of held-out data, far from any training seed: (calibration, test).
CHECK_SEED, CALIBRATION_SEED, TEST_SEED = 900_001, 900_002, 900_003
#: Weights of the losses beside the cross-entropy of the score: a blend above its own original, and the two maps.
RANK_WEIGHT, MAP_WEIGHT = 0.5, 1.0


def loss_of(net: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy of the score, ranking of each blend against its own original, cross-entropy of the two maps.

    The maps (after Face X-ray) say where: the pasted region, and its boundary ``4 m (1 - m)`` for a soft mask m.
    """
    scores, maps = net(as_input(batch.faces))
    labels = torch.from_numpy(batch.labels)
    half = len(labels) // 2
    entropy = functional.binary_cross_entropy_with_logits(scores, labels)
    rank = functional.softplus(scores[:half] - scores[half:]).mean()
    region = torch.from_numpy(batch.masks)
    targets = torch.stack([region, 4 * region * (1 - region)], dim=1)
    traced = functional.binary_cross_entropy_with_logits(maps, targets)
    figures = {
        "entropy": float(entropy.detach()),
        "rank": float(rank.detach()),
        "map": float(traced.detach()),
        "auc": roc_auc(batch.labels, scores.detach().numpy()),
    }
    return entropy + RANK_WEIGHT * rank + MAP_WEIGHT * traced, figures


def as_input(faces: Array) -> torch.Tensor:
    """(N, S, S) uint8 luma -> (N, 1, S, S) float32, 0..255."""
    return torch.from_numpy(faces).float().unsqueeze(1)


@torch.inference_mode()
def logits_of(net: nn.Module, faces: Array) -> Array:
    """Logits of fake, (N,), of (N, S, S) uint8 luma."""
    return np.concatenate([net(as_input(part))[0].numpy() for part in np.array_split(faces, -(-len(faces) // 128))])


def held_out(bank: Bank, *, part: str, recipe: Recipe, seed: int, batches: int) -> Batch:
    """Hard self-blends of ``part``, always the same for the same bank."""
    hard = Recipe(**{**vars(recipe), "hard": True})
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


def bank_of(faces: Path, folder: Path) -> Bank:
    """The face bank in ``folder``, made from the pictures below ``faces`` when it is not there yet."""
    if not (folder / "bank.json").is_file():
        from detectors.nets.mtcnn import Mtcnn

        print("finding the faces (a few minutes, once) ...", flush=True)
        mtcnn = Mtcnn(threads=1)
        build_bank(faces.rglob("*.jpg"), folder, detect=lambda image: mtcnn.detect(image, min_face=40.0))
    return read_bank(folder)


def run_training(bank: Path, *, out: Path, plan: Plan, recipe: Recipe, net: nn.Module, processes: int) -> nn.Module:
    """One run on the train part, checked on hard blends of the calibration part; the averaged net."""
    held = held_out(read_bank(bank), part="calibration", recipe=recipe, seed=CHECK_SEED, batches=12)

    def batches(first: int, last: int) -> Iterator[Batch]:
        return stream(bank, part="train", recipe=recipe, seed=plan.seed, first=first, last=last, processes=processes)

    return train(net, batches=batches, loss=loss_of, plan=plan, out=out, check=check_on(held))


def main(argv: list[str] | None = None) -> int:
    """Command line: ``train``."""
    parser = argparse.ArgumentParser(prog="detectors.training.selfblend", description=main.__doc__)
    parser.add_argument("verb", choices=("train",))
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--steps", type=int, default=11000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--widths", type=int, nargs=4, default=(16, 32, 64, 128))
    parser.add_argument("--check-every", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    folder = args.bank or args.out / "bank"
    bank_of(args.faces, folder)
    torch.manual_seed(args.seed)
    net = SelfBlendNet(side=args.side, widths=tuple(args.widths))
    plan = Plan(steps=args.steps, seed=args.seed, rate=args.rate, check_every=args.check_every)
    recipe = Recipe(side=args.side, map_side=args.side // 8)
    run_training(folder, out=args.out, plan=plan, recipe=recipe, net=net, processes=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
