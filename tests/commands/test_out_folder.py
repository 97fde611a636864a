"""Results never cost the user a file: what is in ``--out`` already stays, whatever its name."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.admission.template import write_detector
from backend.commands.out_folder import MARKER, OutFolder, is_own_result, opened
from backend.commands.run import _kept
from shared.errors import UserError
from shared.names import folder_name, readable, shown

ROOT = Path(__file__).resolve().parents[2]
ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A finished report of two files."""
    folder = tmp_path / "report"
    (folder / "keyframes").mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    (folder / "keyframes" / "person_0.jpg").write_bytes(b"face")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Iterator[OutFolder]:
    with opened(tmp_path / "out") as folder:
        yield folder


def _folder(place: Path) -> None:
    place.mkdir()
    (place / "notes.txt").write_text("mine")


def _file(place: Path) -> None:
    place.write_text("mine")


def _link_to_a_folder(place: Path) -> None:
    elsewhere = place.parent.parent / "elsewhere"
    _folder(elsewhere)
    place.symlink_to(elsewhere)


def _link_to_nothing(place: Path) -> None:
    place.symlink_to("nowhere")


def _pipe(place: Path) -> None:
    os.mkfifo(place)


def _other_case(place: Path) -> None:
    _folder(place.with_name(place.name.upper()))


def _copy_with_a_marker_that_is_damaged(place: Path) -> None:
    _folder(place)
    (place / MARKER).write_text("{}")


