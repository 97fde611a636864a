"""What an image file says about itself and what is believed: orientation, kind, depth. No face is searched here."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("av")

from PIL import Image, ImageCms, PngImagePlugin, features

from backend.media.limits import UNLIMITED
from backend.media.opening import open_medium
from base_detector import WorkerFailure
from shared.errors import MEDIA_CODES, SENTENCES
from shared.findings import Note
from shared.signatures import refusal
from tests.media.profiles import inks, profile

_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
)


def read(path: Path) -> tuple[np.ndarray, int]:
    """The first picture of a file as the media pass gets it, and its turn in degrees."""
    with open_medium(path, limits=UNLIMITED) as medium:
        picture = next(iter(medium.pictures())).rgb()
        return picture, medium.facts().rotation


def refused(path: Path) -> str:
    """The code a file is refused with."""
    with pytest.raises(WorkerFailure) as caught:
        read(path)
    return caught.value.code


def write_tagged(path: Path, picture: np.ndarray, *, exif: int | None, xmp: int | None) -> None:
    """Save a picture with an orientation in EXIF, in XMP, in both or in none."""
    more: dict[str, object] = {}
    if exif is not None:
        tag = Image.Exif()
        tag[0x0112] = exif
        more["exif"] = tag
    if xmp is not None and path.suffix == ".png":
        more["pnginfo"] = PngImagePlugin.PngInfo()
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", (_XMP % xmp).decode())
    elif xmp is not None:
        more["xmp"] = _XMP % xmp
    Image.fromarray(picture).save(path, **more)


# --------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "avif"])
@pytest.mark.parametrize(
    ("exif", "xmp", "turn"), [(None, 6, 0), (1, 6, 0), (6, None, 90), (6, 1, 90), (8, 6, 270), (0, 6, 0)]
)
def test_exif_turns_a_picture_and_xmp_does_not(
    tmp_path: Path, astronaut: np.ndarray, ending: str, exif: int | None, xmp: int | None, turn: int
):
    path = tmp_path / f"a.{ending}"
    write_tagged(path, astronaut[:200, :300], exif=exif, xmp=xmp)
    picture, degrees = read(path)
    assert degrees == turn
    assert picture.shape[:2] == ((300, 200) if turn in (90, 270) else (200, 300))


def test_exif_as_text_in_a_png_does_not_turn_it(tmp_path: Path, astronaut: np.ndarray):
    """ImageMagick's way, which browsers ignore."""
    tag = Image.Exif()
    tag[0x0112] = 6
    content = tag.tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(content):8d}\n{content.hex()}\n")
    Image.fromarray(astronaut[:200, :300]).save(tmp_path / "a.png", pnginfo=info)
    assert read(tmp_path / "a.png")[0].shape[:2] == (200, 300)


def test_exif_behind_the_pixels_of_a_png_turns_it(tmp_path: Path, astronaut: np.ndarray):
    Image.fromarray(astronaut[:200, :300]).save(tmp_path / "a.png")
    tag = Image.Exif()
    tag[0x0112] = 6
    body = b"eXIf" + tag.tobytes()[6:]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    whole = (tmp_path / "a.png").read_bytes()
    end = whole.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(whole[:end] + chunk + whole[end:])
    assert read(tmp_path / "a.png")[0].shape[:2] == (300, 200)


# --------------------------------------------------------------------------- what a file is


def _iso(major: bytes, *others: bytes) -> bytes:
    return (
        struct.pack(">I", 16 + 4 * len(others)) + b"ftyp" + major + b"\0\0\0\0" + b"".join(others) + b"\0\0\0\x08meta"
    )


