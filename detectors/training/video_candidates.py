"""Candidates side by side on the same clips: ``python -m detectors.training.video_candidates --clips FOLDER --out DIR NAME=OUT...``.

Owns: the table of candidates, the difference to another score of the same clips with its interval, the fusion of the two, ROC curves by
family, and what a net makes of decoders it learnt and of one it never saw.
Promises: nothing is trained but the fusion's three numbers, never on the fold it is judged on; each line is of the clips that line names.
Guide: docs/training.md. May be imported by detectors.training and its tests. Torch is imported with this module.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from base_detector import Array
from detectors.training.clips import Clip, Faces, faces_of_clips, read_clips
from detectors.training.dataset import DataError
from detectors.training.decoded_clips import decoded_clips
from detectors.training.decoders import FAMILIES, HELD_OUT
from detectors.training.folds import Fold, leave_methods_out
from detectors.training.measure import roc_auc
from detectors.training.video import Trainee, logits_of, scored_folds
from detectors.training.video_batches import central
from detectors.training.video_measure import Scored, interval_over_scenes, row_of, within_folds

#: Lines of the table beside all fakes: the families with fakes enough to say something.
GROUPS = ("all", "swap", "reenactment", "talking_head")
#: Weight of the fusion's penalty on its slopes, so that few clips cannot make them large.
_PENALTY = 0.01


def known(group: str, clip: Clip) -> bool:
    """Whether a fake belongs to the line of that name."""
    return group == "all" or clip.family == group


def scored_by(values: Mapping[str, float], folds: Sequence[Fold]) -> list[Scored]:
    """Scores from elsewhere (file name -> score, no net of ours) as if each fold had given them; clips without one are left out."""
    return [
        Scored(clip, fold.number, clip in fold.home, {"as_is": float(values[clip.name])})
        for fold in folds
        for clip in fold.judged
        if values.get(clip.name) is not None
    ]


def line_of(name: str, scored: Sequence[Scored], *, pooled: bool = True) -> str:
    """A candidate's line of Markdown. ``pooled``: one score for all folds, of which no fold's median is taken off."""
    if pooled:
        # a clip that several folds judge counts once, at home where one of the folds is its home
        once = {one.clip.name: one for one in sorted(scored, key=lambda one: one.home)}
        scored = [replace(one, fold=0) for one in once.values()]
    rows = {group: row_of(group, scored, chosen=partial(known, group)) for group in GROUPS}
    cells = [
        f"{row.auc:.2f} ({row.low:.2f}-{row.high:.2f}), {row.clips}" if row.clips else "-" for row in rows.values()
    ]
    whole = rows["all"]
    return f"| {name} | {' | '.join(cells)} | {whole.found:.0%} | {whole.pairs} of {whole.of} |"


def table_of_candidates(candidates: Mapping[str, Sequence[Scored]], other: Sequence[Scored]) -> str:
    """Each candidate's line, then ``other`` on the clips of the folds that are done, and the difference with its interval over scenes."""
    head = " | ".join(f"{name} (95 %, scenes), fakes" for name in ("all", "swaps", "re-enactment", "talking heads"))
    lines = [f"| candidate | {head} | found at 5 % | pairs in order |", "| --- |" + " --- |" * 6]
    for name, scored in candidates.items():
        lines.append(line_of(name, scored, pooled=False))
        if other:
            done = {one.fold for one in scored}
            same = [one for one in other if one.fold in done]
            lines.append(line_of(f"today's on folds {sorted(done)}", same))
            low, value, high = difference(scored, same)
            lines.append(f"| its ROC-AUC less today's | {value:+.2f} ({low:+.2f} to {high:+.2f}) |  |  |  |  |  |")
            lines.append(
                line_of("both, fused", fused(scored, same), pooled=False)
                if len(done) > 1
                else "| both, fused | - |  |  |  |  |  |"
            )
    return "\n".join(lines)


