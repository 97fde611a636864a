"""What a score is worth: counts of a made-up set, its ratio, and the items of files like the one at hand."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from backend.scores.evidence import _Cell, _range_of, worth_of
from backend.scores.references import References, ReferenceSet, Usable
from shared.evidence import BITS_EDGES, CELLS, FACE_PX_EDGES
from shared.intervals import clopper_pearson
from shared.results import Conditions
from tests.scores.sets import LIKE, card, ran, reference_set, spread

OWN = card()


def usable(tmp_path: Path, made: ReferenceSet) -> Usable:
    (tmp_path / OWN.id).mkdir(exist_ok=True)
    (tmp_path / OWN.id / "made-up.json").write_text(made.model_dump_json())
    found = References(tmp_path).best(OWN, ran(OWN), mode="standard", kind="video")
    assert found is not None
    return found


def like(**changes: Any) -> Conditions:
    return LIKE.model_copy(update=changes)


def test_a_score_is_counted_among_reals_and_fakes_with_exact_intervals(tmp_path: Path):
    made = reference_set(OWN, [0.1] * 36 + [0.9] * 4, [0.1] * 10 + [0.9] * 30, about="made up")
    worth = worth_of(0.9, usable(tmp_path, made), threshold=0.5, like=LIKE)
    assert worth is not None
    assert (worth.real.reached, worth.real.of, worth.fake.reached, worth.fake.of) == (4, 40, 30, 40)
    assert (worth.real.low, worth.real.high) == pytest.approx(clopper_pearson(4, 40))
    assert worth.real_flagged == worth.real  # all that reach the threshold reach .9
    # 7.5 in the set; with one more misleading item of each kind 30 : 5, and nothing beyond that is stated
    assert worth.ratio.value == worth.ratio.most == worth.ratio.high == pytest.approx(30 / 5)
    assert 1 < worth.ratio.low < 3
    assert (worth.about, worth.groups, worth.own) == ("made up", 80, True)
    assert worth.min_cllr is not None
    assert worth.min_cllr < 1
    low = worth_of(0.1, usable(tmp_path, made), threshold=0.5, like=LIKE)
    assert low is not None
    assert low.ratio.value == low.ratio.least == pytest.approx((10 + 1) / 36)
    assert (low.real.reached, low.fake.reached) == (40, 40)
    assert (low.real_as_low.reached, low.fake_as_low.reached) == (36, 10)


def test_files_like_this_one_are_counted_apart_where_there_are_fifty(tmp_path: Path):
    made = reference_set(OWN, spread(60, 0, 0.6), spread(60, 0.4, 1))
    small = [row.model_copy(update={"like": like(face_px=40.0)}) for row in made.rows[:30] + made.rows[60:80]]
    rows = (*small, *made.rows[30:60], *made.rows[80:])
    whole = usable(tmp_path, made.model_copy(update={"rows": rows}))
    worth = worth_of(0.5, whole, threshold=0.5, like=like(face_px=50.0))
    assert worth is not None
    assert (worth.real.of, worth.fake.of) == (30, 20)
    assert worth.like == "faces of less than 64 pixels, 0.05 to 0.2 bits a pixel"
    assert worth.why_whole is None


def test_every_range_of_conditions_has_its_words_in_the_table_for_other_languages():
    values = itertools.product((1.0, *FACE_PX_EDGES), (0.0, *BITS_EDGES))
    cells = [_Cell(_range_of(face_px, FACE_PX_EDGES), _range_of(bits, BITS_EDGES)) for face_px, bits in values]
    assert {part for cell in cells for part in cell.words().split(", ")} == set(CELLS)


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"face_px": 300.0}, "few_like_it"), ({"face_px": None, "bits_per_pixel": None}, "conditions_unknown")],
)
def test_otherwise_the_whole_set_counts_and_says_why(tmp_path: Path, changes: dict[str, Any], why: str):
    whole = usable(tmp_path, reference_set(OWN, spread(60, 0, 0.6), spread(60, 0.4, 1)))
    worth = worth_of(0.5, whole, threshold=0.5, like=like(**changes))
    assert worth is not None
    assert (worth.like, worth.why_whole, worth.real.of) == (None, why, 60)


def test_a_handful_of_items_says_nothing(tmp_path: Path):
    whole = usable(tmp_path, reference_set(OWN, spread(60, 0, 0.6), spread(4, 0.4, 1)))
    assert worth_of(0.5, whole, threshold=0.5, like=LIKE) is None
