"""Time and arithmetic of every detector's networks: ``python -m tests.bench.networks [IDS]`` (part of ``make bench``).

Where the research data hold no weights they are filled by the golden vectors' recipe, since time does not depend on them. Each detector
judges the practice clip, or pictures or sound of its own kind; time inside its compiled networks is counted call by call, arithmetic by
torch's own counter on the same shapes (it does not count a GRU). The share is against this machine's measured matrix product, in the same
run; fast convolutions (Winograd) need fewer operations than are counted, so it may pass 100 %. TensorFlow's networks (fwa) are not compiled
here: only their whole time is known.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.admission.practice import PracticePacks
from backend.admission.practice_units import practice_packs
from backend.admission.template import SAMPLES
from backend.catalog.detectors import read_cards
from base_detector import FacePack, load_detector

ROOT = Path(__file__).resolve().parents[2]
RESEARCH = ROOT.parent / "shared"
#: Faces of the practice clip: enough for the detectors of clips, a few batches for the others.
FACES = 100
#: Faces a call, whatever the cards say, so that lines can be compared.
BATCH = 8


def product() -> tuple[Any, Any, Callable[[Any], Any]]:
    """The product that rates are measured with, 2048 x 2048 matrices in float32: both as torch has them, and OpenVINO's of the left one
    with the right one."""
    import torch

    from detectors.runtime import compile_net

    class Product(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = torch.nn.Parameter(torch.randn(2048, 2048))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.matrix

    net, left = Product().eval(), torch.randn(2048, 2048)
    return left, net.matrix.detach(), compile_net(net, example=left.numpy(), device="cpu")


#: Arithmetic of one product, GFLOP.
_PRODUCT_GFLOP = 2 * 2048**3 / 1e9


def gemm_gflops() -> dict[str, float]:
    """Highest rate of that product over a second, GFLOP/s, of each library at hand.

    They differ by a factor: torch's MKL leaves the wide instructions of AMD's processors alone, OpenVINO's oneDNN uses them. The fastest is
    the machine's peak.
    """
    a, b, compiled = product()
    left, right = a.numpy(), b.numpy()
    ways = {"torch": lambda: a @ b, "numpy": lambda: left @ right, "openvino": lambda: compiled(left)}
    return {name: _best_rate(run, _PRODUCT_GFLOP) for name, run in ways.items()}


def gemm_rates() -> dict[str, float]:
    """OpenVINO's rate of the same product: ``wall``, GFLOP/s by the clock, and ``cpu``, GFLOP a processor second."""
    a, _, compiled = product()
    left = a.numpy()
    return {
        "wall": _best_rate(lambda: compiled(left), _PRODUCT_GFLOP),
        "cpu": _best_rate(lambda: compiled(left), _PRODUCT_GFLOP, clock=time.process_time),
    }


def _best_rate(run: Callable[[], Any], gflop: float, *, clock: Callable[[], float] = time.perf_counter) -> float:
    rates, deadline = [], time.perf_counter() + 1.0
    while time.perf_counter() < deadline or len(rates) < 3:
        started = clock()
        run()
        rates.append(gflop / (clock() - started))
    return max(rates[1:])


class Meter:
    """Stands in for ``compile_net``: compiles as it does, and counts what the compiled networks do."""

    def __init__(self, compile_net: Callable[..., Any]) -> None:
        self._compile = compile_net
        self.seconds, self.flop, self.calls = 0.0, 0.0, 0

    def reset(self) -> None:
        self.seconds, self.flop, self.calls = 0.0, 0.0, 0

    def compile_net(self, net: Any, **options: Any) -> Callable[..., Any]:
        run = self._compile(net, **options)
        known: dict[tuple[Any, ...], float] = {}

        def metered(*inputs: Any) -> Any:
            started = time.perf_counter()
            found = run(*inputs)
            self.seconds += time.perf_counter() - started
            shapes = tuple(item.shape for item in inputs)
            if shapes not in known:
                known[shapes] = flop_of(net, inputs)
            self.flop += known[shapes]
            self.calls += 1
            return found

        return metered


