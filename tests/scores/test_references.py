"""Reference sets are read where they are, and speak only of scores of the very detector that made them."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.scores.references import References, ReferenceSet, usable_of
from base_detector import Card
from tests.bench.worth import told
from tests.scores.sets import CARDS, LIKE, card, ran, reference_set, spread

ALL = {"mode": "standard", "kind": "video"}


def kept(folder: Path, made: ReferenceSet, name: str = "made-up") -> Path:
    """``made`` as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(made.model_dump_json())
    return path


@pytest.fixture
def own() -> Card:
    return card()


@pytest.fixture
def made(own: Card) -> ReferenceSet:
    return reference_set(own, spread(30, 0.0, 0.6), spread(20, 0.4, 1.0))


def test_a_set_is_read_beside_the_detector_and_in_the_operators_folder(tmp_path: Path, own: Card, made: ReferenceSet):
    shipped = replace(own, folder=tmp_path / "mesonet")
    assert References(tmp_path / "data").best(shipped, ran(own), **ALL) is None
    kept(tmp_path / "mesonet/references", made)
    found = References(tmp_path / "data").best(shipped, ran(own), **ALL)
    assert found is not None
    assert (found.own, found.rarer, len(found.measured.scores)) == (False, 20, 50)
    kept(tmp_path / "data/mesonet", reference_set(own, spread(9, 0, 1), spread(8, 0, 1), name="ours"), "ours")
    found = References(tmp_path / "data").best(shipped, ran(own), **ALL)
    assert found is not None  # the operator's own comes first, though it is smaller
    assert (found.own, found.set.name) == (True, "ours")


def test_a_set_of_fakes_made_for_measuring_weighs_no_file(tmp_path: Path, own: Card, made: ReferenceSet):
    """selfblend finds self-blends, which it was trained on, and no deepfakes (docs/evidence.md)."""
    kept(tmp_path / "mesonet", made.model_copy(update={"made": True, "name": "blends"}), "blends")
    references = References(tmp_path)
    assert references.best(own, ran(own), **ALL) is None
    assert references.measured(own, ran(own)), "so the finding says that it was measured otherwise, and is inconclusive"
    kept(tmp_path / "mesonet", reference_set(own, spread(9, 0, 1), spread(8, 0, 1), name="small"), "small")
    found = references.best(own, ran(own), **ALL)
    assert found is not None
    assert found.set.name == "small"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"version": "9.9"}, "version"),
        ({"weights": {"a.h5": "00" * 32}}, "weights"),
        ({"weights": {}}, "weights"),
        ({"parameters": {"variant": "other"}}, "parameters"),
        ({"contract": "2"}, "contract"),
    ],
)
def test_a_set_of_another_version_or_of_other_weights_is_void(
    tmp_path: Path, own: Card, made: ReferenceSet, changed: dict[str, Any], what: str
):
    kept(tmp_path / "mesonet", made)
    other = ran(own, **changed)
    assert made.void_for(own, other) == what
    assert References(tmp_path).best(own, other, **ALL) is None
    assert made.void_for(own, ran(own, runner="docker", image="x@sha256:1")) is None  # the same code elsewhere


def test_a_set_of_clips_says_nothing_of_stills_and_one_of_another_mode_nothing_of_this(
    tmp_path: Path, own: Card, made: ReferenceSet
):
    kept(tmp_path / "mesonet", made)
    sets = References(tmp_path)
    assert sets.best(own, ran(own), mode="standard", kind="image") is None
    assert sets.best(own, ran(own), mode="quick", kind="video") is None
    assert sets.measured(own, ran(own))
    assert not sets.measured(own, ran(own, version="9.9"))


def test_damaged_copies_are_no_reference_and_one_kind_alone_is_none(tmp_path: Path, own: Card, made: ReferenceSet):
    rows = [
        made.rows[0].model_copy(update={"condition": "jpeg_30"}),
        *made.rows[1:30],
        *(row.model_copy(update={"condition": "blur"}) for row in made.rows[30:]),
    ]
    kept(tmp_path / "mesonet", made.model_copy(update={"rows": tuple(rows)}))
    assert References(tmp_path).best(own, ran(own), **ALL) is None


def test_a_damaged_file_is_left_out_and_a_replaced_one_is_read_again(tmp_path: Path, own: Card, made: ReferenceSet):
    path = kept(tmp_path / "mesonet", made)
    sets = References(tmp_path)
    assert sets.best(own, ran(own), **ALL) is not None
    path.write_text(made.model_dump_json()[:-40])
    with capture_logs() as said:
        assert sets.best(own, ran(own), **ALL) is None
    assert "submission" not in said[0]["reason"], "it is a file of the operator's, and no visitor's"
    path.write_text(made.model_copy(update={"name": "again"}).model_dump_json())
    found = sets.best(own, ran(own), **ALL)
    assert found is not None
    assert found.set.name == "again"


