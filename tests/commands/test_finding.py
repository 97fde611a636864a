"""What ``analyze`` looks at: files by their content, never its own work, and whatever it leaves out is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from backend.commands.finding import Found, find_media
from backend.commands.out_folder import opened
from shared.errors import UserError
from shared.signatures import MEDIA_HEAD_BYTES, is_media

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def names(found: Found) -> list[str]:
    return [medium.path.name for medium in found.media if not medium.trouble]


def test_content_decides_in_folders(tmp_path: Path):
    packets = b"\x47" + bytes(187)
    files = {
        "a.gif": b"GIF89a" + bytes(20), "b.3gp": b"\0\0\0\x18ftyp3gp4" + bytes(20), "c.flv": b"FLV\x01" + bytes(20),
        "d.ts": packets * 6, "e.mts": (bytes(4) + packets) * 6, "f.ogv": b"OggS" + bytes(20), "no_suffix": JPEG, "h.txt": JPEG,
        "i.mp4": b"text in a file called mp4", "j.ts": b"export const a = 1;\n" * 80, "k.txt": b"words", "l": b"", "m.py": b"import os\n",
        "n.ts": b"\x02\0" * 500, "recording": b"\x00\x11" + packets * 6,
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    found = find_media([tmp_path])
    assert names(found) == [
        "a.gif",
        "b.3gp",
        "c.flv",
        "d.ts",
        "e.mts",
        "f.ogv",
        "h.txt",
        "n.ts",
        "no_suffix",
        "recording",
    ]
    assert [(medium.path.name, medium.trouble.code) for medium in found.media if medium.trouble] == [
        ("i.mp4", "text_file")
    ]
    assert found.left_out_words() == "files without video, picture or sound: 4 (1 .py, 1 .ts, 1 .txt, 1 no suffix)"


def test_pictures_that_cannot_be_read_are_named_with_what_to_do(tmp_path: Path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypavci\0\0\0\0mif1avci")
    (tmp_path / "call.amr").write_bytes(b"#!AMR\n" + b"\x3c" * 40)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "deed.pdf").write_bytes(b"%PDF-1.7")
    troubles = {medium.path.name: medium.trouble for medium in find_media([tmp_path]).media}
    assert {name: trouble and trouble.code for name, trouble in troubles.items()} == {
        "IMG_1.HEIC": "heif_picture",
        "call.amr": "sound_file",
        "empty.jpg": "file_empty",
    }


def test_traces_of_systems_hidden_files_and_linked_folders_are_passed_over(tmp_path: Path):
    for name in (
        "._a.jpg",
        ".DS_Store",
        "Thumbs.db",
        ".git/b.jpg",
        ".Trash-1000/c.jpg",
        "__MACOSX/d.jpg",
        "@eaDir/e.jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(JPEG)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "real.jpg").write_bytes(JPEG)
    (tmp_path / "sub" / "around").symlink_to("..")
    (tmp_path / "sub" / "self").symlink_to("self")
    (tmp_path / "link.jpg").symlink_to("sub/real.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = find_media([tmp_path])
    assert names(found) == ["link.jpg"], "a link and its file are one"
    assert {why: len(paths) for why, paths in found.left_out.items()} == {
        "hidden or system files and folders": 7,
        "linked folders (not followed)": 1,
        "links to nothing": 1,
        "files without video, picture or sound": 1,
        "files named twice (judged once)": 1,
    }


def test_own_results_are_passed_over_and_the_users_files_beside_them_are_not(tmp_path: Path):
    report = tmp_path / "made" / "report"
    (report / "keyframes").mkdir(parents=True)
    (report / "keyframes" / "person_0.jpg").write_bytes(JPEG)
    result = {
        "schema_version": 1,
        "platform_version": "1",
        "media": {"sha256": "0"},
        "files": {"keyframes/person_0.jpg": "0"},
    }
    (report / "result.json").write_text(json.dumps(result))
    folder = tmp_path / "in"
    with opened(folder / "out") as out:
        place = out.publish(report, name="clip", media_sha256="1" * 64)
    (folder / "clip.jpg").write_bytes(JPEG)
    (place / "mine.jpg").write_bytes(JPEG)
    report.rename(folder / "unpacked bundle")
    (folder / "results.json").write_text("{}")
    (folder / "other").mkdir()
    (folder / "other" / "result.json").write_text('{"files": {"x.jpg": 1}}')
    (folder / "other" / "x.jpg").write_bytes(JPEG)
    (folder / "var" / "submissions").mkdir(parents=True)
    (folder / "var" / "submissions" / "media.jpg").write_bytes(JPEG)
    found = find_media([folder], ours=[folder / "var"])
    assert names(found) == ["clip.jpg", "x.jpg", "mine.jpg"]
    assert len(found.left_out["results and data folders of this program"]) == 3
    with pytest.raises(UserError, match="of this program: 1"):
        find_media([folder / "unpacked bundle"])


def test_a_folder_that_cannot_be_listed_has_a_line_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.jpg").write_bytes(JPEG)
    scandir = os.scandir

    def refused(path: Path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    found = find_media([tmp_path])
    assert [(medium.path.name, medium.trouble and medium.trouble.code) for medium in found.media] == [
        ("a.jpg", None),
        ("locked", "no_such_file"),
    ]


def test_the_same_file_named_twice_is_judged_once(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    assert len(find_media([tmp_path, tmp_path / "a.jpg", tmp_path / "." / "a.jpg"]).media) == 1


@pytest.mark.parametrize(
    ("untrusted", "words"),
    [
        ("https://example.org/a.mp4", "web address"),
        ("{pipe}", "a pipe or a device"),
        ("nothing", "neither a file nor a folder"),
    ],
)
def test_what_is_no_file_is_called_what_it_is(untrusted: str, words: str, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=words):
        find_media([Path(untrusted.format(pipe=tmp_path / "pipe"))])


def test_every_readable_file_people_brought_is_known_by_its_content(research: Path):
    files = [path for path in (research / "field").iterdir() if path.suffix not in (".csv", ".md")]
    unknown = {path.name for path in files if not is_media(path.read_bytes()[:MEDIA_HEAD_BYTES])}
    assert unknown == set()
