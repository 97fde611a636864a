"""Damaged stretches: which decoded pictures are whole, and from when to when a clip is not.

Most pictures of a video are stored as changes of the ones before, so damage spreads until the next picture that is stored whole. Owns
the signs of damage, how far it spreads, and the notes about it. Promises: a picture is called whole only if no sign was seen in its own
packet or in one that it may depend on; doubt counts as damage. May be imported by ``backend.media.video``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
from av.video.frame import PictureType, VideoFrame

from backend.media.decoder_log import ERROR, INFO, DecoderLog, Line
from backend.media.slices import SliceReader
from shared.findings import Note

#: AV_CODEC_CAP_FRAME_THREADS, AV_CODEC_CAP_OTHER_THREADS (libavcodec/codec.h): the decoder works on several packets at once.
_FRAME_THREADS, _OTHER_THREADS = 1 << 12, 1 << 15
#: AV_CODEC_PROP_REORDER (libavcodec/codec_desc.h): pictures are shown in another order than they are decoded in.
_REORDERS = 1 << 3
#: H.264 and HEVC keep at most 16 pictures for reference, so a picture is shown at most 16 packets late.
_MOST_HELD = 16
#: Codecs whose decoder does not mark a damaged picture but writes an error. H.264 and the MPEG family mark theirs, and their errors
#: may be about parts that no picture depends on.
_SPEAKING = frozenset({"hevc", "mjpeg", "vp9", "dnxhd"})
#: What the decoders of H.264 and the MPEG family write about each picture that they mended. The mark on the picture itself comes too
#: late when two threads decode and the later one hands it out.
_MENDED = "concealing"
#: Errors of the speaking decoders that are not about the picture but about data beside it.
_BESIDE = ("SEI", "APP", "ICC", "VUI")
#: Codecs in which no picture depends on a B picture.
_B_ALONE = frozenset({"mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3"})
#: Zeros in a row that no encoder writes: the bytes were lost. H.264 and HEVC never have three but before a start code or at the end of a
#: unit (7.4.1 of both); the arithmetic coder of VP8 and VP9 never writes so many.
_ZEROS, _ZEROS_AT_END, _ZEROS_OF_VP = bytes(8), 16, bytes(64)
_NO_ZERO = re.compile(rb"[^\x00]")
#: Codecs whose decoder begins with a picture that needs others, on grey, without a word.
_BEGINS_GREY = frozenset({"mpeg4", "h263", "flv1", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2"})
#: MPEG-TS counts its packets. The flag of a gap comes up to one picture early; so many packets are looked at ahead.
_TS, _AHEAD = "mpegts", 2
#: Where recordings are joined the clock jumps by more than this; where packets are lost it does not.
_JOINT_S = 1.0
#: What the demuxer of MP4 writes when the file ends before the stream does.
_CUT_OFF = ("partial file",)
#: Stretches closer than this are one for a reader.
_MERGE_S = 0.2
#: Most stretches that are named; the others are counted.
_MOST_NAMED = 20


class Watched(NamedTuple):
    """A decoded ``frame``; ``whole``: may be judged; ``after_loss``: pictures before it are missing."""

    frame: VideoFrame
    whole: bool
    after_loss: bool


class DecodeWatch:
    """Decodes one video stream packet by packet, and says of each picture whether it is whole.

    To be made before the stream's first packet is decoded, its decoder set to ``copy_opaque``; to be closed before its container.
    ``frame.opaque`` of each picture is (number of its packet,), counted from 0 in the order of the file.
    """

    def __init__(self, stream: Any, *, container: str) -> None:
        context = self._context = stream.codec_context
        self._codec, self._demuxers = stream.codec.canonical_name, {container, *container.split(",")}
        capabilities = int(context.codec.capabilities)
        # how many packets the decoder may still be working on when it takes the next one
        self._delay = int(context.thread_count or 1) - 1 if capabilities & _FRAME_THREADS else 0
        self._own_threads = bool(capabilities & _OTHER_THREADS)
        self._reorders = bool(int(context.codec.properties) & _REORDERS)
        prefixed = self._codec in ("h264", "hevc") and (context.extradata or b"")[:1] == b"\x01"
        self._prefixed = prefixed
        self._slices = SliceReader(context.extradata) if self._codec == "h264" else None
        self._log = DecoderLog(level=INFO)
        self._end = av.Packet()  # empty: the decoder gives what it holds
        self._end.time_base = stream.time_base
        self._read = self._decoding = 0
        self._queue: deque[tuple[int, Any]] = deque()
        self._open: set[int] = set()  # packets without a picture so far
        self._keys: dict[int, Any] = {}  # packets of pictures stored whole
        self._unkept: set[int] = set()  # packets that no other picture depends on
        self._held: deque[tuple[int, VideoFrame]] = deque()
        self._signs: dict[int, bool] = {}  # packet -> damage spreads from it
        self._named: list[set[int]] = []  # packets that a line may be about: one of each set is damaged
        self._begun, self._whole_from = False, 0
        self._missing: list[int] = []
        self.failures, self.cut_off = 0, False

    @property
    def lost_at_end(self) -> bool:
        """True when the last packets failed and no picture came after them."""
        return bool(self._missing)

    @property
    def decoded(self) -> int:
        """Number of the packet that was decoded last."""
        return self._decoding

    def begins_torn(self) -> None:
        """Bytes are missing in the stream's first packet."""
        self._sign(0)

    def decode(self, packet: Any) -> list[Watched]:
        """Decode the next packet of the stream; the pictures that are ready, in order.

        ``failures`` counts the packets that failed since the last picture; nothing is raised for them.
        """
        if not packet.size:  # AVI: the picture before stays; the decoder would take it for the end
            return []
        number = self._read
        self._read += 1
        self._hear_demuxer(number, packet)
        self._queue.append((number, packet))
        ahead = _AHEAD if _TS in self._demuxers else int(packet.is_corrupt)
        while len(self._queue) > ahead:
            self._decode(*self._queue.popleft())
        return list(self._ready(everything=False))

    def finish(self) -> list[Watched]:
        """The pictures that the decoder still holds, after the last packet."""
        self._hear_demuxer(self._read, None)
        if self._queue and self._queue[-1][1].is_corrupt and _TS not in self._demuxers:
            # half a packet at the end of a file: its error would make PyAV drop the pictures that the decoder still holds
            self._missing.append(self._queue.pop()[0])
        while self._queue:
            self._decode(*self._queue.popleft())
        self._decode(self._read, self._end)
        return list(self._ready(everything=True))

    def close(self) -> None:
        """Stop listening to FFmpeg."""
        self._log.close()

    # -- signs

    def _hear_demuxer(self, number: int, packet: Any) -> None:
        """Lines that the demuxer wrote before ``packet`` (None: at the end), or a decoding thread late."""
        for line in self._log.take():
            if line.source not in self._demuxers:
                self._heard(line)
                continue
            self.cut_off |= any(words in line.text for words in _CUT_OFF)
            if line.level <= ERROR and number and packet is not None and not packet.is_keyframe:
                self._sign(number)  # a part of the file could not be read

    def _decode(self, number: int, packet: Any) -> None:
        self._decoding = number
        if packet.size:
            self._look_at(number, packet)
        frames: list[VideoFrame] = []
        try:
            frames = packet.decode() if packet.size else self._context.decode(packet)
        except av.error.FFmpegError:
            self._failed(number)
        for line in self._log.take():
            self._heard(line)
        for frame in frames:
            self._arrived(frame, number)

    def _look_at(self, number: int, packet: Any) -> None:
        """The signs that a packet itself carries."""
        data = bytes(packet)
        packet.opaque = (number,)  # comes back with its picture; a new object, because PyAV knows it by its address
        self._open.add(number)
        if packet.is_keyframe:
            self._keys = {each: kept for each, kept in self._keys.items() if each >= number - self._delay}
            self._keys[number] = packet
        if self._slices is not None:
            found = self._slices.read(data)
            if found is not None and not found.kept:
                self._unkept.add(number)
            if found is not None and not self._slices.follows(found):
                self._sign(number)
        if packet.is_corrupt and not self._joint(
            packet
        ):  # of H.264, too: bytes missing inside a slice may decode without an error
            self._sign(number)
            if _TS in self._demuxers:
                self._sign(number + 1)
        if lost_bytes(data, codec=self._codec, prefixed=self._prefixed):
            self._sign(number)

    def _joint(self, packet: Any) -> bool:
        """True where two whole recordings were joined: the clock jumps, and the second one begins with a picture stored whole."""
        before = packet
        for _, after in self._queue:
            if after.size and after.is_keyframe and _jumps(before, after):
                return True
            before = after
        return False

    def _failed(self, number: int) -> None:
        """A packet gave an error and no picture: the one that the decoder was still working on."""
        self.failures += 1
        failed = min(self._open, default=number) if self._own_threads else number - self._delay
        failed = failed if failed in self._open else number
        self._sign(failed)
        self._named_one(failed)
        self._open.discard(failed)
        self._missing.append(failed)

    def _heard(self, line: Line) -> None:
        """A line of the decoder: about the packet it got last, or one it was still working on."""
        if line.source != self._context.name:
            return
        mended = line.text.startswith(_MENDED)
        if not mended and not self._is_error(line):
            return
        last = self._decoding
        numbers = {number for number in range(last - self._delay, last + 1) if number >= 0}
        if self._delay and last in self._keys and not mended and self._decodes_alone(line, last):
            numbers.discard(last)
        if mended and len(numbers) > 1:
            self._named.append(numbers)
            return
        for number in numbers:
            self._sign(number)

    def _is_error(self, line: Line) -> bool:
        speaks = self._codec in _SPEAKING and not any(word in line.text for word in _BESIDE)
        return speaks and (line.level <= ERROR or "undecodable NALU" in line.text)

    def _settled(self, *, everything: bool) -> bool:
        """False while a line is about one of two pictures, and the marks on them may still tell which."""
        if any(numbers & self._open for numbers in self._named) and not everything:
            return False
        for numbers in self._named:
            for number in numbers:
                self._sign(number)
        self._named = []
        return True

    def _named_one(self, number: int) -> None:
        """Packet ``number`` is known to be damaged: one line about it needs no other."""
        found = next((numbers for numbers in self._named if number in numbers), None)
        if found is not None:
            self._named.remove(found)

    def _decodes_alone(self, line: Line, number: int) -> bool:
        """True when the picture stored whole in packet ``number`` is not the one that ``line`` is about."""
        if line.text.startswith("Could not find ref"):
            return True  # it needs none
        context = av.CodecContext.create(self._context.name, "r")
        context.extradata, context.thread_count = self._context.extradata, 1
        context.options = dict(self._context.options)  # the limit of pixels holds here too
        try:
            context.decode(self._keys[number])
            context.decode(None)
        except av.error.FFmpegError:
            return False
        return not self._log.take()

    def _sign(self, number: int, *, spreads: bool = True) -> None:
        if number >= self._whole_from:
            self._signs[number] = self._signs.get(number, False) or (spreads and number not in self._unkept)

    # -- pictures

    def _arrived(self, frame: VideoFrame, number: int) -> None:
        self.failures = 0
        origin = frame.opaque[0] if isinstance(frame.opaque, tuple) else number
        self._open.discard(origin)
        if frame.is_corrupt:
            self._named_one(origin)
            self._sign(origin, spreads=not (self._codec in _B_ALONE and frame.pict_type == PictureType.B))
        self._held.append((origin, frame))

    def _ready(self, *, everything: bool) -> Iterator[Watched]:
        """Pictures whose fate is known: all packets before theirs have given a picture or failed."""
        self._open = {number for number in self._open if number > self._decoding - 2 * _MOST_HELD}
        while self._held:
            origin, frame = self._held[0]
            full = everything or len(self._held) > _MOST_HELD
            if self._reorders and not full and any(number < origin for number in self._open):
                return
            if not self._settled(everything=full):
                return
            self._held.popleft()
            yield self._judged(frame, origin)

    def _judged(self, frame: VideoFrame, origin: int) -> Watched:
        stored_whole = bool(frame.key_frame) and frame.pict_type == PictureType.I
        if not self._begun and not stored_whole and self._codec in _BEGINS_GREY:
            self._sign(0)
        self._begun = True
        if stored_whole and origin not in self._signs and origin > self._whole_from:
            self._whole_from = origin
            self._signs = {number: spreads for number, spreads in self._signs.items() if number > origin}
            self._unkept = {number for number in self._unkept if number > origin}
        whole = not any(number == origin or (spreads and number < origin) for number, spreads in self._signs.items())
        after_loss = any(number < origin for number in self._missing)
        if after_loss:
            self._missing = [number for number in self._missing if number > origin]
        return Watched(frame, whole, after_loss)


