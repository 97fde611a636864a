"""A batch against ``analyze --no-video`` on the same clips, and a dry run's estimate against what the batch then takes.

    python -m tests.bench.batches [--clips 200] [--detectors selfblend] [--folder CLIPS]

The clips are those of ``tests.bench.folder``, made to differ (a batch judges a content once), or those of ``--folder``. No score is in
the cache when a call begins. Needs the research data unless ``--folder`` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.folder import ROOT, analyze, folder_of_clips


def differing_clips(target: Path, *, clips: int) -> Path:
    """The folder of ``tests.bench.folder`` in which no two files have the same bytes: an empty box is put behind each MP4's last."""
    folder_of_clips(target, clips=clips)
    for number, path in enumerate(sorted(target.iterdir())):
        with path.open("ab") as stream:  # size, type, content: ISO/IEC 14496-12, 8.1.2, a box that readers skip
            stream.write((16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big"))
    return target


def batch(clips: Path, scratch: Path, *options: str, detectors: str, data: Path | None = None) -> dict[str, Any]:
    """One call of the command; its answer (JSON), and ``wall_s`` with the start of the command and of its workers."""
    out = Path(tempfile.mkdtemp(dir=scratch))
    command = [str(ROOT / ".venv/bin/python"), "-m", "deepfake_o_meter", "batch", str(clips), "--json"]
    command += ["--detectors", detectors, "--out", str(out / "out"), *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
    kept = {name: value for name, value in os.environ.items() if name == "DFOM_WEIGHTS"}
    environment |= kept | {"DFOM_DATA": str(data or out / "var"), "DFOM_RUNNER": "process"}
    began = time.perf_counter()
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    if said.returncode:
        raise RuntimeError(said.stderr)
    answer: dict[str, Any] = json.loads(said.stdout)
    if answer.get("not_judged"):
        raise RuntimeError(f"not judged: {answer['not_judged']}")
    return answer | {"wall_s": wall}


def measure(scratch: Path, *, clips: int, detectors: str = "selfblend") -> dict[str, float]:
    """``speed_up`` of a batch over ``analyze``, both with their default number at once, and ``clips_a_minute``."""
    folder = differing_clips(scratch / f"differing-{clips}", clips=clips)
    one = analyze(folder, scratch, detectors=detectors, options=("--no-video",))
    found = batch(folder, scratch, detectors=detectors)
    return {"speed_up": one.wall_s / found["wall_s"], "clips_a_minute": 60 * clips / found["wall_s"]}


def estimated(scratch: Path, folder: Path, *, detectors: str = "selfblend") -> dict[str, float]:
    """``off``: how far the estimate of a dry run is from what the batch then takes, as a share of that."""
    data = scratch / "var"  # compiled networks are kept there; a dry run keeps no scores
    said = batch(folder, scratch, "--dry-run", detectors=detectors, data=data)
    real = batch(folder, scratch, detectors=detectors, data=data)["wall_s"]
    low, high = said["interval_s"]
    return {
        "said_s": said["seconds"],
        "low_s": low,
        "high_s": high,
        "real_s": real,
        "off": abs(said["seconds"] / real - 1),
    }


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--detectors", default="selfblend")
    parser.add_argument("--folder", type=Path, help="clips of your own")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-batches-") as temporary:
        scratch = Path(temporary)
        folder = asked.folder or differing_clips(scratch / "clips", clips=asked.clips)
        print({name: round(value, 3) for name, value in estimated(scratch, folder, detectors=asked.detectors).items()})


if __name__ == "__main__":
    main()
