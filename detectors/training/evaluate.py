"""Measures the shipped detector: ``python -m detectors.training.evaluate --faces DIR --out DIR [--media DIR] [--weights DIR]``.

Owns: the gates of the model card and the table beside other detectors; writes ``gates.json``, ``clips.json``.
Promises: every figure comes from data no training step used; no other training module reads research clips.
May be imported by detectors.training and its tests; imports the media pass, which no detector does at run time.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from backend.media.extract import extract_pack
from base_detector import Array, BaseDetector, FacePack, load_detector
from detectors.selfblend.detector import planes
from detectors.training.faces import MARGIN, PARTS, ROW, SIDE, Bank, stored_face
from detectors.training.measure import auc_interval, calibration_error, identity_interval, roc_auc
from detectors.training.selfblend import TEST_SEED, bank_of, held_out
from detectors.training.stream import Recipe, make_batch
from detectors.training.views import COARSE, FINE

#: Name -> (what it is, the sense of the limit, the limit).
GATES = {
    "hard_auc": ("ROC-AUC on hard self-blends of held-out identities", ">=", 0.80),
    "clip_pairs": ("blend above its own original, faces of the real clips", ">=", 0.80),
    "jpeg60_drop": ("AUC lost under JPEG 60", "<=", 0.03),
    "h264_32_drop": ("AUC lost under H.264 CRF 32", "<=", 0.05),
    "deepfakes_519": ("frame AUC, Deepfakes 519_515 above its original", ">=", 0.95),
    "fwa_pair": ("frame AUC, FWA demo fake above its original", ">=", 0.95),
    "identities_flagged": ("real persons flagged, held-out identities", "<", 0.10),
    "clip_persons_flagged": ("real persons flagged, real clips", "<", 0.10),
}
PAIRED_CLIPS = {
    "deepfakes_519": ("ffpp_real_519.mp4", "ffpp_deepfakes_519_515.mp4"),
    "fwa_pair": ("fwa_demo_real.mp4", "fwa_demo_fake.mp4"),
}
#: Faces of each real clip that blends are made from.
_FACES_A_CLIP = 64


def fake_scores(detector: BaseDetector, faces: Array) -> Array:
    """Calibrated fake scores (N,) of pictures already at the size of one of the nets, (N, S, S) uint8 luma."""
    side = COARSE.recipe.side
    batches = np.array_split(faces, max(1, len(faces) // 128))
    return 1 - np.concatenate(
        [detector.get_softlabel(np.stack([planes(face, side=side) for face in b])) for b in batches]
    )


def on_held_out(detector: BaseDetector, bank: Bank, *, recipe: Recipe, batches: int = 40) -> dict[str, float]:
    """Gates that need faces only, on the test part: hard AUC, its losses under two codecs, real persons flagged.

    The gates count the losses from uncompressed pictures; those of hard blends, which are compressed already, are smaller figures beside.
    """
    hard = held_out(bank, part="test", recipe=recipe, seed=TEST_SEED, batches=batches)
    scores = fake_scores(detector, hard.faces)
    found = {"hard_auc": roc_auc(hard.labels, scores), "hard_pairs": _pairs(scores)}
    groups = bank.rows["identity"][np.tile(hard.indices, 2)]
    rng = np.random.default_rng(TEST_SEED)
    found["hard_auc_low"], found["hard_auc_high"] = identity_interval(hard.labels, scores, groups=groups, rng=rng)
    for name, base in (("hard", recipe), ("uncompressed", replace(recipe, codec="none"))):
        for last in ("", "jpeg60", "h264_32"):
            made = held_out(bank, part="test", recipe=replace(base, last=last), seed=TEST_SEED, batches=batches // 2)
            found[f"{name}_{last or 'plain'}_auc"] = roc_auc(made.labels, fake_scores(detector, made.faces))
    for last in ("jpeg60", "h264_32"):
        for name in ("hard", "uncompressed"):
            found[f"{name}_{last}_drop"] = found[f"{name}_plain_auc"] - found[f"{name}_{last}_auc"]
        found[f"{last}_drop"] = found[f"uncompressed_{last}_drop"]
    reals = slice(0, len(hard.indices))
    # a picture drawn at random of a person drawn at random, processed and compressed
    flagged = (scores >= detector.card.threshold).astype(float)
    found["identities_flagged"] = float(np.mean(_means_by(groups[reals], flagged[reals])))
    found["identities_flagged_untouched"] = _flagged_untouched(detector, bank)
    found["blends_flagged"] = float(np.mean(scores[reals.stop :] >= detector.card.threshold))
    return found


def _flagged_untouched(detector: BaseDetector, bank: Bank) -> float:
    """Share of held-out identities flagged on their stored pictures as they are, through the class's own crop."""
    own = bank.of_part("test")
    cut = round(SIDE * (1 - detector.card.margin / MARGIN) / 2)
    scores = []
    for index in own:
        image = np.repeat(np.asarray(bank.pixels[index])[:, :, None], 3, axis=2)
        crop = image[cut : SIDE - cut, cut : SIDE - cut]
        scores.append(1 - float(detector.get_softlabel(detector.preproc(np.ascontiguousarray(crop))[None])[0]))
    flagged = np.array(scores) >= detector.card.threshold
    return float(np.mean(_means_by(bank.rows["identity"][own], flagged.astype(float))))


