"""Can a photograph with grain be told from a generator's picture by its noise? ``python -m tests.bench.grain FOLDER [PHOTOGRAPH ...]``.

    python -m tests.bench.grain ../shared/media/pictures ../shared/detectors/golden/a/inputs/obama.png

FerretNet takes grain for a trace of a generator. A gate that answers a reason instead of a label above some noise would be of use if the
photographs with grain that it flags were noisier than the generated pictures that it finds. Each photograph of ``FOLDER/labels.csv``
(and those named) is judged with grain and as from a sensor; each generated one as it is. Prints how noisy both are where they are
flattest (Immerkaer, Fast Noise Variance Estimation, CVIU 1996, in blocks of 16 pixels), and what each limit would leave of both.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from base_detector import Array
from detectors.ferretnet.detector import SIDE
from tests.bench import sets

_BLOCK = 16
#: blocks whose mean is this near to black or white are cut off and say nothing of noise
_CLIPPED = 8
#: the second derivative in both directions, which smooth areas do not answer to (Immerkaer's mask)
_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
DAMAGES = {
    **{f"grain of {levels:g}": sets._grain(levels) for levels in (0.5, 1, 2, 3)},
    **{f"as from a sensor, grain of {levels}": sets._from_a_sensor(levels) for levels in (0, 1, 2)},
}
#: sides of the part of a large photograph that is looked at
_MOST = 1000


def noise(picture: Array, *, share: float = 0.02) -> float:
    """Standard deviation of the noise of (H, W, 3) uint8 in levels of 255, where it is flattest; NaN where all blocks are cut off."""
    green = picture[..., 1].astype(np.float32)
    answers = np.abs(cv2.filter2D(green, -1, _MASK)) * np.sqrt(np.pi / 2) / 6
    rows, columns = (side // _BLOCK for side in green.shape)
    means, levels = (
        part[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK).mean(axis=(1, 3)).ravel()
        for part in (green, answers)
    )
    kept = np.sort(levels[(means > _CLIPPED) & (means < 255 - _CLIPPED)])
    return float(kept[int(share * (len(kept) - 1))]) if len(kept) else float("nan")


def main() -> int:
    """Judge, and print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("photographs", type=Path, nargs="*")
    args = parser.parse_args()
    with (args.folder / "labels.csv").open(newline="", encoding="utf-8") as table:
        files = [(args.folder / row["file"], row["label"] == "fake") for row in csv.DictReader(table)]
    files += [(path, False) for path in args.photographs]
    detector = sets.loaded("ferretnet", None, [])
    found, alarms, judged = [], [], dict.fromkeys(DAMAGES, 0)
    for path, fake in files:
        with Image.open(path) as image:
            picture = np.array(image.convert("RGB"))[:_MOST, :_MOST]
        if min(picture.shape[:2]) < SIDE:
            continue
        for name, damage in {"": lambda picture: picture}.items() if fake else DAMAGES.items():
            made = np.ascontiguousarray(damage(picture))
            if detector.run(made) >= detector.card.threshold:
                (found if fake else alarms).append(noise(made))
                judged[name] = judged.get(name, 0) + 1
    photographs = sum(not fake for _, fake in files)
    print(f"generated pictures found, by their noise: {', '.join(f'{level:.2f}' for level in sorted(found))}")
    for name in DAMAGES:
        print(f"photographs flagged, {name}: {judged[name]} of {photographs}")
    print(
        "\n| label only up to a noise of | generated pictures still found | photographs still flagged |\n| --- | --- | --- |"
    )
    for limit in (*sorted(found), float("inf")):
        print(
            f"| {limit:.2f} | {np.sum(np.array(found) <= limit)} of {len(found)} | {np.sum(np.array(alarms) <= limit)} of {len(alarms)} |"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
