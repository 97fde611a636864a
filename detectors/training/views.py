"""The two pictures our own detector takes of a face, and how a net for each is trained.

Owns: the table of views. ``coarse`` sees any face at 80 pixels; ``fine`` sees large faces, as clips of today show them, at 160, where skin
that is too smooth for its surroundings can still be told.
May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch.nn import functional

from detectors.nets import selfblend
from detectors.nets.checkpoint import fill
from detectors.training.faces import FINE_SIDE, FINE_SMALLEST, SIDE, SMALLEST
from detectors.training.loop import Plan
from detectors.training.stream import Recipe


@dataclass(frozen=True)
class View:
    """One run: the bank's faces (``stored`` pixels, none below ``smallest``), how they are shown, and the shipped run's plan.

    ``file``: name of the weights. ``bank``: name of the bank's folder. ``start``: the view whose weights it begins with, if any.
    ``tells_apart``: faces without a name are grouped by person, so that some of them are held out.
    """

    name: str
    file: str
    bank: str
    stored: int
    smallest: int
    recipe: Recipe
    plan: Plan
    start: str = ""
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
    file="selfblend.safetensors",
    start="coarse",
    recipe=replace(COARSE.recipe, codec="strong", reshaped=0.5, mingled=True),
    plan=Plan(steps=14_000, rate=1.2e-3, average=0.9985, seed=2, short=True),
)
# few large sharp faces are at hand (colour pictures), so half of every batch is theirs, and the run starts from the coarse net
FINE = View(
    "fine",
    file="selfblend_fine.safetensors",
    bank="fine",
    start="coarse",
    stored=FINE_SIDE,
    smallest=FINE_SMALLEST,
    recipe=Recipe(side=selfblend.FINE_SIDE, pairs=32, working=(176, 188, 200), colour=0.5),
    plan=Plan(steps=3_000, rate=1e-3, warm_up=100, average=0.995, check_every=500),
    tells_apart=True,
)
VIEWS = {view.name: view for view in (COARSE, ROBUST, FINE)}


def net_for(view: View, *, widths: tuple[int, int, int, int], start: Path | None) -> selfblend.SelfBlendNet:
    """A net of the view's side; with ``start`` it begins with that file's numbers, whose terms of place are spread over its grid."""
    net = selfblend.SelfBlendNet(side=view.recipe.side, widths=widths)
    if start is not None:
        from safetensors.torch import load

        state = load(start.read_bytes())
        state["place"] = functional.interpolate(state["place"], size=net.place.shape[2:], mode="bilinear")
        fill(net, state)
    return net
