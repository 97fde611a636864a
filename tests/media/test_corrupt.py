"""Damaged copies for benchmarks: each can be read, times and sound stay, the same seed gives the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.media.corrupt import PICTURES, SOUNDS, corrupt
from backend.media.limits import UNLIMITED, Deadline
from backend.media.opening import open_medium
from base_detector import WorkerFailure
from tests.conftest import write_clip


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("still") / "portrait.png"
    Image.fromarray(astronaut[:301, :401]).save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, (astronaut[index : index + 240, :320] for index in range(12)), fps=12)


def damaged(media: Path, out: Path, how: str, *, seed: int = 1) -> int:
    out.unlink(missing_ok=True)
    return int(corrupt(media, out, how=how, seed=seed, limits=UNLIMITED)["units"])


def pictures(path: Path) -> tuple[list[np.ndarray], list[float], bool]:
    with open_medium(path, limits=UNLIMITED) as medium:
        seen = [(picture.rgb(), picture.time_s) for picture in medium.pictures()]
        return [rgb for rgb, _ in seen], [time for _, time in seen], medium.facts().has_audio


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.sqrt(np.mean((ours.astype(float) - theirs) ** 2)))


def test_a_clip_keeps_its_times_size_and_sound_in_each_corruption(clip: Path, tmp_path: Path):
    before, times, _ = pictures(clip)
    far = {}
    for how, corruption in PICTURES.items():
        assert damaged(clip, tmp_path / how, how) == 12
        after, stamps, sound = pictures(tmp_path / how)
        assert stamps == pytest.approx(times, abs=1e-3)
        assert sound
        assert after[0].shape == ((120, 160, 3) if how == "half_size" else (240, 320, 3))
        if corruption.change is None:
            far[how] = error(after[5], before[5])
    assert 0 < far["jpeg_90"] < far["jpeg_60"] < far["jpeg_30"]
    assert 0 < far["h264_23"] < far["h264_32"] < far["h264_40"]


def test_a_still_becomes_png_or_a_jpeg_of_its_quality_and_h264_is_not_for_it(portrait: Path, tmp_path: Path):
    for how, corruption in PICTURES.items():
        assert damaged(portrait, tmp_path / how, how) == (1 if corruption.still else 0)
        if corruption.still:
            with Image.open(tmp_path / how) as image:
                assert image.format == ("JPEG" if corruption.jpeg or corruption.side else "PNG")
                assert image.size == ((200, 150) if how == "half_size" else (401, 301))
        else:
            assert not (tmp_path / how).exists()


def test_noise_is_that_of_the_seed(portrait: Path, tmp_path: Path):
    first, again, other = (tmp_path / name for name in "abc")
    for path, seed in ((first, 1), (again, 1), (other, 2)):
        damaged(portrait, path, "noise", seed=seed)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    assert error(*pictures(first)[0], *pictures(portrait)[0]) == pytest.approx(
        8, rel=0.15
    )  # a part is cut at black and white


def heard(path: Path) -> tuple[float, float]:
    """(seconds, root mean square) of a file of sound."""
    with open_medium(path, limits=UNLIMITED) as medium:
        pieces: list[np.ndarray] = []
        medium.listen(pieces.append, Deadline(UNLIMITED))
        assert medium.facts().kind == "sound"
        return medium.facts().duration_s, float(np.sqrt(np.mean(np.concatenate(pieces) ** 2)))


def test_sound_goes_through_each_codec_and_keeps_its_length(clip: Path, tmp_path: Path):
    found = {}
    for how in SOUNDS:
        assert damaged(clip, tmp_path / how, how) > 0
        found[how] = heard(tmp_path / how)
    seconds = [seconds for seconds, _ in found.values()]
    assert seconds == pytest.approx([seconds[0]] * len(seconds), abs=0.1)
    loud = found["telephone"][1]
    for how, (_, level) in found.items():
        assert level == pytest.approx(loud * (10 ** (-12 / 20) if how == "quieter" else 1), rel=0.15)


def test_pictures_have_no_sound_to_damage_and_sound_no_pictures(portrait: Path, clip: Path, tmp_path: Path):
    assert damaged(portrait, tmp_path / "a", "telephone") == 0
    damaged(clip, tmp_path / "b", "telephone")
    assert damaged(tmp_path / "b", tmp_path / "c", "jpeg_30") == 0


def test_an_unknown_corruption_is_refused(portrait: Path, tmp_path: Path):
    with pytest.raises(WorkerFailure, match="bad_request"):
        damaged(portrait, tmp_path / "a", "rm -rf")


def test_the_benchmark_knows_the_corruptions_there_are():
    from backend.benchmark import judging
    from backend.benchmark.words import CONDITIONS

    assert (set(judging.PICTURES), set(judging.SOUNDS)) == (set(PICTURES), set(SOUNDS))
    assert set(CONDITIONS) == {"untouched", *PICTURES, *SOUNDS}
