"""Cached scores: the same work is not done twice, and a bad entry is no entry."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from backend.scores.cache import ScoreCache
from shared import durable
from shared.errors import PermanentError
from shared.results import Provenance
from tests.shared.damage import DAMAGES, Damage


def provenance(**changes) -> Provenance:
    members = {
        "version": "1",
        "contract": "1",
        "weights": {"a.h5": "1"},
        "parameters": {"net": "x"},
        "runner": "process",
        "image": None,
    }
    return Provenance(**members | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "2"},
        {"contract": "2"},
        {"weights": {"a.h5": "2"}},
        {"parameters": {"net": "y"}},
        {"runner": "docker"},
        {"image": "sha256:1"},
    ],
)
def test_a_change_of_the_detector_is_another_cache_entry(changes):
    one = ScoreCache.key(detector="d", provenance=provenance(), media_sha256="m", pack_digest="p")
    other = ScoreCache.key(detector="d", provenance=provenance(**changes), media_sha256="m", pack_digest="p")
    assert one != other
    assert one == ScoreCache.key(detector="d", provenance=provenance(), media_sha256="m", pack_digest="p")


def test_scores_cached_in_an_earlier_schema_are_a_miss(monkeypatch):
    """Their masks are PNG, which nothing reads any more."""
    now = ScoreCache.key(detector="d", provenance=provenance(), media_sha256="m", pack_digest="p")
    monkeypatch.setattr("backend.scores.cache.SCORES_SCHEMA", 1)
    assert ScoreCache.key(detector="d", provenance=provenance(), media_sha256="m", pack_digest="p") != now


@pytest.fixture
def cache(tmp_path: Path) -> ScoreCache:
    return ScoreCache(tmp_path / "cache")


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    (tmp_path / "scores" / "masks").mkdir(parents=True)
    (tmp_path / "scores" / "scores.json").write_text("whole")
    (tmp_path / "scores" / "masks" / "000001.png").write_bytes(b"png")
    return tmp_path / "scores"


def read(copy: Path) -> str:
    """As the pipeline: what cannot be parsed is refused."""
    if not (copy / "scores.json").is_file() or (copy / "scores.json").read_bytes() != b"whole":
        raise PermanentError("detector_bad_output")
    return "whole"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_cached_scores_come_back_as_they_were_and_age_by_use(cache: ScoreCache, scores: Path, tmp_path: Path):
    assert cache.fetch("k", tmp_path / "out", read=read) is None
    assert not (tmp_path / "out").exists()
    cache.keep("k", scores)
    cache.keep("k", scores)
    assert cache.fetch("k", tmp_path / "out", read=read) == "whole"
    assert (tmp_path / "out" / "masks" / "000001.png").read_bytes() == b"png"
    now = (tmp_path / "cache" / "k").stat().st_mtime
    assert cache.expire(older_than_s=10, now=now + 5) == 0
    assert cache.expire(older_than_s=10, now=now + 11) == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("what", ["entry", "scores.json"])
def test_a_damaged_entry_is_a_miss_and_is_removed(
    cache: ScoreCache, scores: Path, tmp_path: Path, damage: Damage, what: str
):
    (scores / "scores.json").write_text("{}")
    cache.keep("k", scores)
    damage(tmp_path / "cache" / "k" / ("" if what == "entry" else what))
    assert cache.fetch("k", tmp_path / "out", read=read) is None
    assert names(tmp_path / "cache") == []
    assert not (tmp_path / "out").exists()
    (scores / "scores.json").unlink(missing_ok=True)
    (scores / "scores.json").write_text("whole")
    cache.keep("k", scores)
    assert cache.fetch("k", tmp_path / "out", read=read) == "whole"


def test_what_a_crash_left_in_the_middle_of_a_copy_is_in_nobodys_way(cache: ScoreCache, scores: Path, tmp_path: Path):
    for leftover in (tmp_path / "cache" / ".k.part", tmp_path / ".out.part"):
        (leftover / "masks").mkdir(parents=True)
        (leftover / "masks" / "000009.png").touch()
    cache.keep("k", scores)
    assert cache.fetch("k", tmp_path / "out", read=read) == "whole"
    assert names(tmp_path / "out" / "masks") == ["000001.png"]
    assert names(tmp_path / "cache") == ["k"]


def test_leftovers_of_crashes_expire(cache: ScoreCache, tmp_path: Path):
    (tmp_path / "cache" / ".k.part").mkdir()
    os.utime(tmp_path / "cache" / ".k.part", (1, 1))
    assert cache.expire(older_than_s=10, now=100) == 1
    assert names(tmp_path / "cache") == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_no_job_fails_because_its_scores_cannot_be_cached(
    cache: ScoreCache, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(durable, "fsync_tree", fails)
        cache.keep("k", scores)
    assert names(tmp_path / "cache") == []
    cache.keep("k", scores)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "fsync_tree", fails)
        assert cache.fetch("k", tmp_path / "out", read=read) is None
    assert cache.fetch("k", tmp_path / "out", read=read) == "whole", "the entry was not to blame"
