"""Traces of how a file was made: what its container, codec and tags say, and what cameras, editors and generators wrote into it.

Owns which tags are looked at, and their codes (docs/provenance.md). Promises: every value is cleaned and cut; a place is never read
out, only that there is one; names of people, comments and titles are left out, save what programs write there. Trouble gives fewer
traces, never a failure. May be imported by ``backend.media.extract``.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from PIL import ExifTags, Image

from backend.media.boxes import boxes_of
from backend.media.fingerprints import apart, picture_mark
from backend.media.sound_file import format_of
from backend.media.video import open_container
from shared.origin import MOST_TRACES, Trace, cleaned
from shared.signatures import HEAD_BYTES, is_heif, is_sound

#: Tags of containers and their streams (names in small letters, as FFmpeg gives them) -> code.
_TAGS: Final = {
    "major_brand": "brand",
    "encoder": "encoder",
    "encoded_by": "encoder",
    "tsse": "encoder",
    "writing_application": "encoder",
    "software": "software",
    "com.apple.quicktime.software": "software",
    "make": "make",
    "com.apple.quicktime.make": "make",
    "com.android.manufacturer": "make",
    "model": "model",
    "com.apple.quicktime.model": "model",
    "com.android.model": "model",
    "com.android.version": "android",
    "creation_time": "created",
    "com.apple.quicktime.creationdate": "created",
    "date": "created",
    "handler_name": "handler",
    "vendor_id": "vendor",
}
#: Values that say nothing: FFmpeg's and QuickTime's blanks, and dates of a clock that was never set.
_BLANK: Final = re.compile(r"^(\[0\]\[0\]\[0\]\[0\]|0000[-:].*|19(04|70)-01-01.*)$")
_PLACES: Final = ("location", "location-eng", "com.apple.quicktime.location.iso6709", "xyz")
#: What x264 and x265 write into the stream: their version and settings.
_ENCODERS: Final = re.compile(rb"(x26[45] (?:-|\()[ -~]{8,1200})")
#: Bytes at the begin of the first packet in which that is looked for.
_FIRST_BYTES: Final = 1 << 16

_EXIF: Final = {
    ExifTags.Base.Make: "make",
    ExifTags.Base.Model: "model",
    ExifTags.Base.Software: "software",
    ExifTags.Base.HostComputer: "software",
    ExifTags.Base.ProcessingSoftware: "software",
    ExifTags.Base.DateTime: "modified",
    ExifTags.Base.DateTimeOriginal: "taken",
    ExifTags.Base.DateTimeDigitized: "digitized",
    ExifTags.Base.LensModel: "lens",
}
#: Text chunks of PNG in which programs that make pictures write what they were asked: Stable Diffusion's pages, ComfyUI, InvokeAI, NovelAI.
_RECIPES: Final = ("parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "dream", "invokeai_graph")
_PNG: Final = {"software": "software", "creation time": "created", "date:create": "created", "date:modify": "modified"}
#: In XMP: the program, its history, and IPTC's digital source type. Read as text: hostile XML is parsed by nobody.
_XMP: Final = (
    (re.compile(r"""xmp:CreatorTool(?:=["']|>)([^"'<]{1,300})"""), "software"),
    (re.compile(r"""stEvt:softwareAgent(?:=["']|>)([^"'<]{1,300})"""), "software"),
    (re.compile(r"""xmp:CreateDate(?:=["']|>)([^"'<]{1,60})"""), "created"),
    (re.compile(r"""xmp:ModifyDate(?:=["']|>)([^"'<]{1,60})"""), "modified"),
    (re.compile(r"""(?i)digitalsourcetype/([A-Za-z]{1,60})"""), "source_type"),
    (re.compile(r"""photoshop:Credit(?:=["']|>)([^"'<]{1,300})"""), "credit"),
)
_MOST_XMP: Final = 2_000_000
#: A thumbnail shows something else from this many of 256 bits on: docs/provenance.md has the measurement.
_THUMBNAIL_DIFFERS: Final = 80
_MOST_THUMBNAIL: Final = 4_000_000
_WAY_TO_EDITS: Final = (b"moov", b"trak", b"edts", b"elst")


def traces_of(media: Path) -> tuple[Trace, ...]:
    """The traces in ``media``, each once, in the order in which they are shown; none when nothing can be read."""
    found: list[Trace] = []
    with media.open("rb") as file:
        head = file.read(HEAD_BYTES)
    read = _of_still if _is_still(head) else _of_container
    # a file that was judged may still have tags that nobody can read; what was found before is kept
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for code, untrusted in read(media, head):
            value = None if untrusted is None else cleaned(untrusted)
            if untrusted is None or (value and not _BLANK.match(value)):
                found.append(Trace(code, value))
            if len(found) >= 4 * MOST_TRACES:
                break
    return tuple(dict.fromkeys(found))[:MOST_TRACES]


def _is_still(head: bytes) -> bool:
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or is_heif(head)
        or head[4:12] in (b"ftypavif", b"ftypavis")
    )


# --------------------------------------------------------------------------- videos and sound