#: first bytes as the kinds of files have them -> the code of the sentence
_HEADS = {
    b"": "file_empty",
    _iso(b"avci", b"mif1", b"avci"): "heif_picture",
    _iso(b"mif1", b"mif1", b"jpeg"): "heif_picture",
    b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02": "apple_double",
    b"\x00\x00\x00\x0cJXL \r\n\x87\n": "jpeg_xl_picture",
    b"\xff\x0a\xfa\x1f\x41": "jpeg_xl_picture",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "jpeg_2000_picture",
    b"II*\x00\x10\x00\x00\x00CR\x02\x00": "raw_photo",
    _iso(b"crx ", b"isom"): "raw_photo",
    b"FUJIFILMCCD-RAW 0201FF": "raw_photo",
    b"IIU\x00\x18\x00\x00\x00": "raw_photo",
    b"\xc3\xbf\xc3\x98\xc3\xbf\xc3\xa0": "changed_as_text",
    b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd": "changed_as_text",
    b"\xef\xbf\xbdPNG\r\n": "changed_as_text",
    b"\x89PNG\n\x1a\n": "changed_as_text",
    b"data:image/jpeg;base64,/9j/4AAQ": "changed_as_text",
    b"iVBORw0KGgoAAAANSUhEUg": "changed_as_text",
    bytes(64): "only_zeros",
    b"8BPS\x00\x01": "photoshop_file",
    b"%PDF-1.7\n": "pdf_document",
    b"PK\x03\x04\x14\x00": "archive_file",
    b"7z\xbc\xaf\x27\x1c": "archive_file",
    b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">': "svg_drawing",
    b"<svg viewBox='0 0 1 1'>": "svg_drawing",
    b"\xef\xbb\xbf<!DOCTYPE html>\n<html lang=en>": "web_page",
}


@pytest.mark.parametrize(("head", "code"), _HEADS.items(), ids=[str(n) for n in range(len(_HEADS))])
def test_a_file_that_is_not_read_is_called_what_it_is(tmp_path: Path, head: bytes, code: str):
    (tmp_path / "photo.jpg").write_bytes(head + b"\x01" * 500 if head else b"")
    assert refusal(head) == code
    told = refused(tmp_path / "photo.jpg")
    assert told == code
    assert code in MEDIA_CODES
    assert code in SENTENCES


@pytest.mark.parametrize(
    "head",
    [
        _iso(b"isom", b"mp41"), _iso(b"qt  "), _iso(b"mp42", b"mif1", b"isom"), b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n",
        _iso(b"heic", b"mif1", b"heic"), _iso(b"mif1", b"mif1", b"heic"), _iso(b"miaf", b"MiHB"), _iso(b"msf1", b"hevc"),
        _iso(b"avif", b"mif1", b"miaf"), _iso(b"mif1", b"avif", b"miaf"), b"II*\x00\x08\x00\x00\x00", b"MM\x00*\x00\x00\x00\x08",
        b"BM" + struct.pack("<IIII", 1234, 0, 54, 40), b"ID3\x04\0\0", b"\xff\xfb\x90\0", b"\xff\xf1\x50\x80", b"fLaC\0\0\0\x22",
        b"RIFF\0\0\0\0WAVEfmt ", b"RF64\xff\xff\xff\xffWAVEds64",
        b"GIF89a", b"RIFF\0\0\0\0WEBP", b"\x1a\x45\xdf\xa3", b"OggS", b"FLV\x01", b"\x00\x00\x01\xba", b"G@\x11\x10", b"BMX",
    ],
)  # fmt: skip
def test_a_video_or_picture_that_is_read_is_not_refused_by_its_first_bytes(head: bytes):
    assert refusal(head) is None


def test_an_encrypted_video_is_called_protected(tmp_path: Path):
    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    def film(entry: bytes) -> bytes:
        inner = box(b"stsd", b"\0\0\0\0\0\0\0\x01" + box(entry, b"\0" * 78))
        for kind in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
            inner = box(kind, inner)
        return _iso(b"isom")[:16] + box(b"free", b"x" * 40) + inner

    for entry, code in (
        (b"encv", "media_protected"),
        (b"drmi", "media_protected"),
        (b"drms", "media_protected"),
        (b"avc1", "media_unreadable"),
    ):
        (tmp_path / "film.mp4").write_bytes(film(entry))
        assert refused(tmp_path / "film.mp4") == code


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path: Path, astronaut: np.ndarray):
    Image.fromarray(astronaut).save(tmp_path / "a.jpg", format="AVIF", quality=90)
    picture, _ = read(tmp_path / "a.jpg")
    assert np.abs(picture.astype(int) - astronaut).mean() < 4


# --------------------------------------------------------------------------- depth


