"""The result video and the marked still: what was submitted at the left, the growing curves at the right.

Where sound was judged its wave form is a strip under the picture; a file of sound has nothing but the wave form there.

Runs inside the media worker. Owns layout, timing, sound and encoding; ``backend.report.plan`` says what is shown. Promises:
one pass; H.264 (yuv420p, MP4 with its index in front) that browsers play; each frame keeps its time stamp; AAC and MP3
sound is copied, other sound becomes AAC; memory does not grow with the clip.
Imported by ``backend.media.worker`` only; needs av, numpy, OpenCV, Pillow.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from PIL import Image

from backend.media.ahead import Ahead, depth_for
from backend.media.canvas import Canvas, Matrix, even
from backend.media.clock import SoundClock
from backend.media.limits import Deadline, MediaLimits
from backend.media.marks import Marks
from backend.media.medium import Orientation, Picture
from backend.media.opening import open_medium
from backend.media.panel import BarPanel, CurvePanel, Rect, TablePanel
from backend.media.sound_file import SoundMedium
from backend.media.soundtrack import Sound
from backend.media.video import VideoMedium, VideoPicture, open_container
from backend.media.wave import Peaks, WaveStrip, peaks_of
from base_detector import Array, WorkerFailure

PLAN_SCHEMA = 4

#: time base of the output: ticks a second, the usual one of MPEG
_TICKS = 90_000
#: more frames a second than this are thinned out: screens show no more
_MOST_FPS = 60
#: sides of the picture: small clips are enlarged so that the words can be read, large ones reduced
_LEAST_HEIGHT, _MOST_HEIGHT, _LONG_HEIGHT = 480, 720, 480
_MOST_WIDTH = 1280
_STILL_HEIGHT, _STILL_WIDTH = 1080, 1600
#: least height of a still with a table beside it
_CROWD_HEIGHT = 900
#: a wave form under a picture: share of its height, and least height; the left side of a file of sound, and its frames a second: a cursor
#: that moves ten times a second follows a voice
_STRIP, _LEAST_STRIP = 0.18, 96
_SOUND_SIZE, _SOUND_FPS = (640, 480), 10
#: clips longer than this get the smaller picture
_LONG_S = 600.0
#: around a picture that does not fill its pane
_SURROUND = (24, 26, 28)
#: AVCOL_SPC_UNSPECIFIED; AVCOL_SPC_BT470BG and _SMPTE170M, both BT.601 (libavutil/pixfmt.h)
_UNTAGGED, _BT601 = 2, (5, 6)
#: half the work of ``superfast`` at crf 21, at the same size and .7 dB closer to what was drawn (measured on 1080p: 150 frames); the
#: deblocking filter is what that preset lacks for the eye
_ENCODER = {"preset": "ultrafast", "crf": "22", "x264-params": "no-deblock=0:deblock=0,0"}
#: AVCOL_SPC_*, AVCOL_PRI_* and AVCOL_TRC_* of the two matrices
_TAGS = {Matrix.BT601: 6, Matrix.BT709: 1}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Layout:
    """Canvas size and the places of picture and panel; all even numbers."""

    width: int
    height: int
    picture: Rect
    panel: Rect
    wave: Rect | None = None


def lay_out(
    size: tuple[int, int],
    *,
    kind: str,
    duration_s: float,
    crowded: bool = False,
    sound: bool = False,
    small: bool = False,
) -> Layout:
    """Place a picture of ``size`` (width, height as shown) left of its panel. Pure. ``crowded``: a table beside a still; ``sound``: a wave
    form under a clip; ``small``: a clip's picture is as that of a long one.

    A file of sound (``kind`` "sound") has its wave form for a picture.
    """
    if kind == "sound":
        size = _SOUND_SIZE
    width, height = max(size[0], 1), max(size[1], 1)
    if kind == "image":
        least, most, widest = _CROWD_HEIGHT if crowded else _LEAST_HEIGHT, _STILL_HEIGHT, _STILL_WIDTH
    else:
        most = _LONG_HEIGHT if small or duration_s > _LONG_S else _MOST_HEIGHT
        least, widest = _LEAST_HEIGHT, _MOST_WIDTH
    factor = min(max(1.0, least / height), most / height, widest / width)
    shown = (max(2, even(width * factor)), max(2, even(height * factor)))
    pane = (max(shown[0], even(least * 0.5)), max(shown[1], least))
    strip = even(max(_STRIP * pane[1], _LEAST_STRIP)) if sound and kind == "video" else 0
    whole = Rect(0, 0, pane[0], pane[1])
    panel = even(max((pane[1] + strip) * 0.92, 460))
    left, top = even((pane[0] - shown[0]) / 2), even((pane[1] - shown[1]) / 2)
    return Layout(
        width=pane[0] + panel,
        height=pane[1] + strip,
        picture=Rect(left, top, left + shown[0], top + shown[1]),
        panel=Rect(pane[0], 0, pane[0] + panel, pane[1] + strip),
        wave=whole if kind == "sound" else Rect(0, pane[1], pane[0], pane[1] + strip) if strip else None,
    )


def render(
    media: Path, plan: Path, out: Path, *, limits: MediaLimits, progress: Progress | None = None
) -> dict[str, Any]:
    """Draw ``plan`` (JSON) over ``media`` into ``out`` (.mp4, or .png for a still).

    Returns ``seconds``, ``frames`` written and what happened to the ``sound`` (``none``, ``kept``, ``aac``, ``lost``).
    Raises WorkerFailure ``bad_request`` for a plan of another schema, ``media_unreadable`` when no picture decodes.
    """
    started = time.perf_counter()
    content = json.loads(plan.read_text(encoding="utf-8"))
    if content.get("schema") != PLAN_SCHEMA:
        raise WorkerFailure("bad_request")
    if content["kind"] == "image":
        made = _still(media, content, out, limits)
    else:
        made = (_sound if content["kind"] == "sound" else _clip)(media, content, out, limits, progress)
    return {"seconds": round(time.perf_counter() - started, 4), **made}


# --------------------------------------------------------------------------- clip


def _clip(
    media: Path, plan: dict[str, Any], out: Path, limits: MediaLimits, progress: Progress | None
) -> dict[str, Any]:
    size = (int(plan["width"]), int(plan["height"]))
    heard = bool(plan["sound"])
    small = bool(plan.get("small"))
    layout = lay_out(size, kind="video", duration_s=float(plan["duration_s"]), sound=heard, small=small)
    deadline = Deadline(limits)
    with open_medium(media, limits=limits) as medium:
        scaler = _Scaler(layout.picture)
        with Ahead(medium.pictures(), prepare=scaler.prepare, depth=depth_for(*size)) as pictures:
            first = next(pictures)  # how pictures are turned and coloured is known once one is decoded
            video = medium if isinstance(medium, VideoMedium) else None
            clock = video.sound_clock() if video else None
            peaks = Peaks()
            if heard and video:
                peaks = peaks_of(media, clock=video.sound_clock(), limits=limits, deadline=deadline)
            reopen = partial(open_container, media)
            with _Film(out, layout, sound=(reopen, clock), fps=_usual_fps(plan), matrix=scaler.matrix) as film:
                written = _draw(chain([first], pictures), plan, layout, scaler, film, peaks, deadline, progress)
                sound = film.finish()
    return {"frames": written, "sound": sound}


def _draw(
    pictures: Iterable[Picture],
    plan: dict[str, Any],
    layout: Layout,
    scaler: _Scaler,
    film: _Film,
    peaks: Peaks,
    deadline: Deadline,
    progress: Progress | None,
) -> int:
    """Draw every picture with its marks beside the growing curves; how many were written."""
    size, total = (int(plan["width"]), int(plan["height"])), int(plan["frames"])
    base, canvas = (Canvas(layout.width, layout.height, planar=True, matrix=scaler.matrix) for _ in range(2))
    base.fill((0, 0, layout.width, layout.height), _SURROUND)
    panel, marks = CurvePanel(plan, layout.panel), Marks(plan, size=size, pane=layout.picture)
    panel.draw_base(base)
    wave = _wave(plan, layout, peaks, marks)
    if wave:
        wave.draw_base(base)
    written, last = 0, 0.0
    for picture in pictures:
        deadline.check()
        fitted = scaler.take(picture)
        panel.advance(base, picture.time_s)
        if written and picture.time_s - last < 1 / (_MOST_FPS * 1.05):
            continue
        canvas.copy_from(base)
        canvas.paste(fitted.planes, fitted.x, fitted.y)
        marks.draw(canvas, picture.index)
        panel.draw_now(canvas, picture.time_s)
        if wave:
            wave.draw_now(canvas, picture.time_s)
        film.write(canvas.array, picture.time_s)
        written, last = written + 1, picture.time_s
        if progress and written % 25 == 0:
            progress(min(picture.index + 1, total), total)
    return written


def _wave(plan: dict[str, Any], layout: Layout, peaks: Peaks, marks: Marks) -> WaveStrip | None:
    """What draws the wave form, None where no sound was judged."""
    if layout.wave is None or not plan["sound"]:
        return None
    return WaveStrip(plan, layout.wave, peaks, unit=layout.height / 26, colour=marks.colour)


def _sound(
    media: Path, plan: dict[str, Any], out: Path, limits: MediaLimits, progress: Progress | None
) -> dict[str, Any]:
    """A film of the wave form and the curves of a file of sound."""
    duration_s = float(plan["duration_s"])
    layout, deadline, peaks = lay_out(_SOUND_SIZE, kind="sound", duration_s=duration_s), Deadline(limits), Peaks()
    with open_medium(media, limits=limits) as medium:
        if not isinstance(medium, SoundMedium):
            raise WorkerFailure("bad_request")
        medium.listen(peaks.take, deadline)
        base, canvas = (Canvas(layout.width, layout.height, planar=True) for _ in range(2))
        base.fill((0, 0, layout.width, layout.height), _SURROUND)
        panel = CurvePanel(plan, layout.panel)
        panel.draw_base(base)
        wave = _wave(plan, layout, peaks, Marks(plan, size=_SOUND_SIZE, pane=layout.picture))
        if wave:
            wave.draw_base(base)
        total = max(1, math.ceil(duration_s * _SOUND_FPS))
        sound = (medium.again, medium.sound_clock())
        with _Film(out, layout, sound=sound, fps=_SOUND_FPS, matrix=Matrix.BT709) as film:
            for number in range(total):
                deadline.check()
                time_s = number / _SOUND_FPS
                panel.advance(base, time_s)
                canvas.copy_from(base)
                panel.draw_now(canvas, time_s)
                if wave:
                    wave.draw_now(canvas, time_s)
                film.write(canvas.array, time_s)
                if progress and number % 25 == 24:
                    progress(number + 1, total)
            state = film.finish()
    return {"frames": total, "sound": state}


def _orientation(picture: Picture) -> Orientation:
    """How the decoded frame is to be turned; pictures of animations are upright."""
    return picture.shape.orientation if isinstance(picture, VideoPicture) else Orientation()


def _usual_fps(plan: dict[str, Any]) -> float:
    """Frames a second of the output, for rate control and the last frame's length only; else time stamps count."""
    fps = int(plan["frames"]) / max(float(plan["duration_s"]), 1e-3)
    return min(float(_MOST_FPS), max(1.0, fps))


