"""What was counted of stretches on real video speaks only of the detectors as they ran then."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.catalog.detectors import BUNDLED, read_cards
from backend.scores.alarms import FOLDER, Counted, CountedStretches, alone, together
from backend.scores.stretches import StretchRule
from shared.reading import read_record
from shared.results import DetectorResult, Provenance
from tests.scores.sets import answer, card, ran


def written(folder: Path, *, rule: StretchRule | None = None) -> Path:
    """A folder with one set: how often each of three, and some of their pairs, have stretches."""
    names = ("mesonet", "classnseg", "selfblend")
    counts = {
        ("mesonet",): 36,
        ("selfblend",): 4,
        ("mesonet", "classnseg"): 9,
        ("selfblend", "mesonet"): 2,
        ("classnseg", "selfblend"): 3,
    }
    made = CountedStretches(
        name="made-up", about="made up", created=datetime(2026, 11, 1, tzinfo=UTC), mode="standard", rule=asdict(rule or StretchRule()),
        ran={name: ran(card(name)) for name in names},
        counts=tuple(Counted(detectors=pair, found=found, minutes=6.0, clips=100) for pair, found in counts.items()),
    )  # fmt: skip
    (folder / "made-up.json").write_text(made.model_dump_json())
    return folder


def of(name: str, **changes: object) -> DetectorResult:
    own = card(name)
    return answer(own, 0.9, provenance=ran(own, **changes))


def test_the_count_of_a_detector_is_that_of_this_version_in_this_mode_by_this_rule(tmp_path: Path):
    folder = written(tmp_path)
    found = alone(of("mesonet"), mode="standard", folder=folder)
    assert found is not None
    assert (found.found, found.minutes, found.detectors) == (36, 6.0, ("mesonet",))
    assert alone(of("mesonet"), mode="thorough", folder=folder) is None
    for change in ({"version": "9"}, {"weights": {"a.h5": "cd" * 32}}, {"parameters": {"variant": "other"}}):
        assert alone(of("mesonet", **change), mode="standard", folder=folder) is None
    assert alone(of("classnseg"), mode="standard", folder=folder) is None, "it was counted in pairs only"
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", rule=StretchRule(margin=0.2))
    assert alone(of("mesonet"), mode="standard", folder=other) is None


def test_of_several_at_once_two_of_different_families_speak_and_of_these_the_two_that_do_most_often(tmp_path: Path):
    folder = written(tmp_path)
    all_three = [of("mesonet"), of("classnseg"), of("selfblend")]
    found = together(all_three, mode="standard", folder=folder)
    assert found is not None
    assert (set(found.detectors), found.found) == ({"classnseg", "selfblend"}, 3)
    cousins = together(all_three[:2], mode="standard", folder=folder)
    assert cousins is not None
    assert cousins.found == 9


def test_of_several_sets_the_one_that_speaks_worst_is_told(tmp_path: Path):
    folder = written(tmp_path)
    again = (folder / "made-up.json").read_text().replace('"found":2,"minutes":6.0', '"found":1,"minutes":1.5')
    (folder / "other.json").write_text(again.replace('"found":4,"minutes":6.0', '"found":0,"minutes":1.5'))
    pair = together([of("mesonet"), of("selfblend")], mode="standard", folder=folder)
    assert pair is not None
    assert (pair.found, pair.minutes) == (1, 1.5)
    single = alone(of("selfblend"), mode="standard", folder=folder)
    assert single is not None
    assert (single.found, single.minutes) == (4, 6.0)


def test_one_that_was_not_measured_leaves_the_joint_count_unknown(tmp_path: Path):
    folder = written(tmp_path)
    assert together([of("mesonet"), of("selfblend"), of("va")], mode="standard", folder=folder) is None


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_counts_are_of_the_shipped_detectors_and_rule(path: Path):
    """One that fails is to be made again (``python -m tests.bench.stretches count``) or removed."""
    shipped, cards = read_record(path, CountedStretches), {one.id: one for one in read_cards(BUNDLED)}
    assert shipped.rule == asdict(StretchRule())
    assert {name: one.version for name, one in shipped.ran.items()} == {
        name: cards[name].version for name in shipped.ran
    }
    names = {name for one in shipped.counts for name in one.detectors}
    pairs = {frozenset(one.detectors) for one in shipped.counts if len(one.detectors) == 2}
    assert names == set(shipped.ran)
    assert pairs == {frozenset(pair) for pair in itertools.combinations(names, 2)}
    assert all(isinstance(one, Provenance) for one in shipped.ran.values())
