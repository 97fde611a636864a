"""Staging: a part appears by one rename or not at all, and what a crash left is in nobody's way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared import durable
from tests.shared.damage import DAMAGES, Damage


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_it_is_complete(tmp_path: Path):
    with durable.staging(tmp_path / "part") as staging:
        staging.mkdir()
        (staging / "file").write_text("content")
        assert names(tmp_path) == [".part.part"]
    assert names(tmp_path) == ["part"]
    assert (tmp_path / "part" / "file").read_text() == "content"


def test_a_file_appears_when_it_is_complete_and_replaces_the_old_one(tmp_path: Path):
    (tmp_path / "part").write_text("old")
    with durable.staging(tmp_path / "part") as staging:
        staging.write_text("new")
        assert (tmp_path / "part").read_text() == "old"
    assert names(tmp_path) == ["part"]
    assert (tmp_path / "part").read_text() == "new"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_whatever_was_left_under_the_name_is_removed_first(tmp_path: Path, damage: Damage):
    damage(tmp_path / ".part.part")
    with durable.staging(tmp_path / "part") as staging:
        assert not durable.exists(staging)
        staging.mkdir()
    assert names(tmp_path) == ["part"]
    assert names(tmp_path / "part") == []


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]):
    with pytest.raises(error), durable.staging(tmp_path / "part") as staging:  # noqa: PT012
        staging.mkdir()
        (staging / "file").touch()
        raise error
    assert names(tmp_path) == []


def test_a_folder_that_exists_stays_as_it_is(tmp_path: Path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "first").touch()
    with pytest.raises(FileExistsError), durable.staging(tmp_path / "part") as staging:  # noqa: PT012
        staging.mkdir()
        (staging / "second").touch()
    assert names(tmp_path / "part") == ["first"]
    assert names(tmp_path) == ["part"]


def test_a_tree_with_a_link_and_a_fifo_in_it_can_be_moved(tmp_path: Path):
    """Such a tree could not be moved to failed/ before: fsync of a FIFO fails, and so does opening a link."""
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "fifo")
    (tmp_path / "a" / "link").symlink_to("link")
    durable.move_directory(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "b") == ["fifo", "link"]


def test_a_copy_takes_files_and_folders_only(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("content")
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "a" / "fifo")
    durable.copy_tree(tmp_path / "a", tmp_path / "c")
    assert names(tmp_path / "c") == ["b"]
    assert (tmp_path / "c" / "b" / "file").read_text() == "content"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_whatever_it_is_can_be_set_aside_and_removed(tmp_path: Path, damage: Damage):
    damage(tmp_path / "name")
    aside = durable.set_aside(tmp_path / "name")
    assert names(tmp_path) == [aside.name]
    durable.remove(aside)
    durable.remove(aside)
    damage(tmp_path / "name")
    durable.remove_directory(tmp_path / "name")
    assert names(tmp_path) == []
    assert Path("/etc/passwd").stat().st_size > 0
