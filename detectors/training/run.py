"""One training run of a network the operator trains: draws, early stop, the weights of the best check, calibration.

Owns: the folder of a run: ``checkpoint.pt``, ``log.csv``, ``plan.json`` (written by the loop), ``best.pt``.
Promises: a run that was broken off takes the same steps when it is started again, and stops at the same one; the test part is read after
the last decision; the score is one half at the logit with the best balanced accuracy on the validation part.
May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from base_detector import Array
from detectors.nets.trained import Calibrated
from detectors.training.augment import augmented
from detectors.training.kinds import Kind, Uncalibrated, inputs_of
from detectors.training.loop import Plan, read_log, train
from detectors.training.measure import fit_platt, roc_auc
from detectors.training.sampling import Draws, HeldOut

#: Batches made ahead while the net learns.
_AHEAD = 2
#: Steepness that a few validation clips may give the score.
_SLOPES = (0.1, 10.0)


@dataclass(frozen=True)
class Batch:
    """``inputs`` (n, ...) float32 as the net takes them, ``labels`` (n,) float32, 1 = fake."""

    inputs: Array
    labels: Array


@dataclass(frozen=True)
class _Stage(Plan):
    """A plan that ends at the next check; the learning rate follows the whole run of ``planned`` steps."""

    planned: int = 0

    def rate_at(self, step: int) -> float:
        whole = {item.name: getattr(self, item.name) for item in fields(Plan)}
        return Plan(**whole | {"steps": self.planned}).rate_at(step)


def batch_of_step(kind: Kind, draws: Draws, *, seed: int, step: int) -> Batch:
    """The batch of one step: balanced draws, augmented."""
    faces, labels, rng = draws.step(kind.batch, seed=seed, step=step)
    return Batch(inputs_of(kind, [augmented(one, rng=rng) for one in faces]), labels)


def loss_of(net: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy of the logits, and the ROC-AUC within the batch where it has both kinds."""
    logits = net(torch.from_numpy(batch.inputs))
    loss = functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(batch.labels))
    right = (logits.detach().numpy() > 0) == (batch.labels > 0.5)
    return loss, {"accuracy": float(right.mean())}


@torch.inference_mode()
def logits_of(kind: Kind, net: nn.Module, held: HeldOut) -> Array:
    """The logit of each source, (sources,): the mean over its places."""
    net.eval()
    logits = []
    for source in held.sources:
        batch = inputs_of(kind, [source.faces(place) for place in held.places(source)])
        logits.append(float(net(torch.from_numpy(batch)).mean()))
    return np.array(logits)


def check_on(kind: Kind, held: HeldOut) -> Callable[[nn.Module], dict[str, float]]:
    """Figures of a net on the validation part: balanced cross-entropy and ROC-AUC, clip by clip."""

    def check(net: nn.Module) -> dict[str, float]:
        logits = logits_of(kind, net, held)
        signs = np.where(held.labels > 0.5, -1.0, 1.0)
        costs = np.logaddexp(0, signs * logits)
        balanced = 0.5 * (costs[signs > 0].mean() + costs[signs < 0].mean())
        return {"validation_loss": float(balanced), "validation_auc": roc_auc(held.labels, logits)}

    return check


