"""The folders of compiled networks: each worker's own, bounded, and filled from a container only before it sees a visitor's file."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.catalog.cards import read_card
from backend.catalog.detectors import BUNDLED
from backend.workers import compiled
from backend.workers.exchange import Exchange
from backend.workers.spec import WorkerSpec, detector_spec, media_spec
from backend.workers.worker import Worker
from shared.settings import Settings

KEY = "ab" * 32


def hand_out(folder: Path, key: str = KEY) -> Path:
    """An entry as a worker writes it."""
    entry = folder / key
    entry.mkdir(parents=True)
    sums = {"key": key}
    for name, content in (("net.xml", b"<net/>"), ("net.bin", bytes(1000))):
        (entry / name).write_bytes(content)
        sums[name] = hashlib.sha256(content).hexdigest()
    (entry / "sums.json").write_text(json.dumps(sums))
    return entry


@pytest.fixture
def place(tmp_path: Path) -> Path:
    assert compiled.prepare(tmp_path / "kept" / "media")
    return tmp_path / "kept" / "media"


def test_names_of_the_folder_are_those_that_workers_know():
    from detectors import kept

    assert (kept.VARIABLE, kept.VARIABLE_NEW) == (compiled.VARIABLE, compiled.VARIABLE_NEW)


def test_each_worker_has_a_folder_of_its_own_and_a_third_partys_has_none(tmp_path: Path):
    settings = Settings(data=tmp_path / "data")
    card = read_card(BUNDLED / "selfblend")
    folders = [media_spec(settings).compiled, detector_spec(card, settings).compiled]
    assert folders == [settings.compiled_folder / "media", settings.compiled_folder / "selfblend"]
    foreign = tmp_path / "mine"
    foreign.mkdir()
    for file in ("detector.toml", "README.md"):
        (foreign / file).write_bytes((BUNDLED / "selfblend" / file).read_bytes())
    assert detector_spec(read_card(foreign), settings).compiled is None


def test_what_was_handed_out_is_taken_as_it_was_written_and_open_to_a_containers_user(place: Path, tmp_path: Path):
    entry = hand_out(tmp_path / "handed")
    os.chmod(entry / "net.bin", 0o600)
    assert compiled.take(tmp_path / "handed", place, max_bytes=2000) == 1
    taken = place / KEY
    for name in ("net.xml", "net.bin", "sums.json"):
        assert (taken / name).read_bytes() == (entry / name).read_bytes()
        assert (taken / name).stat().st_mode & 0o777 == 0o644
    assert taken.stat().st_mode & 0o777 == 0o755
    assert [item.name for item in place.iterdir()] == [KEY]


def swap_for_a_link(entry: Path) -> None:
    (entry / "net.bin").rename(entry.parent / "elsewhere")
    (entry / "net.bin").symlink_to(entry.parent / "elsewhere")


def link_the_folder(entry: Path) -> None:
    entry.rename(entry.parent / "elsewhere")
    entry.symlink_to(entry.parent / "elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: (entry / "net.bin").write_bytes(b"\1" * 1000),
        lambda entry: (entry / "net.bin").write_bytes(bytes(3000)),
        lambda entry: (entry / "sums.json").write_text("no"),
        lambda entry: (entry / "net.xml").unlink(),
        lambda entry: entry.rename(entry.with_name("cd" * 32)),
        lambda entry: entry.rename(entry.with_name("..away")),
        swap_for_a_link,
        link_the_folder,
    ],
    ids=["other numbers", "too large", "no sums", "a part", "another name", "no name", "a link", "a linked folder"],
)
def test_what_is_not_whole_or_not_a_plain_entry_is_left(place: Path, tmp_path: Path, spoil: Callable[[Path], object]):
    spoil(hand_out(tmp_path / "handed"))
    assert compiled.take(tmp_path / "handed", place, max_bytes=2000) == 0
    assert list(place.iterdir()) == []


class Running:
    """A container as the runner gives it."""

    image_digest = "sha256:abc"

    def __init__(self, *, adopted: bool, started_by: str = "docker") -> None:
        self.adopted, self.started_by = adopted, started_by


@pytest.mark.parametrize(
    ("adopted", "bundled", "started_by", "taken"),
    [(False, True, "docker", 1), (True, True, "docker", 0), (False, False, "docker", 0), (False, True, "process", 0)],
)
def test_only_a_fresh_container_of_the_platform_leaves_networks(
    place: Path, tmp_path: Path, adopted: bool, bundled: bool, started_by: str, taken: int
):
    exchange = Exchange(tmp_path / "exchange", shared=False, linked=True)
    spec = WorkerSpec("media", "m", None, "i", 10, bundled, compiled=place)
    worker = Worker(spec, Running(adopted=adopted, started_by=started_by), exchange)  # type: ignore[arg-type]
    hand_out(exchange.folder / compiled.HANDED)
    worker._keep_compiled()
    assert len(list(place.iterdir())) == taken
    exchange.close()


def test_old_unused_and_abandoned_entries_are_removed_and_the_folder_stays_bounded(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, age in (
        ("used", 1),
        ("second", 100),
        ("old", compiled.UNUSED_S + 1),
        (".draft-killed", 7200),
        (".draft-new", 9),
    ):
        (place / name).mkdir()
        (place / name / "net.bin").write_bytes(bytes(1000))
        os.utime(place / name, (time.time() - age,) * 2)
    assert compiled.prepare(place)
    assert {entry.name for entry in place.iterdir()} == {"used", "second", ".draft-new"}
    monkeypatch.setattr(compiled, "MOST_BYTES", 1500)
    assert compiled.prepare(place)
    assert {entry.name for entry in place.iterdir()} == {"used", ".draft-new"}


def test_a_folder_that_cannot_be_made_means_that_nothing_is_kept(tmp_path: Path):
    (tmp_path / "kept").write_text("a file")
    assert not compiled.prepare(tmp_path / "kept" / "media")
