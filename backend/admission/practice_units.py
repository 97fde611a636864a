"""Packs for practice of detectors that judge whole pictures or sound: the portrait as pictures, and a synthetic voice.

Owns these packs and the voice. Promises: the same packs every time. May be imported by ``backend.admission`` and the command line of
detectors.
"""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

from backend.admission.practice import FPS, PracticePacks
from backend.media.pack import write_pack_json
from base_detector import FACE_DTYPE, PICTURE_DTYPE, SOUND_RATE, Array, Card, Shot
from shared.findings import DecodedMedia, Sound


def practice_packs(folder: Path, *, portrait: Path, card: Card) -> PracticePacks:
    """Packs of what the detector of ``card`` judges, below ``folder``. ``portrait`` is a pack of one picture with one face."""
    if card.unit == "sound":
        return PracticeSounds(folder, portrait=portrait, card=card)
    return (PracticePictures if card.unit == "picture" else PracticePacks)(folder, portrait=portrait)


class PracticePictures(PracticePacks):
    """A picture a frame: the portrait with its surroundings, varied a little."""

    def clip(self, units: int) -> Path:
        """A clip of ``units`` whole pictures."""
        return self._made(f"clip-{units}", lambda folder: self._write(folder, map(self._varied, range(units))))

    def row_of_clip(self, units: int, index: int) -> Path:
        """Picture ``index`` of ``clip`` alone."""
        return self._made(f"row-{units}-{index}", lambda folder: self._write(folder, [self._varied(index)]))

    def example(self, content: Array) -> Path:
        """A pack of one picture, (H, W, 3) uint8 RGB."""
        name = f"picture-{len(list(self._folder.glob('picture-*')))}"
        return self._made(name, lambda folder: self._write(folder, [content], kind="image"))

    def empty(self) -> Path:
        """A clip of which no picture was taken."""
        return self._made("empty", lambda folder: self._write(folder, []))

    def truncated(self, units: int) -> Path:
        """A clip with half of its pixels missing."""
        return self._halved(units, "pictures.bin")

    def _write(self, folder: Path, pictures: Any, *, kind: str = "video") -> None:
        rows, offset = [], 0
        with (folder / "pictures.bin").open("wb") as file:
            for frame, picture in enumerate(pictures):
                rows.append((frame, frame / FPS, 0, offset, *picture.shape[:2]))
                offset += file.write(np.ascontiguousarray(picture).tobytes())
        (folder / "crops.bin").touch()
        table = np.array(rows, PICTURE_DTYPE)
        size = {"height": rows[0][4], "width": rows[0][5]} if rows else {}
        self._finish(folder, np.zeros(0, FACE_DTYPE), kind=kind, pictures=table, lossless=True, **size)


class PracticeSounds(PracticePacks):
    """A synthetic voice, as long as the windows of a card ask for."""

    def __init__(self, folder: Path, *, portrait: Path, card: Card) -> None:
        super().__init__(folder, portrait=portrait)
        self._lengths = (card.window_s, card.hop_s)
        self._window, self._hop = (round(length * SOUND_RATE) for length in self._lengths)

    def clip(self, units: int) -> Path:
        """A sound of ``units`` windows."""
        return self._made(f"clip-{units}", lambda folder: self._write(folder, self._voice(units)))

    def row_of_clip(self, units: int, index: int) -> Path:
        """Window ``index`` of ``clip`` alone."""
        start = index * self._hop
        own = self._voice(units)[start : start + self._window]
        return self._made(f"row-{units}-{index}", lambda folder: self._write(folder, own))

    def example(self, content: Array) -> Path:
        """A pack of a sound, (n,) float32 mono at SOUND_RATE."""
        name = f"sound-{len(list(self._folder.glob('sound-*')))}"
        return self._made(name, lambda folder: self._write(folder, content))

    def empty(self) -> Path:
        """A sound file without a sample."""
        return self._made("empty", lambda folder: self._write(folder, np.zeros(0, np.float32)))

    def truncated(self, units: int) -> Path:
        """A sound with half of its samples missing."""
        return self._halved(units, "sound.f32")

    def _voice(self, units: int) -> Array:
        return synthetic_voice(self._window + (units - 1) * self._hop)

    def _write(self, folder: Path, samples: Array) -> None:
        for name, table in (("faces.npy", np.zeros(0, FACE_DTYPE)), ("crops.bin", None)):
            (folder / name).touch()
            if table is not None:
                np.save(folder / name, table, allow_pickle=False)
        samples.astype("<f4").tofile(folder / "sound.f32")
        media = DecodedMedia("sound", 0, 0, None, len(samples) / SOUND_RATE, 0, "pcm_s16le", "wav", 0, has_audio=True)
        write_pack_json(
            folder,
            np.zeros(0, FACE_DTYPE),
            media=media,
            sampling={"mode": "thorough", "samplings": [], "context": 2.0, "detect_every": 1},
            frames=[],
            shots=list[Shot](),
            keyfaces={},
            seconds={},
            sound=Sound(len(samples), 0.0),
            windows=[self._lengths],
        )


def synthetic_voice(samples: int) -> Array:
    """Something like speech, (samples,) float32: gliding harmonics in syllables, with breath. The same every time."""
    time_s = np.arange(samples) / SOUND_RATE
    pitch = 130 + 30 * np.sin(2 * np.pi * 0.7 * time_s) + 12 * np.sin(2 * np.pi * 2.3 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch) / SOUND_RATE
    harmonics = sum(np.sin(number * phase) / number for number in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * time_s), 0, 1) ** 0.5
    breath = np.random.default_rng(5).standard_normal(samples)
    voice: Array = (0.12 * syllables * harmonics + 0.004 * breath).astype(np.float32)
    return voice


def read_wav(path: Path) -> Array:
    """A WAV file of 16 bits, mono, SOUND_RATE samples a second, as (n,) float32. ValueError for another one, OSError."""
    try:
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, SOUND_RATE):
                raise ValueError("not 16 bits, mono, 16,000 samples a second")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    except (wave.Error, EOFError) as error:
        raise ValueError(str(error)) from None


def write_wav(path: Path, samples: Array) -> None:
    """Write (n,) float32 in -1..1 as a WAV file that ``read_wav`` reads."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