def test_sound_is_measured_alike_in_a_clip_and_alone(tmp_path: Path):
    own = card("aasist")
    made = reference_set(own, spread(9, 0, 0.5), spread(9, 0.4, 1))
    alone = [row.model_copy(update={"like": LIKE.model_copy(update={"kind": "sound"})}) for row in made.rows]
    kept(tmp_path / "aasist", made.model_copy(update={"rows": tuple(alone)}))
    assert References(tmp_path).best(own, ran(own), mode="quick", kind="video") is not None


def test_a_list_of_detectors_says_how_often_this_very_version_reached_its_threshold():
    sets, own = References(None), CARDS["mesonet"]
    made = ReferenceSet.model_validate_json((own.folder / "references" / "clips-2026.json").read_bytes())
    rows = {kind: [row.fake_score >= own.threshold for row in made.rows if row.fake == kind] for kind in (True, False)}
    found = sets.counted(own)
    assert found is not None
    assert (found.fake, found.fake_flagged) == (len(rows[True]), sum(rows[True]))
    assert (found.real, found.real_flagged) == (len(rows[False]), sum(rows[False]))
    assert sets.counted(replace(own, version="9.9")) is None, "another version was not measured"
    assert sets.counted(CARDS["xception"]) is None


def test_what_a_card_says_of_labelled_clips_is_what_its_set_has():
    told = {
        name: re.search(r"(\d+) of (\d+) fakes and (\d+) of (\d+) real clips flagged", " ".join(own.limits))
        for name, own in CARDS.items()
    }
    cards = {name: tuple(map(int, found.groups())) for name, found in told.items() if found}
    sets = {name: References(None).counted(CARDS[name]) for name in cards}
    assert cards == {
        name: (one.fake_flagged, one.fake, one.real_flagged, one.real) for name, one in sets.items() if one
    }
    assert len(cards) >= 4


def test_every_shipped_set_is_one_of_its_card_and_names_no_file():
    """A set that a change of its detector made void is removed or made anew (``make references``)."""
    for own in CARDS.values():
        for path in sorted((own.folder / "references").glob("*.json")):
            made = ReferenceSet.model_validate_json(path.read_bytes())
            assert made.name == path.stem
            assert (made.detector.id, made.detector.provenance.version) == (own.id, own.version), path
            assert made.detector.provenance.parameters == own.parameters, path
            known = {item.file: item.sha256 for item in own.weights}
            for name, digest in made.detector.provenance.weights.items():
                assert known.get(name, digest) in ("", digest), path
            assert made.data.missing == ()
            assert all(row.group.isdigit() for row in made.rows)
            assert made.about
            assert made.made == ("self-blend" in made.about), "blends made here say nothing of deepfakes"


def test_on_its_own_material_no_shipped_set_says_more_than_limited_support_for_a_fake_of_a_real_file():
    """Each file is weighed by the set without its own scene."""
    for own in CARDS.values():
        for path in sorted((own.folder / "references").glob("*.json")):
            made = ReferenceSet.model_validate_json(path.read_bytes())
            for row in made.rows:
                if row.fake or row.like is None:
                    continue
                finding = told(own, made, row.fake_score, row.like, without=row.group)
                assert (finding.points, finding.level) in {
                    ("inconclusive", None), ("points_to_real", finding.level), ("points_to_fake", "limited"),
                }, (path, row)  # fmt: skip


@pytest.mark.parametrize("kind", ["video", "image"])
def test_whatever_score_a_file_gets_no_shipped_set_says_more_than_limited_support_for_a_fake(kind: str):
    """So no re-encoding of a file can make one say it: all scores, all sizes of faces, all bit rates."""
    for own in CARDS.values():
        for path in sorted((own.folder / "references").glob("*.json")):
            made = ReferenceSet.model_validate_json(path.read_bytes())
            if made.made or not usable_of(made, own=False, kind=kind).rarer:
                continue
            for score, face_px, bits in itertools.product(
                spread(21, 0, 1), (40.0, 100.0, 200.0, 400.0), (0.02, 0.1, 0.5)
            ):
                like = LIKE.model_copy(update={"kind": kind, "face_px": face_px, "bits_per_pixel": bits})
                finding = told(own, made, score, like)
                assert finding.points != "points_to_fake" or finding.level == "limited", (path, score, like)
