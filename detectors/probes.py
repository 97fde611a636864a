"""Inputs that a compiled network is checked with: a real face, or a sound, brought to the size that the network takes.

Owns: one small picture of a face, and a signal like a voice. White noise is neither: it drives deep networks where float32 decides
nothing, and two right answers then differ by percents. On the face, two orders of additions agree within 1e-5.
Promises: the same bits for the same size, as far as the version of OpenCV decides; no file is read.
May be imported by detectors and ``detectors.runtime``, in workers only. OpenCV is imported on the first call.
"""

from __future__ import annotations

import base64

import numpy as np

from base_detector import Array

#: JPEG of 32 x 32 pixels: the face of ``tests/fixtures/astronaut.jpg`` (NASA, public domain), columns 160 to 290, rows 60 to 190.
_FACE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0dHx8fExciJCIeJBwe"
    "Hx7/2wBDAQUFBQcGBw4ICA4eFBEUHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh7/wAARCAAgACADASIAAhEB"
    "AxEB/8QAGAAAAwEBAAAAAAAAAAAAAAAABgcIBAX/xAAtEAABAwIFAgYABwAAAAAAAAABAgMEBREABgcSITFBExQiUWGBFTJicZGxwf/EABoBAAEFAQAA"
    "AAAAAAAAAAAAAAIAAQMEBQb/xAAfEQABBAICAwAAAAAAAAAAAAABAAIDEQQhE0EiIzL/2gAMAwEAAhEDEQA/ABWhyGp+aqLTYlm35ilKlr6jakE/4Thj"
    "NaaVl2oLkRHqa64PV6V7N6QeOPs++BjSPTuuZb1LfYrSLxGkLESSi5Sq9rEX6G3bDqi5dFCrHm/xqoyitSVFqTJU4Ei1rgHoD1/c45/ir66W0zY0ljm2"
    "Hn3LkOQ+ikIfSlv80dxJJHcEdTie26g09WJLkpgx5LqrrQpKkqQk2ukAm1uv8YrOdS6jmB+VKj12TFkMvuJU2mxSU2O1JBHS9j82xNOqFDSxqdFiRkGV"
    "IfjeGGmm+VuG9glI/UenxggwIJG10qWf1L0/q9UjUel5ljP1Fx4BtDajdXW4wSJgKbmubpG5paPES+pxSV7vYkX4HFuPf7gTSuq0igapUipyS4mnRZl3"
    "HVeohBum5AHPB7DFspz/AJdZYKKRV6RXo7gu2hmosh9APYpUoX/vFzKb7AaUeLJTaJWenR5EGs1eWiWExm2ipTqnVLU4s9rFI45x09O8qUtplnNMuKl2"
    "sSEr2OuJBLaFE228XFxY/eFrnnOnl2XZ9SbTTKchO8sFxPiOAc2Fja59hfDlyFm3LedKA3VMuTUPMlI3N9FNfBHbCxY7JcU+TLfiF//Z"
)

#: A sound has a thousand samples or more in its last dimension and no more than two dimensions.
_LEAST_SAMPLES = 1000


def face(height: int, width: int | None = None) -> Array:
    """The face, (height, width, 3) uint8 RGB; ``width`` is ``height`` when not given."""
    import cv2

    small = np.asarray(cv2.imdecode(np.frombuffer(_FACE, np.uint8), cv2.IMREAD_COLOR))
    scaled = cv2.resize(small, (width or height, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(scaled[..., ::-1])


def moving_face(count: int, height: int, width: int | None = None) -> Array:
    """The face in ``count`` pictures, one pixel further right and down in each: (count, height, width, 3) uint8 RGB."""
    still = face(height, width)
    return np.stack([np.roll(still, (at, at), axis=(0, 1)) for at in range(count)])


def like(example: Array) -> Array:
    """An input of the shape of ``example``, float32 of mean 0 and deviation about 1; a sound within -1..1.

    Pictures are (N, C, H, W) or, in time, (N, C, T, H, W), with one channel (luma) or three: the face, moved by a pixel in each picture.
    Sounds are (samples,) or (N, samples). What is neither gets fixed noise.
    """
    shape = example.shape
    if len(shape) in (4, 5) and shape[1] in (1, 3) and min(shape[-2:]) > 1:
        return _pictures(shape)
    if len(shape) in (1, 2) and shape[-1] >= _LEAST_SAMPLES:
        return np.ascontiguousarray(np.broadcast_to(_voice(shape[-1]), shape), np.float32)
    return np.random.default_rng(20180904).standard_normal(shape).astype(np.float32)


def _pictures(shape: tuple[int, ...]) -> Array:
    picture = face(*shape[-2:]).astype(np.float32).transpose(2, 0, 1)
    picture = picture if shape[1] == 3 else picture.mean(axis=0, keepdims=True)
    picture = (picture - picture.mean()) / picture.std()
    times = shape[2] if len(shape) == 5 else 1
    moved = [np.roll(picture, (at, at), axis=(1, 2)) for at in range(shape[0] * times)]
    return np.ascontiguousarray(np.stack(moved).reshape(shape[0], times, *picture.shape).swapaxes(1, 2).reshape(shape))


def _voice(samples: int) -> Array:
    """(samples,) at 16 kHz, peak about 0.3: harmonics of 120 Hz, the higher the weaker, in four syllables a second, and faint noise."""
    seconds = np.arange(samples) / 16_000
    harmonics = sum(np.sin(2 * np.pi * 120 * k * seconds + k * k) / k for k in range(1, 30))
    noise = np.random.default_rng(20180904).standard_normal(samples)
    return 0.15 * harmonics * (0.5 - 0.5 * np.cos(2 * np.pi * 4 * seconds)) + 1e-3 * noise
