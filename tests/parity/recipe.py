"""Deterministic weights and tensor summaries of the golden vectors (the research data's RECIPE.md and README.md), and what the tests
against them ask again and again: the pictures, the networks filled, the entries of a file that does not fit."""

from __future__ import annotations

import json
import os
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.media.tracks import Found, Sighting
from base_detector import Face

#: Another folder of golden vectors, made with another salt: ``GOLDEN=folder pytest tests/parity``.
_FOLDER = os.environ.get("GOLDEN", "")


@cache
def salt() -> str:
    """What the recipe puts before each key: "a", or what the files in the folder ``GOLDEN`` say."""
    if not _FOLDER:
        return "a"
    for file in sorted(Path(_FOLDER).glob("*.json")):
        if found := re.search(r"\bsalt (\w+)", file.read_text()):
            return found[1]
    raise ValueError(f"no file in {_FOLDER} names the salt its weights were filled with")


def fill(key: str, shape: tuple[int, ...], *, channels_last: bool = False, salted: str = "") -> np.ndarray:
    """The recipe's tensor of ``key``, float32; ``channels_last`` for Keras' kernels; ``salted``: with another salt than the vectors'."""
    rng = np.random.default_rng(zlib.crc32(((salted or salt()) + key).encode()))
    last = key.replace("/", ".").split(".")[-1]
    if last in ("running_var", "moving_variance"):
        values = rng.uniform(0.5, 1.5, shape)
    elif last in ("running_mean", "moving_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif last == "route_weights":
        values = rng.standard_normal(shape)
    elif len(shape) >= 2:
        fan_in = int(np.prod(shape[:-1] if channels_last else shape[1:]))
        values = rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)
    elif last in ("bias", "biases", "beta"):
        values = 0.1 * rng.standard_normal(shape)
    else:
        values = rng.uniform(0.5, 1.5, shape)
    return np.asarray(values, np.float64).astype(np.float32)


def golden_folder(research: Path) -> Path:
    """The folder of the golden vectors: ``<name>.json`` and ``inputs/``."""
    return Path(_FOLDER) if _FOLDER else research / "detectors" / "golden" / "a"


def golden_of(research: Path, name: str) -> dict[str, Any]:
    """The golden vectors of one detector."""
    return json.loads((golden_folder(research) / f"{name}.json").read_text())


def picture(research: Path, name: str) -> np.ndarray:
    """An input picture of the golden vectors: (H, W, 3) uint8 RGB."""
    from PIL import Image

    return np.asarray(Image.open(golden_folder(research) / "inputs" / name).convert("RGB"))


def scaled_input(research: Path, text: str) -> tuple[np.ndarray, tuple[int, int]]:
    """The input that golden vectors describe, "PICTURE BGR, cv2.resize to 300x220 (w x h)": the picture, blue first, and the size."""
    name, width, height = re.findall(r"^(\S+) BGR, cv2\.resize to (\d+)x(\d+)", text)[0]
    return picture(research, name)[..., ::-1].copy(), (int(width), int(height))


def numbers_of(text: str) -> np.ndarray:
    """The made-up numbers that golden vectors describe, "(0.5*numpy.random.default_rng(7).random(40)**4).astype(float32)"; the factor and
    the power may be missing, and ``standard_normal((40,4))`` be the draw."""
    form = r"\((?:([\d.]+)\*)?numpy\.random\.default_rng\((\d+)\)\.(random|standard_normal)\(\(?([\d,]+)\)?\)(?:\*\*(\d+))?\)"
    factor, seed, kind, shape, power = re.findall(form, text)[0]
    drawn = getattr(np.random.default_rng(int(seed)), kind)([int(side) for side in shape.split(",")])
    return np.asarray(float(factor or 1) * drawn ** int(power or 1), np.float32)


def part_of(research: Path, text: str) -> np.ndarray:
    """The part of a picture that golden vectors describe, "PICTURE ... rows 0:480, cols 0:720": RGB."""
    name, top, bottom, left, right = re.findall(r"^(\S+?):? .*?rows (\d+):(\d+),? cols (\d+):(\d+)", text)[0]
    return picture(research, name)[int(top) : int(bottom), int(left) : int(right)]


def wandering(research: Path, text: str) -> list[np.ndarray]:
    """The clip that golden vectors describe: "PICTURE: frame t = numpy.roll(BGR image,(2t,3t),axis=(0,1)), t=0..11, frame 5 all zero"."""
    name, down, right, last = re.findall(r"^(\S+): .*\((\d+)t,(\d+)t\).* t=0\.\.(\d+)", text)[0]
    black = {int(frame) for frame in re.findall(r"frame (\d+) all zero", text)}
    still = picture(research, name)
    return [
        np.zeros_like(still) if t in black else np.roll(still, (int(down) * t, int(right) * t), axis=(0, 1))
        for t in range(int(last) + 1)
    ]


