"""A batch on the machines of a cluster: each file has its row once, whatever becomes of the machines."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from backend.batch.arriving import Source
from backend.batch.entries import Entry
from backend.batch.judging import Visitors
from backend.batch.run import BatchRecord, Order, open_batch, record_of
from backend.dispatch.batch_cluster import ClusterHands, Lost
from backend.dispatch.batch_node import BatchNode
from backend.dispatch.node import Ended
from shared.errors import RetryableError
from shared.settings import Settings
from tests.batch import on_nodes
from tests.batch.stand_in import WISH, files
from tests.dispatch import nodes
from tests.dispatch.back_end import eventually


def stored(out: Path) -> dict[str, dict[str, Any]]:
    """The rows by file; none has two."""
    rows = pq.read_table(out / "rows").to_pylist()
    assert len(rows) == len({row["file"] for row in rows})
    return {row["file"]: row for row in rows}


def judged(out: Path, entries: list[Entry], hands: ClusterHands, made: BatchRecord, *, at_once: int) -> int:
    """Judge what is left; how many rows that gave."""
    with open_batch(out, made, entries) as batch, hands:
        return sum(len(rows) for rows in batch.run(hands, at_once=at_once, visitors=Visitors()))


# --------------------------------------------------------------------------- with Ray


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[nodes.Machines]:
    """Two nodes."""
    monkeypatch.setenv("DFOM_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("DFOM_RUNNER", "process")
    made = nodes.Machines(2)
    yield made
    made.close()


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of Ray's own sockets and files
def test_a_batch_on_two_machines_has_each_file_once_when_one_of_them_is_killed(tmp_path: Path, machines):
    from backend.dispatch.ray_engine import Cluster

    contents = [*(b"wait %d" % number for number in range(8)), b"wait 3", b"bad", b"quick", b"quick"]
    entries = [*files(tmp_path / "in", contents), Entry("gone.mp4", tmp_path / "gone.mp4")]
    notes, out = tmp_path / "notes", tmp_path / "out"
    notes.mkdir()
    settings = Settings(data=tmp_path / "var", runner="process", engine="ray", ray_address=machines.address)
    build = partial(on_nodes.back_end, str(notes))
    made = record_of(build(settings).pipeline, WISH, source="/in", columns=(), parts=1)
    order = Order(WISH, out, made, memory_mb=1000)
    source = Source(tmp_path / "fetched", settings, at_once=1)
    hands = ClusterHands(settings, cluster=Cluster(settings), build=build, order=order, source=source)
    batch = threading.Thread(target=judged, args=(out, entries, hands, made), kwargs={"at_once": 3})
    batch.start()
    try:
        eventually(lambda: len({raylet for _, raylet in on_nodes.begun(notes)}) == 2, within_s=240)
        in_work = Counter(raylet for _, raylet in on_nodes.begun(notes))
        assert set(in_work.values()) == {1}, "a machine of one core has one file at a time, though three are handed out"
        killed = machines.raylets()[0]
        lost = {digits for digits, raylet in on_nodes.begun(notes) if raylet == killed}
        nodes.kill(killed)
        (notes / "go").touch()
        batch.join(240)
        assert not batch.is_alive()
    finally:
        hands.stopping.set()

    rows = stored(out)
    assert rows.keys() == {entry.file for entry in entries}
    assert {name: row["code"] for name, row in rows.items() if row["code"]} == {
        "009.mp4": "media_damaged",
        "gone.mp4": "no_such_file",
    }
    assert sum(row["same_as"] is not None for row in rows.values()) == 2, "one content is judged once on all machines"
    again = {digits for digits, count in begins(notes).items() if count > 1}
    assert again == lost, "only what was in work on the lost machine was begun twice"


def begins(notes: Path) -> Counter[str]:
    """How often each content was begun."""
    return Counter(digits for digits, _ in on_nodes.begun(notes))


# --------------------------------------------------------------------------- without Ray


@dataclass
class Played:
    """A cluster of played machines: ``answers`` is asked for each begin of a file, by machine."""

    nodes: Mapping[str, BatchNode]
    #: machines that are lost with the next file they get
    doomed: set[str] = field(default_factory=set)
    begins: list[tuple[str, str]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def join(self, name: str) -> None:
        """It is there."""

    def machines(self) -> dict[str, Mapping[str, float]]:
        return {name: {"CPU": 1.0, "memory": 8e9} for name in self.nodes if name not in self.gone}

    def hire(self, node: str, build: Any, order: Order) -> BatchNode:
        return self.nodes[node]

    def ask(self, actor: BatchNode) -> BatchNode:
        return actor

    def told(self, asked: BatchNode) -> tuple[bool, str | None]:
        return True, asked.trouble()

    def begin(self, key: str, entry: Entry, *, never_on: frozenset[str], **demand: Any) -> Iterator[Any]:
        assert demand == {"cores": 1.0, "memory_mb": 1000, "gpus": 0.0}
        return self._answers(key, entry, min(self.machines().keys() - never_on))

    def next(self, answers: Iterator[Any], stopping: threading.Event) -> Any:
        return next(answers)

    def decide(self, actor: BatchNode, key: str, wanted: bool) -> None:
        actor.decide(key, wanted)

    def leave(self, actors: list[BatchNode]) -> None:
        for actor in actors:
            actor.close()

    def _answers(self, key: str, entry: Entry, node: str) -> Iterator[Any]:
        actor = self.nodes[node]
        if actor.trouble():
            yield Ended("refused")
            return
        self.begins.append((node, entry.file))
        yield node
        found: list[Any] = []
        work = threading.Thread(target=lambda: found.append(actor.perform(key, entry)))
        work.start()
        yield actor.seen(key)
        if node in self.doomed:
            self.gone.add(node)
            actor.decide(key, False)
            raise Lost("power cut")
        work.join()
        yield found[0]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Judge files on played machines, ``nodes`` by name; the rows."""
    monkeypatch.setenv("DFOM_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("DFOM_RUNNER", "process")
    monkeypatch.setattr("backend.batch.hands.PAUSES_S", (0.0,))
    monkeypatch.setattr("backend.dispatch.batch_cluster.LOOK_S", 0.01)
    (tmp_path / "notes").mkdir()
    settings = Settings(data=tmp_path / "var", runner="process")
    build = partial(on_nodes.back_end, str(tmp_path / "notes"))
    made = record_of(build(settings).pipeline, WISH, source="/in", columns=(), parts=1)
    order = Order(WISH, tmp_path / "out", made, memory_mb=1000)

    def play(entries: list[Entry], cluster: Played, *, at_once: int = 2) -> dict[str, dict[str, Any]]:
        source = Source(tmp_path / "fetched", settings, at_once=1)
        hands = ClusterHands(settings, cluster=cluster, build=build, order=order, source=source)
        judged(tmp_path / "out", entries, hands, made, at_once=at_once)
        return stored(tmp_path / "out")

    play.node = lambda **changes: BatchNode(build, replace(order, **changes))
    play.made = made
    return play


def test_a_file_whose_machine_is_lost_begins_elsewhere_and_has_one_row(tmp_path: Path, play):
    entries = files(tmp_path / "in", [b"a", b"a", b"b", b"bad"])
    cluster = Played({"n1": play.node(), "n2": play.node()}, doomed={"n1"})
    rows = play(entries, cluster, at_once=1)
    assert [row["code"] for row in rows.values()] == [None, None, None, "media_damaged"]
    assert rows["001.mp4"]["same_as"] == "000.mp4"
    assert cluster.begins[:2] == [("n1", "000.mp4"), ("n2", "000.mp4")]


def test_trouble_of_one_machine_makes_no_rows_and_that_of_all_ends_the_batch_which_goes_on(tmp_path: Path, play):
    entries = files(tmp_path / "in", [b"a", b"away", b"b"])
    cluster = Played({"n1": play.node(), "n2": play.node()})
    with pytest.raises(RetryableError) as caught:
        play(entries, cluster, at_once=1)
    assert caught.value.code == "cluster_unfit"
    assert [node for node, file in cluster.begins if file == "001.mp4"] == ["n1", "n2"]
    (tmp_path / "in/001.mp4").write_bytes(b"back")
    rows = play(entries, Played({"n1": play.node()}))
    assert {row["code"] for row in rows.values()} == {None}


def test_a_machine_that_would_judge_otherwise_or_does_not_see_the_folder_gets_no_files(tmp_path: Path, play):
    judge = play.made.detectors["mesonet"].model_copy(update={"version": "0.9"})
    unlike = play.node(record=play.made.model_copy(update={"detectors": {"mesonet": judge}}))
    elsewhere, right = play.node(out=tmp_path / "not-mounted"), play.node()
    cluster = Played({"n1": unlike, "n2": elsewhere, "n3": right})
    play(files(tmp_path / "in", [b"a", b"b"]), cluster)
    assert {node for node, _ in cluster.begins} == {"n3"}
    assert "differ" in unlike.trouble()
    assert "not the folder" in elsewhere.trouble()
