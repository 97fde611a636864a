"""Weights that do not lie at one address under a known sha256: archives, alternatives, files for people to fetch, unknown files."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.weights.folder import WeightsFolder
from base_detector import Card, WeightsFile
from shared.errors import UserError
from tests.weights.test_folder import CONTENT, Publisher, card_of, fetch, leftovers, publisher

__all__ = ["publisher"]  # a fixture of that module

SECOND = b"second file" * 999


def card_with(*items: WeightsFile) -> Card:
    return replace(card_of("https://nowhere.invalid/x"), weights=items)


@pytest.fixture
def zipped(publisher: Publisher) -> Iterator[str]:
    """Address of a zip with two files in folders."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("models/deep/first.pt", CONTENT)
        archive.writestr("models/second.pt", SECOND)
        archive.writestr("other/twice.pt", b"1")
        archive.writestr("models/twice.pt", b"2")
    publisher.content = content.getvalue()
    return publisher.url.replace("file.h5", "all.zip")


def test_a_file_without_a_known_sha256_is_taken_and_its_own_is_told(publisher: Publisher, tmp_path: Path):
    card = card_with(WeightsFile("net.pt", publisher.url, "MIT"))
    assert WeightsFolder(tmp_path).unavailable(card) == "weights_missing"
    assert fetch(card, tmp_path).state == "installed"
    assert WeightsFolder(tmp_path).unavailable(card) is None
    assert WeightsFolder(tmp_path).sha256(card) == {"net.pt": hashlib.sha256(CONTENT).hexdigest()}
    fetch(card, tmp_path)
    assert publisher.asked == [None]


def test_a_broken_connection_is_taken_up_where_nobody_knows_the_size(publisher: Publisher, tmp_path: Path):
    publisher.cut_after = [100_000]
    card = card_with(WeightsFile("net.pt", publisher.url, "MIT"))
    assert fetch(card, tmp_path).path.read_bytes() == CONTENT
    assert publisher.asked == [None, "bytes=100000-"]


def test_two_files_of_one_archive_need_one_download(publisher: Publisher, zipped: str, tmp_path: Path):
    known = {"sha256": hashlib.sha256(SECOND).hexdigest(), "bytes": len(SECOND)}
    card = card_with(
        WeightsFile("first.pt", zipped, "MIT"), WeightsFile("two.pt", zipped, "MIT", member="models/second.pt", **known)
    )
    for item in card.weights:
        assert WeightsFolder(tmp_path).fetch(card, item).state == "installed"
    assert (tmp_path / "toy" / "first.pt").read_bytes() == CONTENT
    assert (tmp_path / "toy" / "two.pt").read_bytes() == SECOND
    assert len(publisher.asked) == 1
    assert leftovers(tmp_path) == ["first.pt", "two.pt"]


def test_a_member_may_be_named_by_a_pattern(zipped: str, tmp_path: Path):
    card = card_with(WeightsFile("net.pt", zipped, "MIT", member="sec*.pt"))
    assert fetch(card, tmp_path).path.read_bytes() == SECOND


