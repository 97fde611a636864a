"""Videos, decoded once with PyAV in software: which pictures there are, and each of them upright.

Owns what FFmpeg is allowed to open. Promises: one file only; no playlists; times from presentation time stamps; damaged
pictures are skipped or marked, never guessed. May be imported by ``backend.media.opening``.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from backend.media.clock import Habits, SoundClock, Stamps, TimeLine, time_line
from backend.media.damage import DecodeWatch, Stretches, Watched
from backend.media.limits import MediaLimits
from backend.media.medium import Orientation
from backend.media.shape import Shape, Shapes, believed_aspect, same_shape, squared
from backend.media.streams import choose_stream, picture_notes
from base_detector import Array, WorkerFailure
from shared.findings import DecodedMedia, Note

#: Demuxers that read one file and refer to no other. Playlists and lists of files (hls, dash, concat, sdp, image2) are left out.
FORMATS = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "ogg")
_OPTIONS = {
    "protocol_whitelist": "file",
    "max_streams": "64",
    "enable_drefs": "0",  # mov: no references to other files (other demuxers ignore it)
}
#: Containers whose clock may start anew within a file (FFmpeg's AVFMT_TS_DISCONT).
_RESTARTING = {"mpegts", "mpeg", "ogg"}
#: Decoding threads: measured best on two cores, and frame threads hold one picture each.
_THREADS = 2
#: Longer side of the pictures the shot detector sees; PySceneDetect itself shrinks to about this.
_THUMB = 256
#: A container's rate above this many times the real one is its clock's (browsers' recorders say 1000 a second, DV 60000).
_MOST_ABOVE = 1.5
#: A stream that fails to decode this many packets in a row is given up.
_MOST_FAILURES = 1000


def open_container(path: Path, *, format: str | None = None, parse: bool = True) -> Any:
    """The only way FFmpeg opens a submitted file: with a demuxer of ``FORMATS``, or with that of ``format``; else av.error.FFmpegError.

    ``parse=False``: packets as the container holds them, not cut at pictures.
    """
    options = {"format_whitelist": format or ",".join(FORMATS), **_OPTIONS}
    if not parse:
        options["fflags"] = "+".join((options.get("fflags", ""), "noparse"))
    # with "file:", a name such as "concat:..." stays a file name
    return av.open(f"file:{path}", format=format, container_options=options, metadata_errors="replace")


def demuxed(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of ``stream``. Those that FFmpeg marks to be dropped because the fragments of an MP4 begin anew are kept.

    That is what joined downloads look like, and half of the clip would be missing. What an edit list cuts away stays marked.
    """
    highest = -math.inf
    for packet in container.demux(stream):
        dts = packet.dts if packet.size and packet.dts is not None else -math.inf
        if packet.is_discard and -math.inf < dts <= highest:
            kept = av.Packet(bytes(packet))
            kept.pts, kept.dts, kept.duration, kept.time_base = (
                packet.pts,
                packet.dts,
                packet.duration,
                packet.time_base,
            )
            kept.stream, kept.is_keyframe = packet.stream, packet.is_keyframe
            packet = kept
        highest = max(highest, dts)
        yield packet


class Converter:
    """Converts decoded frames to arrays, those of all threads one after the other.

    One for many frames: each call of a frame's own ``to_ndarray`` sets up FFmpeg's scaler anew, with threads of its own that live as
    long as the frame (4.4 ms of processor time for 1080p, of which 1.1 convert).
    """

    def __init__(self) -> None:
        self._reformatter, self._one_at_a_time = VideoReformatter(), threading.Lock()

    def convert(self, frame: VideoFrame, *, size: tuple[int, int], format: str, interpolation: str) -> Array:
        """``frame`` as (height, width, 3) uint8 of ``size`` (width, height); ``format``: FFmpeg's name of a packed one."""
        with self._one_at_a_time:
            made = self._reformatter.reformat(
                frame, width=size[0], height=size[1], format=format, interpolation=interpolation, threads=1
            )
        array: Array = made.to_ndarray()
        return array


def first_packet_torn(path: Path, *, stream: int) -> bool:
    """True when bytes are missing in the first packet of stream number ``stream`` of an MPEG transport stream.

    FFmpeg marks a packet with missing bytes, and its parser hands that mark to the picture before; before the first one there is none.
    """
    with contextlib.suppress(av.error.FFmpegError), open_container(path, parse=False) as container:
        for packet in container.demux(container.streams[stream]):
            return bool(packet.is_corrupt)
    return False


