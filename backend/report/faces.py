"""Pictures of faces: the key frame of each person and what a detector marked on a face.

Owns their files and sizes. May be imported by ``backend.report``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from base_detector import Array
from shared.results import Evidence, Result

#: sides of the files, pixels
_KEYFRAME_SIDE = 384
_EVIDENCE_SIDE = 256
#: Keeps the bundle small.
MOST_KEYFRAMES = 24
MOST_EVIDENCE = 48

#: (detector, row of ``faces``) -> (H, W, 3) uint8 RGB: the crop the detector saw, which its mask covers
CropOf = Callable[[str, int], Array]


def write_keyframes(result: Result, keyframes: Mapping[int, Array], out: Path) -> dict[int, str]:
    """Write ``keyframes/person_N.jpg`` of the persons seen most often; returns person -> relative name."""
    names: dict[int, str] = {}
    seen = sorted(result.persons, key=lambda item: (-item.faces, item.person))
    for person in (item.person for item in seen if item.person in keyframes):
        if len(names) == MOST_KEYFRAMES:
            break
        (out / "keyframes").mkdir(exist_ok=True)
        names[person] = f"keyframes/person_{person}.jpg"
        picture = Image.fromarray(np.ascontiguousarray(keyframes[person]))
        picture.thumbnail((_KEYFRAME_SIDE, _KEYFRAME_SIDE), Image.Resampling.LANCZOS)
        picture.save(out / names[person], "JPEG", quality=90)
    return names


def write_evidence(
    evidence: Mapping[str, Mapping[int, Path]], out: Path, *, crop: CropOf | None
) -> dict[str, tuple[Evidence, ...]]:
    """Write ``evidence/<detector>/FACE.png``: the face, and beside it the same with the mask drawn over it.

    ``evidence``: detector -> row of ``faces`` -> ``.npy`` file, (h, w) uint8 of any size that covers the crop, 255 = manipulated.
    Without ``crop`` the mask is drawn alone. Rows are thinned out evenly where all detectors together have more than ``MOST_EVIDENCE``.
    """
    share = max(1, MOST_EVIDENCE // max(1, len(evidence)))
    written: dict[str, tuple[Evidence, ...]] = {}
    for detector, masks in sorted(evidence.items()):
        rows = sorted(masks)
        chosen = (
            [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(share, len(rows))).astype(int))]
            if rows
            else []
        )
        if not chosen:
            continue
        (out / "evidence" / detector).mkdir(parents=True, exist_ok=True)
        found = []
        for row in chosen:
            name = f"evidence/{detector}/{row:06d}.png"
            mask = np.load(masks[row], allow_pickle=False)
            image = _pair(crop(detector, row), mask) if crop else _scaled(cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB))
            Image.fromarray(image).save(out / name, "PNG", compress_level=1)
            found.append(Evidence(face=row, file=name))
        written[detector] = tuple(found)
    return written


def _pair(face: Array, mask: Array) -> Array:
    """(H, W, 3) RGB: the face, a white gap, the face in grey with the marked parts in colour."""
    left = _scaled(face)
    height, width = left.shape[:2]
    share = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)[..., None] / 255
    grey = cv2.cvtColor(cv2.cvtColor(left, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    warm = cv2.cvtColor(
        cv2.applyColorMap(np.round(share[..., 0] * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB
    )
    over = grey + (warm - grey) * (0.75 * share)
    return np.hstack([left, np.full((height, 8, 3), 255, np.uint8), np.round(over).astype(np.uint8)])


def _scaled(image: Array) -> Array:
    """Scaled to ``_EVIDENCE_SIDE`` pixels on its longer side."""
    height, width = image.shape[:2]
    factor = _EVIDENCE_SIDE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    scaled: Array = cv2.resize(np.ascontiguousarray(image), size, interpolation=way)
    return scaled