def squares(research: Path, entries: list[dict]) -> list[np.ndarray]:
    """The square that each of ``entries`` names in its picture, ``crop_x_y_size``; the whole picture where it names none."""
    found = []
    for entry in entries:
        x, y, side = entry["crop_x_y_size"] or (0, 0, None)
        whole = picture(research, entry["input"])
        found.append(np.ascontiguousarray(whole[y : y + side, x : x + side] if side else whole))
    return found


def sighting(
    image: np.ndarray, box: Any, *, margin: float = 2.0, landmarks: Any = None, frame: int = 0, time_s: float = 0.0
) -> Sighting:
    """A face in ``image`` with the context crop that the media pass cuts for it."""
    points = np.full((5, 2), np.nan, np.float32) if landmarks is None else np.asarray(landmarks, np.float32)
    found = Found(np.asarray(box, np.float32), points, 1.0)
    return Sighting.cut(image, found, context=margin, frame=frame, time_s=time_s)


def context(image: np.ndarray, box: Any, *, margin: float = 2.0, landmarks: Any = None) -> tuple[np.ndarray, Face]:
    """The media pass's context crop of a face, and the face in it."""
    seen = sighting(image, box, margin=margin, landmarks=landmarks)
    size = (image.shape[1], image.shape[0])
    return seen.crop, Face(seen.box, seen.in_crop(seen.found.landmarks), image_origin=seen.origin, frame_size=size)


def names_of(tensors: list) -> dict[str, tuple[tuple[int, ...], str]]:
    """name -> (shape, dtype) of the rows (name, shape, dtype) of golden vectors."""
    return {name: (tuple(shape), kind) for name, shape, kind in tensors}


def listed_names(research: Path, file: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """name -> (shape, dtype) of every tensor of one net, from ``state_dicts/<file>.txt``."""
    lines = (research / "detectors" / "golden" / "state_dicts" / f"{file}.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {
        name: (tuple(int(n) for n in size[0].split("x")) if size and size[0][0].isdigit() else (), kind)
        for name, kind, *size in rows
    }


def filled_state(
    names: dict[str, tuple[tuple[int, ...], str]], scale_pow2: dict[str, int] | None = None
) -> dict[str, Any]:
    """A torch state dict with the recipe's tensors under the published names."""
    import torch

    state: dict[str, Any] = {}
    for name, (shape, kind) in names.items():
        if kind.startswith("int"):
            state[name] = torch.zeros(shape, dtype=torch.int64)
        else:
            state[name] = torch.from_numpy(fill(name, shape) * np.float32(2.0 ** (scale_pow2 or {}).get(name, 0)))
    return state


def unchecked(detector: Any) -> Any:
    """``detector`` with a card that knows no sha256 of its weights: those of the recipe are not the published ones."""
    from dataclasses import replace

    weights = tuple(replace(item, sha256="", bytes=0) for item in detector.card.weights)
    detector.card = replace(detector.card, weights=weights)
    return detector


def made(net: Any) -> Any:
    """A torch network in evaluation mode with the recipe's numbers; its calibration stays as it is."""
    import torch

    for name, tensor in net.eval().state_dict().items():
        if tensor.dtype.is_floating_point and name != "calibration":
            tensor.copy_(torch.from_numpy(fill(name, tuple(tensor.shape))))
    return net


def write_trained(folder: Path, net: Any, *, detector: str) -> None:
    """The file of a detector that the operator trains, with the numbers of ``net``."""
    from base_detector import load_detector
    from detectors.nets.trained import pack_trained

    card = load_detector(f"detectors.{detector}").card
    content = pack_trained(net, detector=detector, parameters={"margin": card.margin, **card.parameters})
    (folder / f"{detector}.safetensors").write_bytes(content)


def assert_each_difference_is_named(
    net: Any, *, missing: str, extra: str, misshapen: tuple[str, tuple[int, ...], tuple[int, ...]]
) -> None:
    """A state without ``missing``, with ``extra`` and with one entry (name, shape, right shape) misshapen is refused in those words."""
    import torch

    from detectors.nets.checkpoint import CheckpointError
    from detectors.nets.checkpoint import fill as fill_net

    name, shape, right = misshapen
    state = dict(net.state_dict())
    del state[missing]
    state |= {extra: torch.zeros(2), name: torch.zeros(shape)}
    with pytest.raises(CheckpointError) as caught:
        fill_net(net, state)
    for part in (f"missing {missing}", f"extra {extra}", f"{name} has shape {shape}, not {right}"):
        assert part in str(caught.value)


def compare(found: np.ndarray, summary: dict, *, atol: float) -> None:
    """Compare an array with a golden summary: shape, mean, deviation, extremes, samples."""
    assert list(found.shape) == summary["shape"]
    wide = found.astype(np.float64)
    for name, value in (("mean", wide.mean()), ("std", wide.std()), ("min", wide.min()), ("max", wide.max())):
        np.testing.assert_allclose(value, summary[name], atol=atol, err_msg=name)
    places, values = zip(*summary["samples"], strict=True)
    assert len(places) >= 5
    np.testing.assert_allclose(wide.ravel()[list(places)], values, atol=atol)
