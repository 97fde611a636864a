"""Checks this machine's first GPU in one command, under five minutes: ``python -m tests.gpu [IDS]`` (``make check-gpu``).

Prints, step by step: driver and build of torch; the first CUDA call, after which it ends where there is no GPU (exit status 3); for each
detector whether its scores of the practice clip are the CPU's within 1e-3, its milliseconds a face and its memory on the card; how many
clips of ten seconds an hour the 2021 platform's detectors judge one after the other in this process, and where the time goes; what CUDA
graphs would gain; whether NVDEC decodes the clip to the same pictures, and how fast. Exit status 1: a score differs.

Weights that the research data do not hold are the golden vectors' recipe; without the data only detectors with weights of their own
can be checked, so name them. fwa is left out: it runs TensorFlow on the processor.
``--device cpu`` rehearses the steps that need no CUDA.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backend.catalog.detectors import read_cards
from base_detector import FacePack, load_detector
from tests.bench.jobs import CLIP
from tests.bench.networks import install, own_clip, practice_clip

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path("/proc/driver/nvidia/version")
#: Largest difference of a score from the CPU's.
BOUND = 1e-3
#: Seconds after which no further detector is begun: the rest of the five minutes is for the other steps.
PATIENCE_S = 200
#: The detectors of the 2021 platform (Li et al., "DeepFake-o-meter: An Open Platform for DeepFake Detection", 2021).
ELEVEN = (
    "mesonet",
    "xception",
    "capsule",
    "dsp_fwa",
    "va",
    "upconv",
    "classnseg",
    "wm",
    "cnndetection",
    "selim",
    "fwa",
)
#: They are tried first, so that the clips an hour are known; then the others.
NOT_ON_A_GPU = {"fwa"}
GOAL_AN_HOUR = 2000
FACES = 32
NO_GPU = 3


@dataclass(frozen=True)
class Row:
    """One detector on the card and on the processor."""

    name: str
    difference: float
    ms: float
    cpu_ms: float
    peak_mb: float

    @property
    def met(self) -> bool:
        """Whether its scores are the CPU's."""
        return self.difference <= BOUND


def first_call() -> str | None:
    """Make the first CUDA call; None when it worked, else why not."""
    import torch

    print(f"torch {torch.__version__}, built for CUDA {torch.version.cuda or '-'}")
    if torch.version.cuda is None:
        return "this torch was built without CUDA: make setup TORCH=cuda"
    try:
        torch.zeros(1, device="cuda:0").add_(1).cpu()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    card = torch.cuda.get_device_properties(0)
    print(f"{torch.cuda.device_count()} GPU(s); the first: {card.name}, {card.total_memory / 1e9:.0f} GB")
    return None


def judged(name: str, clip: FacePack, folder: Path, *, device: str) -> tuple[np.ndarray, float]:
    """Scores of the units of ``clip``, and milliseconds a unit of the second run."""
    detector = load_detector(f"detectors.{name}")
    # scores differ by the device, not by the numbers: those of the recipe have another sha256
    weights = tuple(replace(item, sha256="", bytes=0) for item in detector.card.weights)
    detector.card = replace(detector.card, weights=weights)
    detector.load(folder, device)
    detector.run_pack(clip, folder)
    started = time.perf_counter()
    found = detector.run_pack(clip, folder)
    seconds = time.perf_counter() - started
    return np.array(found["fake_score"]), 1000 * seconds / max(1, len(found["fake_score"]))


def beside_the_cpu(name: str, clip: FacePack, *, device: str) -> Row:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        install(name, folder)
        expected, cpu_ms = judged(name, clip, folder, device="cpu")
        reset_peak(device)
        found, ms = judged(name, clip, folder, device=device)
    same = found.shape == expected.shape
    difference = float(np.abs(found - expected).max(initial=0.0)) if same else float("inf")
    return Row(name, difference, ms, cpu_ms, peak_mb(device))


def reset_peak(device: str) -> None:
    """Forget the most memory taken so far."""
    import torch

    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mb(device: str) -> float:
    """The most memory taken on the card since, MB."""
    import torch

    return torch.cuda.max_memory_allocated(device) / 1e6 if device != "cpu" else 0.0


def rows_of(names: list[str], folder: Path, *, device: str, began: float) -> Iterator[Row]:
    """Each detector in turn while there is time; what was not begun is named."""
    practice_clip(folder)
    for at, name in enumerate(names):
        if time.perf_counter() - began > PATIENCE_S:
            print(f"no time left for: {', '.join(names[at:])}")
            return
        try:
            row = beside_the_cpu(name, own_clip(name, folder), device=device)
        except Exception as error:  # the others are checked all the same
            print(f"{name:<14} FAILED: {type(error).__name__}: {error}", flush=True)
            yield Row(name, float("inf"), 0.0, 0.0, 0.0)
            continue
        words = "as on the CPU" if row.met else f"MORE THAN {BOUND} FROM THE CPU"
        print(
            f"{name:<14} {words}: {row.difference:.1e}; {row.ms:.2f} ms a unit (CPU {row.cpu_ms:.1f}), {row.peak_mb:.0f} MB",
            flush=True,
        )
        yield row


