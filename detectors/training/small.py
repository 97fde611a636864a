"""A small data set to try the training commands with: real faces, and blends of them as fakes; as pictures or as short clips.

Owns: what the small set looks like. It shows that a network learns; it is not a training set: its fakes are blends of a face with an
altered copy of itself (``detectors.training.blends``), smooth ones, and its clips are single pictures that are moved a little.
Promises: the layout ``dataset`` reads; the same pictures and seed give the same files; reals and fakes differ in the blend alone.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from base_detector import Array
from detectors.training.blends import blend
from detectors.training.dataset import PICTURES
from detectors.training.store import main_face

#: A blend of the small set keeps at most this share of the fine detail under its mask, and the mask covers at least this share of the
#: picture: as a generator's output is smoother than what a camera saw. How many blends are tried for it.
SMOOTH, COVERS, _ATTEMPTS = 0.5, 0.15, 40
#: Deviation (share of the side) of the blur that separates fine detail.
_DETAIL = 1 / 120
#: Side of a picture and of a clip's frame in pixels, and the share of border around the face's picture in a clip.
SIDE, FRAME, BORDER = 240, 224, 0.25
#: A clip: pictures, and pictures a second; just longer than one window of the nets of clips.
LENGTH, RATE = 22, 6
#: Sensor noise of each frame (deviation, grey levels), before anything is pasted; and how far a mask shakes (share of the face's width).
NOISE, SHAKE = 4.0, 0.012


@dataclass(frozen=True)
class Portrait:
    """One face to start from: ``luma`` (S, S) float32 0..255 and MTCNN's ``landmarks`` (5, 2) in its pixels."""

    identity: str
    luma: Array
    landmarks: Array


def portraits(faces: Path, *, people: int, detect: Callable[[Array], Any]) -> Iterator[Portrait]:
    """One portrait each of ``people`` identities, drawn by a hash of their names, below ``faces``: pictures or tar files of them.

    A picture is named ``Name_0001.jpg``. Others, and those without a face, are passed over.
    """
    pictures: dict[str, Callable[[], bytes]] = {}
    for path in sorted(faces.rglob("*")):
        if path.suffix.lower() in PICTURES:
            pictures.setdefault(_name(path.name), path.read_bytes)
    for archive in sorted(faces.glob("*.tar")):
        with tarfile.open(archive) as opened:
            members = sorted((m for m in opened if Path(m.name).suffix.lower() in PICTURES), key=lambda m: m.name)
            for member in members:
                pictures.setdefault(_name(member.name), _Member(archive, member))
    pictures.pop("", None)
    for name in sorted(pictures, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if people <= 0:
            return
        portrait = _portrait(name, pictures[name](), detect=detect)
        if portrait is not None:
            people -= 1
            yield portrait


@dataclass(frozen=True)
class _Member:
    archive: Path
    member: tarfile.TarInfo

    def __call__(self) -> bytes:
        with tarfile.open(self.archive) as opened:
            stream = opened.extractfile(self.member)
            return stream.read() if stream else b""


def _name(file: str) -> str:
    """The identity in a file's name; empty where the name starts with a number, which is not a name."""
    stem = Path(file).stem
    return "" if stem[:1].isdigit() or stem.startswith("augmented") else stem.rpartition("_")[0]


def _portrait(identity: str, content: bytes, *, detect: Callable[[Array], Any]) -> Portrait | None:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    side = min(image.shape[:2])
    square = np.ascontiguousarray(image[:side, :side, ::-1])
    found = main_face(square, detect=detect)
    if found is None or side < 200:
        return None
    luma = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)
    scaled = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC)
    return Portrait(identity, scaled.astype(np.float32), np.asarray(found[1] * (SIDE / side), np.float32))


def smooth_seed(luma: Array, landmarks: Array, *, seed: int) -> int:
    """The first seed from ``seed`` on whose blend is smooth and large, or that of the smoothest of the attempts."""
    best, chosen = np.inf, seed
    for own in range(seed, seed + _ATTEMPTS):
        mixed, mask = blend(luma, landmarks, rng=np.random.default_rng(own))
        kept = detail_kept(luma, mixed, mask) if mask.mean() >= COVERS else np.inf
        if kept < best:
            best, chosen = kept, own
        if best <= SMOOTH:
            break
    return chosen


