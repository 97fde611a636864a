"""The cards: a stranger's mistake in one takes that detector away and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from backend.catalog.detectors import DetectorCatalog, find_cards, read_cards
from shared.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two detectors, of which the first has a card that cannot be read."""
    for name in ("mesonet", "va"):
        shutil.copytree(ROOT / "detectors" / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("card", ["id = ", "id = 'mesonet'", "\0", None])
def test_a_wrong_card_takes_its_detector_away_and_no_other(folder: Path, card: str | None):
    (folder / "mesonet" / "detector.toml").unlink()
    if card is None:
        (folder / "mesonet" / "detector.toml").mkdir()
    else:
        (folder / "mesonet" / "detector.toml").write_text(card)
    with capture_logs() as logs:
        catalog = DetectorCatalog(folder, availability=lambda card: None)
    assert [card.id for card in catalog] == ["va"]
    assert [(line["event"], line["card"]) for line in logs] == [
        ("detector_left_out", str(folder / "mesonet" / "detector.toml"))
    ]


def test_the_command_line_names_a_wrong_card(folder: Path):
    (folder / "mesonet" / "detector.toml").write_text("id = ")
    assert [card.id for card in read_cards(folder)] == ["va"]
    with pytest.raises(UserError, match=r"mesonet/detector\.toml"):
        find_cards(folder).named("mesonet")


def test_an_unknown_detector_is_answered_with_the_known_ones(folder: Path):
    with pytest.raises(UserError, match=r"no detector 'nonsense'. Known: mesonet, va\."):
        find_cards(folder).named("nonsense")