def test_a_tar_whose_member_leads_elsewhere_gives_its_own_bytes_or_nothing(publisher: Publisher, tmp_path: Path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        info = tarfile.TarInfo("../../escaped/net.pt")
        info.size = len(SECOND)
        archive.addfile(info, io.BytesIO(SECOND))
        link = tarfile.TarInfo("link.pt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    publisher.content = content.getvalue()
    address = publisher.url.replace("file.h5", "all.tar.gz")
    card = card_with(WeightsFile("net.pt", address, "MIT"), WeightsFile("link.pt", address, "MIT"))
    assert fetch(card, tmp_path).path.read_bytes() == SECOND
    assert sorted(path.name for path in tmp_path.iterdir()) == [".known.json.lock", "known.json", "toy"]
    with pytest.raises(UserError, match=r"does not have link\.pt"):
        WeightsFolder(tmp_path).fetch(card, card.weights[1])
    assert not (tmp_path / "toy" / "link.pt").exists()


def test_a_member_in_a_folder_is_found_wherever_the_archive_begins(zipped: str, tmp_path: Path):
    card = card_with(WeightsFile("net.pt", zipped, "MIT", member="deep/first.pt"))
    assert fetch(card, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("member", ["missing.pt", "twice.pt"])
def test_a_member_that_is_not_the_one_is_named_with_what_there_is(zipped: str, tmp_path: Path, member: str):
    card = card_with(WeightsFile("net.pt", zipped, "MIT", member=member))
    with pytest.raises(UserError, match=r"models/deep/first\.pt.*weights add") as caught:
        fetch(card, tmp_path)
    assert caught.value.code == "weights_mismatch"
    assert not (tmp_path / "toy" / "net.pt").exists()


def test_a_member_larger_than_its_card_says_is_not_used(zipped: str, tmp_path: Path):
    card = card_with(WeightsFile("first.pt", zipped, "MIT", sha256="0" * 64, bytes=10))
    with pytest.raises(UserError, match="larger than 10 bytes"):
        fetch(card, tmp_path)
    assert not (tmp_path / "toy" / "first.pt").exists()


def test_a_damaged_archive_is_thrown_away_and_fetched_again(publisher: Publisher, tmp_path: Path):
    card = card_with(WeightsFile("net.pt", publisher.url.replace("file.h5", "a.zip"), "MIT"))
    with pytest.raises(UserError, match="damaged"):
        fetch(card, tmp_path)
    with pytest.raises(UserError, match="damaged"):
        fetch(card, tmp_path)
    assert publisher.asked == [None, None]


def test_where_a_link_is_dead_the_alternative_is_taken(publisher: Publisher, tmp_path: Path):
    dead = "http://127.0.0.1:9/net.pt"
    card = card_with(WeightsFile("net.pt", dead, "MIT", alternatives=(publisher.url,)))
    assert fetch(card, tmp_path).path.read_bytes() == CONTENT


def test_when_all_addresses_fail_each_is_named(publisher: Publisher, tmp_path: Path):
    publisher.status = 404
    card = card_with(WeightsFile("net.pt", "http://127.0.0.1:9/net.pt", "MIT", alternatives=(publisher.url,)))
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/net\.pt could not be fetched.*the link is dead") as caught:
        fetch(card, tmp_path)
    assert caught.value.code == "weights_link_dead"


def test_what_only_people_may_fetch_says_where_and_how(tmp_path: Path):
    card = card_with(WeightsFile("net.pt", "https://drive.example/folder", "MIT", manual=True))
    with pytest.raises(UserError, match=r"https://drive\.example/folder.*weights add toy FILE") as caught:
        fetch(card, tmp_path)
    assert caught.value.code == "weights_manual"


def test_an_operators_file_goes_by_its_name_or_by_the_one_given(tmp_path: Path):
    card = card_with(WeightsFile("net.pt", "https://nowhere.invalid", "MIT", manual=True))
    (tmp_path / "net.pt").write_bytes(SECOND)
    (tmp_path / "mine.bin").write_bytes(CONTENT)
    folder = tmp_path / "weights"
    assert WeightsFolder(folder).add(card, tmp_path / "net.pt").path.read_bytes() == SECOND
    with pytest.raises(UserError, match=r"mine\.bin.*Wanted: net\.pt \(by its name\)"):
        WeightsFolder(folder).add(card, tmp_path / "mine.bin")
    assert WeightsFolder(folder).add(card, tmp_path / "mine.bin", name="net.pt").path.read_bytes() == CONTENT


def test_an_empty_file_is_no_weights_file(tmp_path: Path):
    card = card_with(WeightsFile("net.pt", "https://nowhere.invalid", "MIT"))
    (tmp_path / "net.pt").touch()
    with pytest.raises(UserError, match="not a file of toy"):
        WeightsFolder(tmp_path / "weights").add(card, tmp_path / "net.pt")


def test_an_optional_file_may_be_missing_but_not_wrong(tmp_path: Path):
    needed = WeightsFile("net.pt", "https://nowhere.invalid", "MIT")
    other = WeightsFile("other.pt", "https://nowhere.invalid", "MIT", sha256="0" * 64, bytes=3, optional=True)
    card = card_with(needed, other)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "net.pt").write_bytes(SECOND)
    assert WeightsFolder(tmp_path).unavailable(card) is None
    (tmp_path / "toy" / "other.pt").write_bytes(b"abc")
    assert WeightsFolder(tmp_path).unavailable(card) == "weights_mismatch"


def test_of_files_that_are_all_optional_one_is_needed(tmp_path: Path):
    card = card_with(*(WeightsFile(name, "https://nowhere.invalid", "MIT", optional=True) for name in ("a.pt", "b.pt")))
    assert WeightsFolder(tmp_path).unavailable(card) == "weights_missing"
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "b.pt").write_bytes(SECOND)
    assert WeightsFolder(tmp_path).unavailable(card) is None
