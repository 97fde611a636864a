"""Decoder-made copies of whole real clips: the face went through an autoencoder or a chain of filters and was pasted back, then x264.

Owns: which faces teach the autoencoders that decode a clip, and the copies that are kept beside the clips' faces.
Promises: an autoencoder has seen only real scenes that no other fold judges than the one that judges the clips it decodes, so that a fold
which trains on its copies is never told of a scene it is judged on; a copy goes through x264 as the clip's own ``drawn`` version does; an
interrupted run continues where it stopped.
May be imported by detectors.training and its tests; imports the media pass, which no detector does at run time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from base_detector import Array
from detectors.training.clip_blends import repainted
from detectors.training.clips import (
    VERSIONS,
    Clip,
    Faces,
    Seen,
    cut_faces,
    facts_of,
    frames_of,
    key_of,
    read_cut,
    seen_in,
    through_x264,
    write_cut,
)
from detectors.training.dataset import DataError
from detectors.training.decoders import FAMILIES, KINDS, Autoencoder, Through, chain, pasted, teach, through
from detectors.training.folds import Fold
from detectors.training.video_batches import central

#: What the labels of decoded copies say.
METHOD: Final = "decoded"
#: Clips of each fold's home that are decoded, and the first faces of each.
CLIPS, FACES = 9, 6
#: Pixels of the autoencoders of the folds in turn; all halve twice. More halvings would be softer, which is another cue.
SIDES, LEVELS, STEPS = (64, 80, 64, 96, 64), 2, 200
#: Changes when the autoencoders do, so that older copies are made again.
_MADE: Final = 2
#: Box sides that an autoencoder sees, as many as are pasted back.
_AROUND: Final = 1.4

Nets = Mapping[str, tuple[Autoencoder, int]]


def decoded_clips(
    faces: Mapping[Clip, Faces],
    folds: Sequence[Fold],
    cache: Path,
    *,
    homes: Sequence[int] = (),
    clips: int = CLIPS,
    steps: int = STEPS,
    tell: Callable[[str], None] = print,
) -> list[Faces]:
    """Copies of some real clips of each fold's home, as fakes of their scenes: ``pixels`` (families, n, SIDE, SIDE, 3), as ``FAMILIES``.

    ``homes``: of these folds alone (none: of all).
    """
    cache.mkdir(parents=True, exist_ok=True)
    found = []
    for fold in folds:
        if homes and fold.number not in homes:
            continue
        taught_by = [faces[clip] for clip in teachers(fold, folds) if clip in faces]
        home = sorted((clip for clip in fold.home if not clip.fake and clip in faces), key=_hash)
        nets: Nets = {}
        for clip in home[:clips]:
            path = cache / f"{key_of(clip)}-decoded{_mark(taught_by, fold, steps=steps)}"
            if not path.with_suffix(".json").is_file():
                nets = nets or _taught(taught_by, fold, steps=steps)
                write_cut(path, _decoded(clip, nets))
                tell(f"decoded: {clip.name}")
            own = replace(clip, fake=True, method=METHOD, family=METHOD, pair=clip.identity)
            copies = read_cut(path, own)
            if not isinstance(copies, str):
                found.append(copies)
    return found


def only(copies: Iterable[Faces], families: Sequence[str]) -> list[Faces]:
    """The copies with those ``families`` alone, which must be neighbours in ``FAMILIES``."""
    places = [FAMILIES.index(name) for name in families]
    rows = slice(places[0], places[-1] + 1)
    return [replace(one, pixels=one.pixels[rows]) for one in copies]


def teachers(fold: Fold, folds: Sequence[Fold]) -> list[Clip]:
    """Real clips at home in ``fold`` whose scenes no other fold judges."""
    elsewhere = {clip.scene for other in folds if other.number != fold.number for clip in other.judged}
    return [clip for clip in fold.home if not clip.fake and clip.scene not in elsewhere]


def _hash(clip: Clip) -> str:
    return hashlib.sha256(f"decoded {clip.name}".encode()).hexdigest()


def _mark(taught_by: Sequence[Faces], fold: Fold, *, steps: int) -> str:
    made = [
        _MADE,
        FAMILIES,
        FACES,
        SIDES[fold.number % len(SIDES)],
        LEVELS,
        steps,
        [one.clip.name for one in taught_by],
    ]
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:8]


def _taught(taught_by: Sequence[Faces], fold: Fold, *, steps: int) -> Nets:
    if not taught_by:
        raise DataError(f"fold {fold.number} has no real scene of its own to teach a decoder with: ask for fewer folds")
    side = SIDES[fold.number % len(SIDES)]
    faces = np.concatenate([central(np.asarray(one.pixels[0]), side=side, margin=_AROUND) for one in taught_by])
    return {kind: (teach(kind, faces, side=side, levels=LEVELS, steps=steps, seed=fold.number), side) for kind in KINDS}


def _decoded(clip: Clip, nets: Nets) -> tuple[Array | None, dict[str, Any]]:
    seen = seen_in(clip.path)
    if isinstance(seen, str):
        return None, {"reason": seen}
    if np.isnan(seen.points).any():
        return None, {"reason": "no_landmarks"}
    seen = _first(seen, count=FACES)
    crf, scale = VERSIONS[-1].drawn(clip.name)
    frames = list(frames_of(clip.path, count=int(seen.frames.max()) + 1))
    copies = []
    for family in FAMILIES:
        seed = list(hashlib.sha256(f"{family} of {clip.name}".encode()).digest()[:8])
        changed = repainted(frames, seen, _painter(family, nets, seed))
        copies.append(cut_faces(through_x264(changed, crf=crf, scale=scale), seen))
    return np.stack(copies), facts_of(seen)


def _painter(family: str, nets: Nets, seed: Sequence[int]) -> Callable[[Array, Array], Array]:
    decode: Through = chain(np.random.default_rng(seed))
    if family in nets:
        net, side = nets[family]
        decode = through(net, side=side)

    def painted(square: Array, points: Array) -> Array:
        with torch.inference_mode():
            return pasted(square, points, decode, rng=np.random.default_rng(seed))

    return painted


def _first(seen: Seen, *, count: int) -> Seen:
    order = np.argsort(seen.frames)[:count]
    return Seen(*(getattr(seen, name)[order] for name in ("frames", "times", "sides", "boxes", "points")))
