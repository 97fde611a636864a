"""From the faces of a pack to the stretches of each person, and to those of several detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.scores.findings import finding_of
from backend.scores.lanes import joint_of, stretches_of
from base_detector import FACE_DTYPE
from shared.findings import MediaPack, Note
from shared.results import DetectorResult, PersonScore, Stretch
from tests.packs import finish_pack
from tests.scores.sets import LIKE, answer, card

FAKE, REAL = 0.9, 0.1


def pack_of(folder: Path, *persons: int, seconds: float = 8.0, **more: Any) -> MediaPack:
    """A pack with a face of each of ``persons`` in each frame, 25 a second."""
    frames = np.repeat(np.arange(round(seconds * 25)), len(persons))
    faces = np.zeros(len(frames), FACE_DTYPE)
    faces["frame"], faces["time_s"], faces["person"] = (
        frames,
        frames / 25,
        np.tile(persons, len(frames) // len(persons)),
    )
    faces["box"] = (1, 1, 5, 5)
    np.save(folder / "faces.npy", faces)
    (folder / "crops.bin").write_bytes(b"")
    return finish_pack(folder, size=(64, 48), **more)


def test_the_second_half_of_one_of_two_persons_is_found_for_that_person(tmp_path: Path):
    pack = pack_of(tmp_path, 0, 1)
    late = pack.faces["time_s"] >= 4
    each = np.where(late & (pack.faces["person"] == 1), FAKE, REAL)
    found = stretches_of(card(), each, pack)
    assert [(item.person, item.side) for item in found] == [(0, "real"), (1, "real"), (1, "fake")]
    fake = found[-1]
    assert fake.start_s == pytest.approx(4, abs=0.5)
    assert fake.end_s == pytest.approx(8, abs=0.1)
    assert fake.median == FAKE


def test_a_cut_and_damage_end_a_stretch(tmp_path: Path):
    pack = pack_of(
        tmp_path, 0, shots=[{"shot": 0, "start": 0, "end": 199}], notes=[Note("damaged", start_s=6.0, end_s=6.04)]
    )  # fmt: skip
    pack.faces = np.array(pack.faces)
    pack.faces["shot"] = pack.faces["time_s"] >= 3
    found = stretches_of(card(), np.full(200, FAKE), pack)
    assert [(item.start_s, item.end_s) for item in found] == [
        pytest.approx((0, 3), abs=0.05), pytest.approx((3, 6), abs=0.05), pytest.approx((6, 8), abs=0.05),
    ]  # fmt: skip


@pytest.mark.parametrize("more", [{"mode": "quick"}, {"kind": "image"}], ids=["quick", "still"])
def test_quick_mode_and_stills_cannot_tell_from_when_to_when(tmp_path: Path, more: dict[str, Any]):
    assert stretches_of(card(), np.full(200, FAKE), pack_of(tmp_path, 0, **more)) == ()


def test_a_face_of_nobody_and_what_was_not_judged_are_in_no_stretch(tmp_path: Path):
    pack = pack_of(tmp_path, -1)
    assert stretches_of(card(), np.full(200, FAKE), pack) == ()
    (tmp_path / "other").mkdir()
    assert stretches_of(card(), np.full(200, np.nan), pack_of(tmp_path / "other", 0)) == ()


def judged(name: str, *spans: tuple[float, float], units: int = 100) -> DetectorResult:
    """An answer with stretches of ``fake`` of person 2."""
    own = card(name)
    found = tuple(Stretch(person=2, side="fake", start_s=a, end_s=b, units=30, median=FAKE) for a, b in spans)
    said = answer(own, 0.95, units=units, stretches=found)
    return said.model_copy(update={"finding": finding_of(said, own, like=LIKE, is_clip=True)})


def test_joint_stretches_count_kinds_of_evidence_and_leave_out_who_judged_too_little():
    both = joint_of([judged("mesonet", (1, 5)), judged("selfblend", (3, 8))], mode="standard")
    assert [(item.person, item.start_s, item.end_s, item.detectors, item.families) for item in both] == [
        (2, 3, 5, ("mesonet", "selfblend"), 2)
    ]
    cousins = joint_of([judged("mesonet", (1, 5)), judged("classnseg", (3, 8))], mode="standard")
    assert [item.families for item in cousins] == [1]
    assert joint_of([judged("mesonet", (1, 5)), judged("selfblend", (3, 8), units=9)], mode="standard") == ()
    assert joint_of([judged("mesonet", (1, 5))], mode="standard") == ()


@pytest.mark.parametrize(("own", "found", "stretches"), [(20, 20, 1), (19, 19, 0), (20, 100, 1), (20, 101, 0)])
def test_a_person_of_whom_too_few_faces_were_judged_has_no_joint_stretch(own: int, found: int, stretches: int):
    """Its label is grey, so it may not lead the headline."""
    score = PersonScore(person=2, faces=own, fake_score=0.9, hard_label="fake")
    answers = [judged(name, (1, 5)).model_copy(update={"persons": (score,)}) for name in ("mesonet", "selfblend")]
    assert len(joint_of(answers, mode="standard", faces={2: found})) == stretches
