"""What credentials, traces and marks add to the media pass: ``python -m tests.bench.origin FILE ... [--times 8]``.

Runs the pass of each file with them and without, in turns, and prints the medians of the processor time of the pass (its reader of
manifests, a process of its own, is counted) and the ratio. One run of each is thrown away.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

from backend.media.extract import extract_pack
from backend.media.origin import PARTS
from shared.signatures import HEAD_BYTES, is_sound


def used_s() -> float:
    """Processor time of this process and of its children that ended, seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--times", type=int, default=8)
    asked = parser.parse_args()
    for path in asked.files:
        with path.open("rb") as file:
            sound = is_sound(file.read(HEAD_BYTES))
        samplings = () if sound else ("frames:32",)
        spent: dict[bool, list[float]] = {True: [], False: []}
        with tempfile.TemporaryDirectory(prefix="origin-") as scratch:
            for number in range(2 * (asked.times + 1)):
                parts = PARTS if number % 2 else ()
                started = used_s()
                extract_pack(
                    path, Path(scratch) / str(number), samplings=samplings, windows=((4.0, 2.0),), origin=parts
                )
                if number >= 2:
                    spent[bool(parts)].append(used_s() - started)
        without, with_them = (statistics.median(spent[way]) for way in (False, True))
        print(
            f"{path.name:40} {without:7.3f} s without, {with_them:7.3f} s with: {with_them / without:.3f}", flush=True
        )


if __name__ == "__main__":
    main()
