"""``python -m detectors.training train NAME --data FOLDER --out DIR``: trains a network on material of the operator's own.

Owns: the command line. ``small`` writes a small set to try it with. Guide: docs/training.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from base_detector import ContractError
from detectors.training.dataset import DataError, read_dataset
from detectors.training.kinds import NAMES, Kind, kind_of
from detectors.training.report import RunFacts, write_report
from detectors.training.run import calibrate, fit, logits_of, shortened
from detectors.training.sampling import Draws, HeldOut, sources_of
from detectors.training.small import write_small
from detectors.training.store import find_faces

#: Scored places of a clip in checks and tests, and clips of a check.
_EACH, _CHECKED = 4, 400


def train(args: argparse.Namespace) -> int:
    """Find the faces, train, calibrate, measure; writes weights, card.json, model_card.md, curves.png and log.csv to OUT."""
    kind = kind_of(args.name)
    kind = replace(kind, batch=args.batch or kind.batch, patience=args.patience or kind.patience)
    every = args.check_every
    plan = shortened(kind.plan, steps=args.steps, rate=args.rate, seed=args.seed, check_every=every, report_every=every)
    plan = replace(plan, warm_up=min(plan.warm_up, plan.steps // 5))
    items = read_dataset(args.data)
    stored, without = find_faces(items, args.faces or args.out / "faces", look=kind.look)
    drawn, held = (sources_of(stored, clips=kind.clips, overlap=overlap) for overlap in (True, False))
    # every part is looked at before the first step, so that a set that is too small is reported at once
    validation, test = (HeldOut.of(held, part=part, each=_EACH) for part in ("validation", "test"))
    checked = HeldOut.of(held, part="validation", each=_EACH, most=_CHECKED)
    net, best = fit(kind, Draws(drawn, part="train"), held=checked, plan=plan, patience=kind.patience, out=args.out)
    calibration = calibrate(net, validation.labels, logits_of(kind, net, validation))
    used = [source.stored.item for source in held]
    facts = RunFacts(
        args.data.name, items, used, _reasons(without, stored=len(stored), used=len(used)), plan, best, calibration
    )
    write_report(kind, net, test=test, facts=facts, out=args.out)
    print((args.out / "model_card.md").read_text(encoding="utf-8"))
    _install(kind, args)
    return 0


def _reasons(without: dict[str, int], *, stored: int, used: int) -> dict[str, int]:
    return without | ({"needs_a_clip": stored - used} if stored > used else {})


def _install(kind: Kind, args: argparse.Namespace) -> None:
    source = args.out / kind.file
    if args.install is None:
        print(f"To use it: deepfake-o-meter weights add {kind.card.id} {source}")
        return
    target = args.install / kind.card.id / kind.file
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, unfinished)
    os.replace(unfinished, target)
    print(f"Installed as {target}")


def small(args: argparse.Namespace) -> int:
    """Write a small set of real faces and blends of them, to try the training command with."""
    people = write_small(args.faces, args.out, people=args.people, clips=args.clips)
    print(f"{people} people in {args.out}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Read the command line. Exit status 2 when data or card cannot be used; the sentence says what to change."""
    parser = argparse.ArgumentParser(prog="detectors.training")
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("train", help=train.__doc__, description=train.__doc__)
    one.add_argument("name", choices=NAMES)
    one.add_argument(
        "--data", type=Path, required=True, help="real/ and fake/, or parts of the DFDC with metadata.json"
    )
    one.add_argument("--out", type=Path, required=True)
    one.add_argument(
        "--faces", type=Path, help="folder of the faces found (default: OUT/faces); may serve several runs"
    )
    for option, kind in (
        ("--steps", int),
        ("--batch", int),
        ("--rate", float),
        ("--seed", int),
        ("--check-every", int),
    ):
        one.add_argument(option, type=kind)
    one.add_argument("--patience", type=int, help="checks without a better one that end the run")
    one.add_argument(
        "--install", type=Path, nargs="?", const=Path("var/weights"), help="folder of the weights (var/weights)"
    )
    one.set_defaults(run=train)
    two = verbs.add_parser("small", help=small.__doc__, description=small.__doc__)
    two.add_argument("--faces", type=Path, required=True, help="pictures of real faces, or tar files of them")
    two.add_argument("--out", type=Path, required=True)
    two.add_argument("--people", type=int, default=80)
    two.add_argument("--clips", action="store_true", help="short clips instead of pictures")
    two.set_defaults(run=small)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except (DataError, ContractError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
