"""Sound as detectors hear it: which stream, how it is mixed and resampled, where it begins, what damage does."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from backend.harvest.media_pack import harvest_pack
from backend.media.clock import Piece, SoundClock
from backend.media.damage import DecodeWatch
from backend.media.limits import UNLIMITED, Deadline
from backend.media.opening import open_medium
from backend.media.sound import Heard, hear
from backend.media.sound_file import SoundMedium
from base_detector import WorkerFailure
from shared.errors import MEDIA_CODES
from shared.findings import MediaPack
from tests.media.clips import encode, moving
from tests.media.sounds import add_sound, tone, wav, write_sound

GOLDEN = Path(__file__).parents[3] / "shared" / "detectors" / "golden" / "a"
FIELD = Path(__file__).parents[3] / "shared" / "field"
RATE = 16_000


def listen(path: Path, **limits: float) -> tuple[np.ndarray, SoundMedium]:
    """The samples of a sound file as detectors get them."""
    parts: list[np.ndarray] = []
    bounds = replace(UNLIMITED, **limits)
    with open_medium(path, limits=bounds) as medium:
        assert isinstance(medium, SoundMedium)
        medium.listen(parts.append, Deadline(bounds))
    return np.concatenate(parts), medium


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt((samples**2).mean()))


def pitch(samples: np.ndarray) -> float:
    """The strongest frequency, Hz."""
    return float(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * RATE / len(samples))


# --------------------------------------------------------------------------- the samples


def test_samples_are_those_of_the_published_resampler(tmp_path: Path):
    wanted = json.loads((GOLDEN / "aasist.json").read_text())["resample"][0]
    samples, _ = listen(GOLDEN / "inputs" / wanted["input"])
    assert len(samples) == wanted["samples_out"]
    places, values = zip(*wanted["out"]["samples"], strict=True)
    assert np.abs(samples[list(places)] - values).max() < 1e-5


def test_sound_at_the_right_rate_is_left_as_it_is():
    """Integers divided by 2^15, nothing else: the level counts."""
    inputs = json.loads((GOLDEN / "inputs" / "inputs_new.json").read_text())
    path = next(path for path in sorted((GOLDEN / "inputs").glob("*.wav")) if "44k1" not in path.name)
    assert path.name in json.dumps(inputs)
    raw = np.frombuffer(path.read_bytes()[44:], "<i2")
    assert np.array_equal(listen(path)[0], (raw / 32768).astype(np.float32))


@pytest.mark.parametrize(
    ("bits", "kind", "dtype", "scale"),
    [(8, 1, "u1", 128), (16, 1, "<i2", 2**15), (32, 1, "<i4", 2**31), (32, 3, "<f4", 1), (64, 3, "<f8", 1)],
)
def test_each_kind_of_sample_has_the_same_level(tmp_path: Path, bits: int, kind: int, dtype: str, scale: int):
    wave = tone(0.5).astype(np.float64)
    raw = wave * scale + (128 if dtype == "u1" else 0)
    (tmp_path / "a.wav").write_bytes(wav(raw.astype(dtype).tobytes(), bits=bits, kind=kind))
    assert np.abs(listen(tmp_path / "a.wav")[0] - wave).max() < (0.01 if bits == 8 else 1e-4)


@pytest.mark.parametrize("channels", [2, 6, 8])
def test_channels_are_mixed_by_their_mean(tmp_path: Path, channels: int):
    planes = np.zeros((channels, RATE), np.float32)
    planes[0], planes[-1] = tone(1.0), tone(1.0, hertz=900)
    path = write_sound(tmp_path / "a.flac", planes, codec="flac", rate=RATE)
    assert np.abs(listen(path)[0] - planes.mean(axis=0)).max() < 1e-4


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 48_000, 384_000])
def test_each_rate_gives_the_same_second(tmp_path: Path, rate: int):
    (tmp_path / "a.wav").write_bytes(wav((tone(2.0, rate=rate, hertz=200) * 32767).astype("<i2").tobytes(), rate=rate))
    samples, medium = listen(tmp_path / "a.wav")
    assert len(samples) == 2 * RATE
    assert pitch(samples) == pytest.approx(200, abs=1)
    assert loudness(samples[2000:-2000]) == pytest.approx(0.3 / 2**0.5, rel=0.01)
    assert medium.facts().duration_s == pytest.approx(2.0)


@pytest.mark.parametrize("rate", [1, 2_000_000])
def test_a_rate_that_nothing_records_is_unreadable(tmp_path: Path, rate: int):
    (tmp_path / "a.wav").write_bytes(wav(b"\1\2" * 4000, rate=rate))
    with pytest.raises(WorkerFailure, match="media_unreadable"):
        listen(tmp_path / "a.wav")


def test_a_change_of_rate_within_a_file_changes_no_pitch(tmp_path: Path):
    """Recordings that were joined, as Ogg and AAC allow."""
    parts = []
    for rate in (44_100, 22_050):
        write_sound(tmp_path / "part.aac", tone(2.0, rate=rate), codec="aac", rate=rate, format="adts")
        parts.append((tmp_path / "part.aac").read_bytes())
    (tmp_path / "a.aac").write_bytes(b"".join(parts))
    samples, _ = listen(tmp_path / "a.aac")
    assert len(samples) == pytest.approx(4 * RATE, abs=0.3 * RATE)
    for start in (0.3, 2.5):
        assert pitch(samples[round(start * RATE) : round((start + 1) * RATE)]) == pytest.approx(440, abs=2)


# --------------------------------------------------------------------------- hostile files


@pytest.mark.parametrize("channels", [9, 64])
def test_more_channels_than_there_are_names_for_are_mixed(tmp_path: Path, channels: int):
    planes = np.zeros((RATE, channels))
    planes[:, 0] = tone(1.0)
    (tmp_path / "a.wav").write_bytes(wav((planes * 32767).astype("<i2").tobytes(), channels=channels))
    assert np.abs(listen(tmp_path / "a.wav")[0] - planes.mean(axis=1)).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.flac", "flac"), ("a.opus", "libopus"), ("a.wav", "pcm_f32le")],
)
def test_bytes_that_were_changed_anywhere_give_sound_or_a_code(tmp_path: Path, name: str, codec: str):
    whole = write_sound(tmp_path / name, tone(1.0, rate=48_000), codec=codec, rate=48_000).read_bytes()
    codes = set()
    for seed in range(12):
        dice = np.random.default_rng(seed)
        content = np.frombuffer(whole, np.uint8).copy()
        places = dice.integers(8, len(content), size=1 + 3 * seed)
        content[places] = dice.integers(0, 256, size=len(places))
        (tmp_path / name).write_bytes(content.tobytes())
        try:
            samples, medium = listen(tmp_path / name, max_duration_s=60.0)
        except WorkerFailure as failure:
            codes.add(failure.code)
        else:
            assert np.isfinite(samples).all()
            assert np.abs(samples).max() <= 1
            assert medium.facts().duration_s == pytest.approx(len(samples) / RATE)
    assert codes <= MEDIA_CODES


def test_two_samples_are_two_samples(tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(wav(struct.pack("<hh", 16_384, -16_384)))
    assert listen(tmp_path / "a.wav")[0].tolist() == [0.5, -0.5]


def test_no_sample_at_all_is_unreadable(tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(wav(b""))
    with pytest.raises(WorkerFailure, match="media_unreadable"):
        listen(tmp_path / "a.wav")


def test_samples_that_are_no_numbers_are_silence_and_noted(tmp_path: Path):
    raw = tone(1.0)
    raw[4000:8000] = np.nan
    raw[9000], raw[9001], raw[9002] = np.inf, -np.inf, 1e30
    (tmp_path / "a.wav").write_bytes(wav(raw.astype("<f4").tobytes(), kind=3, bits=32))
    samples, medium = listen(tmp_path / "a.wav")
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1
    assert np.abs(samples[4100:7900]).max() == 0
    assert [note.code for note in medium.notes] == ["sound_damaged"]


@pytest.mark.parametrize("promised", [0xFFFFFFFF, 0x7FFFFFFF - 36, 400_000])
def test_a_length_that_is_not_true_is_not_believed(tmp_path: Path, promised: int):
    (tmp_path / "a.wav").write_bytes(wav((tone(1.0) * 32767).astype("<i2").tobytes(), promised=promised))
    samples, medium = listen(tmp_path / "a.wav")
    assert len(samples) == RATE
    # programs that write into a pipe say these two lengths; the third is a file that lost its end
    assert [note.code for note in medium.notes] == (["clip_cut_off"] if promised == 400_000 else [])


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.ogg", "libopus")])
def test_half_a_file_is_heard_to_where_it_ends(tmp_path: Path, name: str, codec: str):
    path = write_sound(tmp_path / name, tone(4.0, rate=48_000), codec=codec, rate=48_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    samples, medium = listen(path)
    assert 1.0 * RATE < len(samples) < 3.5 * RATE
    assert loudness(samples[RATE // 2 : RATE]) == pytest.approx(0.3 / 2**0.5, rel=0.05)
    if name == "a.flac":  # its header says how long it is
        assert [note.code for note in medium.notes] == ["clip_cut_off"]


def test_a_damaged_part_is_silence_of_the_same_length(tmp_path: Path):
    path = write_sound(tmp_path / "a.m4a", tone(6.0, rate=48_000), codec="aac", rate=48_000, bit_rate=96_000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = bytes(byte ^ 0x5A for byte in content[middle : middle + 6000])
    path.write_bytes(content)
    samples, medium = listen(path)
    assert len(samples) == pytest.approx(6 * RATE, abs=0.1 * RATE)
    assert pitch(samples[-RATE:-1000]) == pytest.approx(440, abs=2)
    notes = [note for note in medium.notes if note.code == "sound_damaged"]
    assert len(notes) == 1
    assert 2 < notes[0].start_s < notes[0].end_s < 4.5


def test_limits_of_length_and_time_hold_for_sound(tmp_path: Path):
    path = write_sound(tmp_path / "a.mp3", tone(5.0, rate=44_100), codec="libmp3lame")
    with pytest.raises(WorkerFailure, match="media_too_long"):
        listen(path, max_duration_s=4.0)
    with pytest.raises(WorkerFailure, match="media_timed_out"):
        listen(path, media_timeout_s=1e-9)


def test_the_room_of_the_pack_holds_for_sound(run_pass, tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(wav(bytes(2 * 20 * RATE)))
    with pytest.raises(WorkerFailure, match="pack_too_large"):
        run_pass(tmp_path / "a.wav", samplings=(), windows=[(4.0, 2.0)], limits={"max_pack_mb": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav"]


def test_pictures_are_not_decoded_where_sound_alone_is_judged(
    run_pass, tmp_path: Path, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    clip = film(tmp_path / "a.mp4", astronaut)
    whole = run_pass(clip, name="whole", windows=[(1.0, 1.0)])
    packets: list[object] = []
    decode = DecodeWatch.decode
    monkeypatch.setattr(DecodeWatch, "decode", lambda watch, packet: packets.append(packet) or decode(watch, packet))
    heard = run_pass(clip, name="heard", samplings=(), windows=[(1.0, 1.0)])
    assert len(packets) < 10
    assert heard.media == whole.media
    assert heard.media.frames == 50
    assert np.array_equal(heard.sound, whole.sound)
    assert [(shot.start, shot.end) for shot in heard.shots] == [(0, 49)]
    harvest_pack(tmp_path / "heard", tmp_path / "harvested")


# --------------------------------------------------------------------------- its place beside the pictures


def film(path: Path, astronaut: np.ndarray, *, start_s: float = 0.0, seconds: float = 2.0, codec: str = "aac") -> Path:
    """Two seconds of pictures, and a tone that begins ``start_s`` after them."""
    silent = encode(path.with_name("silent.mp4"), moving(astronaut, count=50, step=1))
    with av.open(str(silent)) as source, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        for packet in packets:
            packet.stream = video
        wave = tone(seconds, rate=48_000)[None]
        add_sound(container, wave, codec=codec, rate=48_000, start=round(start_s * 48_000), packets=packets)
    silent.unlink()
    return path


def onset(pack: MediaPack) -> float:
    """When the tone is first heard on the clock of the pictures, seconds."""
    return float(np.flatnonzero(np.abs(pack.sound) > 0.05)[0] / RATE + pack.sound_start_s)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts"])
def test_sound_that_begins_later_keeps_its_place(run_pass, tmp_path: Path, astronaut: np.ndarray, name: str):
    pack = run_pass(film(tmp_path / name, astronaut, start_s=0.8), samplings=(), windows=[(1.0, 1.0)])
    assert onset(pack) == pytest.approx(0.8, abs=0.03)
    assert len(pack.sound) == pytest.approx(2 * RATE, abs=0.05 * RATE)


@pytest.mark.parametrize(
    ("name", "start_s", "seconds"),
    [
        ("sound_starts_first.mp4", -1.5, 5.5),
        ("sound_longer.mp4", 0.0, 9.0),
        ("two_sounds.mkv", 0.0, 4.0),
        ("surround.mkv", 0.0, 4.0),
        ("pcm_8k.mov", 0.0, 4.0),
        ("editlist_trim.mp4", 0.0, 1.22),
    ],
)
def test_sound_of_cases_from_the_field_keeps_its_place(run_pass, name: str, start_s: float, seconds: float):
    pack = run_pass(FIELD / name, samplings=(), windows=[(1.0, 1.0)])
    assert pack.sound_start_s == pytest.approx(start_s, abs=0.03)
    assert len(pack.sound) == pytest.approx(seconds * RATE, abs=0.06 * RATE)


def test_priming_of_encoders_is_not_heard(tmp_path: Path):
    """AAC, MP3 and Opus begin with samples that make the decoder ready; players skip them."""
    for name, codec in (("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.opus", "libopus")):
        late = np.concatenate([np.zeros(24_000, np.float32), tone(1.0, rate=48_000)])
        samples, _ = listen(write_sound(tmp_path / name, late, codec=codec, rate=48_000, bit_rate=128_000))
        first = int(np.flatnonzero(np.abs(samples) > 0.1)[0])
        assert first == pytest.approx(RATE // 2, abs=60), name


class _Frames:
    """A decoder whose frames and stamps are given."""

    def __init__(self, stamps: list[float]) -> None:
        self.codec_context, self.stamps = self, stamps
        self.format = SimpleNamespace(name="matroska,webm")

    def demux(self, stream: object):
        return [av.Packet(1) for _ in self.stamps]

    def decode(self, packet: object):
        if not self.stamps:
            return []
        frame = av.AudioFrame.from_ndarray(tone(0.1)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = round(self.stamps.pop(0) * RATE)
        return [frame]


def _hear(stamps: list[float], *, clock: SoundClock | None) -> tuple[np.ndarray, Heard]:
    parts: list[np.ndarray] = []
    fake = _Frames(stamps)
    heard = hear(fake, fake, parts.append, clock=clock, limits=UNLIMITED, deadline=Deadline(UNLIMITED))
    return np.concatenate(parts), heard


def test_a_pause_of_the_recorder_is_silence():
    samples, heard = _hear([0.0, 0.1, 0.9, 1.0], clock=None)
    assert len(samples) == round(1.1 * RATE)
    assert np.abs(samples[round(0.21 * RATE) : round(0.89 * RATE)]).max() == 0
    assert heard.notes == []


def test_a_clock_that_jumps_in_a_sound_file_makes_no_hour_of_silence():
    for stamps in ([0.0, 0.1, 5000.0, 5000.1], [100.0, 100.1, 0.0, 0.1]):
        samples, heard = _hear(list(stamps), clock=None)
        assert 0.29 * RATE <= len(samples) <= 0.41 * RATE
        assert heard.start_s == 0


def test_sound_of_a_video_follows_its_repaired_clock():
    pieces = (Piece(0.0, 10.0, 0.0), Piece(1000.0, 1010.0, -990.0))
    samples, heard = _hear([9.8, 9.9, 1000.0, 1000.1], clock=SoundClock(pieces, zero_s=9.5))
    assert heard.start_s == pytest.approx(0.3)
    assert len(samples) == pytest.approx(0.4 * RATE, abs=2)


# --------------------------------------------------------------------------- memory


_MEMORY = """
import resource, sys
from pathlib import Path
from backend.media.limits import UNLIMITED, Deadline
from backend.media.sound_file import SoundMedium
for name in sys.argv[1:]:
    with SoundMedium(Path(name), limits=UNLIMITED, format="wav") as medium:
        print(medium.listen(lambda samples: None, Deadline(UNLIMITED)).samples, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_length(tmp_path: Path):
    """A quarter of an hour after a minute: the most that the process ever took stays the same, but for 8 MB."""
    second = (tone(1.0, rate=8_000) * 32767).astype("<i2").tobytes()
    for name, seconds in (("minute.wav", 60), ("long.wav", 900)):
        (tmp_path / name).write_bytes(wav(second * seconds, rate=8_000))
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, tmp_path / "minute.wav", tmp_path / "long.wav"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    (short, before), (long, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (short, long) == (60 * RATE, 900 * RATE)
    assert after - before < 8_000  # kilobytes