def deep(path: Path, picture: np.ndarray) -> Path:
    """Save (H, W) or (H, W, 3 or 4) uint16, RGB, as a PNG of 16 bits."""
    order = {2: slice(None), 3: slice(None, None, -1)}.get(picture.ndim, slice(None))
    swapped = picture if picture.ndim == 2 else np.concatenate([picture[..., :3][..., order], picture[..., 3:]], axis=2)
    assert cv2.imwrite(str(path), swapped)
    return path


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("kind", ["grey", "colour", "with alpha"])
def test_ten_or_twelve_bits_in_sixteen_are_stretched_and_noted(
    tmp_path: Path, astronaut: np.ndarray, bits: int, kind: str
):
    fine = cv2.GaussianBlur(astronaut.astype(np.float32), (5, 5), 1.0)  # levels between the 8-bit ones
    samples = np.round(fine / 255 * ((1 << bits) - 1)).astype(np.uint16)
    expected = np.round(fine).astype(int)
    if kind == "grey":
        samples, expected = samples[..., 0], np.repeat(expected[..., :1], 3, axis=2)
    if kind == "with alpha":
        alpha = np.full((*samples.shape[:2], 1), 65535, np.uint16)
        alpha[:40] = 0
        samples, expected[:40] = np.concatenate([samples, alpha], axis=2), 255
    with open_medium(deep(tmp_path / "a.png", samples), limits=UNLIMITED) as medium:
        picture = next(iter(medium.pictures())).rgb()
        transparent = [Note("transparent")] if kind == "with alpha" else []
        assert list(medium.notes) == [*transparent, Note("levels_stretched", value=bits)]
    assert np.abs(picture.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("name", ["dark", "dark, from 8 bits", "left aligned", "full", "black"])
def test_a_dark_picture_of_sixteen_bits_stays_dark(tmp_path: Path, astronaut: np.ndarray, name: str, colour: bool):
    samples = astronaut.astype(np.uint16) * 257
    samples = {
        "dark": samples // 8, "dark, from 8 bits": (astronaut // 17).astype(np.uint16) * 257, "left aligned": samples & 0xFFF0,
        "full": samples, "black": samples * 0,
    }[name]  # fmt: skip
    samples = samples if colour else samples[..., 0]
    with open_medium(deep(tmp_path / "a.png", samples), limits=UNLIMITED) as medium:
        picture = next(iter(medium.pictures())).rgb().astype(int)
        assert list(medium.notes) == []
    shown = samples if colour else samples[..., None]
    assert np.abs(picture - shown / 257).max() <= 1


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_an_animation_that_breaks_off_says_so(tmp_path: Path, astronaut: np.ndarray, kind: str):
    pictures = [Image.fromarray(np.roll(astronaut[::2, ::2], 9 * n, axis=1)) for n in range(5)]
    path = tmp_path / f"a.{kind}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    content = path.read_bytes()
    for kept, broken in ((len(content), False), (int(len(content) * 0.7), True)):
        path.write_bytes(content[:kept])
        with open_medium(path, limits=UNLIMITED) as medium:
            count = len(list(medium.pictures()))
            assert count == medium.facts().frames
            assert (count < 5) == broken
            assert [note.code for note in medium.notes] == ["animation_cut_off"] * broken


def test_an_animation_may_break_off_anywhere(tmp_path: Path, astronaut: np.ndarray):
    """Pillow raises errors of many kinds when it counts the pictures of such a file."""
    pictures = [Image.fromarray(np.roll(astronaut[::16, ::16], 3 * n, axis=1)) for n in range(4)]
    path = tmp_path / "a.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    content, counts = path.read_bytes(), set()
    for kept in range(len(content) // 2, len(content), 7):
        path.write_bytes(content[:kept])
        with open_medium(path, limits=UNLIMITED) as medium:
            counts.add(len(list(medium.pictures())))
    assert {2, 3} <= counts <= {1, 2, 3, 4}


# --------------------------------------------------------------------------- colours and views


@pytest.mark.parametrize(
    ("name", "options", "converted"),
    [
        ("sRGB", {}, False), ("Display P3", {}, False), ("Adobe RGB", {}, False), ("ProPhoto RGB", {"gamma": 1.8}, True),
        ("sRGB", {"order": "gbr"}, True), ("sRGB", {"gamma": 1.0}, True),
    ],
)  # fmt: skip
def test_a_profile_counts_where_it_changes_what_is_seen(
    tmp_path: Path, astronaut: np.ndarray, name: str, options: dict, converted: bool
):
    own = profile(name, **options)
    Image.fromarray(astronaut).save(tmp_path / "a.png", icc_profile=own)
    with open_medium(tmp_path / "a.png", limits=UNLIMITED) as medium:
        picture = next(iter(medium.pictures())).rgb()
        assert [note.code for note in medium.notes] == ["colours_converted"] * converted
    if not converted:
        np.testing.assert_array_equal(picture, astronaut)
        return
    shown = ImageCms.profileToProfile(Image.fromarray(astronaut), io.BytesIO(own), ImageCms.createProfile("sRGB"))
    np.testing.assert_array_equal(picture, np.asarray(shown))


def test_inks_with_a_profile_are_shown_as_printed(tmp_path: Path, astronaut: np.ndarray):
    Image.fromarray(astronaut).convert("CMYK").save(tmp_path / "a.jpg", icc_profile=inks(), quality=95)
    with open_medium(tmp_path / "a.jpg", limits=UNLIMITED) as medium:
        picture = next(iter(medium.pictures())).rgb()
        assert [note.code for note in medium.notes] == ["colours_converted"]
    assert (picture.max(axis=2) - picture.min(axis=2)).max() <= 6  # no hue, as the profile says
    assert picture.std() > 20


@pytest.mark.parametrize("content", [b"", b"no profile at all", profile("sRGB", order="gbr")[:200]])
def test_a_broken_profile_is_ignored(tmp_path: Path, astronaut: np.ndarray, content: bytes):
    Image.fromarray(astronaut).save(tmp_path / "a.png", icc_profile=content)
    np.testing.assert_array_equal(read(tmp_path / "a.png")[0], astronaut)


def test_further_views_and_clips_behind_a_jpeg_are_not_the_picture(tmp_path: Path, astronaut: np.ndarray):
    """Gain maps and second views (MPO), motion photos, and an EXIF thumbnail that shows something else."""
    portrait, other = Image.fromarray(astronaut), Image.new("RGB", (160, 120), "green")
    portrait.save(tmp_path / "views.jpg", "MPO", save_all=True, append_images=[other], quality=95)
    portrait.save(tmp_path / "plain.jpg", quality=95)
    plain = (tmp_path / "plain.jpg").read_bytes()
    (tmp_path / "motion.jpg").write_bytes(plain + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40)
    thumbnail = io.BytesIO()
    other.save(thumbnail, "JPEG")
    body = b"Exif\0\0" + b"II*\0\x08\0\0\0" + b"\0\0" + struct.pack("<I", 14) + struct.pack("<H", 2)
    body += (
        struct.pack("<HHII", 0x0201, 4, 1, 44)
        + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail.getvalue()))
        + bytes(4)
    )
    body += thumbnail.getvalue()
    (tmp_path / "thumbnail.jpg").write_bytes(
        plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]
    )
    for name in ("views", "motion", "thumbnail"):
        with open_medium(tmp_path / f"{name}.jpg", limits=UNLIMITED) as medium:
            pictures = [picture.rgb() for picture in medium.pictures()]
            assert (len(pictures), medium.facts().kind, list(medium.notes)) == (1, "image", [])
        assert np.abs(pictures[0].astype(int) - astronaut).mean() < 3


