"""Faces of labelled clips: who belongs together, what happens to whole frames, and that a search is done once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from detectors.training import clips
from detectors.training.clip_blends import blended_frames
from detectors.training.clips import MARGIN, SIDE, VERSIONS, Seen, faces_of_clips, framed, read_clips, through_x264
from detectors.training.dataset import DataError

SOURCE = "source repository@commit path"


def table(folder: Path, *rows: dict[str, str]) -> Path:
    columns = ["file", "label", "method", "family", "identity", "pair", SOURCE]
    lines = [",".join(columns), *(",".join(row.get(name, "") for name in columns) for row in rows)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_clips_of_one_person_one_original_or_one_source_are_one_scene(tmp_path: Path):
    folder = table(
        tmp_path,
        {"file": "a.mp4", "label": "real", "identity": "ada"},
        {"file": "b.mp4", "label": "fake", "method": "m", "identity": "bob", "pair": "ada"},
        {"file": "c.mp4", "label": "fake", "method": "m", "identity": "cy", SOURCE: "montage"},
        {"file": "d.mp4", "label": "fake", "method": "n", "identity": "bob", SOURCE: "montage"},
        {"file": "e.mp4", "label": "real", "identity": "eve"},
        {"file": "f.mp4", "label": "real"},
    )
    found = read_clips(folder)
    assert [clip.fake for clip in found] == [False, True, True, True, False, False]
    scenes = [clip.scene for clip in found]
    assert len(set(scenes[:4])) == 1
    assert len(set(scenes)) == 3


@pytest.mark.parametrize("row", [{"file": "a.mp4", "label": "maybe"}, {"file": "", "label": "real"}])
def test_a_row_without_a_file_or_a_known_label_is_refused(tmp_path: Path, row: dict[str, str]):
    with pytest.raises(DataError, match="real or fake"):
        read_clips(table(tmp_path, row))


def test_a_folder_without_a_table_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"labels\.csv is missing"):
        read_clips(tmp_path)


def test_the_same_file_name_draws_the_same_version_and_another_an_other():
    drawn = VERSIONS[-1]
    assert drawn.drawn("a.mp4") == drawn.drawn("a.mp4")
    found = [drawn.drawn(f"{number}.mp4") for number in range(400)]
    crfs, scales = np.array(found).T
    assert (crfs.min(), crfs.max()) == (18, 40)
    assert 0.5 <= scales.min() < 0.51
    assert 0.99 < scales.max() <= 1.0


def test_a_face_at_the_border_repeats_it(astronaut: np.ndarray):
    image = np.arange(100, dtype=np.uint8)[None, :, None].repeat(100, 0).repeat(3, 2)
    inner = framed(image, np.array([40, 40, 60, 60]), margin=1.0, side=20)
    assert np.array_equal(inner[:, :, 0], image[40:60, 40:60, 0])
    outer = framed(image, np.array([-10, 40, 10, 60]), margin=1.0, side=20)
    assert np.array_equal(outer[0, :, 0], [0] * 10 + list(range(10)))


def test_x264_returns_every_frame_in_order_and_less_of_it_at_a_higher_crf(astronaut: np.ndarray):
    frames = [np.ascontiguousarray(astronaut[n : n + 256, n : n + 256]) for n in range(0, 24, 2)]

    def errors(crf: int) -> list[float]:
        coded = list(through_x264(iter(frames), crf=crf))
        assert [frame.shape for frame in coded] == [frame.shape for frame in frames]
        # each is nearest to its own frame, so none was lost or swapped
        for number, frame in enumerate(coded):
            gaps = [np.abs(frame.astype(int) - other).mean() for other in frames]
            assert int(np.argmin(gaps)) == number
        return [float(np.abs(a.astype(int) - b).mean()) for a, b in zip(coded, frames, strict=True)]

    assert np.mean(errors(40)) > 1.5 * np.mean(errors(18))


def test_a_scale_halves_the_sides_and_makes_them_even():
    frames = [np.full((50, 38, 3), 90, np.uint8)] * 3
    assert [frame.shape for frame in through_x264(frames, crf=20, scale=0.5)] == [(24, 20, 3)] * 3 or [
        frame.shape for frame in through_x264(frames, crf=20, scale=0.5)
    ] == [(26, 20, 3)] * 3


def test_a_clip_is_searched_once_and_shows_the_same_face_in_each_version(
    tmp_path: Path, astronaut_clip: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = table(tmp_path, {"file": "a.mp4", "label": "real", "identity": "ada"})
    (folder / "a.mp4").write_bytes(astronaut_clip.read_bytes())
    heard: list[str] = []
    (found,), without = faces_of_clips(read_clips(folder), tmp_path / "cache", tell=heard.append)
    assert not without
    assert len(heard) == 1
    assert found.pixels.shape == (len(VERSIONS), len(found), SIDE, SIDE, 3)
    as_is = found.pixels[0].astype(int)
    for version in found.pixels[1:]:
        changed = np.abs(version.astype(int) - as_is).mean()
        assert 0.1 < changed < 20
    # landmarks are where the stored face has them: eyes above mouth, inside the face box
    inner = SIDE / MARGIN / 2
    assert (np.abs(found.points - SIDE / 2) < inner).all()
    assert (found.points[:, :2, 1] < found.points[:, 3:, 1]).all()

    monkeypatch.setattr(clips, "_cut_clip", lambda clip: pytest.fail("it was searched again"))
    (again,), _ = faces_of_clips(read_clips(folder), tmp_path / "cache", tell=heard.append)
    assert np.array_equal(again.pixels, found.pixels)


def test_a_blend_of_a_whole_clip_follows_the_face_and_stays_inside_it(astronaut: np.ndarray):
    frames = [np.ascontiguousarray(np.roll(astronaut, (2 * n, 3 * n), (0, 1))) for n in range(9)]
    box, points = (
        np.array([176, 68, 275, 202]) / 512,
        np.array([[203, 116], [247, 116], [226, 146], [205, 165], [244, 165]]) / 512,
    )
    step = np.array([3, 2]) * 8 / 512
    seen = Seen(
        np.array([0, 8]),
        np.array([0.0, 0.3]),
        np.full(2, 134.0),
        np.stack([box, box + np.tile(step, 2)]),
        np.stack([points, points + step]),
    )
    blended = list(blended_frames(iter(frames), seen, seed=5))
    moves = [np.abs(a.astype(int) - b).max(axis=2) for a, b in zip(blended, frames, strict=True)]
    for number, move in enumerate(moves):
        left, top = 176 + 3 * number, 68 + 2 * number
        assert move[top : top + 134, left : left + 99].mean() > 0.5
        move[max(0, top - 80) : top + 214, left - 80 : left + 179] = 0
        assert move.max() == 0
    # the same blend in each frame: moved back, two frames differ in little
    first, last = (np.roll(blended[n], (-2 * n, -3 * n), (0, 1))[60:240, 150:300].astype(int) for n in (0, 8))
    assert np.abs(first - last).mean() < 0.3 * moves[0][60:240, 150:300].mean() + 0.5


def test_a_clip_without_a_face_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = table(tmp_path, {"file": "a.mp4", "label": "real"})
    (folder / "a.mp4").write_bytes(b"not a clip, but long enough to be looked at " * 20)
    found, without = faces_of_clips(read_clips(folder), tmp_path / "cache", tell=lambda line: None)
    assert not found
    assert set(without) == {"a.mp4"}
    (facts,) = (tmp_path / "cache").glob("*.json")
    assert json.loads(facts.read_text())["reason"] == without["a.mp4"]
