"""What happens to faces before a trainee sees them: mirror, brightness and contrast, blur, JPEG.

Owns: the four changes and how often they happen; real faces and fakes alike, so that none is a cue.
Promises: the faces of one window are changed alike; the same generator state gives the same pixels.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

import cv2
import numpy as np

from base_detector import Array
from detectors.training.degrade import jpeg_and_back

#: How often each change happens, and how far it goes: gain and offset (grey levels), deviation (share of the side), JPEG quality.
OFTEN = {"mirror": 0.5, "light": 0.5, "blur": 0.15, "jpeg": 0.4}
GAIN, OFFSET, DEVIATION, QUALITY = (0.8, 1.25), (-20.0, 20.0), (0.003, 0.008), (50, 96)


def augmented(faces: Array, *, rng: np.random.Generator) -> Array:
    """Faces of one draw, (k, S, S, 3) uint8 RGB, to the same; the generator moves on by the same amount whatever happens."""
    chances = rng.random(4)
    gain, offset = rng.uniform(*GAIN), rng.uniform(*OFFSET)
    deviation, quality = rng.uniform(*DEVIATION), int(rng.integers(*QUALITY))
    mirror, light, blur, jpeg = (chance < often for chance, often in zip(chances, OFTEN.values(), strict=True))
    if mirror:
        faces = faces[:, :, ::-1]
    if light:
        faces = np.clip(faces.astype(np.float32) * np.float32(gain) + np.float32(offset), 0, 255).astype(np.uint8)
    if blur:
        sigma = faces.shape[1] * deviation
        faces = np.stack([cv2.GaussianBlur(np.ascontiguousarray(face), (0, 0), sigma) for face in faces])
    if jpeg:
        faces = np.stack([jpeg_and_back(face[:, :, ::-1], quality=quality)[:, :, ::-1] for face in faces])
    return np.ascontiguousarray(faces)
