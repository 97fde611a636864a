"""How much of a file was judged and what it is like, in rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.coverage import coverage_rows, share_words
from shared.results import Conditions
from tests.told import told


def conditions(*, face_px: float | None = 100.0, bits: float | None = 0.1) -> Conditions:
    return Conditions(
        kind="video", width=640, height=480, codec="h264", duration_s=4.0, face_px=face_px, bits_per_pixel=bits
    )


@pytest.mark.parametrize(
    ("judged", "of", "words"),
    [
        (1, 1, "the one face"),
        (200, 200, "all 200 faces"),
        (9, 200, "9 of 200 faces (4 %)"),
        (0, 3, "0 of 3 faces (0 %)"),
        (999, 1000, "999 of 1,000 faces (>99 %)"),
        (1, 1000, "1 of 1,000 faces (<1 %)"),
    ],
)
def test_a_share_says_the_count_and_of_how_many(judged: int, of: int, words: str) -> None:
    assert share_words(judged, of, "face") == words


def test_a_clip_says_who_judged_what_how_large_faces_are_how_strong_it_is_compressed_and_the_mode() -> None:
    assert coverage_rows(told("tiny faces", conditions=conditions())) == (
        ("Judged", "MesoNet: 9 of 100 faces (9 %); ClassNSeg and Self-blend traces: all 100 faces"),
        ("Faces", "small: half of them have 100 pixels or more on their longer side"),
        ("Compression", "moderate: MP4 (H.264), 0.1 bits per pixel"),
        ("Mode", "standard: 100 of 100 frames looked at"),
    )


def test_who_has_no_opinion_is_named() -> None:
    assert dict(coverage_rows(told("nothing")))["Judged"] == "no opinion by MesoNet"


@pytest.mark.parametrize(
    ("face_px", "bits", "size", "strength"),
    [
        (63.9, 0.049, "very small", "strong"),
        (64, 0.05, "small", "moderate"),
        (200, 0.2, "of medium size", "light"),
        (256, 3, "large", "light"),
    ],
)
def test_words_change_at_the_edges_of_the_quality_cells(face_px: float, bits: float, size: str, strength: str) -> None:
    rows = dict(coverage_rows(told("weak", conditions=conditions(face_px=face_px, bits=bits))))
    assert rows["Faces"].startswith(f"{size}: ")
    assert rows["Compression"].startswith(f"{strength}: ")


def test_what_is_not_known_has_no_row() -> None:
    assert [name for name, _ in coverage_rows(told("weak", conditions=None))] == ["Judged", "Mode"]
    still = told("weak", conditions=conditions())
    media = replace(still.media, kind="image", container="png", codec="png", lossless=True)
    rows = dict(coverage_rows(still.model_copy(update={"media": media})))
    assert rows["Compression"] == "none that loses detail: PNG"
    assert "Mode" not in rows
