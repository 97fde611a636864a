"""The kind of a file by its first bytes: sure, or not said."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.kinds import Look, look_at
from shared.signatures import MEDIA_HEAD_BYTES
from tests.media.clips import encode, moving
from tests.media.sounds import tone, write_sound

VIDEO, SOUND = Look("video", lossy=True), Look("sound")
PICTURE = np.zeros((300, 300, 3), np.uint8)


def head(path: Path) -> bytes:
    return path.read_bytes()[:MEDIA_HEAD_BYTES]


@pytest.mark.parametrize(
    ("name", "codec", "look"),
    [
        ("a.wav", "pcm_s16le", SOUND), ("a.flac", "flac", SOUND), ("a.mp3", "libmp3lame", SOUND), ("a.aac", "aac", SOUND),
        ("a.m4a", "aac", SOUND), ("a.ogg", "libopus", SOUND), ("a.oga", "flac", SOUND), ("a.webm", "libopus", SOUND),
        ("a.mp4", "aac", VIDEO),  # not known before it is opened: all that judge videos are offered, and those of sound are among them
    ],
)  # fmt: skip
def test_sound_is_known_by_its_content(tmp_path: Path, name: str, codec: str, look: Look) -> None:
    assert look_at(head(write_sound(tmp_path / name, tone(1, rate=48_000), codec=codec, rate=48_000))) == look


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.avi", "a.ts", "a.mkv"])
def test_videos_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    assert look_at(head(encode(tmp_path / name, moving(PICTURE, count=5, step=1)))) == VIDEO


@pytest.mark.parametrize(
    ("kind", "mode", "options", "look"),
    [
        ("JPEG", "RGB", {}, Look("still", lossy=True)),
        ("PNG", "RGB", {}, Look("picture")),
        ("PNG", "P", {}, Look("picture", lossy=True)),
        (
            "PNG",
            "RGB",
            {"save_all": True, "append_images": [Image.new("RGB", (300, 300))]},
            Look("picture", lossy=True),
        ),
        ("WEBP", "RGB", {}, Look("picture", lossy=True)),
        ("WEBP", "RGB", {"lossless": True}, Look("picture")),
        ("GIF", "P", {}, Look("picture", lossy=True)),
        ("AVIF", "RGB", {}, Look("picture", lossy=True)),
        ("BMP", "RGB", {}, Look("still")),
        ("TIFF", "RGB", {}, Look("still")),
    ],
)
def test_pictures_are_known_by_their_content(kind: str, mode: str, options: dict, look: Look) -> None:
    file = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(file, kind, **options)
    assert look_at(file.getvalue()[:MEDIA_HEAD_BYTES]) == look


@pytest.mark.parametrize(
    "untrusted_head",
    [b"", b"OggS", b"\x1a\x45\xdf\xa3" + b"\x16\x54\xae\x6b", b"\x1a\x45\xdf\xa3\x16\x54\xae\x6b\x00" + b"A_OPUS" * 9, bytes(64), b"RIFF"],
)  # fmt: skip
def test_what_the_first_bytes_do_not_say_is_not_guessed(untrusted_head: bytes) -> None:
    assert look_at(untrusted_head) == Look()


def test_tracks_that_go_on_behind_the_first_bytes_are_not_called_sound() -> None:
    assert look_at(b"\x1a\x45\xdf\xa3" + bytes(20) + b"\x16\x54\xae\x6b\x4f\xff" + b"A_OPUS" + bytes(900)).kind is None
