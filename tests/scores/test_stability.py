"""The stability band on made-up scores: exact differences, reasons where there is no score, other samplings, crossing the threshold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.harvest.scores import HarvestedScores
from backend.scores.findings import finding_of
from backend.scores.stability import band_of
from base_detector import Card
from shared.findings import MediaPack
from shared.results import PersonScore, Stability
from shared.stability import BY_NAME, FAST_S, VARIANTS, is_judged_again, most_units, seconds_for, variants_of
from tests.detectors.test_contract import write_pack
from tests.scores.sets import LIKE, answer, card
from tests.shared.test_statement import band

FACES = 6


def scores(values: list[float | None], *, own: Card | None = None, video: float | None = None) -> HarvestedScores:
    """``scores.json`` with these values; None is no score."""
    known = [(at, value) for at, value in enumerate(values) if value is not None]
    who = PersonScore(person=0, faces=len(known), fake_score=0.5, hard_label="fake")
    return HarvestedScores(
        schema_version=3, contract="1", detector=(own or card()).id, version="1", unit="face", index=tuple(at for at, _ in known),
        fake_score=tuple(value for _, value in known), video_fake_score=video, persons=(who,),
    )  # fmt: skip


@pytest.fixture
def pack(tmp_path: Path) -> MediaPack:
    return write_pack(tmp_path / "pack", [np.zeros((20, 20, 3), np.uint8)] * FACES)  # type: ignore[return-value]


@pytest.fixture
def part(tmp_path: Path) -> MediaPack:
    return write_pack(tmp_path / "part", [np.zeros((20, 20, 3), np.uint8)] * 2)  # type: ignore[return-value]


def by_name(found: Stability) -> dict[str, float | str | None]:
    return {item.name: item.fake_score if item.code is None else item.code for item in found.variants}


def test_the_band_is_the_difference_on_the_same_units_about_the_score_of_the_file(pack: MediaPack, part: MediaPack):
    whole = scores([0.5, 0.7, 0.5, 0.7, 0.5, 0.7])
    again = {
        "as_is": scores([0.5, 0.7]),
        "jpeg_60": scores([0.4, 0.6]),
        "half_size": scores([0.3, 0.5]),
        "h264_28": scores([0.5, 0.9]),
        "h264_36": scores([0.6, None]),
        "shift_1px": scores([0.5, 0.7]),
    }
    found = band_of(card(), whole, pack, part=part, again=again, seconds=1.5)
    assert by_name(found) == pytest.approx({
        "jpeg_60": 0.5, "half_size": 0.4, "h264_28": 0.7, "h264_36": 0.7, "shift_1px": 0.6, "even_frames": 0.5, "odd_frames": 0.7,
    })  # fmt: skip
    assert (found.low, found.high, found.units, found.seconds) == (pytest.approx(0.4), pytest.approx(0.7), 2, 1.5)
    assert [item.units for item in found.variants] == [2, 2, 2, 1, 2, 3, 3], "only units with both scores are compared"


def test_a_score_stays_within_nought_and_one(pack: MediaPack, part: MediaPack):
    whole = scores([0.9] * FACES)
    again = {"as_is": scores([0.2, 0.2]), "jpeg_60": scores([0.9, 0.9])}
    assert by_name(band_of(card(), whole, pack, part=part, again=again))["jpeg_60"] == 1.0


def test_a_variant_without_a_score_has_its_reason_and_no_number(pack: MediaPack, part: MediaPack):
    whole = scores([0.5] * FACES)
    again = {
        "as_is": scores([0.5, None]),
        "jpeg_60": "media_timed_out",
        "half_size": scores([None, 0.5]),
        "shift_1px": scores([0.4, 0.9]),
    }
    found = band_of(card(), whole, pack, part=part, again=again)
    assert by_name(found) == pytest.approx({
        "jpeg_60": "media_timed_out", "half_size": "nothing_in_common", "h264_28": "not_made", "h264_36": "not_made", "shift_1px": 0.4,
        "even_frames": 0.5, "odd_frames": 0.5,
    })  # fmt: skip
    assert all((item.fake_score is None) == (item.code is not None) for item in found.variants)
    assert (found.low, found.high) == (0.4, 0.5)


def test_where_nothing_was_judged_again_there_is_no_band_that_looks_steady(pack: MediaPack, part: MediaPack):
    own = card(aggregation="own")
    whole = scores([0.5] * FACES, video=0.8)
    found = band_of(own, whole, pack, part=part, again={"as_is": "worker_died"})
    assert {item.code for item in found.variants} == {"worker_died", "own_score"}
    assert (found.low, found.high) == (None, None)
    assert not found.crosses(0.5)


def test_a_detector_that_joins_its_scores_itself_is_compared_by_its_own_scores(pack: MediaPack, part: MediaPack):
    own = card(aggregation="own")
    again = {"as_is": scores([0.1, 0.1], video=0.6), "jpeg_60": scores([0.1, 0.1], video=0.35)}
    found = by_name(band_of(own, scores([0.5] * FACES, video=0.8), pack, part=part, again=again))
    assert found["jpeg_60"] == pytest.approx(0.55)


def test_a_detector_of_original_pixels_is_not_given_others_and_says_why(pack: MediaPack, part: MediaPack):
    own = card(lossless_only=True)
    again = {"as_is": scores([0.5, 0.5]), "shift_1px": scores([0.6, 0.6])}
    found = by_name(band_of(own, scores([0.5] * FACES), pack, part=part, again=again))
    assert {name for name, value in found.items() if value == "needs_original_pixels"} == {
        "jpeg_60",
        "half_size",
        "h264_28",
        "h264_36",
    }
    assert found["shift_1px"] == pytest.approx(0.6)


def test_one_frame_has_no_other_sampling(tmp_path: Path, part: MediaPack):
    one = write_pack(tmp_path / "one", [np.zeros((20, 20, 3), np.uint8)])
    found = by_name(band_of(card(), scores([0.5]), one, part=part, again={}))  # type: ignore[arg-type]
    assert (found["even_frames"], found["odd_frames"]) == ("too_few_frames", "too_few_frames")
    assert not [item for item in variants_of(card(), is_clip=False) if item.clips_only]


@pytest.mark.parametrize(
    ("low", "high", "crosses"), [(0.49, 0.5, True), (0.5, 0.6, False), (0.3, 0.49, False), (0.4, 0.9, True)]
)
def test_a_band_crosses_where_the_label_would_change(low: float, high: float, crosses: bool):
    strong = answer(card(), 0.95, stability=band(low, high, jpeg_60=low))
    finding = finding_of(strong, card(), like=LIKE, is_clip=True)
    assert finding is not None
    assert (finding.code == "changes_under_reencoding") is crosses
    assert not crosses or finding.points == "inconclusive"


def test_what_judged_too_little_stays_out_of_counts_whatever_its_band():
    few = answer(card(), 0.6, units=3, stability=band(0.4, 0.7, jpeg_60=0.4))
    finding = finding_of(few, card(), like=LIKE, is_clip=True)
    assert finding is not None
    assert finding.code == "few_units"


def test_fast_detectors_judge_again_by_default_others_on_wish_and_none_in_quick_mode_unless_asked():
    fast, slow = card(seconds_per_face=FAST_S), card(seconds_per_face=FAST_S * 1.5)
    again = {
        (name, level, mode): is_judged_again(own, level, mode=mode)  # type: ignore[arg-type]
        for name, own in (("fast", fast), ("slow", slow))
        for level in ("fast", "all", "off")
        for mode in ("quick", "standard", "thorough")
    }
    assert {key for key, value in again.items() if value} == {
        ("fast", "fast", "standard"), ("fast", "fast", "thorough"),
        *((name, "all", mode) for name in ("fast", "slow") for mode in ("quick", "standard", "thorough")),
    }  # fmt: skip


def test_the_cost_is_the_cards_seconds_for_each_unit_and_change():
    own = card(seconds_per_face=0.01)
    assert seconds_for(own) == pytest.approx(0.01 * 16 * 6)
    assert seconds_for(replace(own, lossless_only=True)) == pytest.approx(0.01 * 16 * 2)
    assert seconds_for(card("aasist", seconds_per_face=0.1)) == pytest.approx(0.1 * 16 * 3)
    assert most_units(card("noise_gru")) == 96


def test_the_table_names_each_change_once_and_the_page_has_them_all():
    assert len(BY_NAME) == len(VARIANTS)
    assert all(item.words and item.source and item.parameters for item in VARIANTS)
    page = (Path(__file__).parents[2] / "docs" / "evidence.md").read_text(encoding="utf-8")
    table = page[page.index("<!-- variants:") :].split("\n\n")[0]
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == [
        item.name for item in VARIANTS
    ]
