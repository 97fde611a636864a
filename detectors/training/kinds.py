"""Which networks can be trained with the command, and what each takes of a face.

Owns: the table of names; one entry is a network's builder, how its faces are cut, what it makes of them, and the figures of a usual run.
Promises: margin and parameters are those of the detector's card, so training and detection cannot differ in them.
May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from base_detector import Array, Card, ContractError, load_detector
from detectors.nets import meso_cnn, noise
from detectors.nets.faces import normalized
from detectors.nets.trained import Calibrated, pack_trained
from detectors.training.loop import Plan
from detectors.training.store import Look


@dataclass(frozen=True)
class Kind:
    """A network that can be trained.

    ``prepare`` makes of the faces of one draw, (k, S, S, 3) uint8 RGB, one input of the net; k is 20 for nets of ``clips``, else 1.
    ``batch`` draws a step; ``plan`` the usual run, ``patience`` checks without a better one that end it.
    """

    card: Card
    look: Look
    clips: bool
    build: Callable[[], Calibrated]
    prepare: Callable[[Array], Array]
    batch: int
    plan: Plan
    patience: int
    file: str

    @property
    def parameters(self) -> dict[str, Any]:
        """What the weights file says of its training, and the detector compares with its card."""
        return {"margin": self.card.margin, **self.card.parameters}

    def content(self, net: Calibrated) -> bytes:
        """The weights file of a trained net."""
        if not isinstance(net, Uncalibrated):
            return pack_trained(net, detector=self.card.id, parameters=self.parameters)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.net.state_dict().items()}
        return save(state)


class Uncalibrated(Calibrated):
    """A network whose file has no place for a calibration: its score is one half at the logit 0, whatever the run."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.reshape(self.net(x), (-1,))


def kind_of(name: str) -> Kind:
    """The network ``name``, with what its card says now; ContractError for a card that cannot be."""
    detector, _, net = name.partition("-")
    card = load_detector(f"detectors.{detector}").card
    if net:
        return _mever(card, net)
    wrong = (meso_cnn if name == "meso_cnn" else noise).wrong_parameter(card.parameters)
    if wrong:
        raise ContractError(f"{name}: {wrong}")
    return _KINDS[name](card)


def _meso_cnn(card: Card) -> Kind:
    return Kind(
        card=card,
        look=Look(side=meso_cnn.SIDE, margin=card.margin, sampling="frames:24", most=24),
        clips=False,
        build=partial(meso_cnn.MesoCnn, **card.parameters),
        prepare=lambda faces: meso_cnn.as_input(faces[0]),
        batch=20,  # the project's own
        plan=Plan(steps=20_000, rate=1e-3, warm_up=100, weight_decay=0.01, report_every=250, check_every=250),
        patience=12,
        file=card.weights[0].file,
    )


def _noise(card: Card, *, means: bool, build: Callable[[], Calibrated], batch: int, plan: Plan) -> Kind:
    sigma = float(card.parameters["sigma"])
    return Kind(
        card=card,
        look=Look(side=noise.SIDE, margin=card.margin, sampling=card.sampling, most=120),
        clips=True,
        build=build,
        prepare=lambda faces: noise.features(faces, sigma=sigma, means=means),
        batch=batch,
        plan=plan,
        patience=12,
        file=card.weights[0].file,
    )


def _noise_3dcnn(card: Card) -> Kind:
    build = partial(noise.Noise3dCnn, kernel=card.parameters["kernel"], pool=card.parameters["pool"])
    plan = Plan(steps=6_000, rate=2e-3, warm_up=50, weight_decay=0.01, report_every=100, check_every=100)
    return _noise(card, means=False, build=build, batch=8, plan=plan)


def _noise_gru(card: Card) -> Kind:
    build = partial(noise.NoiseGru, units=card.parameters["units"])
    plan = Plan(steps=6_000, rate=5e-3, warm_up=50, weight_decay=0.01, report_every=100, check_every=100)
    return _noise(card, means=True, build=build, batch=32, plan=plan)


def _mever(card: Card, name: str) -> Kind:
    """One of the five networks of the MeVer service; the card's file is the one that ends with the network's name."""
    from detectors.nets import mever

    file = next((item.file for item in card.weights if Path(item.file).stem.lower().endswith(name)), None)
    if file is None:
        raise ContractError(
            f"mever: the card lists no weights file of {name}: add a [[weights]] entry such as {name}.safetensors"
        )
    return Kind(
        card=card,
        look=Look(side=mever.SIDE, margin=card.margin, sampling="frames:16", most=16, scaling="pillow"),
        clips=False,
        build=lambda: Uncalibrated(mever.build(name)),
        prepare=lambda faces: normalized(faces[0]),
        batch=16,
        plan=Plan(steps=20_000, rate=2e-4, warm_up=500, weight_decay=0.02, report_every=500, check_every=500),
        patience=10,
        file=file,
    )


_KINDS: dict[str, Callable[[Card], Kind]] = {
    "meso_cnn": _meso_cnn,
    "noise_3dcnn": _noise_3dcnn,
    "noise_gru": _noise_gru,
}
MEVER = tuple(f"mever-m{number}" for number in range(1, 6))
NAMES = (*_KINDS, *MEVER)


def inputs_of(kind: Kind, faces: list[Array]) -> Array:
    """The batch the net takes of the faces of several draws, float32."""
    return np.stack([kind.prepare(one) for one in faces])