class Stretches:
    """Collects the damaged stretches of a clip from its pictures, in order."""

    def __init__(self) -> None:
        self._found: list[tuple[float, float]] = []
        self._since: float | None = None
        self._last: float | None = None
        self._step = 0.0

    def add(self, time_s: float, seen: Watched) -> None:
        """The next picture, shown from ``time_s``."""
        gap_s = None if self._last is None else self._last + self._step
        if self._since is None and seen.after_loss and gap_s is not None and gap_s < time_s:
            self._since = gap_s
        elif self._since is None and not seen.whole:
            self._since = time_s
        if seen.whole and self._since is not None:
            self._close(time_s)
        if self._last is not None:
            self._step = time_s - self._last
        self._last = time_s

    def notes(self, *, end_s: float, lost_until_s: float | None = None) -> list[Note]:
        """A note for each of the ``_MOST_NAMED`` longest stretches, and one with the number of the others.

        ``end_s``: when the last picture ends; ``lost_until_s``: when the pictures end that failed after it.
        """
        if self._since is None and lost_until_s is not None:
            self._since = end_s
        if self._since is not None:
            self._close(max(end_s, lost_until_s or 0.0))
        found = self._found
        named = sorted(sorted(found, key=lambda each: each[0] - each[1])[:_MOST_NAMED])
        notes = [Note("damaged", start_s=round(start, 3), end_s=round(end, 3)) for start, end in named]
        if len(found) > len(named):
            notes.append(Note("damaged_more", value=float(len(found) - len(named))))
        return notes

    # -- inside

    def _close(self, time_s: float) -> None:
        start, self._since = self._since or 0.0, None
        time_s = max(time_s, start + self._step / 2)  # pictures without stamps may share a time
        if self._found and start - self._found[-1][1] < _MERGE_S:
            start = self._found.pop()[0]
        self._found.append((start, time_s))


def _jumps(before: Any, after: Any) -> bool:
    """True when the decoding clock between two packets goes back or ahead by more than ``_JOINT_S``."""
    if before is None or before.dts is None or after.dts is None:
        return False
    return not 0 <= (after.dts - before.dts) * float(after.time_base) <= _JOINT_S


def lost_bytes(data: bytes, *, codec: str, prefixed: bool) -> bool:
    """True when a packet has zeros that its codec does not write. ``prefixed``: units have a length before them instead of a start code
    (MP4, Matroska), so there are no zeros behind the last one either.

    One step through the bytes, by searches that are fast where there are no zeros: a picture of zeros must not take minutes.
    """
    if codec in ("vp8", "vp9"):
        return _ZEROS_OF_VP in data
    if codec not in ("h264", "hevc"):
        return False
    at = data.find(_ZEROS)
    while at >= 0:
        behind = _NO_ZERO.search(data, at)
        if behind is None:
            return prefixed and len(data) - at >= _ZEROS_AT_END
        if behind[0] != b"\x01":  # else the zeros before a start code
            return True
        at = data.find(_ZEROS, behind.end())
    return False