def test_webp_pictures_without_a_duration_last_a_tenth_of_a_second(tmp_path: Path, astronaut: np.ndarray):
    pictures = [Image.fromarray(np.roll(astronaut[::2, ::2], 9 * n, axis=1)) for n in range(4)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=0)
    with open_medium(tmp_path / "a.webp", limits=UNLIMITED) as medium:
        assert [picture.time_s for picture in medium.pictures()] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_the_stand_in_of_an_animated_png_is_not_of_the_animation(tmp_path: Path, astronaut: np.ndarray):
    pictures = [Image.fromarray(np.roll(astronaut[::2, ::2], 9 * n, axis=1)) for n in range(3)]
    stand_in = Image.new("RGB", pictures[0].size, "red")
    stand_in.save(tmp_path / "a.png", save_all=True, append_images=pictures, duration=80, default_image=True)
    with open_medium(tmp_path / "a.png", limits=UNLIMITED) as medium:
        seen = [(picture.rgb(), picture.time_s) for picture in medium.pictures()]
        assert (medium.facts().frames, medium.facts().duration_s, medium.notes) == (3, pytest.approx(0.24), [])
    assert [time_s for _, time_s in seen] == pytest.approx([0.0, 0.08, 0.16])
    assert all((picture == np.asarray(wanted)).all() for (picture, _), wanted in zip(seen, pictures, strict=True))