def _of_container(media: Path, head: bytes) -> Iterator[tuple[str, object]]:
    with open_container(media, format=format_of(media) if is_sound(head) else None) as container:
        yield from _tags(container.metadata)
        video, audio = container.streams.video, container.streams.audio
        yield (
            "streams",
            f"{len(video)} video, {len(audio)} sound, {len(container.streams) - len(video) - len(audio)} other",
        )
        for stream in [*video, *audio][:8]:
            yield from _tags(stream.metadata)
            if stream.codec_context is not None:
                yield "codec", _codec(stream)
        if video:
            yield from _encoder_settings(container, video[0])
    if (edits := _edits(media)) > 1:
        yield "edits", str(edits)


def _tags(untrusted: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    for name, value in list(untrusted.items())[:200]:
        name = name.lower()
        if name.startswith(_PLACES):
            yield "place", None
        elif code := _TAGS.get(name):
            yield code, value
        elif name == "compatible_brands":
            yield "brands", " ".join(value[at : at + 4] for at in range(0, min(len(value), 64), 4))


def _codec(stream: Any) -> str:
    context = stream.codec_context
    parts = [context.name, stream.profile]
    if stream.type == "audio":
        parts += [f"{context.sample_rate} Hz", f"{context.channels} ch"]
    return ", ".join(str(part) for part in parts if part)


def _encoder_settings(container: Any, stream: Any) -> Iterator[tuple[str, object]]:
    extra = bytes(stream.codec_context.extradata or b"") if stream.codec_context is not None else b""
    first = next((bytes(packet) for packet in container.demux(stream) if packet.size), b"")
    if found := _ENCODERS.search(extra + b"\n" + first[:_FIRST_BYTES]):
        yield "settings", found[1]


def _edits(media: Path) -> int:
    """Most entries of an edit list of an MP4 or MOV file (ISO/IEC 14496-12, 8.6.6); 0 for other files."""
    most = 0
    with media.open("rb") as file:
        if file.read(8)[4:8] not in (b"ftyp", b"moov", b"wide", b"mdat", b"free", b"skip"):
            return 0
        for inner, _ in boxes_of(file, _WAY_TO_EDITS, size=media.stat().st_size):
            file.seek(inner + 4)
            most = max(most, int.from_bytes(file.read(4), "big"))
    return min(most, 1_000_000)


# --------------------------------------------------------------------------- stills


def _of_still(media: Path, head: bytes) -> Iterator[tuple[str, object]]:
    if is_heif(head):
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    with Image.open(media) as image:
        exif = image.getexif()
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        for tag, code in _EXIF.items():
            for value in (exif.get(tag), inner.get(tag)):
                if value is not None:
                    yield code, value
        if exif.get_ifd(ExifTags.IFD.GPSInfo):
            yield "place", None
        yield from _of_info(image.info)
        yield from _of_thumbnail(image, exif)


def _of_info(info: Mapping[Any, Any]) -> Iterator[tuple[str, object]]:
    for name, value in list(info.items())[:200]:
        key = str(name).lower()
        if key in _RECIPES:
            yield "recipe", f"{key}: {cleaned(value) or ''}"
        elif code := _PNG.get(key):
            yield code, value
    untrusted_xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    text = untrusted_xmp if isinstance(untrusted_xmp, str) else bytes(untrusted_xmp).decode("utf-8", "replace")
    for pattern, code in _XMP:
        for found in list(pattern.finditer(text[:_MOST_XMP]))[:8]:
            yield code, found[1]
    if "exif:GPSL" in text[:_MOST_XMP]:
        yield "place", None


def _of_thumbnail(image: Image.Image, exif: Image.Exif) -> Iterator[tuple[str, object]]:
    """Whether the small picture that cameras put into the file shows what the picture shows: some editors forget to change it."""
    table = exif.get_ifd(ExifTags.IFD.IFD1)
    start, length = table.get(ExifTags.Base.JpegIFOffset), table.get(ExifTags.Base.JpegIFByteCount)
    raw = image.info.get("exif", b"")
    if not (isinstance(start, int) and isinstance(length, int) and 0 < length <= _MOST_THUMBNAIL):
        return
    tiff = raw[6:] if raw.startswith(b"Exif\0\0") else raw
    small = cv2.imdecode(np.frombuffer(tiff[start : start + length], np.uint8), cv2.IMREAD_GRAYSCALE)
    if small is None or min(small.shape) < 32:
        return
    image.draft("L", (512, 512))  # a JPEG is decoded small
    large = np.asarray(image.convert("L").resize((256, 256), Image.Resampling.BOX))
    yield from _compared(small, large, shape=image.size)


def _compared(small: Any, large: Any, *, shape: tuple[int, int]) -> Iterator[tuple[str, object]]:
    """Cameras put black bars beside a thumbnail of another shape: they are cut off first."""
    height, width = small.shape
    ratio = shape[0] / shape[1]
    if width / height > ratio * 1.02:
        side = max(1, round((width - height * ratio) / 2))
        small = small[:, side : width - side]
    elif width / height < ratio / 1.02:
        side = max(1, round((height - width / ratio) / 2))
        small = small[side : height - side]
    one, other = picture_mark(small), picture_mark(large)
    yield "thumbnail", None
    if one is not None and other is not None and apart(one, other) >= _THUMBNAIL_DIFFERS:
        yield "thumbnail_differs", None