def _state(folder: Path) -> dict[str, str]:
    """What is in a folder, in comparable form."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_text()
        if path.is_file()
        else ""
        for path in folder.rglob("*")
        if not path.name.startswith(".deepfake-o-meter-")
    }


@pytest.mark.parametrize(
    "put",
    [_folder, _file, _link_to_a_folder, _link_to_nothing, _pipe, _other_case, _copy_with_a_marker_that_is_damaged],
)
def test_what_has_the_wanted_name_keeps_it(put: Callable[[Path], None], out: OutFolder, report: Path, tmp_path: Path):
    put(out.folder / "clip")
    before = _state(tmp_path)
    assert out.publish(report, name="clip", media_sha256=ONE) == out.folder / "clip-2"
    after = _state(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert (out.folder / "clip-2" / "keyframes" / "person_0.jpg").read_bytes() == b"face"


def _published(report: Path, out: Path, *, sha256: str = ONE) -> Path:
    with opened(out) as folder:
        return folder.publish(report, name="clip", media_sha256=sha256)


def test_the_same_media_again_replaces_its_own_result(report: Path, tmp_path: Path):
    first = _published(report, tmp_path / "out")
    (report / "result.json").write_text('{"new": 1}')
    (report / "keyframes" / "person_0.jpg").unlink()
    (first / ".DS_Store").write_bytes(b"made by a file manager")
    assert _published(report, tmp_path / "out") == first
    assert (first / "result.json").read_text() == '{"new": 1}'
    assert not (first / "keyframes" / "person_0.jpg").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip"], "nothing is left beside it"


def test_another_clip_of_the_same_name_does_not_replace_a_result(report: Path, tmp_path: Path):
    places = [_published(report, tmp_path / "out", sha256=sha256) for sha256 in (ONE, OTHER, ONE, OTHER)]
    assert [place.name for place in places] == ["clip", "clip-2", "clip", "clip-2"]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "notes.txt").write_text("mine"),
        lambda folder: (folder / "result.json").write_text("corrected by hand"),
        lambda folder: (folder / "keyframes" / "person_0.jpg").unlink(),
        lambda folder: (folder / "keyframes" / "link").symlink_to("/etc"),
        lambda folder: (folder / MARKER).unlink(),
    ],
    ids=["added", "changed", "removed", "linked", "unmarked"],
)
def test_a_result_in_which_the_user_worked_is_not_replaced(change: Callable, report: Path, tmp_path: Path):
    first = _published(report, tmp_path / "out")
    change(first)
    before = _state(first)
    assert _published(report, tmp_path / "out").name == "clip-2"
    assert _state(first) == before


def test_a_report_that_is_given_away_is_renamed_and_its_marker_holds_as_if_it_had_been_copied(
    out: OutFolder, report: Path, monkeypatch: pytest.MonkeyPatch
):
    face = report / "keyframes" / "person_0.jpg"
    inode, sums = face.stat().st_ino, {"keyframes/person_0.jpg": hashlib.sha256(b"face").hexdigest()}
    place = out.publish(report, name="clip", media_sha256=ONE, sums=sums)
    assert (place / "keyframes" / "person_0.jpg").stat().st_ino == inode
    assert not report.exists()
    assert is_own_result(place, media_sha256=ONE)


def test_a_report_on_another_file_system_is_copied_and_hashed_there(
    out: OutFolder, report: Path, monkeypatch: pytest.MonkeyPatch
):
    rename = os.rename

    def on_another_disk(source: Path, target: Path) -> None:
        if Path(source) == report:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", on_another_disk)
    place = out.publish(report, name="clip", media_sha256=ONE, sums={"keyframes/person_0.jpg": "0" * 64})
    assert is_own_result(place, media_sha256=ONE), "the sums are those of the copy"
    assert report.exists()


def test_two_files_of_one_run_never_share_a_name(out: OutFolder, report: Path):
    names = ["Clip", "clip", "CLIP", "cafe\u0301", "caf\u00e9"]
    places = [out.publish(report, name=name, media_sha256=ONE).name for name in names]
    assert places == ["Clip", "clip-2", "CLIP-3", "caf\u00e9", "caf\u00e9-2"]


def test_two_runs_at_once_keep_both_results(report: Path, tmp_path: Path):
    with opened(tmp_path / "out") as one, opened(tmp_path / "out") as two:
        places = [
            one.publish(report, name="clip", media_sha256=ONE),
            two.publish(report, name="clip", media_sha256=OTHER),
        ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip", "clip-2"]
    assert [place.name for place in places] == ["clip", "clip-2"]


def test_an_older_result_stays_when_the_new_one_cannot_be_put_in_its_place(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = _published(report, tmp_path / "out")
    before = _state(first)

    rename = os.rename

    def fails_for_the_new_one(source: Path, target: Path) -> None:
        if Path(source).name.startswith("new-"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_for_the_new_one)
    with pytest.raises(UserError) as caught:
        _published(report, tmp_path / "out")
    assert caught.value.code == "out_not_writable"
    assert _state(first) == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip"]


@pytest.mark.parametrize(
    "untrusted", [".", "..", "...", ".hidden", "", " ", "a/b", "x" * 300, "é" * 200, "a\nb\x1b[2J", "\udce9", "a."]
)
def test_a_result_is_a_visible_folder_in_out(untrusted: str, out: OutFolder, report: Path):
    place = out.publish(report, name=untrusted, media_sha256=ONE)
    assert place.parent == out.folder
    assert not place.name.startswith(".")
    assert place.name.isprintable()
    assert place.name.encode()
    assert (place / "result.json").is_file()


def test_a_name_that_the_file_system_of_out_cannot_have_is_made_plain(
    out: OutFolder, report: Path, monkeypatch: pytest.MonkeyPatch
):
    mkdir = Path.mkdir

    def as_on_fat(path: Path, *arguments: object, **more: object) -> None:
        if set(path.name) & set(':?*"<>|'):
            raise OSError(22, "Invalid argument")
        mkdir(path, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", as_on_fat)
    assert out.publish(report, name="Clip: part 1? [x]", media_sha256=ONE).name == "Clip_ part 1_ [x]"


@pytest.mark.parametrize("blocked", ["file", "file/below", "/proc/nothing-can-be-made-here"])
def test_an_out_that_cannot_be_written_is_said_before_any_work(blocked: str, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError) as caught, opened(tmp_path / blocked):
        raise AssertionError("work was begun")
    assert caught.value.code == "out_not_writable"
    assert "--out" in caught.value.sentence
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"), opened(tmp_path / "a" / "b"):
        raise AssertionError("work was begun")
    assert not (tmp_path / "a").exists()


def test_names_are_text_without_control_over_the_terminal():
    assert readable(os.fsdecode(b"in/caf\xe9 \x80.jpg")) == "in/café €.jpg"
    assert readable("日本 👩‍👧 [a].jpg") == "日本 👩‍👧 [a].jpg"
    assert shown("a\x1b[31m\nb\u202egpj.exe") == "a�[31m�b�gpj.exe"
    assert folder_name("..", otherwise="media") == "media"
    assert len(folder_name("é" * 200, otherwise="media").encode()) <= 120


# --------------------------------------------------------------------------- elsewhere


def test_make_clean_keeps_the_results_of_analyze():
    said = subprocess.run(["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True)
    removed = next(line for line in said.stdout.splitlines() if line.startswith("rm -rf")).split()
    assert "build" in removed
    assert not {"out", "out/", "var"} & set(removed)


def test_a_new_detector_removes_no_folder_of_the_authors(tmp_path: Path):
    _folder(tmp_path / ".mine.new")
    write_detector("mine", tmp_path)
    assert (tmp_path / ".mine.new" / "notes.txt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == [".mine.new", "mine"]


def test_a_kept_pack_touches_nothing_beside_it(tmp_path: Path):
    _folder(tmp_path / ".pack.part")
    with _kept(tmp_path / "pack") as pack:
        pack.mkdir()
    assert sorted(os.listdir(tmp_path)) == [".pack.part", "pack"]
    _folder(tmp_path / "late")  # made by somebody else after the first look
    with pytest.raises(UserError, match="--keep-pack"), _kept(tmp_path / "late") as pack:
        pack.mkdir()
    assert (tmp_path / "late" / "notes.txt").read_text() == "mine"
