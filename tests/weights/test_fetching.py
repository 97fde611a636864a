"""One run of fetching: archives once, what an archive is by its first bytes, and files whose sha256 nobody published."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from backend.weights.archives import the_one
from backend.weights.folder import WeightsFolder
from backend.weights.known import Known
from backend.weights.state import Installed
from base_detector import Card, WeightsFile
from shared.errors import UserError
from tests.weights.hosts import Hosted, Hosts, serving
from tests.weights.test_folder import CONTENT, leftovers
from tests.weights.test_sources import SECOND, card_with

SITE = "https://www.example.org"
CHANGED = bytes(reversed(CONTENT))


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with serving() as server:
        yield server


def fetch_all(hosts: Hosts, card: Card, folder: Path, **how) -> list[Installed | str]:
    """Each file of the card, or the sentence that says why not."""
    found: list[Installed | str] = []
    files = [(card, item) for item in card.weights]
    client = hosts.client()
    with client, WeightsFolder(folder).fetching(files, client=client, pause=lambda seconds: None, **how) as run:
        for wanted in run.wanted:
            try:
                found.append(run.fetch(wanted))
            except UserError as error:
                found.append(error.sentence)
    return found


def zip_of(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, one in files.items():
            archive.writestr(name.replace("__SLASH__", "/"), one)
    return content.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, one in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(one)
            archive.addfile(info, io.BytesIO(one))
    return content.getvalue()


def test_an_archive_named_as_alternative_by_seven_files_is_fetched_once(hosts: Hosts, tmp_path: Path):
    hosts.web["/all.tar.gz"] = Hosted(tar_of({f"all/net_{number}": bytes([number]) * 5000 for number in range(7)}))
    hosts.web |= {f"/net_{number}": Hosted(b"", mood="page") for number in range(7)}
    card = card_with(
        *(
            WeightsFile(f"net_{number}", f"{SITE}/net_{number}", "MIT", alternatives=(f"{SITE}/all.tar.gz",))
            for number in range(7)
        )
    )
    found = fetch_all(hosts, card, tmp_path)
    assert [entry.path.read_bytes()[:1] for entry in found if isinstance(entry, Installed)] == [
        bytes([n]) for n in range(7)
    ]
    assert len(hosts.bodies("all.tar.gz")) == 1
    assert leftovers(tmp_path) == [f"net_{number}" for number in range(7)]


def test_a_damaged_archive_is_fetched_once_in_a_run_and_said_for_each_of_its_files(hosts: Hosts, tmp_path: Path):
    hosts.web["/all.zip"] = Hosted(zip_of(a=CONTENT, b=SECOND)[:-100])
    card = card_with(*(WeightsFile(name, f"{SITE}/all.zip", "MIT", member=name) for name in ("a", "b", "c")))
    found = fetch_all(hosts, card, tmp_path)
    assert all(isinstance(entry, str) and "damaged archive" in entry for entry in found)
    assert len(hosts.bodies("all.zip")) == 1
    assert leftovers(tmp_path) == []


def test_a_tar_that_ends_in_a_torch_file_is_a_tar(hosts: Hosts, tmp_path: Path):
    torch_file = zip_of(archive__SLASH__data=CONTENT)  # what torch.save writes is a zip
    hosts.web["/nets.tar"] = Hosted(tar_of({"nets/first.pt": SECOND, "nets/last.pt": torch_file}))
    assert zipfile.is_zipfile(io.BytesIO(hosts.web["/nets.tar"].content))
    card = card_with(
        WeightsFile("first.pt", f"{SITE}/nets.tar", "MIT"), WeightsFile("last.pt", f"{SITE}/nets.tar", "MIT")
    )
    found = fetch_all(hosts, card, tmp_path)
    assert [entry.path.read_bytes() for entry in found if isinstance(entry, Installed)] == [SECOND, torch_file]
    assert len(hosts.bodies("nets.tar")) == 1


def test_what_macos_adds_to_an_archive_is_never_the_member(hosts: Hosts, tmp_path: Path):
    files = {"model.pt": CONTENT, "__MACOSX__SLASH__._model.pt": b"finder", "__MACOSX__SLASH__model.pt": b"x"}
    hosts.web["/weights.zip"] = Hosted(zip_of(**files))
    found = fetch_all(hosts, card_with(WeightsFile("net.pt", f"{SITE}/weights.zip", "MIT", member="*.pt")), tmp_path)
    assert [entry.path.read_bytes() for entry in found if isinstance(entry, Installed)] == [CONTENT]


@pytest.mark.parametrize(
    ("member", "found"),
    [
        ("ckpt_res50/a.index", ["x/ckpt_res50/a.index"]),
        ("b.data", ["ckpt_vgg16/b.data"]),
        ("*res*50*.index", ["x/ckpt_res50/a.index"]),
        ("*.index", ["x/ckpt_res50/a.index", "ckpt_vgg16/a.index"]),
        ("._a.index", []),
    ],
)
def test_a_member_is_a_path_a_name_or_a_pattern_of_either(member: str, found: list[str]):
    names = [
        "x/ckpt_res50/a.index",
        "ckpt_vgg16/a.index",
        "ckpt_vgg16/b.data",
        "x/ckpt_res50/._a.index",
        "__MACOSX/b.data",
    ]
    assert the_one(member, names) == found


def test_an_archive_that_cannot_be_fetched_is_said_with_the_file_that_is_wanted_from_it(hosts: Hosts, tmp_path: Path):
    hosts.web["/all.zip"] = Hosted(b"", mood="page")
    (said,) = fetch_all(hosts, card_with(WeightsFile("net.pt", f"{SITE}/all.zip", "MIT")), tmp_path)
    assert isinstance(said, str)
    assert "Take net.pt out of it, then install it with 'deepfake-o-meter weights add toy FILE --as net.pt'" in said
    assert ".archive" not in said


def test_what_is_no_archive_is_said_and_not_kept(hosts: Hosts, tmp_path: Path):
    hosts.web["/weights.zip"] = Hosted(CONTENT)
    (said,) = fetch_all(hosts, card_with(WeightsFile("net.pt", f"{SITE}/weights.zip", "MIT")), tmp_path)
    assert isinstance(said, str)
    assert "damaged archive, or none" in said
    assert leftovers(tmp_path) == []


# --------------------------------------------------------------------------- files without a published sha256


def test_a_first_file_is_remembered_and_another_one_later_is_refused(hosts: Hosts, tmp_path: Path):
    hosted = hosts.web["/net.pth"] = Hosted(CONTENT)
    card = card_with(WeightsFile("net.pth", f"{SITE}/net.pth", "MIT"))
    (entry,) = fetch_all(hosts, card, tmp_path)
    assert isinstance(entry, Installed)
    noted = json.loads((tmp_path / "known.json").read_text())["files"]["toy/net.pth"]
    assert (noted["sha256"], noted["bytes"], noted["origin"]) == (hosted.sha256, len(CONTENT), f"{SITE}/net.pth")
    entry.path.unlink()
    hosted.content = CHANGED
    (said,) = fetch_all(hosts, card, tmp_path)
    assert isinstance(said, str)
    assert hosted.sha256 in said
    assert "--accept-changed" in said
    assert leftovers(tmp_path) == []
    assert WeightsFolder(tmp_path).unavailable(card) == "weights_missing"
    (entry,) = fetch_all(hosts, card, tmp_path, accept_changed=True)
    assert isinstance(entry, Installed)
    assert entry.seen is not None
    assert entry.seen.sha256 == hosted.sha256
    assert entry.path.read_bytes() == CHANGED


def test_a_name_of_pytorchs_that_carries_digits_of_a_sha256_is_held_to_them(hosts: Hosts, tmp_path: Path):
    right, wrong, dated = f"vgg19-{Hosted(CONTENT).sha256[:8]}.pth", "vgg19-dcbb9e9d.pth", "net-20200101.pth"
    hosts.web |= {f"/{name}": Hosted(CONTENT) for name in (right, wrong, dated)}
    pytorch = [WeightsFile(name, f"https://download.pytorch.org/{name}", "MIT") for name in (right, wrong)]
    entry, said, other = fetch_all(hosts, card_with(*pytorch, WeightsFile(dated, f"{SITE}/{dated}", "MIT")), tmp_path)
    assert isinstance(entry, Installed)
    assert isinstance(said, str)
    assert "its name says another" in said
    assert isinstance(other, Installed)  # elsewhere such digits are a date
    assert leftovers(tmp_path) == [dated, right]


def test_a_remembered_file_that_changes_on_the_disk_is_not_used(hosts: Hosts, tmp_path: Path):
    hosts.web["/net.pth"] = Hosted(CONTENT)
    card = card_with(WeightsFile("net.pth", f"{SITE}/net.pth", "MIT"))
    (entry,) = fetch_all(hosts, card, tmp_path)
    assert isinstance(entry, Installed)
    os.utime(entry.path)  # a copied folder has other times and inodes: then the bytes decide
    assert WeightsFolder(tmp_path).unavailable(card) is None
    entry.path.write_bytes(CHANGED)
    assert WeightsFolder(tmp_path).unavailable(card) == "weights_mismatch"
    assert [again.state for again in WeightsFolder(tmp_path).verify([card])] == ["differs"]


def test_verify_reads_a_remembered_file_again_even_where_its_times_were_put_back(hosts: Hosts, tmp_path: Path):
    hosts.web["/net.pth"] = Hosted(CONTENT)
    card = card_with(WeightsFile("net.pth", f"{SITE}/net.pth", "MIT"))
    (entry,) = fetch_all(hosts, card, tmp_path)
    assert isinstance(entry, Installed)
    before = entry.path.stat()
    with entry.path.open("r+b") as stream:
        stream.write(b"\xff")
    os.utime(entry.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [again.state for again in WeightsFolder(tmp_path).verify([card])] == ["differs"]


def test_a_file_installed_before_anything_was_remembered_is_remembered_at_the_next_fetch(hosts: Hosts, tmp_path: Path):
    card = card_with(WeightsFile("net.pth", f"{SITE}/net.pth", "MIT"))
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "net.pth").write_bytes(CONTENT)
    (entry,) = fetch_all(hosts, card, tmp_path)
    assert isinstance(entry, Installed)
    assert entry.seen is not None
    assert entry.seen.sha256 == Hosted(CONTENT).sha256
    assert hosts.asked == []


def test_an_operators_file_may_replace_a_remembered_one_and_comes_off_trial(tmp_path: Path):
    card, folder = (
        card_with(WeightsFile("net.pth", "https://nowhere.invalid", "MIT", manual=True)),
        WeightsFolder(tmp_path / "w"),
    )
    for content in (CONTENT, CHANGED):
        (tmp_path / "net.pth").write_bytes(content)
        folder.add(card, tmp_path / "net.pth")
        assert folder.unavailable(card) is None
        if content is CONTENT:
            folder.keep(card, "net.pth")
    assert folder.remove(card, "net.pth")
    assert folder.unavailable(card) is None
    seen = Known(tmp_path / "w").of("toy/net.pth")
    assert seen is not None
    assert (seen.sha256, seen.before) == (Hosted(CONTENT).sha256, None)


def test_a_damaged_memory_is_named_and_hides_no_detector(tmp_path: Path):
    card, folder = card_with(WeightsFile("net.pth", "https://nowhere.invalid", "MIT")), WeightsFolder(tmp_path)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "net.pth").write_bytes(CONTENT)
    (tmp_path / "known.json").write_text("{")
    assert folder.unavailable(card) is None
    with pytest.raises(UserError, match=r"known\.json is damaged.*backup"):
        folder.verify([card])


def test_the_size_of_a_download_is_asked_for_without_downloading(hosts: Hosts, tmp_path: Path):
    hosts.web |= {"/net.pth": Hosted(CONTENT), "/all.zip": Hosted(zip_of(a=CONTENT, b=SECOND))}
    card = card_with(
        WeightsFile("net.pth", f"{SITE}/net.pth", "MIT"),
        WeightsFile("a", f"{SITE}/all.zip", "MIT", member="a"),
        WeightsFile("known", f"{SITE}/away", "MIT", sha256="0" * 64, bytes=7),
        WeightsFile("gone", "http://127.0.0.1:9/x", "MIT", manual=True),
    )
    files = [(card, item) for item in card.weights]
    with hosts.client() as client, WeightsFolder(tmp_path).fetching(files, client=client) as run:
        assert [run.bytes_of(wanted) for wanted in run.wanted] == [
            len(CONTENT),
            len(hosts.web["/all.zip"].content),
            7,
            0,
        ]
        assert [run.source(wanted) for wanted in run.wanted] == ["", f"{SITE}/all.zip", "0" * 64, ""]
    assert not (tmp_path / "toy").exists()


def test_a_host_that_is_away_is_asked_for_a_size_once(tmp_path: Path):
    asked: list[str] = []

    def away(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        raise httpx.ConnectTimeout("timed out", request=request)

    card = card_with(*(WeightsFile(f"{number}.pth", f"{SITE}/{number}.pth", "MIT") for number in range(5)))
    client = httpx.Client(transport=httpx.MockTransport(away))
    with client, WeightsFolder(tmp_path).fetching([(card, item) for item in card.weights], client=client) as run:
        assert [run.bytes_of(wanted) for wanted in run.wanted] == [0] * 5
    assert asked == ["www.example.org"]


def test_a_file_that_another_detector_has_is_not_downloaded_again(hosts: Hosts, tmp_path: Path):
    item = WeightsFile("clip.bin", f"{SITE}/clip.bin", "MIT", sha256=Hosted(CONTENT).sha256, bytes=len(CONTENT))
    hosts.web["/clip.bin"] = Hosted(CONTENT)
    first, second = card_with(item), replace(card_with(replace(item, file="tower.bin")), id="other")
    files = [(first, first.weights[0]), (second, second.weights[0])]
    client = hosts.client()
    with client, WeightsFolder(tmp_path).fetching(files, cards=(first, second), client=client) as run:
        entries = [run.fetch(wanted) for wanted in run.wanted]
    assert [entry.state for entry in entries] == ["installed", "installed"]
    assert entries[1].path.read_bytes() == CONTENT
    assert len(hosts.asked) == 1
    assert os.path.samefile(entries[0].path, entries[1].path)
    entries[0].path.write_bytes(b"changed")  # one content: both detectors see it
    assert WeightsFolder(tmp_path).unavailable(second) == "weights_mismatch"