def difference(scored: Sequence[Scored], other: Sequence[Scored]) -> tuple[float, float, float]:
    """(low, value, high): ROC-AUC of all fakes less that of ``other`` on the same clips; whole scenes are drawn, the same for both."""
    ours, theirs, home = _side_by_side(scored, other)
    labels = np.array([float(one.clip.fake) for one in home])

    def gap(rows: Array) -> float:
        return roc_auc(labels[rows], ours[rows]) - roc_auc(labels[rows], theirs[rows])

    low, high = interval_over_scenes(np.array([one.clip.scene for one in home]), gap)
    return low, gap(np.arange(len(home))), high


def _side_by_side(scored: Sequence[Scored], other: Sequence[Scored]) -> tuple[Array, Array, list[Scored]]:
    values = {one.clip.name: one.logits["as_is"] for one in other}
    home = [one for one in scored if one.home and one.clip.name in values]
    return within_folds(home), np.array([values[one.clip.name] for one in home]), home


def fused(scored: Sequence[Scored], other: Sequence[Scored]) -> list[Scored]:
    """Logistic regression on both scores: each fold with slopes fitted on the other folds' clips; ``home`` clips alone.

    The fitted scores come from other nets than the judged ones, and those nets did see the judged fold's clips; with two slopes and an
    offset that is worth little, but it is why a gain of the fusion would have to be shown on clips nobody has used.
    """
    ours, theirs, home = _side_by_side(scored, other)
    folds = np.array([one.fold for one in home])
    labels = np.array([float(one.clip.fake) for one in home])
    both = np.stack([ours, theirs], axis=1)
    values = np.zeros(len(home))
    for fold in np.unique(folds):
        own = folds == fold
        scale = np.maximum(both[~own].std(axis=0), 1e-6)
        values[own] = both[own] / scale @ slopes_of((both[~own] - both[~own].mean(axis=0)) / scale, labels[~own])
    return [replace(one, logits={"as_is": float(value)}) for one, value in zip(home, values, strict=True)]


def slopes_of(features: Array, labels: Array) -> Array:
    """Slopes (k,) of a logistic regression of ``labels`` (n,) on ``features`` (n, k); both labels weigh the same."""
    weights = np.where(labels > 0.5, 0.5 / max(labels.sum(), 1), 0.5 / max((1 - labels).sum(), 1))
    signs = np.where(labels > 0.5, 1.0, -1.0)

    def loss(numbers: Array) -> float:
        margins = signs * (features @ numbers[1:] + numbers[0])
        return float((weights * np.logaddexp(0, -margins)).sum() + _PENALTY * (numbers[1:] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(features.shape[1] + 1)).x[1:])


