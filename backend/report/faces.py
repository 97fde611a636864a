"""Pictures of faces: the best view of each person, the face of each person in each shot, and what a detector marked on a face.

Owns their files and sizes. Promises: a picture of the gallery and of evidence has at most ``MOST_BYTES``. May be imported by
``backend.report``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from backend.report.plan import Counts
from base_detector import Array
from shared.results import Evidence, Keyframe, Result

#: sides of the files, pixels
_KEYFRAME_SIDE = 384
_EVIDENCE_SIDE = 256
#: Keeps the bundle small.
MOST_KEYFRAMES = 24
MOST_EVIDENCE = 48
MOST_IN_GALLERY = 48
#: Of a picture of the gallery or of evidence, so that a page of fifty is read on a phone.
MOST_BYTES: Final = 15_000
#: Qualities of JPEG that are tried, the best first.
_QUALITIES: Final = (85, 75, 65, 50, 35, 20)

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


def write_gallery(result: Result, said: Counts, picture: Callable[[int], Array], out: Path) -> tuple[Keyframe, ...]:
    """Write ``gallery/ROW.jpg``: of each person in each shot the face of which most is said, worst shots first.

    ``said``: what is said of each face; ``picture``: row of ``faces`` -> (H, W, 3) uint8 RGB, the face and what is around it. Faces of
    nobody are left out; where there are more than ``MOST_IN_GALLERY`` the first ones are kept.
    """
    worst: dict[tuple[int, int], int] = {}
    for row, face in enumerate(result.faces):
        if face.person < 0:
            continue
        best = worst.setdefault((face.person, face.shot), row)
        if said.rank[row] > said.rank[best]:
            worst[face.person, face.shot] = row
    rows = sorted(
        worst.values(), key=lambda row: (-float(said.rank[row]), result.faces[row].time_s, result.faces[row].person)
    )
    found = []
    for row in rows[:MOST_IN_GALLERY]:
        (out / "gallery").mkdir(exist_ok=True)
        name = f"gallery/{row:06d}.jpg"
        (out / name).write_bytes(_small_jpeg(_scaled(picture(row))))
        found.append(Keyframe(face=row, file=name))
    return tuple(found)


def write_evidence(
    evidence: Mapping[str, Mapping[int, Path]], out: Path, *, crop: CropOf | None
) -> dict[str, tuple[Evidence, ...]]:
    """Write ``evidence/<detector>/ROW.jpg``, the face with the mask drawn over it, and ``ROW_face.jpg``, the same without.

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
            name, plain = f"evidence/{detector}/{row:06d}.jpg", f"evidence/{detector}/{row:06d}_face.jpg"
            mask = np.load(masks[row], allow_pickle=False)
            if crop:
                face = _scaled(crop(detector, row))
                (out / plain).write_bytes(_small_jpeg(face))
            marked = _marked(face, mask) if crop else _scaled(cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB))
            (out / name).write_bytes(_small_jpeg(marked))
            found.append(Evidence(face=row, file=name, plain=plain if crop else None))
        written[detector] = tuple(found)
    return written


def _marked(face: Array, mask: Array) -> Array:
    """(H, W, 3) RGB: ``face`` in grey with the marked parts in colour, from dark (a little) over red to yellow (strongly)."""
    height, width = face.shape[:2]
    share = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)[..., None] / 255
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    warm = cv2.cvtColor(
        cv2.applyColorMap(np.round(share[..., 0] * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB
    )
    over: Array = np.round(grey + (warm - grey) * (0.75 * share)).astype(np.uint8)
    return over


def _small_jpeg(image: Array) -> bytes:
    """``image`` (H, W, 3) uint8 RGB as JPEG of at most ``MOST_BYTES``, at the best quality that allows it; noise may take a little more."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    content = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        content = buffer.getvalue()
        if len(content) <= MOST_BYTES:
            break
    return content


def _scaled(image: Array) -> Array:
    """Scaled to ``_EVIDENCE_SIDE`` pixels on its longer side."""
    height, width = image.shape[:2]
    factor = _EVIDENCE_SIDE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    scaled: Array = cv2.resize(np.ascontiguousarray(image), size, interpolation=way)
    return scaled
