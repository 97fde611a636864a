"""Lists as people write them: plain, CSV of several kinds, odd names; and how a list is shared out among machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.batch.entries import Entries, part_of, read_list
from shared.errors import UserError


def read(text: str | bytes, base: Path, *, name: str = "list.txt", column: str | None = None) -> Entries:
    return read_list(text if isinstance(text, bytes) else text.encode(), name=name, base=base, column=column)


def test_a_plain_list_names_paths_and_addresses_relative_to_its_own_folder(tmp_path: Path):
    (tmp_path / "a clip.mp4").touch()
    found = read("a clip.mp4\r\n\r\n  /data/b.mp4\nHTTPS://example.org/c.mp4?x=1\n#no comment.mp4\n", tmp_path).entries
    assert [entry.file for entry in found] == [
        "a clip.mp4",
        "/data/b.mp4",
        "HTTPS://example.org/c.mp4?x=1",
        "#no comment.mp4",
    ]
    assert [entry.path for entry in found] == [
        tmp_path / "a clip.mp4",
        Path("/data/b.mp4"),
        None,
        tmp_path / "#no comment.mp4",
    ]
    assert found[2].url == "HTTPS://example.org/c.mp4?x=1"


def test_a_path_that_is_not_beside_the_list_is_looked_for_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert read("here/a.mp4", Path("/lists")).entries[0].path == Path("here/a.mp4")
    assert read("gone.mp4", Path("/lists")).entries[0].path == Path("/lists/gone.mp4"), "named as the list has it"


@pytest.mark.parametrize(
    "text",
    [
        'file,label,subset\na.mp4,fake,"x, y"\nb.mp4,real\n',
        "label;file;subset\nfake;a.mp4;x, y\nreal;b.mp4;\n",
        "\ufefflabel\tFile\tsubset\r\nfake\ta.mp4\tx, y\r\nreal\tb.mp4\t\r\n",
    ],
    ids=["commas", "semicolons", "tabs with a byte order mark"],
)
def test_columns_of_a_table_are_kept_whatever_separates_them(tmp_path: Path, text: str):
    found = read(text, tmp_path)
    assert [entry.file for entry in found.entries] == ["a.mp4", "b.mp4"]
    rows = [dict(zip(map(str.lower, found.columns), entry.cells, strict=True)) for entry in found.entries]
    rows = [{name: cell for name, cell in row.items() if name != "file"} for row in rows]  # that is a column of ours
    assert rows == [{"label": "fake", "subset": "x, y"}, {"label": "real", "subset": ""}]
    assert "file" not in found.columns


def test_the_column_of_the_files_can_be_named(tmp_path: Path):
    text = "id,clip\n7,a.mp4\n"
    assert read(text, tmp_path, column="Clip").entries[0].file == "a.mp4"
    with pytest.raises(UserError, match="Its columns: id, clip"):
        read(text, tmp_path, name="list.csv")
    with pytest.raises(UserError, match="no column 'video'"):
        read(text, tmp_path, column="video")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("file,file\na,b\n", "two columns named 'file'"),
        ("file,\na,b\n", "a column without a name"),
        ("file,label\na,b,c\n", "Row 2 of list.csv has 3 cells"),
        ("file,label\n,b\n", "Row 2 of list.csv names no file"),
        ("PK\0\0", "neither a list of files nor"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_with_its_row(tmp_path: Path, text: str, what: str):
    with pytest.raises(UserError, match=what) as caught:
        read(text, tmp_path, name="list.csv")
    assert caught.value.code == "bad_list"


def test_names_that_are_not_utf8_lead_to_their_file_and_can_be_shown(tmp_path: Path):
    [entry] = read(b"caf\xe9.mp4\n", tmp_path).entries
    assert bytes(entry.path.name, "utf-8", "surrogateescape") == b"caf\xe9.mp4"
    assert entry.file == "caf\u00e9.mp4"


def test_a_file_named_twice_has_two_rows(tmp_path: Path):
    found = read("a.mp4\nb.mp4\na.mp4\n", tmp_path).entries
    assert [(entry.file, entry.mention) for entry in found] == [("a.mp4", 1), ("b.mp4", 1), ("a.mp4", 2)]


def test_shares_of_a_list_are_disjoint_and_stay_when_it_grows(tmp_path: Path):
    entries = read("\n".join(f"{number}.mp4" for number in range(500)), tmp_path).entries
    shares = [part_of(entries, part=part, parts=8) for part in range(1, 9)]
    assert sorted(entry.file for share in shares for entry in share) == sorted(entry.file for entry in entries)
    assert min(map(len, shares)) > 30
    assert part_of(entries[:100], part=3, parts=8) == [entry for entry in shares[2] if entry in entries[:100]]
