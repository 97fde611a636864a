"""Mild changes of pixels and sound: as large as before, at the same place, and the same picture still."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from backend.admission.practice_units import synthetic_voice
from backend.media.limits import MediaLimits
from backend.media.vary import heard, seen, vary
from base_detector import WorkerFailure
from shared.settings import Settings
from shared.stability import VARIANTS
from tests.detectors.test_contract import write_pack

LIMITS = MediaLimits.of(Settings())
OF_PIXELS = [item for item in VARIANTS if item.maker == "media" and "face" in item.units]
OF_SOUND = [item for item in VARIANTS if "sound" in item.units]


@pytest.mark.parametrize("variant", OF_PIXELS, ids=lambda item: item.name)
@pytest.mark.parametrize("size", [(512, 512), (201, 133), (3, 2), (1, 1)], ids=str)
def test_a_changed_picture_is_as_large_and_about_the_same(astronaut: np.ndarray, variant, size: tuple[int, int]):
    picture = np.ascontiguousarray(astronaut[: size[0], : size[1]])
    changed = seen(picture, variant)
    assert (changed.shape, changed.dtype) == (picture.shape, np.uint8)
    if min(size) > 100:
        change = np.abs(changed.astype(int) - picture).mean()
        assert 0.3 < change < 12


def test_a_stronger_compression_changes_more(astronaut: np.ndarray):
    by_name = {item.name: np.abs(seen(astronaut, item).astype(int) - astronaut).mean() for item in OF_PIXELS}
    assert by_name["h264_36"] > by_name["h264_28"]


@pytest.mark.parametrize("variant", OF_SOUND, ids=lambda item: item.name)
def test_changed_sound_stays_at_its_place_in_time(variant):
    voice = synthetic_voice(48_000)
    changed = heard(voice, variant)
    assert (changed.shape, changed.dtype) == (voice.shape, np.float32)
    lags = range(-300, 301)
    alike = [float(np.dot(voice[1000:-1000], changed[1000 + lag : len(voice) - 1000 + lag])) for lag in lags]
    assert abs(lags[int(np.argmax(alike))]) <= 2
    assert np.corrcoef(voice, changed)[0, 1] > 0.9
    assert not np.array_equal(voice, changed)


def test_files_of_changed_pixels_have_the_layout_of_the_packs_own(tmp_path: Path, astronaut: np.ndarray):
    pack = write_pack(tmp_path / "pack", [astronaut[:64, :48], astronaut[:31, :77]])
    (tmp_path / "out").mkdir()
    answer = vary(pack.folder, tmp_path / "out", unit="face", variants=["jpeg_60", "h264_28"], limits=LIMITS)
    assert answer == {"made": ["jpeg_60", "h264_28"]}
    size = (pack.folder / "crops.bin").stat().st_size
    assert {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()} == {
        "jpeg_60": size,
        "h264_28": size,
    }


def test_a_change_that_fails_leaves_the_others(tmp_path: Path, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    pack = write_pack(tmp_path / "pack", [astronaut[:64, :48]])
    (tmp_path / "out").mkdir()
    monkeypatch.setattr("backend.media.vary._through_h264", lambda picture, *, crf: picture[:5])
    answer = vary(pack.folder, tmp_path / "out", unit="face", variants=["h264_28", "jpeg_60"], limits=LIMITS)
    assert answer == {"made": ["jpeg_60"]}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["jpeg_60"]


@pytest.mark.parametrize(
    ("unit", "name"), [("face", "mp3_64"), ("sound", "jpeg_60"), ("face", "shift_1px"), ("face", "other")]
)
def test_a_change_that_is_not_for_the_unit_is_a_bad_request(tmp_path: Path, unit: str, name: str):
    pack = write_pack(tmp_path / "pack", [np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(WorkerFailure, match="bad_request"):
        vary(pack.folder, tmp_path, unit=unit, variants=[name], limits=MediaLimits(**asdict(LIMITS)))
