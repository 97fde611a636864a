"""The two pictures our own detector takes of a face, and the runs that make a net for each.

Owns: the table of views. ``coarse`` sees any face at 80 pixels; ``fine`` sees large faces, as clips of today show them, at 160, where skin
that is too smooth for its surroundings can still be recognised.
May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional

from detectors.nets import selfblend
from detectors.nets.checkpoint import fill
from detectors.training.faces import FINE_SIDE, FINE_SMALLEST, SIDE, SMALLEST
from detectors.training.loop import Plan
from detectors.training.stream import Recipe


@dataclass(frozen=True)
class View:
    """One run: the bank's faces (``stored`` pixels, none below ``smallest``), how they are shown, and the shipped run's plan.

    ``file``: name of the weights. ``bank``: name of the bank's folder. ``start``: the runs whose weights, averaged, it begins with.
    ``taught``: share of the loss that asks for what the net it begins with saw before the last codec.
    ``tells_apart``: faces without a name are grouped by person, so that some of them are held out.
    """

    name: str
    file: str
    bank: str
    stored: int
    smallest: int
    recipe: Recipe
    plan: Plan
    start: tuple[str, ...] = ()
    taught: float = 0.0
    tells_apart: bool = False


COARSE = View(
    "coarse",
    file="coarse.safetensors",
    bank="coarse",
    stored=SIDE,
    smallest=SMALLEST,
    recipe=Recipe(side=selfblend.SIDE),
    plan=Plan(steps=16_000),
)
# the coarse net once more, on what strong compression leaves; a long run learns its few thousand faces by heart, hence other shapes
ROBUST = replace(
    COARSE,
    name="robust",
    file="robust.safetensors",
    start=("coarse",),
    recipe=replace(COARSE.recipe, codec="strong", reshaped=0.5, mingled=True),
    plan=Plan(steps=14_000, rate=1.2e-3, average=0.9985, seed=2, short=True),
)
# the net that ships: it begins with the mean of both runs, which is better than either, and learns low rates from that mean
TAUGHT = replace(
    COARSE,
    name="taught",
    file="selfblend.safetensors",
    start=("coarse", "robust"),
    taught=0.8,
    recipe=replace(COARSE.recipe, codec="low", reshaped=0.6, mingled=True, both=True),
    plan=Plan(steps=4_000, rate=6e-4, lowest=0.3, warm_up=100, average=0.9995, seed=3, short=True),
)
# few large sharp faces are at hand (colour pictures), so half of every batch is theirs, and the run starts from the coarse net
FINE = View(
    "fine",
    file="selfblend_fine.safetensors",
    bank="fine",
    start=("coarse",),
    stored=FINE_SIDE,
    smallest=FINE_SMALLEST,
    recipe=Recipe(side=selfblend.FINE_SIDE, pairs=32, working=(176, 188, 200), colour=0.5),
    plan=Plan(steps=3_000, rate=1e-3, warm_up=100, average=0.995, check_every=500),
    tells_apart=True,
)
VIEWS = {view.name: view for view in (COARSE, ROBUST, TAUGHT, FINE)}


def net_for(view: View, *, widths: tuple[int, int, int, int], starts: Sequence[Path]) -> selfblend.SelfBlendNet:
    """A net of the view's side; with ``starts`` it begins with the mean of those files' numbers.

    Weights may be averaged where one run went on from the other (Wortsman et al., Model soups, ICML 2022, arXiv:2203.05482). Terms
    of place are spread over the net's grid.
    """
    net = selfblend.SelfBlendNet(side=view.recipe.side, widths=widths)
    if starts:
        from safetensors.torch import load

        states = [load(path.read_bytes()) for path in starts]
        state = {
            name: torch.stack([own[name] for own in states]).mean(0) if number.is_floating_point() else number
            for name, number in states[0].items()
        }
        state["place"] = functional.interpolate(state["place"], size=net.place.shape[2:], mode="bilinear")
        fill(net, state)
    return net