def draw_roc(candidates: Mapping[str, Sequence[Scored]], other: Sequence[Scored], picture: Path) -> None:
    """ROC curves of every candidate by family as a PNG; curves alone, no faces. ``other`` (today's) is on all clips."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, len(GROUPS), figsize=(3.3 * len(GROUPS), 3.5), layout="constrained")
    for group, axes in zip(GROUPS, places, strict=True):
        axes.plot([0, 1], [0, 1], ":", color="grey")
        shown = {name: (scored, False) for name, scored in candidates.items()} | (
            {"today's": (other, True)} if other else {}
        )
        for name, (scored, pooled) in shown.items():
            home = [one for one in scored if one.home and (not one.clip.fake or known(group, one.clip))]
            labels = np.array([float(one.clip.fake) for one in home])
            if labels.any():
                values = np.array([one.logits["as_is"] for one in home]) if pooled else within_folds(home)
                alarms, hits = roc_of(labels, values)
                axes.plot(
                    alarms,
                    hits,
                    "--" if pooled else "-",
                    lw=1.2,
                    label=f"{name} {roc_auc(labels, values):.2f}, {int(labels.sum())}",
                )
        axes.set_title(group)
        axes.set_xlabel("real clips flagged")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=6)
    places[0].set_ylabel("fakes found")
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)


def roc_of(labels: Array, scores: Array) -> tuple[Array, Array]:
    """Shares of real clips and of fakes at or above each score, from none to all."""
    order = np.argsort(-scores, kind="stable")
    fake = labels[order] > 0.5
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits, alarms = np.cumsum(fake)[last] / fake.sum(), np.cumsum(~fake)[last] / (~fake).sum()
    return np.append(0, alarms), np.append(0, hits)


def decoders_of(out: Path, folds: Sequence[Fold], copies: Sequence[Faces], originals: Mapping[Path, Faces]) -> str:
    """What the nets of ``out`` make of decoded copies of the real clips their folds judge: family -> ROC-AUC and pairs, Markdown cells.

    A copy is compared with its own original as the same x264 left it, the same frames of both.
    """
    scores: dict[str, list[tuple[float, float, int]]] = {family: [] for family in FAMILIES}
    for fold in folds:
        path = out / f"fold{fold.number}"
        if not (path / "scores.json").is_file():
            continue
        recipe = json.loads((path / "scores.json").read_text(encoding="utf-8"))["setting"]["recipe"]
        net = _net(path / "checkpoint.pt", side=recipe["side"])
        judged = {clip.path for clip in fold.judged}
        for copy in copies:
            if copy.clip.path in judged:
                pictures = [originals[copy.clip.path].pixels[-1][: len(copy)], *copy.pixels]
                seen = [central(np.asarray(own), side=recipe["side"], margin=recipe["margin"]) for own in pictures]
                real, *fake = (float(logits_of(net, own).mean()) for own in seen)
                for family, value in zip(FAMILIES, fake, strict=True):
                    scores[family].append((real, value, fold.number))
    return " | ".join(_cell(scores[family]) for family in FAMILIES)


def _cell(found: Sequence[tuple[float, float, int]]) -> str:
    if not found:
        return "-"
    real, fake, folds = np.array(found).T
    each = [
        roc_auc(np.repeat([0.0, 1.0], int((folds == n).sum())), np.append(real[folds == n], fake[folds == n]))
        for n in set(folds)
    ]
    return f"{np.mean(each):.2f}, {int((fake > real).sum())} of {len(found)}"


def _net(checkpoint: Path, *, side: int) -> Trainee:
    net = Trainee(side=side)
    net.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["averaged"])
    return net.eval()


def main(argv: list[str] | None = None) -> int:
    """Print the table of candidates and draw OUT/roc.png; with --faces also what each makes of decoders."""
    parser = argparse.ArgumentParser(prog="detectors.training.video_candidates", description=main.__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder of labelled clips with labels.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--today", type=Path, help="JSON: file name -> score of the detector to compare with")
    parser.add_argument("--faces", type=Path, help="folder of the faces: measure decoders, too")
    parser.add_argument(
        "--only",
        type=int,
        action="append",
        help="these folds alone (may be repeated), so that all are on the same clips",
    )
    parser.add_argument("candidates", nargs="+", help="NAME=FOLDER of video folds")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        return _run(args)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    clips = read_clips(args.clips)
    folds = leave_methods_out(clips, count=5)
    kept = [fold for fold in folds if not args.only or fold.number in args.only]
    outs = {name: Path(folder) for name, folder in (text.split("=", 1) for text in args.candidates)}
    candidates = {name: scored_folds(kept, out) for name, out in outs.items()}
    if empty := [name for name, scored in candidates.items() if not scored]:
        raise DataError(f"no fold of {', '.join(empty)} is done: run 'detectors.training.video folds' first")
    other = scored_by(json.loads(args.today.read_text(encoding="utf-8")), kept) if args.today else []
    args.out.mkdir(parents=True, exist_ok=True)
    print(table_of_candidates(candidates, other))
    draw_roc(candidates, other, args.out / "roc.png")
    if args.faces:
        found, _ = faces_of_clips(clips, args.faces)
        copies = decoded_clips({one.clip: one for one in found}, folds, args.faces, homes=args.only or ())
        originals = {one.clip.path: one for one in found}
        titles = " | ".join(name + (" (trains none)" if name == HELD_OUT else "") for name in FAMILIES)
        print(
            f"\n| decoded copies against their originals: ROC-AUC, pairs | {titles} |\n| --- |"
            + " --- |" * len(FAMILIES)
        )
        for name, out in outs.items():
            print(f"| {name} | {decoders_of(out, kept, copies, originals)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
