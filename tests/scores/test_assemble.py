"""One shape a record: what the media pass wrote reaches the result unchanged, member by member."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from backend.catalog.cards import read_card
from backend.harvest.media_pack import harvest_pack
from backend.job import Job
from backend.scores.assemble import DetectorOutcome, assemble, detector_result
from base_detector import FACE_DTYPE, Shot
from shared.findings import DecodedMedia, MediaPack, Note, Person
from shared.results import Provenance, Result
from tests.packs import finish_pack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pack(tmp_path: Path) -> MediaPack:
    """Two people in two shots, as a media worker left it, harvested."""
    folder = tmp_path / "worker" / "out" / "pack"
    folder.mkdir(parents=True)
    faces = np.zeros(5, FACE_DTYPE)
    faces["frame"], faces["person"] = [0, 0, 10, 10, 30], [0, 1, 0, 1, 0]
    faces["time_s"], faces["shot"] = faces["frame"] / 25, [0, 0, 0, 0, 1]
    faces["box"], faces["confidence"] = (1.239, 2, 5, 6), 0.9
    faces["crop_height"] = faces["crop_width"] = 4
    np.save(folder / "faces.npy", faces)
    (folder / "crops.bin").write_bytes(bytes(48))
    finish_pack(
        folder,
        size=(64, 48),
        sampled=[0, 10, 20, 30],
        codec="vp9",
        rotation=90,
        notes=[Note("damaged", start_s=1.0, end_s=2.0)],
    )
    harvest_pack(folder, tmp_path / "pack")
    return MediaPack(tmp_path / "pack")


def test_every_member_of_the_packs_records_is_in_the_result(pack: MediaPack, tmp_path: Path) -> None:
    job = Job(
        id="a" * 26, source=tmp_path / "media", sha256="ef" * 32, bytes=7, name="clip.webm", detectors=(), mode="quick",
        video_per_detector=False, folder=tmp_path,
    )  # fmt: skip
    result = assemble(job, pack, [], seconds={"stage": 0.25})
    read = json.loads(result.model_dump_json())
    assert read["media"] == asdict(pack.media) | {"name": "clip.webm", "sha256": "ef" * 32, "bytes": 7}
    assert (read["media"]["codec"], read["media"]["rotation"]) == ("vp9", 90)
    assert read["shots"] == [asdict(shot) for shot in pack.shots]
    assert read["persons"] == [asdict(person) | {"keyframe": None} for person in pack.persons]
    assert [len(read[name]) for name in ("shots", "persons", "faces")] == [2, 2, 5]
    assert read["notes"] == [{"code": "damaged", "start_s": 1.0, "end_s": 2.0, "value": None}]
    assert read["sampled_frames"] == 4
    assert read["seconds"] == {"stage": 0.25, "media.total": 0.5}
    assert Result.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("record", [DecodedMedia, Shot, Person, Note])
def test_records_of_the_pack_need_no_library(record: type) -> None:
    """The media worker's image has no pydantic."""
    assert {base.__module__ for base in record.__mro__} <= {"base_detector", "shared.findings", "builtins"}
    assert fields(record)


@pytest.mark.parametrize(("least", "seconds"), [(3, 8), (1, 1)])
def test_a_sound_that_is_too_short_is_told_how_long_it_must_be(
    pack: MediaPack, tmp_path: Path, least: int, seconds: int
) -> None:
    card = replace(read_card(ROOT / "detectors" / "aasist"), least_units=least)
    provenance = Provenance(version="1.0", contract="1", weights={}, parameters={}, runner="process", image=None)
    outcome = DetectorOutcome(
        card=card, provenance=provenance, folder=tmp_path, status="not_applicable", code="sound_too_short"
    )
    assert f"needs about {seconds} s." in str(detector_result(outcome, pack).message)
