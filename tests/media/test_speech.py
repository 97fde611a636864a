"""Speech is found in all that people say, and in nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.media.limits import UNLIMITED, Deadline
from backend.media.opening import open_medium
from backend.media.sound_file import SoundMedium
from backend.media.speech import speech_in
from tests.media.sounds import tone

AUDIO = Path(__file__).parents[3] / "shared" / "media" / "audio"
RATE = 16_000


def samples_of(path: Path) -> np.ndarray:
    parts: list[np.ndarray] = []
    with open_medium(path, limits=UNLIMITED) as medium:
        assert isinstance(medium, SoundMedium)
        medium.listen(parts.append, Deadline(UNLIMITED))
    return np.concatenate(parts)


def seconds_of_speech(sound: np.ndarray) -> float:
    return sum(end - start for start, end in speech_in(sound.astype(np.float32), deadline=Deadline(UNLIMITED)))


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(size=round(seconds * RATE)) * 0.1


def test_no_labelled_voice_is_lost_real_or_made():
    shares = {}
    for path in sorted(AUDIO.glob("*.[fmw][lpa][av3]*")):
        sound = samples_of(path)[: 20 * RATE]
        shares[path.name] = seconds_of_speech(sound) * RATE / len(sound)
    assert len(shares) == 45
    assert min(shares.values()) > 0.5, shares


@pytest.mark.parametrize("what", ["silence", "tone", "chord", "noise", "hum"])
def test_what_is_not_speech_is_not_taken_for_it(what: str):
    chord = sum(tone(10, hertz=hertz, level=0.1) for hertz in (220, 277, 330, 440))
    sounds = {
        "silence": np.zeros(10 * RATE),
        "tone": tone(10),
        "chord": chord,
        "noise": noise(10),
        "hum": tone(10, hertz=50),
    }
    assert seconds_of_speech(sounds[what]) == 0


def test_speech_in_the_middle_is_found_where_it_is():
    voice = samples_of(next(iter(sorted(AUDIO.glob("vocoded_*rms*0476.wav")))))
    sound = np.concatenate([noise(20) * 0.1, voice, noise(7) * 0.1]).astype(np.float32)
    found = speech_in(sound, deadline=Deadline(UNLIMITED))
    assert found[0][0] == pytest.approx(20.2, abs=0.4)
    assert found[-1][1] == pytest.approx(20 + len(voice) / RATE, abs=0.4)
    assert all(start < end for start, end in found)
    assert found == sorted(found)


@pytest.mark.parametrize("samples", [0, 1, 511, 513, 8192, 262_145])
def test_every_length_can_be_searched(samples: int):
    assert speech_in(np.zeros(samples, np.float32), deadline=Deadline(UNLIMITED)) == []