@dataclass(frozen=True)
class _Fitted:
    """A picture as the canvas takes it: planes Y, U, V, and where its top left corner goes."""

    planes: list[Array]
    x: int
    y: int


class _Scaler:
    """Brings decoded frames to the size and planes of the canvas, upright; ``prepare`` does it in the decoder's thread.

    A frame of another shape than the pane keeps its shape, in the middle of it.
    """

    def __init__(self, where: Rect) -> None:
        self._where = where
        self._reformat = VideoReformatter().reformat
        self._ready: dict[int, _Fitted] = {}
        self._begun = False

    def prepare(self, picture: Picture) -> None:
        """Scale ``picture`` and keep it for ``take``. The first one decides on the colour matrix."""
        frame = _frame_of(picture)
        if not self._begun:
            self._begun, self.matrix = True, _matrix_of(frame)
        where, orientation = self._where.holding(picture.size), _orientation(picture)
        # sizes are swapped back by the same quarter turn
        size = orientation.size(int(where.width), int(where.height))
        planes = [orientation.upright(plane) for plane in self._planes(frame, size)]
        self._ready[picture.index] = _Fitted(planes, int(where.x1), int(where.y1))

    def take(self, picture: Picture) -> _Fitted:
        """A prepared picture; call it once."""
        return self._ready.pop(picture.index)

    def _planes(self, frame: av.VideoFrame, size: tuple[int, int]) -> list[Array]:
        """Y, U, V as the canvas keeps them, not turned yet."""
        width, height = size
        scaled = frame if self._fits(frame, size) else self._scale(frame, size)
        flat = scaled.to_ndarray().reshape(-1)
        luma, chroma = width * height, width * height // 4
        return [
            flat[:luma].reshape(height, width),
            flat[luma : luma + chroma].reshape(height // 2, width // 2),
            flat[luma + chroma :].reshape(height // 2, width // 2),
        ]

    def _fits(self, frame: av.VideoFrame, size: tuple[int, int]) -> bool:
        """True when the frame has the canvas's size and kind of pixels already."""
        same = (frame.width, frame.height) == size and frame.format.name == "yuv420p"
        return same and _matrix_of(frame) == self.matrix and frame.color_range != ColorRange.JPEG

    def _scale(self, frame: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
        return self._reformat(
            frame,
            width=size[0],
            height=size[1],
            format="yuv420p",
            src_colorspace=_tagged(frame),
            dst_colorspace=Colorspace.ITU709 if self.matrix is Matrix.BT709 else Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BILINEAR,
            threads=2,
        )


def _tagged(frame: av.VideoFrame) -> int | None:
    """The colour matrix of an untagged frame: BT.709 at HD size, BT.601 below, as players do."""
    if frame.colorspace == _UNTAGGED and frame.format.name.startswith("yuv"):
        return int(Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601)
    return None


def _matrix_of(frame: av.VideoFrame) -> Matrix:
    """The matrix the result video takes over from its media; BT.709 for all but BT.601."""
    return Matrix.BT601 if (_tagged(frame) or frame.colorspace) in _BT601 else Matrix.BT709


def _frame_of(picture: Picture) -> av.VideoFrame:
    """The decoder's frame (not turned yet), or one made of an animation's picture (upright)."""
    if isinstance(picture, VideoPicture):
        return picture.frame
    return av.VideoFrame.from_ndarray(picture.rgb(), format="rgb24")


class _Film:
    """The MP4 being written: pictures and, at the same times, the sound of the media."""

    def __init__(
        self,
        out: Path,
        layout: Layout,
        *,
        sound: tuple[Callable[[], Any], SoundClock | None],
        fps: float,
        matrix: Matrix,
    ) -> None:
        self._container = av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"})
        rate = Fraction(fps).limit_denominator(1001)
        options = {**_ENCODER, "g": str(max(1, round(2 * fps)))}
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = layout.width, layout.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        stream.codec_context.color_range = ColorRange.MPEG
        for part in ("colorspace", "color_primaries", "color_trc"):
            setattr(stream.codec_context, part, _TAGS[matrix])
        self._stream, self._step, self._pts = stream, 1 / fps, -1
        self._sound = Sound(sound[0], self._container, clock=sound[1])

    def __enter__(self) -> _Film:
        return self

    def __exit__(self, *_: object) -> None:
        self._sound.close()
        self._container.close()

    def write(self, pixels: Array, time_s: float) -> None:
        """Add I420 ``pixels`` at ``time_s``, and the sound up to there."""
        self._pts = max(self._pts + 1, round(time_s * _TICKS))
        frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
        frame.pts, frame.time_base = self._pts, Fraction(1, _TICKS)
        self._mux(self._stream.encode(frame))
        self._sound.until(time_s)

    def finish(self) -> str:
        """Write what is left; returns what happened to the sound."""
        self._mux(self._stream.encode())
        self._sound.until(self._pts / _TICKS + self._step)
        return self._sound.finish()

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            if not packet.duration:
                packet.duration = round(self._step * _TICKS)
            self._container.mux(packet)


# --------------------------------------------------------------------------- still


def _still(media: Path, plan: dict[str, Any], out: Path, limits: MediaLimits) -> dict[str, Any]:
    size = (int(plan["width"]), int(plan["height"]))
    layout = lay_out(size, kind="image", duration_s=0.0, crowded=bool(plan["table"]))
    where = layout.picture
    with open_medium(media, limits=limits) as medium:
        pixels = next(medium.pictures()).rgb()
    shrinks = pixels.shape[1] > where.width
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    pixels = cv2.resize(pixels, (int(where.width), int(where.height)), interpolation=way)
    canvas = Canvas(layout.width, layout.height, planar=False)
    canvas.fill((0, 0, layout.width, layout.height), _SURROUND)
    canvas.paste(list(np.moveaxis(pixels, 2, 0)), int(where.x1), int(where.y1))
    unnumbered = Marks(plan, size=size, pane=where).draw(canvas, 0)
    if plan["table"]:
        TablePanel(plan, layout.panel).draw(canvas, unnumbered=unnumbered)
    else:
        BarPanel(plan, layout.panel).draw(canvas)
    Image.fromarray(canvas.rgb()).save(out, "PNG", optimize=False)
    return {"frames": 1, "sound": "none"}
