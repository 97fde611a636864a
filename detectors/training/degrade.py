"""What happens to whole pictures between camera and viewer: tones, blur, rescaling, noise, JPEG, H.264. It never tells real from fake.

Owns: global processing, done to real faces and to blends alike, so that it is not a cue.
Promises: the same generator state gives the same pixels. Faces are encoded many at a time, as one picture of tiles: an encoder's
start costs more than a face.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, cast

import av
import cv2
import numpy as np

from base_detector import Array


def process(face: Array, *, rng: np.random.Generator) -> Array:
    """Zero to three global steps on one face: (P, P) float32 luma 0..255, not clipped, to the same."""
    side = face.shape[0]
    if rng.random() < 0.3:
        return face
    if rng.random() < 0.4:
        mean = float(face.mean())
        face = (face - mean) * np.float32(rng.uniform(0.75, 1.25)) + np.float32(mean + rng.normal(0, 12))
    kind = rng.random()
    if kind < 0.25:
        small = round(side * rng.uniform(0.45, 0.95))
        down = cv2.resize(
            face, (small, small), interpolation=cv2.INTER_AREA if rng.random() < 0.6 else cv2.INTER_LINEAR
        )
        face = cv2.resize(down, (side, side), interpolation=cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR)
    elif kind < 0.4:
        face = cv2.GaussianBlur(face, (0, 0), side / 128 * rng.uniform(0.4, 1.5))
    elif kind < 0.6:
        blurred = cv2.GaussianBlur(face, (0, 0), side / 128 * rng.uniform(0.8, 2.0))
        face = face + (face - blurred) * np.float32(rng.uniform(0.3, 1.2))
    if rng.random() < 0.3:
        noise = rng.standard_normal(face.shape, dtype=np.float32)
        face = face + noise * np.float32(rng.uniform(0.5, 6))
    return face


def encode(tiles: Array, *, rng: np.random.Generator, always: bool = False) -> Array:
    """Send tiles ((N, P, P) uint8) through a codec drawn at random: a fifth stay (unless ``always``), a quarter JPEG, the rest H.264.

    This is the mixture of the held-out measure; it stays as it is, so that figures of different runs can be compared.
    """
    kind = rng.random()
    if kind < 0.22 and not always:
        return tiles
    if kind < 0.45:
        return through_jpeg(tiles, quality=int(rng.integers(45, 96)), offset=int(rng.integers(0, 8)))
    crf, moving = int(rng.integers(18, 35)), bool(rng.random() < 0.5)
    return through_h264(tiles, crf=crf, moving=moving, offset=int(rng.integers(0, 16)))


@dataclass(frozen=True)
class Mixture:
    """How often each codec is drawn, and how strong it is: shares of ``kept`` and ``jpeg`` pictures, the last tenth or so MPEG-4, the rest
    H.264; JPEG quality and MPEG-4 scale from .. below, CRF by a triangle (lowest, likeliest, highest); share of predicted H.264 frames.
    """

    kept: float
    jpeg: float
    mpeg4: float
    quality: tuple[int, int]
    crf: tuple[int, int, int]
    scale: tuple[int, int]
    moving: float


#: What a net is trained on at first: stronger compression than ``encode``, and MPEG-4 Part 2 as older clips have it.
ALL_RATES = Mixture(kept=0.1, jpeg=0.3, mpeg4=0.1, quality=(35, 96), crf=(18, 32, 37), scale=(2, 13), moving=0.6)
#: The mixture of the robust run: what large sites and messengers leave of a clip.
STRONG = Mixture(kept=0.05, jpeg=0.2, mpeg4=0.05, quality=(40, 86), crf=(24, 33, 37), scale=(4, 13), moving=0.65)
#: The mixture of the taught run: low rates nearly throughout.
LOW_RATES = Mixture(kept=0.02, jpeg=0.12, mpeg4=0.03, quality=(40, 71), crf=(29, 33, 37), scale=(5, 13), moving=0.8)


def encode_mixed(tiles: Array, mixture: Mixture, *, rng: np.random.Generator) -> Array:
    """Send tiles ((N, P, P) uint8) through one codec of the mixture."""
    kind, offset = rng.random(), int(rng.integers(0, 16))
    if kind < mixture.kept:
        return tiles
    if kind < mixture.kept + mixture.jpeg:
        return through_jpeg(tiles, quality=int(rng.integers(*mixture.quality)), offset=offset)
    if kind < 1 - mixture.mpeg4:
        crf = round(rng.triangular(*mixture.crf))
        return through_h264(tiles, crf=crf, moving=bool(rng.random() < mixture.moving), offset=offset)
    return through_mpeg4(tiles, scale=int(rng.integers(*mixture.scale)), moving=bool(rng.random() < 0.6), offset=offset)


def encode_lightly(tiles: Array, *, rng: np.random.Generator) -> Array:
    """A first generation: what a camera or a site did to the clip before anybody manipulated it."""
    offset = int(rng.integers(0, 16))
    if rng.random() < 0.35:
        return through_jpeg(tiles, quality=int(rng.integers(60, 96)), offset=offset)
    return through_h264(tiles, crf=int(rng.integers(16, 29)), moving=bool(rng.random() < 0.5), offset=offset)


def through_jpeg(tiles: Array, *, quality: int, offset: int = 0) -> Array:
    """JPEG of all tiles as one picture; ``offset`` moves its 8x8 grid against the tiles."""
    picture = np.roll(_joined(tiles), (offset, offset), (0, 1))
    return _split(np.roll(jpeg_and_back(picture, quality=quality), (-offset, -offset), (0, 1)), tiles)


def jpeg_and_back(picture: Array, *, quality: int) -> Array:
    """A picture, (h, w) or (h, w, 3) BGR uint8, after one JPEG compression: the same shape and order of channels."""
    written = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(written, cv2.IMREAD_UNCHANGED))


def through_h264(tiles: Array, *, crf: int, moving: bool = False, offset: int = 0) -> Array:
    """x264 of all tiles as one frame; ``moving`` puts a shifted frame before it, so that it is predicted (a P frame).

    Without it the frame is coded alone, as the first of a clip is.
    """
    options = {"crf": str(crf), "preset": "superfast", "bf": "0", "rc-lookahead": "0", "x264-params": "log-level=none"}
    return _through_video(tiles, ("libx264", "h264", "gray"), options, moving=moving, offset=offset)


def through_mpeg4(tiles: Array, *, scale: int, moving: bool = False, offset: int = 0) -> Array:
    """MPEG-4 Part 2 of all tiles as one frame with quantiser ``scale`` (1 finest .. 31), as ``through_h264``."""
    options = {"qmin": str(scale), "qmax": str(scale)}
    return _through_video(tiles, ("mpeg4", "mpeg4", "yuv420p"), options, moving=moving, offset=offset)


def _through_video(
    tiles: Array, codec: tuple[str, str, str], options: dict[str, str], *, moving: bool, offset: int
) -> Array:
    picture = np.roll(_joined(tiles), (offset, offset), (0, 1))
    height, width = picture.shape
    if height % 2 or width % 2:
        picture = np.pad(picture, ((0, height % 2), (0, width % 2)), mode="edge")
    frames = [np.roll(picture, (1, 2), (0, 1)), picture] if moving else [picture]
    encoder, decoder, layout = codec
    decoded = _decoded(_encoded(frames, encoder, layout, options), decoder)[-1]
    return _split(np.roll(decoded[:height, :width], (-offset, -offset), (0, 1)), tiles)


def _encoded(frames: list[Array], codec: str, layout: str, options: dict[str, str]) -> list[Any]:
    height, width = frames[0].shape
    encoder = _video_codec(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, layout, Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = options
    packets: list[Any] = []
    for index, frame in enumerate(frames):
        video = av.VideoFrame(width, height, layout)
        for number, plane in enumerate(video.planes):  # plane by plane: a conversion would change the range of the luma
            rows = np.full((plane.height, plane.line_size), 128, np.uint8)
            if number == 0:
                rows[:, :width] = frame
            plane.update(rows.tobytes())
        video.pts = index
        packets += encoder.encode(video)
    return packets + encoder.encode(None)


def _video_codec(name: str, mode: Literal["r", "w"]) -> av.VideoCodecContext:
    return cast(av.VideoCodecContext, av.CodecContext.create(name, mode))


def _decoded(packets: list[Any], codec: str) -> list[Array]:
    decoder = _video_codec(codec, "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    return [_luma(frame) for frame in frames]


def _luma(frame: av.VideoFrame) -> Array:
    """The first plane as it is: a conversion would stretch it from video range to full range."""
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _grid(count: int) -> tuple[int, int]:
    columns = int(np.ceil(np.sqrt(count)))
    return -(-count // columns), columns


def _joined(tiles: Array) -> Array:
    rows, columns = _grid(len(tiles))
    side = tiles.shape[1]
    full = np.zeros((rows * columns, side, side), np.uint8)
    full[: len(tiles)] = tiles
    return full.reshape(rows, columns, side, side).swapaxes(1, 2).reshape(rows * side, columns * side)


def _split(picture: Array, tiles: Array) -> Array:
    rows, columns = _grid(len(tiles))
    side = tiles.shape[1]
    return picture.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)[: len(tiles)]