# --------------------------------------------------------------------------- pictures of phones


@pytest.fixture
def heic(tmp_path: Path, astronaut: np.ndarray):
    """Write the portrait as HEIC: (path, the picture as it is to be read)."""
    import pillow_heif

    pillow_heif.register_heif_opener()

    def write(*, exif: int | None = None, tile: int = 0, bits: int = 8, picture: np.ndarray | None = None) -> Path:
        image = astronaut if picture is None else picture
        more: dict[str, object] = {"quality": 95}
        if exif is not None:
            tag = Image.Exif()
            tag[0x0112] = exif
            more["exif"] = tag.tobytes()
        pillow_heif.options.GRID_TILE_SIZE = tile
        try:
            if bits > 8:
                height, width = image.shape[:2]
                deep = (image.astype(np.uint16) * 257).tobytes()
                pillow_heif.from_bytes("RGB;16", (width, height), deep).save(tmp_path / "a.heic", **more)
            else:
                Image.fromarray(image).save(tmp_path / "a.heic", format="HEIF", **more)
        finally:
            pillow_heif.options.GRID_TILE_SIZE = 0
        return tmp_path / "a.heic"

    return write


def near(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and float(np.abs(one.astype(int) - other).mean()) < 3


@pytest.mark.parametrize("options", [{}, {"tile": 256}, {"bits": 10}], ids=["plain", "tiles", "ten bits"])
def test_a_picture_of_a_phone_is_read(heic, astronaut: np.ndarray, options: dict[str, int]):
    picture, _ = read(heic(**options))
    assert near(picture, astronaut)


@pytest.mark.parametrize(("exif", "turn", "mirrored"), [(6, -1, False), (8, 1, False), (3, 2, False), (2, 0, True)])
def test_a_picture_of_a_phone_is_upright_and_turned_once(
    heic, astronaut: np.ndarray, exif: int, turn: int, mirrored: bool
):
    """The file has both ways of saying it, as phones write them: the boxes irot and imir, and EXIF."""
    wide = np.ascontiguousarray(astronaut[:300])
    path = heic(exif=exif, picture=wide)
    content = path.read_bytes()
    assert b"irot" in content or b"imir" in content
    shown = wide[:, ::-1] if mirrored else np.rot90(wide, turn)
    assert near(read(path)[0], shown)


def test_a_picture_of_a_phone_that_lost_its_end_is_unreadable(heic):
    path = heic()
    path.write_bytes(path.read_bytes()[:-2000])
    assert refused(path) == "media_unreadable"


def test_a_picture_of_a_phone_with_changed_bytes_gives_a_picture_or_a_code(heic, astronaut: np.ndarray):
    path = heic(picture=astronaut[:128, :128])
    whole = path.read_bytes()
    codes = set()
    for seed in range(30):
        dice = np.random.default_rng(seed)
        content = np.frombuffer(whole, np.uint8).copy()
        places = dice.integers(28, len(content) if seed % 2 else 500, size=1 + seed % 5)
        content[places] = dice.integers(0, 256, size=len(places))
        path.write_bytes(content.tobytes())
        try:
            picture, _ = read(path)
        except WorkerFailure as failure:
            codes.add(failure.code)
        else:
            assert picture.dtype == np.uint8
    assert "media_unreadable" in codes
    assert codes <= MEDIA_CODES


def test_too_large_a_picture_is_refused_before_it_is_decoded(heic):
    from dataclasses import replace

    with pytest.raises(WorkerFailure, match="media_too_large"):
        open_medium(heic(), limits=replace(UNLIMITED, max_pixels=1000))


# --------------------------------------------------------------------------- BMP, TIFF, original pixels


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.bmp", {}),
        ("a.tiff", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.tiff", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_bitmaps_and_tiff_are_read_to_the_pixel(tmp_path: Path, astronaut: np.ndarray, name: str, options: dict):
    Image.fromarray(astronaut).save(tmp_path / name, **options)
    assert np.array_equal(read(tmp_path / name)[0], astronaut)


def test_a_turned_tiff_is_upright_and_further_pages_are_not_read(tmp_path: Path, astronaut: np.ndarray):
    wide = Image.fromarray(astronaut[:300])
    wide.save(tmp_path / "a.tiff", tiffinfo={0x0112: 6}, save_all=True, append_images=[Image.new("RGB", (9, 9))] * 3)
    with open_medium(tmp_path / "a.tiff", limits=UNLIMITED) as medium:
        pictures = [picture.rgb() for picture in medium.pictures()]
        facts = medium.facts()
    assert len(pictures) == 1
    assert np.array_equal(pictures[0], np.rot90(astronaut[:300], -1))
    assert (facts.kind, facts.width, facts.height) == ("image", 300, 512)


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1}], ids=["DNG", "preview"])
def test_a_raw_file_of_a_camera_is_not_judged_by_its_preview(tmp_path: Path, astronaut: np.ndarray, tags: dict):
    Image.fromarray(astronaut[:64, :64]).save(tmp_path / "a.dng", format="TIFF", tiffinfo=tags)
    assert refused(tmp_path / "a.dng") == "raw_photo"


