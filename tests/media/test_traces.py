"""Traces of how a file was made: what is read of tags that we write, and what is left out."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("av")

from PIL import ExifTags, Image, PngImagePlugin

from backend.media.traces import traces_of
from shared.origin import LONGEST, MOST_TRACES, Trace
from tests.media.clips import encode, moving
from tests.media.sounds import tone, write_sound


def found(path: Path) -> dict[str, list[str | None]]:
    by_code: dict[str, list[str | None]] = {}
    for trace in traces_of(path):
        by_code.setdefault(trace.code, []).append(trace.value)
    return by_code


def with_exif(path: Path, picture: np.ndarray, *, thumbnail: np.ndarray | None = None) -> Path:
    """A JPEG as a camera writes it, with a place."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Maker", "Model\x07 1"
    exif[ExifTags.Base.Software] = "Editor 9"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:01 10:00:00"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[2] = (52.0, 31.0, 12.0)
    Image.fromarray(picture).save(path, exif=exif)
    if thumbnail is not None:
        _add_thumbnail(path, thumbnail)
    return path


def _add_thumbnail(path: Path, picture: np.ndarray) -> None:
    """Put a small picture into the file's EXIF, which Pillow keeps and does not make."""
    small = io.BytesIO()
    Image.fromarray(picture).resize((160, 160)).save(small, "JPEG")
    with Image.open(path) as image:
        raw = bytearray(image.info["exif"])
    little = raw[6:8] == b"II"
    order = "little" if little else "big"
    start = int.from_bytes(raw[10:14], order)
    count = int.from_bytes(raw[6 + start : 8 + start], order)
    link = 6 + start + 2 + 12 * count
    table = len(raw) - 6
    raw[link : link + 4] = table.to_bytes(4, order)
    entries = [(0x0103, 3, 6), (0x0201, 4, table + 2 + 3 * 12 + 4), (0x0202, 4, len(small.getvalue()))]
    raw += len(entries).to_bytes(2, order)
    for tag, kind, value in entries:
        size = 2 if kind == 3 else 4
        raw += tag.to_bytes(2, order) + kind.to_bytes(2, order) + (1).to_bytes(4, order)
        raw += value.to_bytes(size, order).ljust(4, b"\0")
    raw += (0).to_bytes(4, order) + small.getvalue()
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=bytes(raw))


def test_a_camera_its_time_and_that_there_is_a_place_which_is_not_kept(tmp_path: Path, astronaut: np.ndarray):
    path = with_exif(tmp_path / "a.jpg", astronaut)
    assert found(path) == {
        "make": ["Maker"],
        "model": ["Model 1"],
        "software": ["Editor 9"],
        "taken": ["2024:05:01 10:00:00"],
        "place": [None],
    }
    assert "52" not in str(traces_of(path))


def test_a_preview_that_shows_something_else_is_noticed(tmp_path: Path, astronaut: np.ndarray):
    other = np.ascontiguousarray(astronaut[::-1, ::-1])
    same = found(with_exif(tmp_path / "same.jpg", astronaut, thumbnail=astronaut))
    differs = found(with_exif(tmp_path / "differs.jpg", astronaut, thumbnail=other))
    assert ("thumbnail" in same, "thumbnail_differs" in same) == (True, False)
    assert "thumbnail_differs" in differs


def test_what_a_picture_generator_was_asked_and_iptcs_source(tmp_path: Path, astronaut: np.ndarray):
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a man\nSteps: 20, Sampler: Euler" + "y" * 2000)
    text.add_text("Comment", "from Alice")
    text.add_itxt(
        "XML:com.adobe.xmp",
        '<x:xmpmeta><rdf:Description xmp:CreatorTool="Generator 3" Iptc4xmpExt:DigitalSourceType='
        '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia" exif:GPSLatitude="52,31N"/></x:xmpmeta>',
    )
    path = tmp_path / "a.png"
    Image.fromarray(astronaut).save(path, pnginfo=text)
    traces = found(path)
    assert traces["recipe"][0].startswith("parameters: a man Steps: 20, Sampler: Euler")
    assert len(traces["recipe"][0]) <= LONGEST + len("parameters: ")
    assert (traces["software"], traces["source_type"]) == (["Generator 3"], ["trainedAlgorithmicMedia"])
    assert "place" in traces
    assert "Alice" not in str(traces)


def test_container_encoder_and_tracks_of_a_clip(tmp_path: Path, astronaut: np.ndarray):
    path = encode(tmp_path / "a.mp4", moving(astronaut, count=3))
    with (
        av.open(str(path)) as source,
        av.open(str(tmp_path / "b.mp4"), "w", options={"movflags": "use_metadata_tags"}) as target,
    ):
        target.metadata.update(
            {
                "com.apple.quicktime.make": "Maker",
                "com.apple.quicktime.location.ISO6709": "+52.5200+013.4050/",
                "creation_time": "2024-05-01T10:00:00Z",
                "artist": "Alice",
            }
        )
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    traces = found(tmp_path / "b.mp4")
    assert (traces["brand"], traces["streams"]) == (["isom"], ["1 video, 0 sound, 0 other"])
    assert traces["encoder"][0].startswith("Lavf")
    assert traces["settings"][0].startswith("x264 - core")
    assert (traces["make"], traces["place"]) == (["Maker"], [None])
    assert traces["created"][0].startswith("2024-05-01")
    assert not {"52.52", "Alice"} & set(str(traces).split())
    assert "52.5" not in str(traces)


def test_the_encoder_of_a_sound(tmp_path: Path):
    traces = found(
        write_sound(tmp_path / "a.mp3", tone(0.5), codec="libmp3lame", tags={"title": "x", "artist": "Alice"})
    )
    assert traces["streams"] == ["0 video, 1 sound, 0 other"]
    assert any(
        value.startswith(("Lavf", "LAME", "Lavc")) for code in ("encoder", "software") for value in traces.get(code, [])
    )
    assert "Alice" not in str(traces)


def test_a_file_that_nobody_can_read_has_no_traces(tmp_path: Path, astronaut: np.ndarray):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff" + bytes(500))
    assert traces_of(path) == ()
    many = PngImagePlugin.PngInfo()
    for number in range(3 * MOST_TRACES):
        many.add_text("Software", f"program {number}")
    Image.fromarray(astronaut[:64, :64]).save(tmp_path / "many.png", pnginfo=many)
    assert 1 <= len(traces_of(tmp_path / "many.png")) <= MOST_TRACES
    assert all(isinstance(item, Trace) for item in traces_of(tmp_path / "many.png"))
