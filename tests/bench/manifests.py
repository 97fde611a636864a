"""Thousands of mutated files with content credentials: ``python -m tests.bench.manifests [--each 400]``.

Signs one file of each kind that carries credentials, and lets the reader of the media pass read mutated copies of it, one process each as
in the pass. Prints how often each answer came, the longest time, and how the readers that failed ended; ends with 1 when one of them
hung or did not start.
"""

from __future__ import annotations

import argparse
import collections
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from backend.media.provenance import ManifestReader
from tests.media.clips import encode, moving
from tests.media.credentials import Authority, mutants, sign
from tests.media.sounds import tone, write_sound

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def plain_files(folder: Path) -> list[Path]:
    """A small file of each kind."""
    portrait = np.asarray(Image.open(FIXTURES / "astronaut.jpg").convert("RGB"))
    files = [folder / f"a.{kind}" for kind in ("jpg", "png", "mp4", "wav", "mp3")]
    for path in files[:2]:
        Image.fromarray(portrait[:256, :256]).save(path)
    encode(files[2], moving(portrait, count=5))
    write_sound(files[3], tone(1.0), codec="pcm_s16le")
    write_sound(files[4], tone(1.0), codec="libmp3lame")
    return files


def main() -> int:
    """Read the copies, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=400, help="copies of each kind of file")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    answers: collections.Counter[tuple[str, str, str]] = collections.Counter()
    longest = 0.0
    with tempfile.TemporaryDirectory(prefix="manifests-") as scratch:
        folder = Path(scratch)
        authority = Authority()
        for plain in plain_files(folder):
            content = sign(plain, folder / f"signed{plain.suffix}", authority).read_bytes()
            for mutant in mutants(content, count=asked.each, seed=asked.seed):
                path = folder / "mutant"
                path.write_bytes(mutant)
                started = time.perf_counter()
                with ManifestReader(path) as reader:
                    found = reader.credentials()
                longest = max(longest, time.perf_counter() - started)
                answers[plain.suffix, found.state, found.code or ""] += 1
    for (suffix, state, code), count in sorted(answers.items()):
        print(f"{suffix:6} {state:11} {code:14} {count:6}")
    print(f"longest: {longest:.2f} s")
    return int(any(code in ("timed_out", "no_reader") for _, _, code in answers))


if __name__ == "__main__":
    raise SystemExit(main())
