"""How a detector of sound or pictures does on a labelled folder: ``python -m tests.bench.sets ID FOLDER [--damaged] [--most N]``.

    python -m tests.bench.sets aasist ../shared/media/audio --damaged
    python -m tests.bench.sets ferretnet ../shared/media/pictures --damaged

``FOLDER/labels.csv`` has the columns ``file`` and ``label`` (real, fake). Each file goes through the media pass; the detector judges its
units as it does for a visitor, and their mean is the score of the file. Files that the platform would give no score (too short, lossy) are
judged all the same, and counted apart. ``--damaged`` judges the others once more after they were compressed or shrunk. Weights are those
of the research data, or of ``--weights``. Prints tables in Markdown; figures of few files, hence the intervals.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from backend.media.extract import extract_pack
from base_detector import SOUND_RATE, Array, BaseDetector, FacePack, Skip, load_detector
from detectors.training.measure import auc_interval, roc_auc

ROOT = Path(__file__).resolve().parents[2]
RESEARCH = ROOT.parent / "shared"

Damage = Callable[[Array], Array]


@dataclass
class File:
    """One labelled file: the fake scores of its units, untouched ("") and after each damage, and whether the platform would score it."""

    name: str
    fake: bool
    judged: bool
    units: dict[str, list[float]] = field(default_factory=dict)

    def score(self, damage: str = "") -> float:
        """The score of the file: the mean."""
        return statistics.mean(self.units[damage])


# --------------------------------------------------------------------------- damage to sound


def _coded(codec: str, layout: str, *, rate: int, kbit: int) -> Damage:
    """Compression and back, in time with the original as far as the container says what the encoder put before it."""

    def damage(sound: Array) -> Array:
        import av
        import soxr

        memory = io.BytesIO()
        with av.open(memory, "w", format=layout) as container:
            stream = container.add_stream(codec, rate=rate, layout="mono")
            stream.bit_rate = kbit * 1000
            samples = soxr.resample(sound, SOUND_RATE, rate, quality="HQ").astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
            frame.sample_rate = rate
            container.mux([*stream.encode(frame), *stream.encode(None)])
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "coded").write_bytes(memory.getvalue())
            extract_pack(Path(folder, "coded"), Path(folder, "pack"), samplings=[], windows=[(1.0, 1.0)])
            return np.array(FacePack(Path(folder, "pack")).sound)

    return damage


def _telephone(sound: Array) -> Array:
    """8,000 samples a second in 8 bits of mu-law (ITU-T G.711), and back."""
    import soxr

    narrow = np.clip(soxr.resample(sound, SOUND_RATE, 8000, quality="HQ"), -1, 1)
    steps = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    back = np.sign(steps) * (256 ** np.abs(steps) - 1) / 255
    return np.asarray(soxr.resample(back, 8000, SOUND_RATE, quality="HQ"), np.float32)


def _quieter(sound: Array) -> Array:
    return np.asarray(sound * 10 ** (-12 / 20), np.float32)


SOUND: dict[str, Damage] = {
    "MP3 64 kbit/s": _coded("libmp3lame", "mp3", rate=44_100, kbit=64),
    "AAC 32 kbit/s": _coded("aac", "mp4", rate=44_100, kbit=32),
    "Opus 24 kbit/s": _coded("libopus", "ogg", rate=48_000, kbit=24),
    "telephone, 8 kHz mu-law": _telephone,
    "12 dB quieter": _quieter,
}

# --------------------------------------------------------------------------- damage to pictures


def _jpeg(quality: int) -> Damage:
    def damage(picture: Array) -> Array:
        memory = io.BytesIO()
        Image.fromarray(picture).save(memory, "JPEG", quality=quality)
        return np.asarray(Image.open(memory).convert("RGB"))

    return damage


def _grain(levels: float) -> Damage:
    """Independent noise of so many levels (of 255), as the standard deviation."""

    def damage(picture: Array) -> Array:
        noise = np.random.default_rng(0).normal(0, levels, picture.shape)
        return np.clip(picture + noise, 0, 255).round().astype(np.uint8)

    return damage


def _from_a_sensor(levels: float) -> Damage:
    """One colour a pixel as behind a sensor's mosaic, with noise, then interpolated and never compressed: a developed raw file."""

    def damage(picture: Array) -> Array:
        height, width = (side // 2 * 2 for side in picture.shape[:2])
        mosaic = np.empty((height, width))
        for row, column, colour in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
            mosaic[row::2, column::2] = picture[row:height:2, column:width:2, colour]
        mosaic += np.random.default_rng(0).normal(0, levels, mosaic.shape)
        developed: Array = cv2.cvtColor(np.clip(mosaic, 0, 255).round().astype(np.uint8), cv2.COLOR_BayerRGGB2RGB_EA)
        return developed

    return damage


def _scaled(factor: float) -> Damage:
    """Scaled with Pillow's bicubic, as a screenshot of a page that shows the picture smaller or larger, kept as PNG."""

    def damage(picture: Array) -> Array:
        height, width = (round(side * factor) for side in picture.shape[:2])
        return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))

    return damage


PICTURES: dict[str, Damage] = {
    "JPEG 95": _jpeg(95),
    "JPEG 75": _jpeg(75),
    "JPEG 50": _jpeg(50),
    "grain of 2 levels": _grain(2),
    "as from a sensor": _from_a_sensor(0),
    "as from a sensor, grain of 2": _from_a_sensor(2),
    "half size": _scaled(0.5),
    "screenshot at 80 %": _scaled(0.8),
    "screenshot at 125 %": _scaled(1.25),
}

# --------------------------------------------------------------------------- judging