def detail_kept(luma: Array, mixed: Array, mask: Array) -> float:
    """Fine detail of a blend under its mask as a share of what was there: means of |picture - its blur|, weighted by the mask."""
    found, before = ((np.abs(picture - _blurred(picture)) * mask).sum() for picture in (mixed, luma))
    return float(found / max(before, 1e-6))


def _blurred(picture: Array) -> Array:
    return cv2.GaussianBlur(picture, (0, 0), _DETAIL * len(picture))


def write_pictures(portrait: Portrait, out: Path, *, seed: int, each: int = 2) -> None:
    """``each`` real pictures of one person, lit differently, and a blend of each."""
    rng = np.random.default_rng(seed)
    for number in range(each):
        gain, offset = rng.uniform(0.85, 1.15), rng.normal(0, 8)
        luma = portrait.luma * np.float32(gain) + np.float32(offset)
        luma = np.clip(luma + rng.normal(0, NOISE, luma.shape).astype(np.float32), 0, 255)
        own = smooth_seed(luma, portrait.landmarks, seed=int(rng.integers(2**31)))
        mixed, _ = blend(luma, portrait.landmarks, rng=np.random.default_rng(own))
        for label, picture in (("real", luma), ("fake", mixed)):
            (out / label).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(out / label / f"{portrait.identity}_{number:04d}.png"), _bytes(picture))


def write_clips(portrait: Portrait, out: Path, *, seed: int) -> None:
    """A real clip of one person, who moves a little, and a fake one with a blend in every frame."""
    for label in ("real", "fake"):
        (out / label).mkdir(parents=True, exist_ok=True)
        frames = _frames(portrait, seed=seed, fake=label == "fake")
        _write_clip(out / label / f"{portrait.identity}_0001.mp4", frames)


def _frames(portrait: Portrait, *, seed: int, fake: bool) -> Iterator[Array]:
    """Frames of a clip, (FRAME, FRAME) uint8; the same movement and the same noise for the real and the fake one."""
    rng = np.random.default_rng(seed)
    border = round(BORDER * SIDE)
    wide = cv2.copyMakeBorder(portrait.luma, border, border, border, border, cv2.BORDER_REPLICATE)
    scale, middle = FRAME / len(wide), FRAME / 2
    sway, phase = rng.uniform(1, 3, 4), rng.uniform(0, 2 * np.pi, 4)
    chosen = None
    for number in range(LENGTH):
        x, y, turn, grow = sway * np.sin(2 * np.pi * number / LENGTH + phase)
        matrix: Array = cv2.getRotationMatrix2D(
            (len(wide) / 2, len(wide) / 2), float(turn), scale * (1 + 0.004 * float(grow))
        )
        matrix[:, 2] += middle - len(wide) / 2 + np.array([x, y])
        frame: Array = cv2.warpAffine(
            wide, matrix, (FRAME, FRAME), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        frame = np.clip(frame + rng.normal(0, NOISE, frame.shape).astype(np.float32), 0, 255)
        points = np.hstack([portrait.landmarks + border, np.ones((5, 1), np.float32)]) @ matrix.T
        shake = SHAKE * np.ptp(points[:, 0]) * rng.standard_normal((5, 2))
        if fake:
            if chosen is None:
                chosen = smooth_seed(frame, points.astype(np.float32), seed=seed)
            frame, _ = blend(frame, (points + shake).astype(np.float32), rng=np.random.default_rng(chosen))
        yield _bytes(frame)


def _bytes(luma: Array) -> Array:
    return np.clip(luma + 0.5, 0, 255).astype(np.uint8)


def _write_clip(path: Path, frames: Iterator[Array]) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "14", "preset": "superfast"})
        stream.width, stream.height, stream.pix_fmt = FRAME, FRAME, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.repeat(frame[:, :, None], 3, axis=2), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def write_small(faces: Path, out: Path, *, people: int, clips: bool, seed: int = 1) -> int:
    """Write the small set to ``out``; how many people it shows."""
    from detectors.nets.mtcnn import Mtcnn

    number = 0
    for number, portrait in enumerate(portraits(faces, people=people, detect=Mtcnn().detect), 1):
        (write_clips if clips else write_pictures)(portrait, out, seed=seed + 1000 * number)
    return number
