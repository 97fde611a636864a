"""What a run leaves for people: the weights file, ``card.json``, a part of the model card, and the curves.

Owns: the held-out figures of a finished run and how they are reported.
Promises: every figure comes from this run; the test part is scored here for the first time.
May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectors.nets.trained import Calibrated
from detectors.training.dataset import Item, counts
from detectors.training.kinds import Kind
from detectors.training.loop import Plan, read_log
from detectors.training.measure import identity_interval, roc_auc
from detectors.training.run import balanced_accuracy, logits_of
from detectors.training.sampling import HeldOut


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run besides its net: the files, those without a face by reason, the plan, what its best check measured."""

    data: str
    items: Sequence[Item]
    used: Sequence[Item]
    without: Mapping[str, int]
    plan: Plan
    best: Mapping[str, float]
    calibration: Mapping[str, Any]


def write_report(kind: Kind, net: Calibrated, *, test: HeldOut, facts: RunFacts, out: Path) -> dict[str, Any]:
    """Write weights, ``card.json``, ``model_card.md`` and ``curves.png`` to ``out``; the content of ``card.json``."""
    content = kind.content(net)
    (out / kind.file).write_bytes(content)
    card = {
        "detector": kind.card.id,
        "parameters": kind.parameters,
        "threshold": kind.card.threshold,
        "weights": {"file": kind.file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()},
        "data": {
            "folder": facts.data,
            "found": counts(facts.items),
            "used": counts(facts.used),
            "without": dict(facts.without),
        },
        "run": _run_of(kind, facts, out),
        "validation": {"auc": _short(facts.best["validation_auc"]), "loss": _short(facts.best["validation_loss"])},
        "calibration": dict(facts.calibration),
        "test": on_test(kind, net, test=test, threshold=facts.calibration["threshold_logit"], seed=facts.plan.seed),
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (out / "model_card.md").write_text(model_card(card, kind=kind), encoding="utf-8")
    draw_curves(out / "log.csv", out / "curves.png", best=int(facts.best["step"]))
    return card


def _run_of(kind: Kind, facts: RunFacts, out: Path) -> dict[str, Any]:
    last = read_log(out / "log.csv")[-1]
    return {
        "seed": facts.plan.seed,
        "batch": kind.batch,
        "steps": int(last["step"]),
        "planned": facts.plan.steps,
        "best_step": int(facts.best["step"]),
        "seconds": round(last["seconds"]),
    }


def on_test(kind: Kind, net: Calibrated, *, test: HeldOut, threshold: float, seed: int) -> dict[str, Any]:
    """Figures of the test part, clip by clip (or picture by picture); the interval draws whole identities."""
    logits = logits_of(kind, net, test)
    flagged, fake = logits >= threshold, test.labels > 0.5
    low, high = identity_interval(test.labels, logits, groups=test.groups, rng=np.random.default_rng(seed))
    return {
        "real": int((~fake).sum()),
        "fake": int(fake.sum()),
        "identities": len(np.unique(test.groups)),
        "auc": _short(roc_auc(test.labels, logits)),
        "auc_low": _short(low),
        "auc_high": _short(high),
        "balanced_accuracy": _short(balanced_accuracy(test.labels, flagged)),
        "real_flagged": _short(float(flagged[~fake].mean())),
        "fake_flagged": _short(float(flagged[fake].mean())),
    }


def _short(value: float) -> float | None:
    """Four digits; None for what could not be measured (JSON has no NaN)."""
    return None if np.isnan(value) else round(float(value), 4)


def model_card(card: Mapping[str, Any], *, kind: Kind) -> str:
    """The sections of the model card that the run fills, Markdown."""
    test, run, data, made = card["test"], card["run"], card["data"], card["weights"]
    things = "clips" if kind.clips else "files"
    rows = [f"| {name} | {row['identities']} | {row['real']} | {row['fake']} |" for name, row in data["used"].items()]
    left = ", ".join(f"{number} {reason}" for reason, number in sorted(data["without"].items())) or "none"
    return "\n".join(
        [
            "## Training data",
            f"`{data['folder']}`, split by identity (a hash of its name); {things} that could be used:",
            "",
            "| part | identities | real | fake |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"Files without a usable face: {left}. Seed {run['seed']}, {run['batch']} draws a step,",
            f"{run['steps']} of at most {run['planned']} steps; the weights are those of step {run['best_step']} (lowest validation loss).",
            "",
            "## Measured here",
            f"Test part ({test['identities']} identities, {test['real']} real and {test['fake']} fake), scored once, after the run:",
            f"ROC-AUC {_said(test['auc'])} (95 % interval over identities {_said(test['auc_low'])} to {_said(test['auc_high'])}).",
            f"At the threshold: balanced accuracy {_said(test['balanced_accuracy'])}, {_said(test['real_flagged'])} of the real and",
            f"{_said(test['fake_flagged'])} of the fake flagged. Validation part: ROC-AUC {_said(card['validation']['auc'])},",
            f"balanced accuracy {_said(card['calibration']['balanced_accuracy'])} (the run was steered by it, so these flatter).",
            "",
            "## Threshold",
            f"{card['threshold']} on the fake score, which is at the logit {card['calibration']['threshold_logit']}:",
            f"{card['calibration']['rule']}. Weights: `{made['file']}`,",
            f"{made['bytes']} bytes, sha256 {made['sha256']}.",
            "",
        ]
    )


def _said(value: float | None) -> str:
    return "not measurable" if value is None else f"{value:.3f}"


def draw_curves(log: Path, picture: Path, *, best: int) -> None:
    """The run's log as a small PNG: loss of training and validation, ROC-AUC of validation, the step that was kept."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = read_log(log)
    checks = [line for line in lines if "validation_loss" in line]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot([line["step"] for line in lines], [line["loss"] for line in lines], label="training")
    left.plot([line["step"] for line in checks], [line["validation_loss"] for line in checks], label="validation")
    right.plot([line["step"] for line in checks], [line["validation_auc"] for line in checks], label="validation")
    for axes, title in ((left, "cross-entropy"), (right, "ROC-AUC")):
        axes.axvline(best, color="grey", linewidth=0.8, linestyle="--")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)