def lossless(path: Path) -> bool:
    with open_medium(path, limits=UNLIMITED) as medium:
        list(medium.pictures())
        return medium.facts().lossless


@pytest.mark.parametrize(
    ("name", "mode", "options", "wanted"),
    [
        ("a.png", "RGB", {}, True),
        ("a.png", "RGBA", {}, True),
        ("a.png", "L", {}, True),
        ("a.png", "P", {}, False),  # colours were reduced to 256, with dots between
        ("a.png", "1", {}, False),
        ("a.png", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (512, 512))]}, False),
        ("a.bmp", "RGB", {}, True),
        ("a.bmp", "P", {}, False),
        ("a.tiff", "RGB", {}, True),
        ("a.tiff", "RGB", {"compression": "tiff_lzw"}, True),
        ("a.tiff", "RGB", {"compression": "jpeg"}, False),
        ("a.tiff", "CMYK", {}, False),
        ("a.webp", "RGB", {"lossless": True}, True),
        ("a.webp", "RGBA", {"lossless": True}, True),
        ("a.webp", "RGB", {"quality": 100}, False),
        ("a.webp", "RGBA", {"quality": 100}, False),
        ("a.jpg", "RGB", {"quality": 100}, False),
        ("a.gif", "P", {}, False),
        ("a.avif", "RGB", {"quality": 100}, False),
    ],
)
def test_only_files_that_lose_nothing_have_original_pixels(
    tmp_path: Path, astronaut: np.ndarray, name: str, mode: str, options: dict, wanted: bool
):
    Image.fromarray(astronaut).convert(mode).save(tmp_path / name, **options)
    assert lossless(tmp_path / name) is wanted


def test_pixels_that_were_converted_are_not_original(tmp_path: Path, astronaut: np.ndarray):
    dark = (astronaut[..., 0].astype(np.uint16) * 16)[..., None]
    cv2.imwrite(str(tmp_path / "a.png"), dark)
    assert lossless(tmp_path / "a.png") is False


@pytest.mark.parametrize(("alpha", "notes"), [(255, []), (254, [Note("transparent")])])
@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_a_picture_that_is_put_on_white_is_not_original_and_says_so(
    tmp_path: Path, astronaut: np.ndarray, name: str, alpha: int, notes: list[Note]
):
    picture = Image.fromarray(astronaut).convert("RGBA")
    mask = np.full(astronaut.shape[:2], 255, np.uint8)
    mask[-1, -1] = alpha  # in the last band of rows
    picture.putalpha(Image.fromarray(mask))
    picture.save(tmp_path / name, **({"lossless": True, "exact": True} if name == "a.webp" else {}))
    with open_medium(tmp_path / name, limits=UNLIMITED) as medium:
        list(medium.pictures())
        assert list(medium.notes) == notes
        assert medium.facts().lossless is not bool(notes)
