"""Finished parts of a job: whole ones are used again, others are removed and made again, and the media is what was uploaded."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest

from backend.harvest.media_pack import harvest_pack
from backend.harvest.scores import HarvestedScores
from backend.harvest.stored import finished_report, finished_scores, has_pack
from backend.job import Job
from base_detector import SCORES_SCHEMA
from shared.errors import PermanentError, StoreTrouble
from shared.records import new_id
from tests.report.conftest import make_result
from tests.shared.damage import DAMAGES, Damage
from tests.workers.conftest import write_pack

CONTENT = b"media" * 1000


@pytest.fixture
def job(tmp_path: Path) -> Job:
    source = tmp_path / "active" / "id" / "media"
    source.parent.mkdir(parents=True)
    source.write_bytes(CONTENT)
    return Job(
        id=new_id(),
        source=source,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        bytes=len(CONTENT),
        name="clip.mp4",
        detectors=("mesonet",),
        mode="quick",
        video_per_detector=False,
        folder=tmp_path / "scratch",
    )


def test_media_is_staged_once(job: Job):
    job.stage_in()
    job.source.unlink()
    job.stage_in()
    assert job.media.read_bytes() == CONTENT
    assert not os.access(job.media, os.W_OK) or os.geteuid() == 0


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_media_that_is_not_what_was_uploaded_ends_the_job_at_once_with_the_reason(job: Job, damage: Damage):
    if damage in (DAMAGES["other schema"], DAMAGES["NaN"], DAMAGES["duplicate keys"]):
        job.source.write_bytes(b"{}")  # these damages read JSON
    damage(job.source)
    begun = time.monotonic()
    with pytest.raises(PermanentError, match="media_changed"):
        job.stage_in()
    assert time.monotonic() - begun < 10
    assert sorted(path.name for path in job.folder.iterdir()) == ["scores"]


def test_media_that_is_missing_ends_the_job_and_a_job_that_is_missing_does_not(job: Job):
    job.source.unlink()
    with pytest.raises(PermanentError, match="media_changed"):
        job.stage_in()
    job.source.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        job.stage_in()


def test_a_shared_folder_that_does_not_answer_is_waited_for(job: Job, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object) -> int:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("backend.job.open_regular", fails)
    with pytest.raises(StoreTrouble):
        job.stage_in()


@pytest.mark.parametrize("damage", [DAMAGES[name] for name in ("empty", "FIFO", "link to /etc/passwd", "directory")])
def test_damaged_or_half_copied_media_in_the_scratch_is_copied_again(job: Job, damage: Damage):
    job.folder.mkdir()
    damage(job.media)
    damage(job.folder / ".media.part")
    job.stage_in()
    assert job.media.read_bytes() == CONTENT
    assert sorted(path.name for path in job.folder.iterdir()) == ["media", "scores"]


def made_pack(folder: Path) -> Path:
    harvest_pack(write_pack(folder.parent / "worker" / "out" / "pack", faces=4), folder)
    return folder


def made_scores(folder: Path) -> Path:
    scores = HarvestedScores(
        schema_version=SCORES_SCHEMA,
        contract="1",
        detector="mesonet",
        version="1",
        unit="face",
        index=(0, 1),
        fake_score=(0.25, 0.75),
        persons=[{"person": 0, "faces": 2, "fake_score": 0.5, "hard_label": "real"}],
    )
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(scores.model_dump_json())
    return folder


def made_report(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("page")
    result = make_result().model_copy(update={"files": {"report.html": "0" * 64}})
    (folder / "result.json").write_text(result.model_dump_json())
    return folder


READERS = {
    "pack": (made_pack, has_pack, "pack.json"),
    "scores": (made_scores, lambda part: finished_scores(part, card_id="mesonet", units=4), "scores.json"),
    "report": (made_report, finished_report, "result.json"),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_whole_part_is_used_again(tmp_path: Path, kind: str):
    make, read, _ = READERS[kind]
    part = make(tmp_path / "job" / "parts" / kind)
    assert read(part)
    assert read(part)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("what", ["part", "record"])
def test_a_damaged_part_is_removed(tmp_path: Path, kind: str, damage: Damage, what: str):
    make, read, record = READERS[kind]
    part = make(tmp_path / "job" / "parts" / kind)
    damage(part if what == "part" else part / record)
    assert not read(part)
    assert not os.path.lexists(part)
    assert not read(part)


@pytest.mark.parametrize("kind", READERS)
def test_an_empty_folder_is_not_a_part(tmp_path: Path, kind: str):
    _, read, _ = READERS[kind]
    part = tmp_path / "job" / "parts" / kind
    part.mkdir(parents=True)
    assert not read(part)
    assert not part.exists()


def test_a_pack_whose_crops_were_cut_is_not_whole(tmp_path: Path):
    part = made_pack(tmp_path / "job" / "parts" / "pack")
    crops = (part / "crops.bin").read_bytes()
    (part / "crops.bin").unlink()
    (part / "crops.bin").write_bytes(crops[:-1])
    assert not has_pack(part)
    part = made_pack(tmp_path / "job2" / "parts" / "pack")
    np.save(part / "rows.npy", np.zeros(3))
    os.replace(part / "rows.npy", part / "faces.npy")
    assert not has_pack(part)


def test_a_report_without_one_of_its_files_is_not_whole(tmp_path: Path):
    part = made_report(tmp_path / "job" / "parts" / "report")
    (part / "report.html").unlink()
    assert finished_report(part) is None
