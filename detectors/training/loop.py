"""The training loop of our own detectors: AdamW, one warm-up and cosine, averaged weights, checkpoints, a log.

Owns: optimisation and what a run leaves on disk: ``checkpoint.pt`` (to continue from), ``log.csv`` (one line per report), ``plan.json``.
Promises: an interrupted run goes on from its last checkpoint and gives the same steps; a fixed seed gives the same weights
on the same machine and number of replicas.
May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detectors.runtime import channels_last

#: Takes the net and one batch of the stream, gives the loss and figures worth a column of the log.
Loss = Callable[[nn.Module, Any], tuple[torch.Tensor, dict[str, float]]]
#: Takes the averaged net, gives figures measured on data no step trains on.
Check = Callable[[nn.Module], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run: how many steps, how fast, from which seed. ``average`` is the decay of the averaged weights.

    ``lowest``: share of the rate at the end. Weights that still move there are worth averaging over more steps.
    ``short``: the net computes in bfloat16 where torch's autocast deems that safe; the loss must widen what it is answered.
    ``faster``: times the rate for parameters whose name starts with ``head``, of a net whose other numbers are not new.
    """

    steps: int
    rate: float = 2e-3
    warm_up: int = 200
    weight_decay: float = 0.02
    lowest: float = 0.01
    average: float = 0.998
    seed: int = 1
    report_every: int = 100
    check_every: int = 1000
    short: bool = False
    head: str = ""
    faster: float = 1.0

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, then half a cosine to ``lowest`` of it."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (self.lowest + (1 - self.lowest) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(
    net: nn.Module,
    *,
    batches: Callable[[int, int], Iterator[Any]],
    loss: Loss,
    plan: Plan,
    out: Path,
    check: Check | None = None,
    replicas: int = 1,
) -> nn.Module:
    """Train ``net`` in place and return the averaged net. ``batches(first, last)`` gives the batches of those steps.

    With ``replicas`` a batch is cut by its ``split(replicas)`` and the pieces are worked on side by side, a thread each: on a CPU
    faster than many threads on each layer, which wait for one another. Loss and net must draw no random numbers then.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    state = _State(net, plan, replicas)
    first = state.resume(out / "checkpoint.pt")
    (out / "plan.json").write_text(json.dumps(dataclasses.asdict(plan), indent=2) + "\n", encoding="utf-8")
    log = _Log(out / "log.csv", first)
    for step, batch in zip(range(first, plan.steps), batches(first, plan.steps), strict=True):
        figures = state.step(loss, batch, plan.rate_at(step))
        done = step + 1
        checked = check(state.averaged) if check and (done % plan.check_every == 0 or done == plan.steps) else {}
        log.add(figures)
        if checked or done % plan.report_every == 0 or done == plan.steps:
            log.write(done, plan.rate_at(step), checked)
        if done % plan.check_every == 0 or done == plan.steps:
            state.save(out / "checkpoint.pt", done)
    return state.averaged.eval()


class _State:
    def __init__(self, net: nn.Module, plan: Plan, replicas: int) -> None:
        self.net, self.plan = channels_last(net), plan
        self.nets = [net, *(_sharing(net) for _ in range(replicas - 1))]
        self.pool = ThreadPoolExecutor(replicas)
        self.averaged = copy.deepcopy(net).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(_groups(net, plan), lr=plan.rate)
        self.count = 0

    def step(self, loss: Loss, batch: Any, rate: float) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["times"]
        pieces = [batch] if len(self.nets) == 1 else batch.split(len(self.nets))
        done = list(self.pool.map(lambda net, piece: _backward(net, loss, piece, self.plan.short), self.nets, pieces))
        for own, *others in zip(*(net.parameters() for net in self.nets), strict=True):
            if others:
                own.grad = torch.stack([own.grad, *(other.grad for other in others)]).mean(0)
        figures = {name: sum(piece[name] for piece in done) / len(done) for name in done[0]}
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self._average()
        return figures | {"gradient": float(norm)}

    @torch.no_grad()
    def _average(self) -> None:
        # young averages forget faster, so that the first steps' noise is gone early
        self.count += 1
        decay = min(self.plan.average, (1 + self.count) / (10 + self.count))
        for ours, theirs in zip(self.averaged.state_dict().values(), self.net.state_dict().values(), strict=True):
            if ours.dtype.is_floating_point:
                ours.lerp_(theirs, 1 - decay)
            else:
                ours.copy_(theirs)

    def save(self, path: Path, done: int) -> None:
        content = {
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "count": self.count,
            "done": done,
        }
        torch.save(content, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def resume(self, path: Path) -> int:
        if not path.is_file():
            return 0
        content = torch.load(path, map_location="cpu", weights_only=True)
        self.net.load_state_dict(content["net"])
        self.averaged.load_state_dict(content["averaged"])
        self.optimiser.load_state_dict(content["optimiser"])
        torch.set_rng_state(content["random"])
        self.count = int(content["count"])
        return int(content["done"])


def _groups(net: nn.Module, plan: Plan) -> list[dict[str, Any]]:
    """Parameters by the times they learn faster, and by whether they decay: biases and scales do not."""
    times = {
        name: plan.faster if plan.head and name.startswith(plan.head) else 1.0 for name, _ in net.named_parameters()
    }
    return [
        {
            "params": [p for name, p in net.named_parameters() if times[name] == own and (p.ndim > 1) == decayed],
            "weight_decay": plan.weight_decay if decayed else 0.0,
            "times": own,
        }
        for own in dict.fromkeys(times.values())
        for decayed in (True, False)
    ]


def _sharing(net: nn.Module) -> nn.Module:
    """A copy with its own gradients and batch statistics that shares the parameters of ``net``."""
    copied = copy.deepcopy(net)
    for ours, theirs in zip(copied.parameters(), net.parameters(), strict=True):
        ours.data = theirs.data
    return copied


def _backward(net: nn.Module, loss: Loss, piece: Any, short: bool) -> dict[str, float]:
    net.train()
    net.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=short):
        value, figures = loss(net, piece)
    value.backward()
    return figures | {"loss": float(value.detach())}


class _Log:
    """Means of the figures since the last line; lines after the checkpoint from which a run continues are dropped."""

    def __init__(self, path: Path, first: int) -> None:
        self.path, self.started = path, time.monotonic()
        self.sums: dict[str, float] = {}
        self.count = 0
        lines = read_log(path) if first else []
        self.lines: list[dict[str, Any]] = [line for line in lines if line["step"] <= first]
        self.before = float(self.lines[-1]["seconds"]) if self.lines else 0.0

    def add(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def write(self, step: int, rate: float, checked: dict[str, float]) -> None:
        seconds = self.before + time.monotonic() - self.started
        means = {name: total / self.count for name, total in self.sums.items()}
        line = {"step": step, "seconds": seconds, "rate": rate} | means | checked
        self.lines.append(line)
        self.sums, self.count = {}, 0
        columns = list(dict.fromkeys(name for line in self.lines for name in line))
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            for row in self.lines:
                writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
        print("  ".join(f"{k} {v:.4g}" for k, v in line.items()), flush=True)


def read_log(path: Path) -> list[dict[str, float]]:
    """Lines of a run's log; what was not measured at a line is left out."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