def on_large(detector: BaseDetector, bank: Bank, *, batches: int = 40) -> dict[str, float]:
    """Figures on large faces of the test part, with the coarse net beside: all of them, and the sharp ones (colour pictures) alone."""
    found: dict[str, float] = {}
    for name, colour in (("large", FINE.recipe.colour), ("large_sharp", 1.0)):
        recipe = replace(FINE.recipe, colour=colour)
        hard = held_out(bank, part="test", recipe=recipe, seed=TEST_SEED, batches=batches)
        side = COARSE.recipe.side
        small = [cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA) for face in hard.faces]
        scores, coarse = fake_scores(detector, hard.faces), fake_scores(detector, np.stack(small))
        reals = slice(0, len(hard.indices))
        flagged = (scores[reals] >= detector.card.threshold).astype(float)
        found |= {
            f"{name}_hard_auc": roc_auc(hard.labels, scores),
            f"{name}_hard_auc_coarse": roc_auc(hard.labels, coarse),
            f"{name}_hard_pairs": _pairs(scores),
            f"{name}_identities_flagged": float(np.mean(_means_by(bank.rows["identity"][hard.indices], flagged))),
            f"{name}_blends_flagged": float(np.mean(scores[reals.stop :] >= detector.card.threshold)),
            f"{name}_calibration_error": calibration_error(hard.labels, scores),
        }
    return found


def _means_by(groups: Array, values: Array) -> Array:
    return np.array([values[groups == group].mean() for group in np.unique(groups)])


def _pairs(scores: Array) -> float:
    half = len(scores) // 2
    return float(np.mean(scores[half:] > scores[:half]))


# --------------------------------------------------------------------------- clips


@dataclass(frozen=True)
class Clip:
    """One labelled clip or picture with the faces the media pass found in it."""

    name: str
    fake: bool
    pack: FacePack


def read_clips(media: Path, scratch: Path) -> list[Clip]:
    """Every clip and picture of ``media/labels.csv`` that shows a face, through the platform's own media pass."""
    clips = []
    with (media / "labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            folder = scratch / row["file"]
            extract_pack(media / row["file"], folder, samplings=["fps:5"], context=2.0)
            pack = FacePack(folder)
            if len(pack):
                clips.append(Clip(name=row["file"], fake=row["label"] == "fake", pack=pack))
    return clips


def score_clip(detector: BaseDetector, clip: Clip, scratch: Path) -> dict[str, Any]:
    """Frame scores and persons' scores of one detector on one clip."""
    found = detector.run_pack(clip.pack, scratch)
    return {
        "clip": clip.name,
        "fake": clip.fake,
        "index": found["index"],
        "scores": found["fake_score"],
        "persons": [person["fake_score"] for person in found["persons"]],
    }


def clip_bank(clips: list[Clip]) -> Bank:
    """A bank of faces of the real clips, all in the test part; evenly over each clip."""
    faces, rows = [], []
    for number, clip in enumerate(clips):
        chosen = np.unique(np.linspace(0, len(clip.pack) - 1, _FACES_A_CLIP).astype(int))
        for index in chosen:
            face = clip.pack.face(int(index))
            if np.isnan(face.landmarks).any() or max(face.box[2:] - face.box[:2]) < 40:
                continue
            luma = cv2.cvtColor(np.ascontiguousarray(clip.pack.image(int(index))), cv2.COLOR_RGB2GRAY)
            picture, row = stored_face(luma, face.box, face.landmarks)
            row["part"], row["identity"] = PARTS.index("test"), number
            faces.append(picture)
            rows.append(row)
    return Bank(pixels=np.stack(faces), rows=np.array(rows, ROW), identities=tuple(clip.name for clip in clips))


def pairs_of_clips(detector: BaseDetector, bank: Bank, *, recipe: Recipe) -> dict[str, float]:
    """How often a blend of a clip's face scores above its own original, clip by clip and over all (mean of the clips)."""
    shares = {}
    for number, name in enumerate(bank.identities):
        own = np.flatnonzero(bank.rows["identity"] == number)
        if len(own):
            batch = make_batch(bank, own, recipe=recipe, rng=np.random.default_rng([TEST_SEED, number]))
            shares[name] = _pairs(fake_scores(detector, batch.faces))
    return shares | {"all": float(np.mean(list(shares.values())))}


def table_row(scored: list[dict[str, Any]], *, rng: np.random.Generator) -> dict[str, float]:
    """Frame and video ROC-AUC of one detector over clips, with 95 % bootstrap intervals over whole clips."""
    scores = np.concatenate([s["scores"] for s in scored])
    labels = np.concatenate([np.full(len(s["scores"]), float(s["fake"])) for s in scored])
    groups = np.concatenate([np.full(len(s["scores"]), i) for i, s in enumerate(scored)])
    videos, kinds = np.array([np.mean(s["scores"]) for s in scored]), np.array([float(s["fake"]) for s in scored])
    frame = auc_interval(labels, scores, groups=groups, rng=rng)
    video = auc_interval(kinds, videos, groups=np.arange(len(videos)), rng=rng)
    return {
        "frames": len(scores),
        "clips": len(scored),
        "frame_auc": roc_auc(labels, scores),
        "frame_low": frame[0],
        "frame_high": frame[1],
        "video_auc": roc_auc(kinds, videos),
        "video_low": video[0],
        "video_high": video[1],
    }


def on_clips(
    detectors: list[BaseDetector], media: Path, *, recipe: Recipe, scratch: Path
) -> tuple[dict[str, float], dict[str, Any]]:
    """Gates that need clips (of the first detector) and the table of all detectors on the same frames."""
    clips = read_clips(media, scratch)
    scored = {d.card.id: [score_clip(d, clip, scratch) for clip in clips] for d in detectors}
    own = {s["clip"]: s for s in scored[detectors[0].card.id]}
    gates: dict[str, float] = {}
    for name, (real, fake) in PAIRED_CLIPS.items():
        pair = [own[real], own[fake]]
        labels = np.concatenate([np.full(len(s["scores"]), float(s["fake"])) for s in pair])
        gates[name] = roc_auc(labels, np.concatenate([s["scores"] for s in pair]))
    videos = [clip for clip in clips if clip.name.endswith(".mp4") and not clip.fake]
    persons = np.concatenate([own[clip.name]["persons"] for clip in videos])
    gates["clip_persons"] = len(persons)
    gates["clip_persons_flagged"] = float(np.mean(persons >= detectors[0].card.threshold))
    bank = clip_bank(videos)
    kinds = {"as_is": replace(recipe, codec="none"), "compressed": recipe, "hard": replace(recipe, hard=True)}
    pairs = {name: pairs_of_clips(detectors[0], bank, recipe=kind) for name, kind in kinds.items()}
    gates["clip_pairs"] = pairs["hard"]["all"]
    rng = np.random.default_rng(TEST_SEED)
    moving = {clip.name for clip in clips if clip.name.endswith(".mp4")}
    table = {
        name: {
            "all": table_row(rows, rng=rng),
            "clips": table_row([row for row in rows if row["clip"] in moving], rng=rng),
        }
        for name, rows in scored.items()
    }
    return gates, {"table": table, "pairs": pairs, "scored": _short(scored)}


def _short(scored: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {
                "clip": row["clip"],
                "fake": row["fake"],
                "frames": len(row["scores"]),
                "mean": round(float(np.mean(row["scores"])), 4),
                "persons": [round(float(person), 4) for person in row["persons"]],
            }
            for row in rows
        ]
        for name, rows in scored.items()
    }