def flop_of(net: Any, inputs: tuple[Any, ...]) -> float:
    """Floating-point operations of one call (a multiply-add is two), matrix products and convolutions only."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def count(tensors: dict[str, torch.Tensor], device: str) -> float:
        shapes = [torch.zeros(item.shape, device=device) for item in inputs]
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            torch.func.functional_call(net, tensors, tuple(shapes))
        return float(counter.get_total_flops())

    state = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    try:  # shapes alone, without the arithmetic
        return count({name: torch.empty_like(item, device="meta") for name, item in state.items()}, "meta")
    except (RuntimeError, NotImplementedError):  # a net that looks at numbers
        return count({}, "cpu")


def install(name: str, folder: Path) -> None:
    """The weights of ``name``: those at hand in the research data, else the recipe's numbers."""
    at_hand = {path.name: path for path in sorted((RESEARCH / "weights").rglob("*")) if path.is_file()}
    files = [Path(item.file) for item in load_detector(f"detectors.{name}").card.weights]
    if all(file.name in at_hand for file in files):
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(at_hand[file.name], folder / file)
    else:
        importlib.import_module(f"tests.parity.test_{name}").write_weights(folder, RESEARCH)


def practice_clip(folder: Path, *, faces: int = FACES) -> FacePack:
    """The clip that every detector of faces judges, with so many of them."""
    from backend.media.extract import extract_pack

    extract_pack(SAMPLES / "portrait.jpg", folder / "portrait", samplings=["every_frame"], context=3.0)
    return FacePack(PracticePacks(folder / "packs", portrait=folder / "portrait").clip(faces))


def own_clip(name: str, folder: Path, *, faces: int = FACES) -> FacePack:
    """What detector ``name`` judges: the clip of ``practice_clip`` in ``folder`` (so many faces), or one batch of pictures or of sound."""
    card = load_detector(f"detectors.{name}").card
    if card.unit == "face":
        return FacePack(PracticePacks(folder / "packs", portrait=folder / "portrait").clip(faces))
    return FacePack(practice_packs(folder / f"packs-{name}", portrait=folder / "portrait", card=card).clip(BATCH))


def measure(name: str, clip: FacePack, scratch: Path, *, runs: int) -> dict[str, Any]:
    """One line of the table, at BATCH faces a call; ``net_ms`` and ``gflop`` are per face judged."""
    runtime = importlib.import_module("detectors.runtime")
    original = runtime.compile_net
    meter = Meter(original)
    runtime.compile_net = meter.compile_net
    try:
        folder = scratch / "weights" / name
        folder.mkdir(parents=True)
        install(name, folder)
        detector = load_detector(f"detectors.{name}")
        # time does not depend on the numbers: those of the recipe have another sha256
        weights = tuple(replace(item, sha256="", bytes=0) for item in detector.card.weights)
        detector.card = replace(detector.card, batch=BATCH, weights=weights)
        started = time.perf_counter()
        detector.load(folder, "cpu")
        loaded = time.perf_counter() - started
        detector.run_pack(clip, scratch)  # shapes are compiled and counted
        rows = []
        for _ in range(runs):
            meter.reset()
            started = time.perf_counter()
            found = detector.run_pack(clip, scratch)
            rows.append((time.perf_counter() - started, meter.seconds))
    finally:
        runtime.compile_net = original
    faces = max(1, len(found["index"]))
    whole, net = (statistics.median(column) for column in zip(*rows, strict=True))
    return {
        "detector": name,
        "load_s": round(loaded, 2),
        "faces": faces,
        "ms": round(1000 * whole / faces, 2),
        "net_ms": round(1000 * net / faces, 2),
        "gflop": round(meter.flop / faces / 1e9, 2),
        "gflops": round(meter.flop / net / 1e9, 1) if net else 0.0,
    }


def main() -> int:
    """Print the table and, with --json, write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("ids", nargs="*")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument(
        "--faces", type=int, default=FACES, help="of the practice clip; large networks take seconds each"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    names = args.ids or [card.id for card in read_cards(ROOT / "detectors")]
    rows: list[dict[str, Any]] = []
    rates: dict[str, float] = {}
    print(
        "| detector | load s | faces judged | whole ms a face | nets ms a face | GFLOP a face | GFLOP/s | share of GEMM |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as first:
        practice_clip(Path(first), faces=args.faces)
        for name in names:
            with tempfile.TemporaryDirectory() as scratch:
                rates = gemm_gflops()
                peak = max(rates.values())
                row = measure(name, own_clip(name, Path(first), faces=args.faces), Path(scratch), runs=args.runs) | {
                    "gemm": rates
                }
            rows.append(row)
            cells = [row[key] for key in ("detector", "load_s", "faces", "ms", "net_ms", "gflop", "gflops")]
            print("| " + " | ".join(map(str, cells)) + f" | {row['gflops'] / peak:.0%} |", flush=True)
            gc.collect()
    print("float32 GEMM, GFLOP/s: " + ", ".join(f"{library} {rate:.0f}" for library, rate in rates.items()))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
