"""Writes the pixels or samples of a small face pack after mild changes, for the stability band: ``vary`` in the media worker.

Owns what ``shared.stability`` names with the maker ``media``. Promises: each variant has exactly the layout of the pack's own file, so
the tables of the pack hold for it, too; only our own encodings of pixels that are decoded already are decoded here. Not imported by other
modules but the worker.

Each face's context crop (each whole picture) is changed alone. H.264 is a clip of that one picture: its key frame, with the quantiser
that x264 gives to pictures between key frames (``ipratio=1``), since those are most of a clip. Prediction from picture to picture, which
blurs motion, is not simulated: crops of a pack are seconds apart. Of sound, all windows of the pack are encoded together.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
import soxr
from PIL import Image

from backend.media.limits import Deadline, MediaLimits
from base_detector import SOUND_RATE, Array, FacePack, WorkerFailure
from shared.stability import BY_NAME, Variant

Progress = Callable[[int, int], None]

#: Samples of sound with no room for an encoder's delay are compared with nothing: as many may be missing at the end of a decoded MP3.
_MOST_MISSING: Final = 2_400


def vary(
    pack: Path,
    out: Path,
    *,
    unit: str,
    variants: Sequence[str],
    limits: MediaLimits,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Write ``<out>/<variant>`` for each of ``variants``, as large as ``crops.bin``, ``pictures.bin`` or ``sound.f32`` of ``pack``.

    Answers ``made``, the names of those that are whole: one that cannot be made does not keep the others from being made.
    WorkerFailure(``bad_request``) for an unknown name or unit, ``media_timed_out`` at the end of the time.
    """
    known = [BY_NAME.get(name) for name in variants]
    if not all(item and item.maker == "media" and unit in item.units for item in known):
        raise WorkerFailure("bad_request")
    whole, deadline, made = FacePack(pack), Deadline(limits), []
    for number, item in enumerate(known):
        assert item is not None
        deadline.check()
        try:
            _write(out / item.name, item, whole, unit=unit, deadline=deadline)
        except WorkerFailure:
            raise
        except Exception:  # the encoder may refuse what a detector judges, such as a picture of one pixel
            traceback.print_exc(file=sys.stderr)
            (out / item.name).unlink(missing_ok=True)
            continue
        made.append(item.name)
        progress(number + 1, len(known))
    return {"made": made}


def _write(target: Path, variant: Variant, pack: FacePack, *, unit: str, deadline: Deadline) -> None:
    with target.open("wb") as stream:
        if unit == "sound":
            stream.write(heard(np.array(pack.sound, np.float32), variant).astype("<f4").tobytes())
            return
        for picture in _pictures(pack, unit=unit):
            deadline.check()
            changed = seen(picture, variant)
            if changed.shape != picture.shape or changed.dtype != np.uint8:
                raise ValueError(f"{variant.name} changed {picture.shape} to {changed.shape}")
            stream.write(np.ascontiguousarray(changed).tobytes())


def _pictures(pack: FacePack, *, unit: str) -> Iterator[Array]:
    """The pixels in the order of their file."""
    count, read = (len(pack.faces), pack.image) if unit == "face" else (len(pack.pictures), pack.picture)
    return (read(index) for index in range(count))


# --------------------------------------------------------------------------- pixels


def seen(picture: Array, variant: Variant) -> Array:
    """``picture`` (H, W, 3) uint8 RGB after the change, of the same size."""
    wanted = variant.parameters
    if "quality" in wanted:
        memory = io.BytesIO()
        Image.fromarray(picture).save(memory, "JPEG", quality=wanted["quality"])
        return np.asarray(Image.open(memory).convert("RGB"))
    if "factor" in wanted:
        height, width = picture.shape[:2]
        small = (max(1, width // wanted["factor"]), max(1, height // wanted["factor"]))
        return cv2.resize(
            cv2.resize(picture, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
        )
    return _through_h264(picture, crf=wanted["crf"])


def _through_h264(picture: Array, *, crf: int) -> Array:
    """Encoded and decoded alone. 4:2:0 needs even sides: the last row or column is doubled, and cut off afterwards."""
    height, width = picture.shape[:2]
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {"crf": str(crf), "preset": "medium", "x264-params": "ipratio=1:rc-lookahead=0:bframes=0"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded = [*(frame for packet in packets for frame in decoder.decode(packet)), *decoder.decode(None)]
    return np.asarray(decoded[0].to_ndarray(format="rgb24"))[:height, :width]


# --------------------------------------------------------------------------- sound


def heard(sound: Array, variant: Variant) -> Array:
    """``sound`` (n,) float32 at SOUND_RATE after the change, as long and at the same place in time."""
    rate = variant.parameters["rate"]
    other = soxr.resample(sound, SOUND_RATE, rate, quality="HQ")
    if "kbit" in variant.parameters:
        other = _through_mp3(np.clip(other, -1, 1), rate=rate, kbit=variant.parameters["kbit"])
    back = soxr.resample(other, rate, SOUND_RATE, quality="HQ")[: len(sound)]
    if len(sound) - len(back) > _MOST_MISSING:
        raise ValueError(f"{variant.name}: {len(sound) - len(back)} of {len(sound)} samples are missing")
    return np.pad(back, (0, len(sound) - len(back))).astype(np.float32)


def _through_mp3(sound: Array, *, rate: int, kbit: int) -> Array:
    """Mono sound (n,) float32 through LAME. Its delay is in the file's header, and the decoder leaves it out."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp3") as container:
        stream: Any = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = kbit * 1000
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        fifo = av.AudioFifo()
        frame = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for part in resampler.resample(frame):
            fifo.write(part)
        while (piece := fifo.read(stream.codec_context.frame_size or 1152, partial=True)) is not None:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory, "r", format="mp3") as written:
        pieces = [_samples(frame) for frame in written.decode(audio=0)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _samples(frame: Any) -> Array:
    """The samples of a decoded mono frame, (n,) float32 from -1 to 1."""
    raw = frame.to_ndarray().reshape(-1)
    return np.asarray(raw / 32768 if raw.dtype == np.int16 else raw, np.float32)