def verdicts(found: dict[str, float]) -> dict[str, Any]:
    """Every gate that was measured: figure, limit, passed."""
    out = {}
    for name, (what, sense, limit) in GATES.items():
        if name in found:
            value = found[name]
            passed = {"<": value < limit, "<=": value <= limit, ">=": value >= limit}[sense]
            out[name] = {"what": what, "value": round(value, 4), "limit": f"{sense} {limit}", "passed": bool(passed)}
    return out


def main(argv: list[str] | None = None) -> int:
    """Measure the shipped detector. Exit status 1 when a gate is missed."""
    parser = argparse.ArgumentParser(prog="detectors.training.evaluate", description=main.__doc__)
    parser.add_argument("--faces", type=Path, required=True, help="folder of the real faces")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--banks", type=Path, help="folder of the face banks, made when not there (default: OUT/banks)")
    parser.add_argument("--media", type=Path, help="labelled clips with labels.csv")
    parser.add_argument("--weights", type=Path, help="folder with the published weights of the other detectors")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    detectors = [load_detector("detectors.selfblend")]
    detectors += [load_detector(f"detectors.{name}") for name in ("mesonet", "classnseg") if args.weights]
    for detector in detectors:
        detector.load((args.weights or Path()) / detector.card.id, "cpu")
    recipe = COARSE.recipe
    banks = args.banks or args.out / "banks"
    found = on_held_out(detectors[0], bank_of(args.faces, banks / COARSE.bank), recipe=recipe)
    found |= on_large(detectors[0], bank_of(args.faces, banks / FINE.bank, view=FINE))
    if args.media:
        with tempfile.TemporaryDirectory() as scratch:
            gates, clips = on_clips(detectors, args.media, recipe=recipe, scratch=Path(scratch))
        found |= gates
        (args.out / "clips.json").write_text(json.dumps(clips, indent=1) + "\n", encoding="utf-8")
    report = {"gates": verdicts(found), "figures": {k: round(float(v), 4) for k, v in found.items()}}
    (args.out / "gates.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, gate in report["gates"].items():
        print(f"{'passed' if gate['passed'] else 'MISSED'}  {name}: {gate['value']} ({gate['limit']})  {gate['what']}")
    return 0 if all(gate["passed"] for gate in report["gates"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
