"""The evaluation counts what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from base_detector import BaseDetector, load_detector
from detectors.training.evaluate import GATES, clip_bank, on_held_out, pairs_of_clips, read_clips, table_row, verdicts
from detectors.training.faces import Bank
from detectors.training.stream import Recipe


@pytest.fixture(scope="module")
def detector() -> BaseDetector:
    loaded = load_detector("detectors.selfblend")
    loaded.load(Path("nowhere"), "cpu")
    return loaded


def test_a_gate_at_its_limit_passes_only_where_the_limit_is_included():
    limits = {name: limit for name, (_, _, limit) in GATES.items()}
    found = verdicts(limits)
    assert found["hard_auc"]["passed"]
    assert found["jpeg60_drop"]["passed"]
    assert not found["identities_flagged"]["passed"]
    assert not verdicts({"hard_auc": 0.7999})["hard_auc"]["passed"]
    assert set(verdicts({"fwa_pair": 1.0})) == {"fwa_pair"}  # what was not measured is not judged


def test_the_table_counts_frames_and_clips_and_is_unsure_about_few_clips():
    rng = np.random.default_rng(1)
    scored = [
        {"clip": str(n), "fake": n % 2 == 1, "scores": list(0.3 * (n % 2) + rng.random() + rng.random(20) * 0.1)}
        for n in range(8)
    ]
    row = table_row(scored, rng=np.random.default_rng(2))
    assert (row["frames"], row["clips"]) == (160, 8)
    assert row["frame_low"] <= row["frame_auc"] <= row["frame_high"]
    assert row["video_low"] <= row["video_auc"] <= row["video_high"]
    assert row["frame_high"] - row["frame_low"] > 0.1


def test_held_out_figures_are_measured_on_the_test_part(detector: BaseDetector, bank: Bank):
    recipe = Recipe(pairs=8)
    found = on_held_out(detector, bank, recipe=recipe, batches=2)
    assert 0 <= found["hard_auc_low"] <= found["hard_auc"] <= found["hard_auc_high"] <= 1
    for last in ("jpeg60", "h264_32"):
        for name in ("hard", "uncompressed"):
            lost = found[f"{name}_plain_auc"] - found[f"{name}_{last}_auc"]
            assert found[f"{name}_{last}_drop"] == pytest.approx(lost, abs=1e-12)
        assert found[f"{last}_drop"] == found[f"uncompressed_{last}_drop"]
    assert 0 <= found["identities_flagged"] <= 1


def test_blends_are_made_of_the_faces_of_clips(detector: BaseDetector, astronaut_clip: Path, tmp_path: Path):
    (tmp_path / "labels.csv").write_text(f"file,label\n{astronaut_clip.name},real\n")
    (tmp_path / astronaut_clip.name).write_bytes(astronaut_clip.read_bytes())
    (tmp_path / "packs").mkdir()
    clips = read_clips(tmp_path, tmp_path / "packs")
    assert [(clip.name, clip.fake) for clip in clips] == [(astronaut_clip.name, False)]
    bank = clip_bank(clips)
    assert len(bank.rows) == len(clips[0].pack) >= 5
    shares = pairs_of_clips(detector, bank, recipe=Recipe(codec="none"))
    assert set(shares) == {astronaut_clip.name, "all"}
    assert 0 <= shares["all"] <= 1
