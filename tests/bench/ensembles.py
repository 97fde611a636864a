"""Target 5: heavy ensembles and ten nets in one process, warm, against decoding plus arithmetic at this machine's fastest GEMM.

``python -m tests.bench.ensembles [ten selim deepware]`` prints for each: the media pass and the nets on one clip (10 s, 1080p, where the
research data are), without video; the floor, decoding once plus the nets' operations at the rate of a float32 matrix product in the same
run; their ratio, by the clock and by processor seconds (which other work on the machine disturbs less). Loading is printed, not counted.

Ten nets are Meso4, MesoInception4, three Xception, two ResNet-50 and one with pyramid pooling, EfficientNet-B4 and -B7, on 32 pictures.
Weights that are not at hand are the recipe's: time does not depend on them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from base_detector import BaseDetector, FacePack, load_detector
from tests.bench.media_pass import _RESEARCH_CLIP, decode_floor, drawn_clip
from tests.bench.networks import Meter, gemm_rates, install

#: pictures of a clip, and the targets of the ratio by the clock
PICTURES = 32
TARGETS = {"ten": 1.25, "selim": 1.5, "deepware": 1.5}


def plain_b4() -> BaseDetector:
    """EfficientNet-B4 at 380 with random numbers on selim's faces: no bundled detector has one for single faces."""
    detector: Any = load_detector("detectors.selim")

    def load(weights: Path, device: str) -> None:
        import torch

        from detectors import runtime
        from detectors.nets.efficientnet import EncoderClassifier

        torch.manual_seed(0)
        net = EncoderClassifier("b4", size=(380, 380))
        example = np.zeros((1, 3, 380, 380), np.float32)
        detector._nets = [runtime.compile_net(net, example=example, device=device)]

    detector.load = load
    return detector


@dataclass
class Seconds:
    """By the clock, and of all processor cores."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)


@contextmanager
def timed() -> Iterator[Seconds]:
    """Seconds of the block."""
    found, wall, cpu = Seconds(), time.perf_counter(), time.process_time()
    yield found
    found.wall, found.cpu = time.perf_counter() - wall, time.process_time() - cpu


def members(what: str) -> list[BaseDetector]:
    """The detectors of a group, not loaded; every one looks at ``PICTURES`` pictures but deepware, at one a second."""
    if what != "ten":
        return [load_detector(f"detectors.{what}")]

    def with_variant(name: str, variant: str) -> BaseDetector:
        detector = load_detector(f"detectors.{name}")
        detector.card = replace(detector.card, parameters=detector.card.parameters | {"variant": variant})
        return detector

    selim = load_detector("detectors.selim")
    selim.card = replace(selim.card, parameters={"models": ["111_36"]})
    return [
        with_variant("mesonet", "Meso4_DF"),
        with_variant("mesonet", "MesoInception4_DF"),
        *(load_detector("detectors.xception") for _ in range(3)),
        with_variant("cnndetection", "blur_jpg_prob0.5"),
        with_variant("cnndetection", "blur_jpg_prob0.1"),
        load_detector("detectors.dsp_fwa"),
        plain_b4(),
        selim,
    ]


def loaded(group: list[BaseDetector], folder: Path) -> None:
    """Load each of ``group``; weights are written below ``folder`` where they are not there yet."""
    for detector in group:
        weights = folder / detector.card.id
        if not weights.is_dir() and detector.card.weights:
            weights.mkdir(parents=True)
            install(detector.card.id, weights)
        detector.load(weights, "cpu")


def measure(what: str, clip: Path, scratch: Path) -> dict[str, Any]:
    """One line: ratios to the floor, and what they are made of."""
    from backend.media.extract import extract_pack, warm_detector

    warm_detector()  # before the meter: finding faces is no part of the floor
    runtime = importlib.import_module("detectors.runtime")
    original, meter = runtime.compile_net, Meter(runtime.compile_net)
    runtime.compile_net = meter.compile_net
    try:
        group = members(what)
        with timed() as loading:
            loaded(group, scratch / "weights")
    finally:
        runtime.compile_net = original
    sampling = group[0].card.sampling if what != "ten" else f"frames:{PICTURES}"
    margin = max(detector.card.margin for detector in group)

    def extract(name: str) -> FacePack:
        extract_pack(clip, scratch / what / name, samplings=[sampling], context=margin)
        return FacePack(scratch / what / name)

    (scratch / what).mkdir()
    first = extract("first")
    for detector in group:  # shapes are compiled, operations counted
        detector.run_pack(first, scratch)
    before, decode = gemm_rates(), decoding(clip)
    meter.reset()
    with timed() as media:
        pack = extract("pack")
    with timed() as nets:
        for detector in group:
            detector.run_pack(pack, scratch)
    rates = before | {name: max(rate, before[name]) for name, rate in gemm_rates().items()}
    gflop = meter.flop / 1e9
    floor = decode + Seconds(gflop / rates["wall"], gflop / rates["cpu"])
    spent = media + nets
    return {
        "what": what, "faces": len(pack), "load_s": loading.wall, "decode_s": decode.wall, "media_s": media.wall, "nets_s": nets.wall,
        "in_networks_s": meter.seconds, "gflop": gflop, "gemm_gflops": rates["wall"], "floor_s": floor.wall,
        "ratio": spent.wall / floor.wall, "ratio_cpu": spent.cpu / floor.cpu, "target": TARGETS[what],
    }  # fmt: skip


def decoding(clip: Path) -> Seconds:
    """The faster of two runs of decoding alone."""
    found = []
    for _ in range(2):
        with timed() as seconds:
            decode_floor(clip)
        found.append(seconds)
    return min(found, key=lambda item: item.wall)


def main(report: Callable[[str], None] = print) -> int:
    """Print the lines and, with --json, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help=f"some of {', '.join(TARGETS)}; all where none is named")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clip = args.clip or (_RESEARCH_CLIP if _RESEARCH_CLIP.is_file() else drawn_clip(folder))
        cv2.setNumThreads(2)
        for what in args.groups or TARGETS:
            row = measure(what, clip, folder)
            rows.append(row)
            report(
                ", ".join(
                    f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                )
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
