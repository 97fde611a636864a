"""Which files a worker has loaded is part of what it is: scores never count as those of other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend.catalog.detectors import BUNDLED
from backend.workers import process_runner
from backend.workers.container_flags import LABEL_FLAGS
from backend.workers.exchange import Exchange
from backend.workers.spec import WorkerSpec, detector_spec
from base_detector import Card
from detectors import kept
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


@pytest.mark.parametrize(
    ("name", "net_bytes"), [("gend", 1_215_928_160), ("univfd", 1_215_928_160), ("mesonet", 160_000)]
)
def test_a_container_may_hand_out_the_largest_network_and_a_process_may_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, net_bytes: int
):
    card = Card.read(BUNDLED / name)
    folder = tmp_path / "weights" / name
    folder.mkdir(parents=True)
    for item in card.weights:
        with (folder / item.file).open("wb") as stream:
            stream.truncate(item.bytes)  # takes no room on the disk
    spec = detector_spec(card, Settings(data=tmp_path))
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda place: SimpleNamespace(free=10**12))
    (limit,) = [item["hard"] for item in options_of(spec)["ulimits"] if item["name"] == "fsize"]
    monkeypatch.setattr(kept.resource, "getrlimit", lambda which: (limit, limit))
    monkeypatch.setenv(kept.VARIABLE_NEW, str(tmp_path / "handed"))
    with kept.draft(size=net_bytes) as handed_out, kept.draft(size=limit) as too_large:
        assert handed_out is not None
        assert too_large is None
    monkeypatch.delenv(kept.VARIABLE_NEW)
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "kept"))
    started: list[list[str]] = []
    monkeypatch.setattr(process_runner, "RunningProcess", lambda process, logbook: None)
    monkeypatch.setattr(process_runner.subprocess, "Popen", lambda command, **_: started.append(command))
    runner = process_runner.ProcessRunner(threads=1)
    runner.start(spec, Exchange(tmp_path / "exchange", shared=False, linked=True))
    runner.close()
    file_bytes = int(started[0][started[0].index("backend.workers.confinement") + 3])
    monkeypatch.setattr(kept.resource, "getrlimit", lambda which: (file_bytes, file_bytes))
    with kept.draft(size=net_bytes) as written:
        assert written is not None


def test_a_third_partys_worker_has_no_room_for_networks(tmp_path: Path):
    foreign = tmp_path / "mine"
    foreign.mkdir()
    for file in ("detector.toml", "README.md"):
        (foreign / file).write_bytes((BUNDLED / "gend" / file).read_bytes())
    spec = detector_spec(Card.read(foreign), Settings(data=tmp_path))
    assert (spec.nets_mb, spec.loading_mb) == (0, spec.output_mb)