def clips_an_hour(rows: list[Row], folder: Path) -> None:
    """How many clips an hour, if each of ELEVEN judges FACES faces of each and nothing is done side by side; the parts in seconds."""
    if not CLIP.is_file():
        print("clips an hour: the clip of the research data is not here")
        return
    from backend.media.extract import extract_pack, warm_detector

    warm_detector()
    started = time.perf_counter()
    extract_pack(CLIP, folder / "speed", samplings=[f"frames:{FACES}"], context=2.0)
    parts = {"media pass, on the processor": time.perf_counter() - started}
    timed = {row.name: row.ms * FACES / 1000 for row in rows if row.name in ELEVEN and row.ms}
    parts |= timed
    whole = sum(parts.values())
    missing = sorted(set(ELEVEN) - set(timed))
    print(
        f"clips of ten seconds an hour: {3600 / whole:.0f} (goal {GOAL_AN_HOUR}), without {', '.join(missing) or 'none'}"
    )
    for part, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"  {part}: {seconds:.3f} s, {seconds / whole:.0%}")


def graphs(device: str) -> None:
    """A small and a large network, eight faces a call: milliseconds as the product runs them, and replayed as a CUDA graph."""
    import torch

    from detectors.nets.efficientnet import EncoderClassifier
    from detectors.nets.selfblend import SelfBlendNet

    nets: dict[str, tuple[torch.nn.Module, tuple[int, ...]]] = {
        "own detector's net": (SelfBlendNet(), (8, 1, 80, 80)),
        "EfficientNet-B4": (EncoderClassifier("b4", size=(380, 380)), (8, 3, 380, 380)),
    }
    for name, (net, shape) in nets.items():
        net, given = net.eval().to(device), torch.zeros(shape, device=device)
        with torch.inference_mode():
            plain = median_ms(lambda net=net, given=given: net(given), torch.cuda.synchronize)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                net(given)
            replayed = median_ms(graph.replay, torch.cuda.synchronize)
        print(f"CUDA graph of {name}: {plain:.2f} ms a call, replayed {replayed:.2f} ms")


def median_ms(run: Callable[[], Any], wait: Callable[[], Any]) -> float:
    """Milliseconds of ``run`` until ``wait`` returns, median of twenty after three."""
    found = []
    for _ in range(23):
        started = time.perf_counter()
        run()
        wait()
        found.append(1000 * (time.perf_counter() - started))
    return statistics.median(found[3:])


def nvdec() -> None:
    """Whether PyAV decodes on the card, how fast, and how far its pictures are from the processor's."""
    import av
    from av.codec.hwaccel import HWAccel, hwdevices_available

    offered = sorted(name for name in av.codecs_available if name.endswith("_cuvid"))
    print(
        f"PyAV {av.__version__}: devices {', '.join(hwdevices_available())}; NVDEC's decoders {', '.join(offered) or 'none'}"
    )
    if "cuda" not in hwdevices_available() or not CLIP.is_file():
        return

    def decoded(**options: Any) -> tuple[list[np.ndarray], float]:
        started, lumas, count = time.perf_counter(), [], 0
        with av.open(str(CLIP), **options) as container:
            for count, frame in enumerate(container.decode(video=0), 1):
                if count % 50 == 1:
                    lumas.append(frame.to_ndarray(format="gray"))
        return lumas, count / (time.perf_counter() - started)

    expected, cpu_rate = decoded()
    found, rate = decoded(hwaccel=HWAccel("cuda", allow_software_fallback=False))
    worst = max(float(np.abs(a.astype(int) - b).max()) for a, b in zip(found, expected, strict=True))
    print(f"NVDEC: {rate:.0f} pictures a second (processor, {cpu_rate:.0f}); luma off by {worst:.0f} at most")


def main() -> int:
    """Run the steps."""
    parser = argparse.ArgumentParser(
        prog="make check-gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", nargs="*", help="detectors (default: all, those of 2021 first)")
    parser.add_argument("--device", default="cuda:0", choices=("cuda:0", "cpu"))
    asked = parser.parse_args()
    began = time.perf_counter()
    print(f"driver: {DRIVER.read_text().splitlines()[0] if DRIVER.is_file() else 'none is loaded'}", flush=True)
    trouble = first_call() if asked.device != "cpu" else None
    if trouble:
        print(f"The first CUDA call failed ({trouble}), so the check went no further: nothing was measured on a GPU.")
        return NO_GPU
    known = [card.id for card in read_cards(ROOT / "detectors") if card.id not in NOT_ON_A_GPU]
    names = asked.ids or sorted(known, key=lambda name: (name not in ELEVEN, known.index(name)))
    with tempfile.TemporaryDirectory() as scratch:
        rows = list(rows_of(names, Path(scratch), device=asked.device, began=began))
        clips_an_hour(rows, Path(scratch))
    for step in (lambda: graphs(asked.device), nvdec) if asked.device != "cpu" else ():
        try:
            step()
        except Exception as error:
            print(f"this step failed: {type(error).__name__}: {error}")
    print(f"{sum(row.met for row in rows)} of {len(rows)} detectors as on the CPU, {time.perf_counter() - began:.0f} s")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