def units_of(detector: BaseDetector, pack: FacePack) -> Iterator[Array]:
    """Whole pictures, or the whole sound: what damage is done to."""
    if detector.card.unit == "sound":
        yield np.array(pack.sound)
    else:
        yield from (np.array(pack.picture(index)) for index in range(len(pack.pictures)))


def scores_of(detector: BaseDetector, unit: Array, windows: Array) -> Iterator[float]:
    """The fake scores of a picture, or of the windows of a sound; none where the detector skips it."""
    parts = [unit]
    if detector.card.unit == "sound":
        parts = [unit[window["start"] : window["stop"]] for window in windows]
    for part in parts:
        try:
            yield detector.run(part)
        except Skip:
            continue


def judge(detector: BaseDetector, path: Path, *, fake: bool, most: int, damages: dict[str, Damage]) -> File:
    """One file, its first ``most`` units; damaged as well where the platform would give it a score."""
    card = detector.card
    with tempfile.TemporaryDirectory() as scratch:
        pack_folder = Path(scratch, "pack")
        windows = [(card.window_s, card.hop_s)] if card.unit == "sound" else []
        pictures = [card.sampling] if card.unit == "picture" else []
        extract_pack(path, pack_folder, samplings=[], pictures=pictures, windows=windows)
        pack = FacePack(pack_folder)
        lossless = json.loads((pack_folder / "pack.json").read_text())["media"]["lossless"]
        rows, units = pack.units(card)[:most], list(units_of(detector, pack))[:most]
        found = File(path.name, fake, judged=lossless or not card.lossless_only)
        found.units[""] = [score for unit in units for score in scores_of(detector, unit, rows)]
        found.judged &= len(found.units[""]) >= card.least_units
        for name, damage in damages.items() if found.judged else ():
            found.units[name] = [score for unit in units for score in scores_of(detector, damage(unit), rows)]
    return found


# --------------------------------------------------------------------------- tables


def quality(files: list[File], threshold: float, damage: str = "") -> str:
    """``AUC [95 %] | fakes found | false alarms`` of the files that have a score."""
    scored = [item for item in files if item.units[damage]]
    labels, scores = np.array([item.fake for item in scored]), np.array([item.score(damage) for item in scored])
    low, high = auc_interval(labels.astype(float), scores, groups=np.arange(len(scored)), rng=np.random.default_rng(0))
    fakes, reals = scores[labels] >= threshold, scores[~labels] >= threshold
    auc = f"{roc_auc(labels, scores):.3f} [{low:.3f}, {high:.3f}]"
    return f"{auc} | {fakes.sum()}/{len(fakes)} | {reals.sum()}/{len(reals)}"


def moved(files: list[File], threshold: float, damage: str) -> str:
    """``median change | largest | crossings of the threshold`` of the scores of the files."""
    both = [item for item in files if item.units[""] and item.units[damage]]
    changes = np.array([item.score(damage) - item.score() for item in both])
    crossed = sum((item.score(damage) >= threshold) != (item.score() >= threshold) for item in both)
    return f"{np.median(changes):+.3f} | {changes[np.argmax(np.abs(changes))]:+.3f} | {crossed}/{len(both)}"


def single_units(files: list[File], threshold: float) -> str:
    """How often one unit of a genuine file alone reaches the threshold."""
    alone = [score >= threshold for item in files if not item.fake for score in item.units[""]]
    return f"{sum(alone)} of {len(alone)} units of real files reach {threshold:g} alone"


def loaded(name: str, weights: Path | None, parameters: list[str]) -> BaseDetector:
    """The detector with its weights; those of the research data when no folder is named."""
    detector = load_detector(f"detectors.{name}")
    changed = dict(item.split("=", 1) for item in parameters)
    detector.card = replace(detector.card, parameters={**detector.card.parameters, **changed})
    with tempfile.TemporaryDirectory() as scratch:
        folder = weights or Path(scratch)
        if weights is None:
            at_hand = {path.name: path for path in (RESEARCH / "weights").rglob("*") if path.is_file()}
            for item in detector.card.weights:
                if item.file in at_hand:
                    shutil.copy(at_hand[item.file], folder / item.file)
        detector.load(folder, "cpu")
    return detector


def main() -> int:
    """Print the tables and, with --json, write all scores."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("id")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--damaged", action="store_true")
    parser.add_argument("--most", type=int, default=10_000, help="units of each file, the first ones (default: all)")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--parameter", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    detector = loaded(args.id, args.weights, args.parameter)
    threshold = detector.card.threshold
    damages = (SOUND if detector.card.unit == "sound" else PICTURES) if args.damaged else {}
    files = []
    print("| file | label | units | score | the platform |\n| --- | --- | --- | --- | --- |")
    with (args.folder / "labels.csv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            path, fake = args.folder / row["file"], row["label"] == "fake"
            item = judge(detector, path, fake=fake, most=args.most, damages=damages)
            files.append(item)
            score = f"{item.score():.4f}" if item.units[""] else "-"
            scored = "scores it" if item.judged else "gives no score"
            print(f"| {item.name} | {row['label']} | {len(item.units[''])} | {score} | {scored} |", flush=True)
    judged = [item for item in files if item.judged]
    print("\n| files | AUC [95 %] | fakes found | false alarms |\n| --- | --- | --- | --- |")
    print(f"| with a score | {quality(judged, threshold)} |\n| all | {quality(files, threshold)} |")
    print(f"\n{single_units(files, threshold)}")
    if damages:
        head = "damage | median change | largest | cross the threshold | AUC [95 %] | fakes found | false alarms"
        print(f"\n| {head} |\n|{' --- |' * 7}")
        for name in damages:
            print(f"| {name} | {moved(judged, threshold, name)} | {quality(judged, threshold, name)} |")
    if args.json:
        args.json.write_text(json.dumps([vars(item) for item in files], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
