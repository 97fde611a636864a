"""Images read with Pillow: JPEG, PNG, WebP, GIF, AVIF, BMP, TIFF, and HEIF by its plug-in; animated ones are short videos.

Owns the limits before decoding, the orientation. ``depth`` makes 8 bits of them, ``mending``
finds the whole part of a damaged one. May be imported by ``backend.media.opening``.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from backend.media.depth import as_rgb
from backend.media.limits import MediaLimits
from backend.media.lossless import is_lossless
from backend.media.medium import Orientation
from backend.media.mending import whole_part
from base_detector import Array, WorkerFailure
from shared.findings import DecodedMedia, Note
from shared.signatures import HEAD_BYTES, is_heif

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF")
#: One picture, whatever else is in the file: further views (MPO), pages (TIFF), thumbnails, depth maps and bursts (HEIF).
_SINGLE = ("jpeg", "mpo", "bmp", "tiff", "heif")
#: Tags of a TIFF that is a camera's raw file; its first picture is a small preview or the sensor's mosaic: DNGVersion (DNG 1.7), or
#: NewSubfileType "reduced resolution" and PhotometricInterpretation "colour filter array" or "linear raw" (TIFF 6.0, TIFF/EP, DNG).
_DNG, _SUBFILE, _PHOTOMETRIC, _MOSAIC = 50706, 254, 262, (32803, 34892)
#: For pictures without a duration, or with less than browsers accept (they take 100 ms then).
_LEAST_STEP_S, _USUAL_STEP_S = 0.011, 0.1
_THUMB = 256
#: First bytes of the formats whose whole part is found when they are damaged: JPEG and PNG.
_MENDED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_HEIF_THREADS = 2
#: Notes of what changes the values of pixels.
_CHANGES = ("colours_converted", "levels_stretched", "transparent")
#: Room between a face and the edge a cut made, in box sides, from which the face counts as whole.
_EDGE_SHARE = 0.1
#: What Pillow raises on broken bytes.
_BROKEN = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, RuntimeError, TypeError, OverflowError, struct.error, zlib.error,
)  # fmt: skip


class StillPicture:
    """One picture of an image file."""

    damaged = False

    def __init__(self, image: Array, *, index: int, time_s: float) -> None:
        self._image, self.index, self.time_s = image, index, time_s

    @property
    def size(self) -> tuple[int, int]:
        """See ``medium.Picture``."""
        return self._image.shape[1], self._image.shape[0]

    def rgb(self) -> Array:
        """See ``medium.Picture``."""
        return self._image

    def thumb(self) -> Array:
        """See ``medium.Picture``."""
        step = max(1, max(self._image.shape[:2]) // _THUMB)
        return cv2.cvtColor(np.ascontiguousarray(self._image[::step, ::step]), cv2.COLOR_RGB2BGR)


class StillMedium:
    """An image file, one picture or several. A context manager; see ``medium.Medium``."""

    def __init__(self, path: Path, *, limits: MediaLimits) -> None:
        self._limits = limits
        self.notes: list[Note] = []
        self._edge: str | None = None
        self._orientation, self._count, self._skipped = Orientation(), 1, 0
        self._lossless = False
        self.times: Array = np.zeros(1)
        Image.MAX_IMAGE_PIXELS = None  # our own limit, below, applies
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # missing parts would be filled with grey, and judged
        try:
            self._source = self._whole(path)
            self._image = self._opened(path)
        except _BROKEN as error:
            unknown = isinstance(error, UnidentifiedImageError) and path.stat().st_size < 16
            raise WorkerFailure("unsupported_media" if unknown else "media_unreadable") from None
        try:
            self._lossless = is_lossless(self._image, path)
            self._read_head()
        except BaseException:
            self._image.close()
            raise

    def __enter__(self) -> StillMedium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._image.close()

    def facts(self) -> DecodedMedia:
        """See ``medium.Medium``. An animation is a video without sound."""
        width, height = self._orientation.size(*self._image.size)
        moving = self._count > 1
        duration = float(self._ends[-1])
        return DecodedMedia(
            kind="video" if moving else "image",
            width=width,
            height=height,
            fps=self._count / duration if moving and duration else None,
            duration_s=duration if moving else 0.0,
            frames=self._count,
            codec="jpeg" if self._container == "mpo" else self._container,
            container="jpeg" if self._container == "mpo" else self._container,
            rotation=self._orientation.degrees,
            has_audio=False,
            lossless=self._lossless and not moving and not any(note.code in _CHANGES for note in self.notes),
        )

    def pictures(self) -> Iterator[StillPicture]:
        """See ``medium.Medium``. An animation ends where its file is damaged."""
        given = 0
        for index in range(self._count):
            try:
                if self._count > 1:  # the one picture that counts need not be the first of its file
                    self._image.seek(index + self._skipped)
                image, notes = as_rgb(self._image, source=self._source, single=self._count == 1)
            except _BROKEN:
                break
            if self._count == 1:
                self._image.close()  # Pillow's own copy of the pixels goes; sizes stay
            self.notes.extend(notes)
            image = self._orientation.upright(image)
            yield StillPicture(image, index=index, time_s=float(self.times[index]))
            given += 1
        if not given:
            raise WorkerFailure("media_unreadable")
        if given < self._promised:
            self.notes.append(Note("animation_cut_off"))
        self._count = given

    def whole(self, box: Array) -> bool:
        """See ``medium.Medium``. A face at the edge that a cut made is not whole."""
        if self._edge is None:
            return True
        side = float(max(box[2] - box[0], box[3] - box[1])) * _EDGE_SHARE
        width, height = self._orientation.size(*self._image.size)
        room = {"left": box[0], "top": box[1], "right": width - box[2], "bottom": height - box[3]}
        return float(room[self._edge]) >= side

    # -- inside

    def _whole(self, path: Path) -> Path | io.BytesIO:
        """The file, or its whole part where it is damaged."""
        with path.open("rb") as stream:
            if not stream.read(8).startswith(_MENDED):
                return path
        part = whole_part(path.read_bytes(), limits=self._limits)
        if part is None:
            return path
        if part.share < 1:
            self.notes.append(Note("cut_off", value=round(part.share, 4)))
        return io.BytesIO(part.content)

    def _opened(self, path: Path) -> Image.Image:
        with path.open("rb") as stream:
            untrusted_head = stream.read(HEAD_BYTES)
        if is_heif(untrusted_head):
            return _open_heif(path)
        return Image.open(self._source, formats=_FORMATS)

    def _read_head(self) -> None:
        """Size, count, orientation and times, each checked before the next, costlier one."""
        self._limits.check_pixels(*self._image.size)
        self._container = (self._image.format or "").lower()
        if self._container == "tiff" and _is_raw(self._image):
            raise WorkerFailure("raw_photo")
        self._count = self._promised = 1
        if self._container not in _SINGLE:
            self._count, self._promised = self._frames()
            # the picture that an animated PNG has for programs that cannot play it is not of the animation (PNG 3rd edition, 4.9)
            self._skipped = int(self._count > 1 and bool(getattr(self._image, "default_image", False)))
            self._count, self._promised = self._count - self._skipped, self._promised - self._skipped
        self._limits.check_length(self._count, 0.0)
        self._orientation = self._exif_orientation()
        if self.notes:
            self._edge = self._orientation.edge_of_bottom()
        self.times = self._times()
        self._limits.check_length(self._count, float(self.times[-1]))

    def _frames(self) -> tuple[int, int]:
        """How many pictures an animation has, and how many it should have; a file that breaks off has one more than can be read."""
        try:
            count = int(getattr(self._image, "n_frames", 1))
        except _BROKEN:
            count = 0
            with contextlib.suppress(*_BROKEN):
                while count < self._limits.max_frames:
                    self._image.seek(count)
                    count += 1
            return max(1, count), count + 1
        return count, count

    def _exif_orientation(self) -> Orientation:
        """What EXIF says, as browsers take it (JPEG and WebP: EXIF; PNG: eXIf).

        Pillow's ``getexif`` would also believe ``tiff:Orientation`` in XMP and EXIF kept as text in a PNG; browsers and phones
        show such pictures as they are stored, so that is upright. TIFF and HEIF come upright from their decoders (HEIF by its boxes
        ``irot`` and ``imir``; its EXIF is then no second turn: ISO/IEC 23008-12, 6.5.10).
        """
        if self._container in ("tiff", "heif"):
            return Orientation()
        try:
            if self._container == "png" and self._count == 1 and "exif" not in self._image.info:
                self._image.load()  # an eXIf chunk may follow the pixels (PNG 3rd edition, 5.6)
            exif = Image.Exif()
            exif.load(self._image.info.get("exif", b""))
            return Orientation.from_exif(exif.get(ExifTags.Base.Orientation))
        except (
            Exception
        ):  # the parser reads hostile bytes and may raise anything; viewers show the picture upright then
            return Orientation()

    def _times(self) -> Array:
        """Start of each picture in seconds, (n,) float64; GIF and WebP know durations only when they are decoded."""
        steps = []
        for index in range(self._count if self._count > 1 else 0):
            try:
                self._image.seek(index + self._skipped)
                self._image.load()
            except _BROKEN:
                break
            step = float(self._image.info.get("duration") or 0) / 1000
            steps.append(step if step >= _LEAST_STEP_S else _USUAL_STEP_S)
        if self._count > 1:
            if not steps:
                raise WorkerFailure("media_unreadable")
            self._count = len(steps)
            self._image.seek(0)
        self._ends = np.cumsum(steps) if steps else np.zeros(1)
        starts: Array = np.concatenate([[0.0], self._ends[:-1]])
        return starts


def _open_heif(path: Path) -> Image.Image:
    """The main picture of a HEIF file, 8 bits a sample, upright; tiles are put together by libheif. What is beside it is not read."""
    import pillow_heif  # a parser of hostile bytes, loaded where it is needed only

    options = pillow_heif.options
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    options.DECODE_THREADS = _HEIF_THREADS
    image: Image.Image = pillow_heif.HeifImageFile(path)  # type: ignore[no-untyped-call]
    return image


def _is_raw(image: Image.Image) -> bool:
    """Whether a TIFF is a camera's raw file."""
    tags = getattr(image, "tag_v2", {})
    return _DNG in tags or bool(int(tags.get(_SUBFILE, 0)) & 1) or tags.get(_PHOTOMETRIC) in _MOSAIC
