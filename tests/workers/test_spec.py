"""Which files a worker has loaded is part of what it is: scores never count as those of other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backend.catalog.detectors import BUNDLED
from backend.workers.container_flags import LABEL_FLAGS
from backend.workers.spec import WorkerSpec, detector_spec
from base_detector import Card
from shared.settings import Settings
from tests.workers.test_container_flags import MESONET, options_of


def spec_of(data: Path) -> WorkerSpec:
    return detector_spec(Card.read(BUNDLED / "selim"), Settings(data=data))


def test_a_worker_is_another_one_when_a_file_came_changed_or_went(tmp_path: Path):
    folder = tmp_path / "weights" / "selim"
    folder.mkdir(parents=True)
    first, second = (item.file for item in Card.read(BUNDLED / "selim").weights[:2])
    seen = [spec_of(tmp_path)]
    (folder / first).write_bytes(b"1")
    seen.append(spec_of(tmp_path))
    (folder / second).write_bytes(b"1")
    seen.append(spec_of(tmp_path))
    (folder / second).write_bytes(b"22")
    seen.append(spec_of(tmp_path))
    assert len(set(seen)) == 4
    assert spec_of(tmp_path) == seen[-1]
    (folder / second).unlink()
    assert spec_of(tmp_path) == seen[1]


def test_a_running_container_with_other_files_is_not_adopted():
    def label(*files: tuple[str, int, int, int]) -> str:
        return str(options_of(replace(MESONET, files=files))["labels"][LABEL_FLAGS])

    one, other = ("a.h5", 1, 10, 5), ("a.h5", 2, 10, 6)
    assert label(one) == label(one)
    assert len({label(), label(one), label(other)}) == 3
