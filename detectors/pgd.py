"""Attacks a detector: how little must change before it errs? A worker: ``python -m detectors.pgd detectors.mesonet --serve EXCHANGE``.

Projected gradient descent (Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018): ``steps`` steps of
the gradient's sign, each 2.5 eps / steps long, from a random start, never further than eps from the picture in any pixel. The
detector's own crop, preprocessing and scores are used; what is changed is what its network receives, after resizing. ``eps`` is in
grey levels of 255: how the preprocessing scales a grey level is measured with flat pictures. Results are not rounded to grey levels.

Owns: which detectors can be attacked so, and the attack. Promises: refuses with a reason where the gradient would not be that of the score.
Knows the contract and ``detectors.runtime``; imported by nothing.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from base_detector import (
    Array,
    BaseDetector,
    FacePack,
    Progress,
    Skip,
    WorkerFailure,
    detector_verbs,
    fake_score_of,
    load_detector,
    serve_worker,
)
from detectors import runtime

if TYPE_CHECKING:
    import torch

#: Outputs of a network for one unit that are looked at one by one; larger ones (maps) must not matter for the score.
_MOST_OUTPUTS: Final = 64
#: How far an output is moved to see what the score makes of it; larger where the score is saturated.
_MOVES: Final = (1e-3, 0.1, 1.0, 10.0)
#: Preprocessing counts as pixel by pixel when a grey in the middle lands this near to the line between black and white.
_STRAIGHT: Final = 1e-3


class Refused(Exception):
    """This detector cannot be attacked so; the argument is the reason, a code of ``backend.benchmark.attacks``."""


class Eager:
    """A network as its detector calls it, run by torch, which keeps what it was given; ``replay`` answers instead of it."""

    def __init__(self, net: torch.nn.Module, calls: list[Eager]) -> None:
        self._net, self._calls = net.eval().requires_grad_(False), calls
        self.inputs: tuple[Array, ...] = ()
        self.outputs: tuple[Array, ...] = ()
        self.replay: tuple[Array, ...] | None = None
        self._several = False

    def __call__(self, *inputs: Array) -> Any:
        import torch

        self._calls.append(self)
        self.inputs = inputs
        if self.replay is None:
            with torch.inference_mode():
                answer = self._net(*(torch.from_numpy(np.array(item, np.float32)) for item in inputs))
            self._several = isinstance(answer, tuple)
            self.outputs = tuple(item.numpy().astype(np.float64) for item in (answer if self._several else (answer,)))
        given = self.outputs if self.replay is None else self.replay
        return given if self._several else given[0]

    def gradient(self, x: Array, weights: Sequence[Array | None]) -> Array:
        """The gradient of the weighted sum of the outputs at the input ``x``. Skip where it vanishes.

        A probability that is rounded to 0 or 1 has no slope, which would look like robustness (Athalye et al., "Obfuscated Gradients Give a
        False Sense of Security", ICML 2018). There the slope is that of what the sigmoid at the end is given: it points the same way.
        """
        import torch

        point = torch.from_numpy(np.array(x, np.float32)).requires_grad_(True)
        with _sigmoids()() as squashed:
            answer = self._net(point)
        outputs = answer if isinstance(answer, tuple) else (answer,)
        own = [(out, torch.from_numpy(item)) for out, item in zip(outputs, weights, strict=True) if item is not None]
        total = torch.stack([(out.double() * item).sum() for out, item in own]).sum()
        [slope] = torch.autograd.grad(total, point, retain_graph=True)
        if not slope.any():
            parts = [
                (given.double().reshape(-1) * item.reshape(-1)).sum()
                for out, item in own
                for given in squashed.given(out)
            ]
            if parts:
                [slope] = torch.autograd.grad(torch.stack(parts).sum(), point)
        if not slope.any():
            raise Skip("not_judgeable")
        return np.asarray(slope.numpy(), np.float64)


@functools.cache
def _sigmoids() -> Any:
    """A class of contexts that note what sigmoids in them were given; made on the first call, since torch is imported late."""
    import torch
    from torch.overrides import TorchFunctionMode

    kinds = {torch.sigmoid, torch.Tensor.sigmoid, torch.nn.functional.sigmoid, torch.special.expit}

    class Sigmoids(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            answer = func(*args, **(kwargs or {}))
            if func in kinds and args:
                self._seen.append((args[0], answer))
            return answer

        def given(self, out: torch.Tensor) -> list[torch.Tensor]:
            """What the last sigmoid was given whose answer is the output ``out``; empty where there is none."""
            same = [
                x for x, y in self._seen if y.numel() == out.numel() and torch.equal(y.reshape(-1), out.reshape(-1))
            ]
            return same[-1:]

    return Sigmoids


@dataclass(frozen=True)
class Aim:
    """The one network behind the score of a unit, what it receives, and how far one grey level goes there."""

    net: Eager
    x: Array
    low: Array
    high: Array
    gain: Array
    batch: Array


class Attacker:
    """One loaded detector whose networks are torch's own."""

    def __init__(self, detector: BaseDetector, calls: list[Eager]) -> None:
        self._detector, self._calls = detector, calls

    def aim(self, unit: Array) -> Aim:
        """Find the network behind the score of ``unit``, a crop or picture (h, w, 3) uint8 RGB. Refused, or Skip as the detector does."""
        batch, net, x = self._seen(unit)
        flat = [self._seen(np.full_like(unit, grey)) for grey in (0, 255, 128)]
        if any(other is not net or y.shape != x.shape for _, other, y in flat):
            raise Refused("not_pixelwise")
        black, white, middle = (y for _, _, y in flat)
        gain = (white - black) / 255
        spread = float(np.abs(white - black).max())
        if not spread or float(np.abs(black + 128 * gain - middle).max()) > _STRAIGHT * spread:
            raise Refused("not_pixelwise")
        low, high = np.minimum(np.minimum(black, white), x), np.maximum(np.maximum(black, white), x)
        return Aim(net, x, low, high, np.abs(gain), batch)

    def attack(self, aim: Aim, *, fake: bool, eps: float, steps: int, rng: np.random.Generator) -> float:
        """The fake score after the attack, which moves a fake towards real and a real one towards fake."""
        reach, sign = eps * aim.gain, 1.0 if fake else -1.0
        x = np.clip(aim.x + reach * rng.uniform(-1, 1, aim.x.shape), aim.low, aim.high)
        for _ in range(steps):
            step = aim.net.gradient(x, self._weights(aim, x))
            x = x + sign * 2.5 / steps * reach * np.sign(step)
            x = np.clip(np.clip(x, aim.x - reach, aim.x + reach), aim.low, aim.high)
        aim.net(x)
        return self._score(aim, aim.net.outputs)

    def score(self, aim: Aim) -> float:
        """The fake score of the unit as it is."""
        aim.net(aim.x)
        return self._score(aim, aim.net.outputs)

    def _seen(self, unit: Array) -> tuple[Array, Eager, Array]:
        """The batch of one unit, the one network it goes to, and what that receives (1, ...) float64."""
        batch = self._detector.preproc(unit)[None]
        self._calls.clear()
        self._detector.get_softlabel(batch)
        if not self._calls:
            raise Refused("no_gradient")
        if len(self._calls) > 1 or len(self._calls[0].inputs) != 1:
            raise Refused("several_networks")
        return batch, self._calls[0], np.array(self._calls[0].inputs[0], np.float64)

    def _soft(self, aim: Aim, outputs: tuple[Array, ...]) -> float:
        aim.net.replay = outputs
        try:
            return float(np.clip(self._detector.get_softlabel(aim.batch)[0], 0, 1))
        finally:
            aim.net.replay = None

    def _score(self, aim: Aim, outputs: tuple[Array, ...]) -> float:
        soft = self._detector.postproc(np.array([self._soft(aim, outputs)]))
        return fake_score_of(float(np.clip(soft, 0, 1)))

    def _weights(self, aim: Aim, x: Array) -> list[Array | None]:
        """How the log odds of *real* change with each output of the network at ``x``; None for a map, which must not matter."""
        aim.net(x)
        outputs = aim.net.outputs
        for move in _MOVES:
            weights = [self._slopes(aim, outputs, place, move) for place in range(len(outputs))]
            if any(own is not None and own.any() for own in weights):
                return weights
        return [None if own.size > _MOST_OUTPUTS else np.ones_like(own) for own in outputs]

    def _slopes(self, aim: Aim, outputs: tuple[Array, ...], place: int, move: float) -> Array | None:
        own = outputs[place]

        def odds(changed: Array) -> float:
            soft = self._soft(aim, (*outputs[:place], changed, *outputs[place + 1 :]))
            soft = min(max(soft, 1e-16), 1 - 1e-16)
            return float(np.log(soft) - np.log1p(-soft))

        if own.size > _MOST_OUTPUTS:
            if abs(odds(own + move) - odds(own)) > 1e-9:
                raise Refused("not_pixelwise")
            return None
        slopes = np.zeros_like(own)
        for index in np.ndindex(own.shape):
            up, down = own.copy(), own.copy()
            up[index], down[index] = own[index] + move, own[index] - move
            slopes[index] = (odds(up) - odds(down)) / (2 * move)
        return slopes


def attack_pack(
    attacker: Attacker,
    pack: FacePack,
    *,
    fake: bool,
    eps: Sequence[float],
    steps: int,
    most: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Attack up to ``most`` units of a pack, spread evenly: ``scores``, one list for each of 0 (untouched) and ``eps``."""
    detector, count = attacker._detector, len(pack.units(attacker._detector.card))
    chosen = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)) if count else np.zeros(0, int)
    rng, scores = np.random.default_rng(seed), [list[float]() for _ in (0, *eps)]
    for done, index in enumerate(chosen.tolist(), 1):
        try:
            aim = attacker.aim(np.array(detector._input(pack, index)))
            found = [attacker.attack(aim, fake=fake, eps=reach, steps=steps, rng=rng) for reach in eps]
        except Skip:
            continue
        for own, score in zip(scores, (attacker.score(aim), *found), strict=True):
            own.append(score)
        progress(done, len(chosen))
    return {"scores": scores}


def attack_verb(detector: BaseDetector, load: Any, calls: list[Eager]) -> Any:
    """The verb ``attack {pack, fake, eps, steps, most, seed}``: ``scores``, or ``refused`` with the reason."""

    def attack(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        try:
            if detector.card.unit == "sound":
                raise Refused("sound")
            if type(detector).judge is not BaseDetector.judge:
                raise Refused("whole_clips")
            load()
            pack = FacePack(Path(request.pop("pack")))
            return attack_pack(Attacker(detector, calls), pack, **request, progress=progress)
        except Refused as reason:
            return {"refused": str(reason)}
        except (KeyError, TypeError):
            raise WorkerFailure("bad_request") from None

    return attack


def main(argv: list[str] | None = None) -> int:
    """Serve until ``stop``."""
    parser = argparse.ArgumentParser(prog="detectors.pgd", description="attack a detector")
    parser.add_argument("module", help="the detector's package, for example detectors.mesonet")
    parser.add_argument(
        "--serve", type=Path, required=True, metavar="EXCHANGE", help="be a worker on EXCHANGE/worker.sock"
    )
    parser.add_argument("--weights", type=Path, default=Path(), help="folder of the weights")
    parser.add_argument("--device", default="cpu", choices=["cpu"])
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)  # single faces: threads would wait for one another more than they work
    detector, calls = load_detector(args.module), list[Eager]()
    attackable(calls)
    verbs = detector_verbs(detector, args.weights.resolve(), args.device)
    verbs["attack"] = attack_verb(detector, lambda: verbs["load"]({}, lambda done, total: None), calls)
    serve_worker(verbs, args.serve)
    return 0


def attackable(calls: list[Eager]) -> None:
    """From now on in this process, detectors that are loaded get torch's networks, which note their calls in ``calls``.

    Detectors take their networks from ``detectors.runtime`` by name, when they are loaded.
    """

    def eager(net: torch.nn.Module, **_: Any) -> Eager:
        return Eager(net, calls)

    def built(build: Any, *arguments: Any, **_: Any) -> Eager:
        return Eager(build(*arguments), calls)

    runtime.compile_net = eager
    runtime.compiled = built


if __name__ == "__main__":
    raise SystemExit(main())