class VideoPicture:
    """One decoded frame, converted on demand and once."""

    def __init__(
        self, frame: VideoFrame, *, index: int, time_s: float, shape: Shape, medium: VideoMedium, damaged: bool
    ) -> None:
        self.frame, self.shape, self._medium = frame, shape, medium
        self._rgb: Array | None = None
        self._thumb: Array | None = None
        self.index, self.time_s = index, time_s
        self.damaged = damaged

    @property
    def size(self) -> tuple[int, int]:
        """See ``medium.Picture``."""
        return self.shape.shown

    def rgb(self) -> Array:
        """See ``medium.Picture``."""
        if self._rgb is None:
            self._rgb = self._medium.rgb(self)
        return self._rgb

    def thumb(self) -> Array:
        """See ``medium.Picture``."""
        if self._thumb is None:
            self._thumb = self._medium.thumb(self)
        return self._thumb


class VideoMedium:
    """A video file. A context manager; see ``medium.Medium``."""

    def __init__(self, path: Path, *, limits: MediaLimits) -> None:
        self._limits = limits
        self.notes: list[Note] = []
        self._orientation = Orientation()
        self._shapes = Shapes()
        self._decoded, self._last_s, self._zero_s = 0, 0.0, 0.0
        self._path = path
        self._watch: DecodeWatch | None = None
        self._container = self._open()
        try:
            self._stream = self._picture_stream()
            limits.check_pixels(int(self._stream.width), int(self._stream.height))
            self._keys: list[int] = []
            self._aspects = [(0, self._stream.sample_aspect_ratio)]
            # a container that disagrees with its codec is right all along, as in FFmpeg's av_guess_sample_aspect_ratio
            self._aspect_may_change = self._aspects[0][1] == self._stream.codec_context.sample_aspect_ratio
            self._first = self._shape((int(self._stream.width), int(self._stream.height)), self._aspects[0][1])
            self._numbers: list[int] = []
            self._line = self._index()
            self.times = self._line.times
            self._packet_of = {number: packet for packet, number in enumerate(self._numbers)}
            self._place_of = self._line.follow()
            self._rewind()
        except BaseException:
            self._container.close()
            raise
        self._full, self._small = Converter(), Converter()

    def __enter__(self) -> VideoMedium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.close()
        self._container.close()

    def facts(self) -> DecodedMedia:
        """See ``medium.Medium``. ``duration_s`` reaches to the end of the last decoded picture."""
        rate = round(1 / self._line.step_s, 3) if self._line.moved.any() else self._shown_rate()
        usual = self._shapes.usual() if self._decoded else self._first
        return DecodedMedia(
            kind="video",
            width=usual.shown[0],
            height=usual.shown[1],
            fps=rate,
            duration_s=self._last_s + self._last_step(rate) if self._decoded else 0.0,
            frames=self._decoded,
            codec=self._stream.codec_context.name,
            container=self._container.format.name,
            rotation=usual.orientation.degrees,
            has_audio=bool(self._container.streams.audio),
            sizes=self._shapes.sizes(),
        )

    def pictures(self) -> Iterator[VideoPicture]:
        """See ``medium.Medium``."""
        stretches = Stretches()
        for seen in self._frames():
            frame = seen.frame
            self._limits.check_pixels(frame.width, frame.height)
            self._last_s = self._time_of(frame)
            stretches.add(self._last_s, seen)
            shape = self._shape_of(frame)
            picture = VideoPicture(
                frame, index=self._decoded, time_s=self._last_s, shape=shape, medium=self, damaged=not seen.whole
            )
            if not self._decoded:
                self._first = shape
                self.notes += [*self._track_notes, *picture_notes(self._stream, frame)]
            self._shapes.count(self._decoded, shape)
            self._decoded += 1
            self._limits.check_length(self._decoded, self._last_s)
            yield picture
        if not self._decoded:
            raise WorkerFailure("media_unreadable")
        known = any(note.code == "clip_cut_off" for note in self.notes)  # by the file's own headers, with its share
        if self._watch is not None and self._watch.cut_off and not known:
            self.notes.append(Note("clip_cut_off"))
        lost = self._watch is not None and self._watch.lost_at_end
        until_s = float(self.times[-1]) - self._zero_s + self._line.step_s if lost else None
        self.notes += stretches.notes(end_s=self.facts().duration_s, lost_until_s=until_s)
        if self._shapes.sizes():
            self.notes.append(Note("size_changes"))
        if self._shapes.aspect() != 1:
            self.notes.append(Note("pixels_not_square", value=float(self._shapes.aspect())))

    def pass_over(self) -> None:
        """Leave the pictures after those decoded so far: how many there are, and until when, is known from the packets."""
        self._decoded, self._last_s = len(self.times), max(0.0, float(self.times[-1]) - self._zero_s)

    def whole(self, box: Array) -> bool:
        """See ``medium.Medium``: pictures of videos are whole, or marked as damaged."""
        return True

    def sound_clock(self) -> SoundClock:
        """What turns the stamps of the sound into times of the pictures; ask after the first picture."""
        return SoundClock(self._line.pieces, zero_s=self._zero_s)

    def rgb(self, picture: VideoPicture) -> Array:
        """``picture`` upright with square pixels, in full size: (H, W, 3) uint8 RGB, C-contiguous."""
        image = self._full.convert(picture.frame, size=picture.shape.square, format="rgb24", interpolation="BICUBIC")
        return np.ascontiguousarray(picture.shape.orientation.upright(image))

    def thumb(self, picture: VideoPicture) -> Array:
        """``picture`` upright and subsampled to ``_THUMB`` pixels, all in the shape of the first one: (h, w, 3) uint8 BGR.

        One of another shape fills it and is cut: what is in the middle is compared, undistorted.
        """
        scale = _THUMB / max(self._first.shown)
        target = tuple(max(2, round(side * scale)) for side in self._first.shown)
        size, shown = target, picture.size
        if not same_shape(shown, self._first.shown):
            factor = max(target[0] / shown[0], target[1] / shown[1])
            size = tuple(max(least, round(side * factor)) for side, least in zip(shown, target, strict=True))
        orientation = picture.shape.orientation
        stored = orientation.size(size[0], size[1])
        small = self._small.convert(picture.frame, size=stored, format="bgr24", interpolation="POINT")
        upright = orientation.upright(small)
        left, top = (size[0] - target[0]) // 2, (size[1] - target[1]) // 2
        array: Array = upright[top : top + target[1], left : left + target[0]]
        return array

    # -- inside

    def _open(self) -> Any:
        try:
            return open_container(self._path)
        except av.error.FFmpegError as error:
            # The white list answers "invalid argument"; bytes no demuxer knows, and broken headers, "invalid data".
            refused = isinstance(error, av.error.ArgumentError) or not _looks_like_video(self._path)
            raise WorkerFailure("unsupported_media" if refused else "media_unreadable") from None

    def _picture_stream(self) -> Any:
        """The stream to judge; its decoder, ready."""
        stream, self._track_notes = choose_stream(self._container)
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.thread_count = _THREADS
        stream.codec_context.copy_opaque = True
        # the decoder refuses a larger picture before it reserves memory for it
        stream.codec_context.options = {"max_pixels": str(self._limits.max_pixels)}
        return stream

    def _index(self) -> TimeLine:
        """Read the packets without decoding: when their pictures are shown."""
        rows: list[tuple[float, float, bool]] = []
        base = float(self._stream.time_base)
        count = 0
        try:
            for packet in demuxed(self._container, self._stream):
                if packet.size:
                    count += 1
                    if not packet.is_discard:
                        self._numbers.append(count - 1)
                        pts, dts = (math.nan if time is None else time * base for time in (packet.pts, packet.dts))
                        rows.append((pts, dts, packet.is_keyframe))
                if len(rows) > self._limits.max_frames:
                    raise WorkerFailure("media_too_long")
        except av.error.FFmpegError:
            pass  # truncated: the packets before are kept
        if not rows:
            raise WorkerFailure("video_unfinished")
        names = set(self._container.format.name.split(","))
        decoder = self._stream.codec_context
        habits = Habits(
            step_s=1 / (self._rate() or 25.0),
            reorders=bool(decoder.has_b_frames),
            restarts=bool(names & _RESTARTING),
            unordered="avi" in names,
            guessed=bool(names & {"matroska", "ogg"}),
            sound=self._sound_stamps,
        )
        stamps = Stamps(*(np.array(column) for column in zip(*rows, strict=True)))
        line = time_line(stamps, habits, depth=decoder.reorder_depth)
        self._limits.check_length(len(line.times), float(line.times[-1]))
        return line

    def _sound_stamps(self) -> Array:
        """Stamps of the sound in seconds, in the order of the file: read only where a step of the pictures is in doubt."""
        stamps: list[float] = []
        with contextlib.suppress(av.error.FFmpegError), open_container(self._path) as container:
            for packet in container.demux(container.streams.audio[0]) if container.streams.audio else ():
                if packet.size and packet.pts is not None:
                    stamps.append(float(packet.pts * packet.time_base))
        return np.array(stamps)

    def _rewind(self) -> None:
        """Reopen: seeking to the start is not exact in every container."""
        self._container.close()
        self._container = self._open()
        self._stream = self._picture_stream()

    def _frames(self) -> Iterator[Watched]:
        """Decoded frames, and which of them are whole; damaged packets and ends are skipped."""
        self._watch = DecodeWatch(self._stream, container=self._container.format.name)
        if "mpegts" in self._container.format.name and first_packet_torn(self._path, stream=self._stream.index):
            self._watch.begins_torn()
        packets = demuxed(self._container, self._stream)
        count = 0
        while self._watch.failures <= _MOST_FAILURES:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                break
            if packet.size and packet.is_keyframe:
                self._keys.append(count)
            count += bool(packet.size)
            pictures = self._watch.decode(packet)
            self._look_at_aspect(self._watch.decoded)
            yield from pictures
        yield from self._watch.finish()

    def _shape_of(self, frame: VideoFrame) -> Shape:
        """The shape of a frame: its own size, the ratio that held when its packet was read, its own display matrix."""
        # not frame.side_data: the frame would keep that, and be kept by it, until Python's collector runs
        matrix = cast(Any, SideDataContainer)(frame).get("DISPLAYMATRIX")
        if matrix is not None:  # a frame without one is turned like the one before
            self._orientation = Orientation.from_display_matrix(bytes(cast(Any, matrix)))
        number = frame.opaque[0] if isinstance(frame.opaque, tuple) else self._aspects[-1][0]
        aspect = next((aspect for start, aspect in reversed(self._aspects) if start <= number), self._aspects[0][1])
        return self._shape((int(frame.width), int(frame.height)), aspect)

    def _shape(self, stored: tuple[int, int], aspect: Fraction | None) -> Shape:
        believed = believed_aspect(stored, aspect)
        square = squared(stored, believed, max_pixels=self._limits.max_pixels)
        return Shape(stored, believed, square, self._orientation)

    def _look_at_aspect(self, packet: int) -> None:
        """Notice, after ``packet`` was decoded, that the codec's ratio of pixels changed: it holds from the last key frame on."""
        aspect = self._stream.codec_context.sample_aspect_ratio
        if self._aspect_may_change and aspect != self._aspects[-1][1]:
            # frames of packets before the key frame may be given later: decoders reorder
            self._aspects.append((next((key for key in reversed(self._keys) if key <= packet), 0), aspect))

    def _time_of(self, frame: VideoFrame) -> float:
        """Seconds since the first picture, on the time line; a picture of unknown packet comes one step after the one before."""
        packet = self._packet_of.get(frame.opaque[0]) if isinstance(frame.opaque, tuple) else None
        if packet is None:
            return self._last_s + self._line.step_s if self._decoded else 0.0
        place = self._place_of(packet)
        note = Note("clock_repaired")
        if self._line.moved[place] and note not in self.notes:
            self.notes.append(note)
        if not self._decoded:
            self._zero_s = float(self._line.times[place])
        return max(self._last_s, float(self._line.times[place]) - self._zero_s)

    def _last_step(self, rate: float | None) -> float:
        """How long the last picture is shown: a usual step, which the mean ``rate`` of a clip with long pauses does not tell."""
        step = self._line.step_s
        return 1 / rate if rate and 1 / rate < 1.5 * step else step

    def _shown_rate(self) -> float | None:
        """The container's rate; where pictures come far more slowly (it named its clock's), as many a second as there are."""
        rate, seconds = self._rate(), float(self._line.times[-1])
        mean = (len(self._line.times) - 1) / seconds if seconds else 0.0
        invented = rate and mean and rate > _MOST_ABOVE * max(mean, 1 / self._line.step_s)
        return round(mean, 3) if invented else rate

    def _rate(self) -> float | None:
        """Pictures a second as the container says, None when it does not."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else None


def _looks_like_video(path: Path) -> bool:
    """True for the signatures of the accepted containers, so that a broken file is reported as broken, not as unknown."""
    with path.open("rb") as stream:
        head = stream.read(16)
    boxes = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    return (
        head[4:8] in boxes
        or head.startswith((b"\x1a\x45\xdf\xa3", b"FLV", b"OggS", b"\x00\x00\x01\xba", b"G"))
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
    )
