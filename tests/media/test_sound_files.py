"""Files of sound: known by their content, with their facts, without pictures; a cover is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from backend.harvest.media_pack import harvest_pack
from base_detector import Card
from shared.signatures import MEDIA_HEAD_BYTES, is_media
from tests.media.sounds import tone, wav, write_sound

RATE = 16_000
#: name -> (encoder, FFmpeg's name of the container, of the codec)
KINDS = {
    "a.wav": ("pcm_s16le", "wav", "pcm_s16le"),
    "a.flac": ("flac", "flac", "flac"),
    "a.mp3": ("libmp3lame", "mp3", "mp3"),
    "a.m4a": ("aac", "mov,mp4,m4a,3gp,3g2,mj2", "aac"),
    "a.aac": ("aac", "aac", "aac"),
    "a.opus": ("libopus", "ogg", "opus"),
    "a.oga": ("flac", "ogg", "flac"),
    "a.webm": ("libopus", "matroska,webm", "opus"),
    "a.mka": ("libmp3lame", "matroska,webm", "mp3"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_sound_file_is_known_by_its_content_and_heard_whole(run_pass, tmp_path: Path, name: str):
    codec, container, stored = KINDS[name]
    formats = {"a.aac": "adts", "a.oga": "ogg"}
    wave = np.stack([tone(3.0, rate=48_000), tone(3.0, rate=48_000)])
    made = write_sound(tmp_path / name, wave, codec=codec, rate=48_000, format=formats.get(name))
    shutil.move(made, tmp_path / "photo.jpg")
    assert is_media((tmp_path / "photo.jpg").read_bytes()[:MEDIA_HEAD_BYTES])
    pack = run_pass(tmp_path / "photo.jpg", windows=[(2.0, 1.0)])
    media = pack.media
    assert (media.kind, media.container, media.codec) == ("sound", container, stored)
    assert (media.width, media.height, media.frames, media.fps) == (0, 0, 0, None)
    assert (media.has_audio, media.lossless) == (True, False)
    assert media.duration_s == pytest.approx(3.0, abs=0.06)
    assert len(pack.sound) == pytest.approx(3 * RATE, abs=0.06 * RATE)
    assert pack.sound_start_s == 0
    assert (len(pack), len(pack.frames), len(pack.shots), len(pack.pictures)) == (0, 0, 0, 0)
    assert float(np.sqrt((pack.sound[RATE : 2 * RATE] ** 2).mean())) == pytest.approx(0.3 / 2**0.5, rel=0.05)


def test_vorbis_is_heard(run_pass, tmp_path: Path):
    made = write_sound(tmp_path / "a.ogg", np.stack([tone(2.0, rate=48_000)] * 2), codec="vorbis", rate=48_000)
    assert run_pass(made, windows=[(1.0, 1.0)]).media.codec == "vorbis"


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.flac", "flac")])
def test_a_cover_is_no_picture(run_pass, tmp_path: Path, astronaut: np.ndarray, name: str, codec: str):
    path = write_sound(
        tmp_path / name,
        tone(1.0, rate=44_100),
        codec=codec,
        format="mp4" if name == "a.m4a" else None,
        cover=astronaut[:64, :64],
        tags={"title": "A voice"},
    )
    if name == "a.mp3":
        assert path.read_bytes().startswith(b"ID3")
    media = run_pass(path, pictures=["frames:8"], windows=[(1.0, 1.0)]).media
    assert (media.kind, media.frames) == ("sound", 0)


def test_a_pack_of_sound_passes_the_check_of_the_platform(run_pass, tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(wav((tone(5.0) * 32767).astype("<i2").tobytes()))
    pack = run_pass(tmp_path / "a.wav", windows=[(2.0, 1.0)])
    harvest_pack(tmp_path / "pack", tmp_path / "checked", moved=True)
    assert (tmp_path / "checked" / "sound.f32").stat().st_size == 4 * 5 * RATE
    assert pack.heard is not None
    assert pack.heard.speech == ()
    assert len(pack.windows) == 0, "a tone is no speech"


def test_sound_is_not_written_where_nobody_listens(run_pass, tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(wav((tone(2.0) * 32767).astype("<i2").tobytes()))
    pack = run_pass(tmp_path / "a.wav", windows=())
    assert (pack.media.kind, pack.media.duration_s, pack.heard, len(pack.sound)) == ("sound", 2.0, None, 0)


@pytest.mark.parametrize(("seconds", "reason"), [(0.9, "sound_too_short"), (3.0, "no_speech")])
def test_why_a_voice_detector_has_nothing_to_judge(run_pass, tmp_path: Path, seconds: float, reason: str):
    (tmp_path / "a.wav").write_bytes(wav((tone(seconds) * 32767).astype("<i2").tobytes()))
    card = Card(
        id="listener", version="1", title="Listener", paper="p", year=2026, input="sound", threshold=0.5, aggregation="mean",
        window_s=2.0, hop_s=1.0, summary="s", folder=tmp_path,
    )  # fmt: skip
    assert run_pass(tmp_path / "a.wav", windows=[(2.0, 1.0)]).lacks(card) == reason


def test_a_tag_before_flac_does_not_make_it_mp3(run_pass, tmp_path: Path):
    path = write_sound(tmp_path / "a.flac", tone(1.0), codec="flac", rate=RATE)
    path.write_bytes(b"ID3\x04\0\0\0\0\1\x02" + bytes(130) + path.read_bytes())
    assert run_pass(path, windows=[(1.0, 1.0)]).media.codec == "flac"


def test_what_is_no_sound_behind_the_head_of_one_is_unreadable(run_pass, tmp_path: Path):
    from base_detector import WorkerFailure

    for number, head in enumerate(
        (b"ID3\x04\0\0\0\0\0\x0a", b"fLaC\0\0\0\x22", b"\xff\xfb\x90\0", b"RIFF\0\0\0\0WAVEfmt ")
    ):
        (tmp_path / f"{number}.mp3").write_bytes(head + bytes(range(256)) * 8)
        with pytest.raises(WorkerFailure, match="media_unreadable"):
            run_pass(tmp_path / f"{number}.mp3", name=f"pack{number}", windows=[(1.0, 1.0)])