def fit(
    kind: Kind, draws: Draws, *, held: HeldOut, plan: Plan, patience: int, out: Path
) -> tuple[Calibrated, dict[str, float]]:
    """Train until ``plan`` or patience ends; the net of the best check, and what the log says of that check."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    net = kind.build()

    def batches(first: int, last: int) -> Iterator[Batch]:
        return _ahead(lambda step: batch_of_step(kind, draws, seed=plan.seed, step=step), first, last)

    check = check_on(kind, held)
    while (done := _keep_best(out)) < plan.steps and not _worn_out(out, done, patience * plan.check_every):
        values = {item.name: getattr(plan, item.name) for item in fields(Plan)}
        until = min(plan.steps, (done // plan.check_every + 1) * plan.check_every)
        stage = _Stage(**values | {"steps": until, "planned": plan.steps})
        train(net, batches=batches, loss=loss_of, plan=stage, out=out, check=check)
    best = torch.load(out / "best.pt", map_location="cpu", weights_only=True)
    net.load_state_dict(best["net"])
    return net.eval(), next(line for line in _checks(out, done) if line["step"] == best["step"])


def _ahead(make: Callable[[int], Batch], first: int, last: int) -> Iterator[Batch]:
    """Batches of steps ``first`` .. ``last - 1`` in order, made by a thread while the net learns."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, step) for step in range(first, min(first + _AHEAD, last))]
        for step in range(first, last):
            if step + _AHEAD < last:
                waiting.append(pool.submit(make, step + _AHEAD))
            yield waiting.pop(0).result()


def _checks(out: Path, done: int) -> list[dict[str, float]]:
    """Lines of the log with a check, up to step ``done``: lines may be ahead of the checkpoint."""
    path = out / "log.csv"
    lines = read_log(path) if path.is_file() else []
    return [line for line in lines if "validation_loss" in line and line["step"] <= done]


def _best(checks: list[dict[str, float]]) -> int:
    return int(min(checks, key=lambda line: line["validation_loss"])["step"])


def _keep_best(out: Path) -> int:
    """Steps done so far; the averaged net of the last check becomes ``best.pt`` when none was better."""
    path = out / "checkpoint.pt"
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    done = int(state["done"])
    if _best(_checks(out, done)) == done:
        torch.save({"net": state["averaged"], "step": done}, out / "best.tmp")
        os.replace(out / "best.tmp", out / "best.pt")
    return done


def _worn_out(out: Path, done: int, steps: int) -> bool:
    return done > 0 and done - _best(_checks(out, done)) >= steps


def calibrate(net: Calibrated, labels: Array, logits: Array) -> dict[str, Any]:
    """Set the line of the net's score from the validation part: slope after Platt, one half at the best balanced accuracy."""
    if isinstance(net, Uncalibrated):
        slope, threshold, rule = 1.0, 0.0, "this network's file holds no calibration"
    else:
        # a net that learnt nothing gets no line of the wrong direction
        slope = float(np.clip(fit_platt(labels, logits)[0], *_SLOPES))
        threshold = best_threshold(labels, logits)[0]
        rule = f"the best balanced accuracy on the validation part, with Platt's slope of {slope:.4g}"
    net.calibration.copy_(torch.tensor([slope, threshold]))
    accuracy = balanced_accuracy(labels, logits >= threshold)
    return {
        "slope": round(slope, 4),
        "threshold_logit": round(threshold, 4),
        "rule": rule,
        "balanced_accuracy": round(accuracy, 4),
    }


def best_threshold(labels: Array, logits: Array) -> tuple[float, float]:
    """The logit at and above which *fake* is said with the best balanced accuracy, and that accuracy.

    Between two logits of the sample: the middle. Of equally good ones the middle one is taken.
    """
    values = np.unique(logits)
    cuts = np.concatenate([[values[0] - 1e-3], (values[:-1] + values[1:]) / 2, [values[-1] + 1e-3]])
    accuracies = np.array([balanced_accuracy(labels, logits >= cut) for cut in cuts])
    good = np.flatnonzero(accuracies >= accuracies.max() - 1e-12)
    chosen = int(good[len(good) // 2])
    return float(cuts[chosen]), float(accuracies[chosen])


def balanced_accuracy(labels: Array, flagged: Array) -> float:
    """Mean of the shares of fakes flagged and of reals not flagged."""
    fake = np.asarray(labels) > 0.5
    return float((flagged[fake].mean() + (~flagged[~fake]).mean()) / 2)


def shortened(plan: Plan, **changes: Any) -> Plan:
    """``plan`` with the changes that are not None."""
    return replace(plan, **{name: value for name, value in changes.items() if value is not None})
