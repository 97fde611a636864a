"""What a step of the video net sees: faces of real clips, of fakes and self-blends, drawn evenly, degraded alike.

Owns: the draw (label, then scene, then clip, frame and version of the whole frames), and what happens to a single face after that.
Promises: a batch follows from seed and step; half of it is fake; real faces and fakes go through the same changes with the same chances.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from base_detector import Array
from detectors.training.blends import blend
from detectors.training.clips import MARGIN, SIDE, Faces
from detectors.training.dataset import DataError
from detectors.training.degrade import jpeg_and_back

#: How often a face is mirrored, relit, made smaller and larger again, blurred, and compressed as JPEG, and how far each goes.
OFTEN = {"mirror": 0.5, "light": 0.5, "smaller": 0.25, "blur": 0.1, "jpeg": 0.5}
GAIN, OFFSET, TINT = (0.75, 1.3), (-20.0, 20.0), (0.93, 1.07)
SMALLER, DEVIATION, QUALITY = (0.4, 0.8), (0.4, 1.2), (40, 96)
#: Box sides a training picture shows, about those of the detector, and how far it is moved, in box sides.
ZOOM, SHIFT = (0.88, 1.15), 0.06


@dataclass(frozen=True)
class Recipe:
    """``side`` pixels showing ``margin`` box sides; ``size`` faces a step, of whose fakes a share of ``blends`` are self-blends.

    ``pairs``: share of a step's fakes that are handed ones beside their own originals. ``rank``: weight of the loss that wants a fake
    above its own original; the two faces of a pair go through the same changes then.
    """

    side: int = 128
    margin: float = 1.4
    size: int = 32
    blends: float = 0.3
    pairs: float = 0.0
    rank: float = 0.0


@dataclass(frozen=True)
class Batch:
    """``faces`` (n, side, side, 3) uint8 RGB, ``labels`` (n,) float32, 1 = fake: the second half.

    ``paired``: so many first faces of each half are originals and their own fakes, in the same order.
    """

    faces: Array
    labels: Array
    paired: int = 0


class Draws:
    """Balanced draws from clips with their faces; ``blended``: blended copies of real ones among them (``clip_blends``)."""

    def __init__(self, found: Sequence[Faces], blended: Sequence[Faces] = ()) -> None:
        self._by_label = [self._by_scene([one for one in found if one.clip.fake == fake]) for fake in (False, True)]
        if not all(self._by_label):
            counts = [len(scenes) for scenes in self._by_label]
            raise DataError(f"faces of {counts[0]} real and {counts[1]} fake scenes: training needs both kinds")

        self._originals = {one.clip.path: one for one in found if not one.clip.fake}
        self._blended = self._by_scene([one for one in blended if one.clip.path in self._originals])
        self._of_person: dict[str, list[Faces]] = {}
        for one in self._originals.values():
            self._of_person.setdefault(one.clip.identity, []).append(one)
        self._handed = self._by_scene([one for one in found if one.clip.fake and one.clip.pair in self._of_person])

    @staticmethod
    def _by_scene(found: Sequence[Faces]) -> list[list[Faces]]:
        scenes: dict[str, list[Faces]] = {}
        for one in found:
            scenes.setdefault(one.clip.scene, []).append(one)
        return [scenes[name] for name in sorted(scenes)]

    def one(self, fake: bool, rng: np.random.Generator) -> tuple[Faces, int, int]:
        """A clip with faces, the place of a version and of a face in it."""
        scenes = self._by_label[fake]
        clips = scenes[rng.integers(len(scenes))]
        chosen = clips[rng.integers(len(clips))]
        return chosen, int(rng.integers(len(chosen.pixels))), int(rng.integers(len(chosen)))

    def handed_pair(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """A face of a fake's own original and one of the fake, from about the same part of their clips, in the same version."""
        clips = self._handed[rng.integers(len(self._handed))]
        fake = clips[rng.integers(len(clips))]
        originals = self._of_person[fake.clip.pair]
        own = originals[rng.integers(len(originals))]
        place, version = float(rng.random()), int(rng.integers(len(fake.pixels)))
        return own.pixels[version, int(place * len(own))], fake.pixels[version, int(place * len(fake))]

    def pair(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """A face of a real clip as x264 left it, and the same face of a blended copy, which went through the same x264."""
        clips = self._blended[rng.integers(len(self._blended))]
        copied = clips[rng.integers(len(clips))]
        place = int(rng.integers(len(copied)))
        copy = int(rng.integers(len(copied.pixels)))
        return self._originals[copied.clip.path].pixels[-1, place], copied.pixels[copy, place]

    def step(self, recipe: Recipe, *, seed: int, step: int) -> Batch:
        """The batch of one step: the second half is fake.

        Where there are blended copies, half of the self-blends are these, each with its own original among the real faces.
        """
        rng = np.random.default_rng([seed, step])
        half, blends = recipe.size // 2, round(recipe.blends * recipe.size / 2)
        paired = [self.pair(rng) for _ in range(blends // 2)] if self._blended else []
        # the places after the self-blends' are free for handed fakes with their originals
        handed = min(round(recipe.pairs * recipe.size / 2), half - blends) if self._handed else 0
        own = [self.handed_pair(rng) for _ in range(handed)]
        singles = blends - len(paired)
        labels = np.repeat(np.array([0, 1], np.float32), half)
        faces = []
        for number, label in enumerate(labels):
            place = number % half
            if place < len(paired) + len(own):
                faces.append(_one_of(paired + own, place, int(label), recipe, rng=rng, seeds=[seed, step, place]))
                continue
            blended = bool(label) and place < len(paired) + len(own) + singles
            found, version, row = self.one(bool(label) and not blended, rng)
            face = np.asarray(found.pixels[version, row])
            face = self_blend(face, found.points[row], rng=rng) if blended else face
            faces.append(changed(face, recipe, rng=rng))
        return Batch(np.stack(faces), labels, len(paired) + len(own))


def _one_of(
    pairs: Sequence[tuple[Array, Array]],
    place: int,
    label: int,
    recipe: Recipe,
    *,
    rng: np.random.Generator,
    seeds: Sequence[int],
) -> Array:
    """One face of the pair at ``place``, changed as the other one where pairs are ranked."""
    return changed(np.asarray(pairs[place][label]), recipe, rng=np.random.default_rng(seeds) if recipe.rank else rng)


def self_blend(face: Array, points: Array, *, rng: np.random.Generator) -> Array:
    """A stored face joined with an altered copy of itself, (SIDE, SIDE, 3) uint8 RGB; as it is where its landmarks are unknown."""
    if np.isnan(points).any():
        return face
    mixed, _ = blend(face.astype(np.float32), points.astype(np.float32), rng=rng)
    return mixed.round().astype(np.uint8)


def central(faces: Array, *, side: int, margin: float) -> Array:
    """Stored faces, (n, SIDE, SIDE, 3), as the detector sees them: the middle ``margin`` box sides at ``side`` pixels."""
    cut = round(SIDE * margin / MARGIN)
    start = (SIDE - cut) // 2
    inner = faces[:, start : start + cut, start : start + cut]
    if cut == side:
        return np.ascontiguousarray(inner)
    kind = cv2.INTER_AREA if side < cut else cv2.INTER_LINEAR
    return np.stack([cv2.resize(np.ascontiguousarray(face), (side, side), interpolation=kind) for face in inner])


def changed(face: Array, recipe: Recipe, *, rng: np.random.Generator) -> Array:
    """A stored face as a step sees it: moved, mirrored, relit, softened, compressed: (side, side, 3) uint8 RGB."""
    chances = dict(zip(OFTEN, rng.random(len(OFTEN)), strict=True))
    does = {name: chances[name] < often for name, often in OFTEN.items()}
    face = _placed(face, recipe, rng=rng)
    if does["mirror"]:
        face = face[:, ::-1]
    if does["light"]:
        levels = face.astype(np.float32) * (rng.uniform(*GAIN) * rng.uniform(*TINT, 3)).astype(np.float32)
        face = np.clip(levels + np.float32(rng.uniform(*OFFSET)), 0, 255).astype(np.uint8)
    if does["smaller"]:
        small = round(recipe.side * rng.uniform(*SMALLER))
        face = cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA)
        up = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
        face = cv2.resize(face, (recipe.side, recipe.side), interpolation=up)
    if does["blur"]:
        face = cv2.GaussianBlur(np.ascontiguousarray(face), (0, 0), rng.uniform(*DEVIATION))
    if does["jpeg"]:
        quality = int(rng.integers(*QUALITY))
        face = jpeg_and_back(np.ascontiguousarray(face[:, :, ::-1]), quality=quality)[:, :, ::-1]
    return np.ascontiguousarray(face)


def _placed(face: Array, recipe: Recipe, *, rng: np.random.Generator) -> Array:
    """A square of about ``margin`` box sides near the middle; half of the time exactly so large, which resamples nothing at 128 pixels."""
    whole = recipe.margin * (rng.uniform(*ZOOM) if rng.random() < 0.5 else 1.0)
    cut = min(SIDE, round(SIDE * whole / MARGIN))
    room, shift = (SIDE - cut) / 2, SHIFT * SIDE / MARGIN
    x, y = (round(room + rng.uniform(-min(shift, room), min(shift, room))) for _ in range(2))
    inner = np.ascontiguousarray(face[y : y + cut, x : x + cut])
    if cut == recipe.side:
        return inner
    kind = cv2.INTER_AREA if recipe.side < cut else cv2.INTER_LINEAR
    return cv2.resize(inner, (recipe.side, recipe.side), interpolation=kind)
