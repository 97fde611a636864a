"""Weights from Google Drive and Hugging Face: what a person would click through, what they refuse, and what is done about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.weights.folder import WeightsFolder
from backend.weights.places import drive_file, drive_folder
from backend.weights.state import Installed
from base_detector import Card, WeightsFile
from shared.errors import UserError
from tests.weights.hosts import COMMIT, Hosted, Hosts, serving
from tests.weights.test_folder import CONTENT, leftovers
from tests.weights.test_sources import SECOND, card_with

ID, OTHER, FOLDER = "1cIWm7asQAc1KuaI7TlEB4NZ", "1AAAAAAAAAAAAAAAAAAAAAAA", "1c4ywztEVlYVijfwbGLl9OEa"
DRIVE = f"https://drive.google.com/file/d/{ID}/view?usp=sharing"
HUB = f"https://huggingface.co/lab/net/resolve/{COMMIT}/model.safetensors"
HUB_PATH = f"/lab/net/resolve/{COMMIT}/model.safetensors"


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with serving() as server:
        yield server


def fetch(hosts: Hosts, card: Card, folder: Path, *, number: int = 0, pauses: list[float] | None = None) -> Installed:
    with hosts.client() as client:
        item, paused = card.weights[number], pauses if pauses is not None else []
        return WeightsFolder(folder).fetch(card, item, client=client, pause=paused.append)


@pytest.mark.parametrize(
    ("address", "file", "folder"),
    [
        (DRIVE, ID, None),
        (f"https://drive.google.com/open?id={ID}", ID, None),
        (f"https://drive.google.com/uc?export=download&id={ID}", ID, None),
        (f"https://drive.google.com/file/u/0/d/{ID}/edit", ID, None),
        (f"https://drive.google.com/drive/folders/{FOLDER}?usp=sharing", None, FOLDER),
        (f"https://example.org/file/d/{ID}/view", None, None),
        (f"https://drive.google.com.example.org/file/d/{ID}/view", None, None),
        ("https://[", None, None),
    ],
)
def test_an_address_of_drive_is_read_as_people_copy_it(address: str, file: str | None, folder: str | None):
    assert (drive_file(address), drive_folder(address)) == (file, folder)


@pytest.mark.parametrize("large", [False, True])
def test_a_file_of_drive_comes_also_from_behind_the_page_that_warns_of_viruses(
    hosts: Hosts, tmp_path: Path, large: bool
):
    hosts.drive[ID] = Hosted(CONTENT, large=large)
    entry = fetch(hosts, card_with(WeightsFile("net.pth", DRIVE, "MIT")), tmp_path)
    assert entry.path.read_bytes() == CONTENT
    assert len(hosts.bodies("usercontent")) == 1 + large
    assert leftovers(tmp_path) == ["net.pth"]


def test_a_large_file_of_drive_is_continued_where_it_was_cut(hosts: Hosts, tmp_path: Path):
    hosts.drive[ID] = Hosted(CONTENT, large=True, cut_after=[100_000, 50_000])
    assert fetch(hosts, card_with(WeightsFile("net.pth", DRIVE, "MIT")), tmp_path).path.read_bytes() == CONTENT
    assert hosts.bodies("uuid") == [None, "bytes=100000-", "bytes=150000-"]


def test_a_quota_of_drive_says_when_and_how_to_get_the_file(hosts: Hosts, tmp_path: Path):
    hosts.drive[ID] = Hosted(CONTENT, mood="quota")
    card = card_with(WeightsFile("net.pth", DRIVE, "MIT"))
    with pytest.raises(
        UserError, match=r"too many people.*some hours.*browser.*weights add toy FILE --as net\.pth"
    ) as caught:
        fetch(hosts, card, tmp_path)
    assert caught.value.code == "weights_busy"
    assert leftovers(tmp_path) == []
    hosts.drive[ID].mood = ""
    assert fetch(hosts, card, tmp_path).state == "installed"


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        ("private", "does not share it"),
        ("gone", "the file was removed"),
        ("loop", "one page after the other"),
        ("elsewhere", "a page instead"),
    ],
)
def test_what_drive_shows_instead_of_a_file_is_never_taken_for_it(hosts: Hosts, tmp_path: Path, mood: str, words: str):
    if mood != "gone":
        hosts.drive[ID] = Hosted(CONTENT, large=True, mood=mood)
    with pytest.raises(UserError, match=words) as caught:
        fetch(hosts, card_with(WeightsFile("net.pth", DRIVE, "MIT")), tmp_path)
    assert caught.value.code == "weights_link_dead"
    assert "weights add toy FILE" in caught.value.sentence
    assert not any("evil" in address for address, _ in hosts.asked)
    assert leftovers(tmp_path) == []


def test_files_of_a_folder_of_drive_are_found_by_name_with_one_look(hosts: Hosts, tmp_path: Path):
    hosts.folders[FOLDER] = {"a &amp; b.pth": ID, "best_LA.pth": OTHER}
    hosts.drive |= {ID: Hosted(CONTENT), OTHER: Hosted(SECOND)}
    address = f"https://drive.google.com/drive/folders/{FOLDER}"
    card = card_with(
        WeightsFile("one.pth", address, "MIT", member="a & b.pth"),
        WeightsFile("la.pth", address, "MIT", member="*LA.pth"),
    )
    with (
        hosts.client() as client,
        WeightsFolder(tmp_path).fetching([(card, item) for item in card.weights], client=client) as run,
    ):
        found = [run.fetch(wanted).path.read_bytes() for wanted in run.wanted]
    assert found == [CONTENT, SECOND]
    assert len(hosts.bodies("embeddedfolderview")) == 1
    missing = card_with(WeightsFile("two.pth", address, "MIT"))
    with pytest.raises(UserError, match=r"has no two\.pth; it has a & b\.pth, best_LA\.pth"):
        fetch(hosts, missing, tmp_path)


def test_hugging_face_states_the_sha256_and_the_commit(hosts: Hosts, tmp_path: Path):
    hosts.hub[HUB_PATH] = Hosted(CONTENT, cut_after=[70_000])
    entry = fetch(hosts, card_with(WeightsFile("net.safetensors", HUB, "MIT")), tmp_path)
    assert entry.path.read_bytes() == CONTENT
    assert entry.seen is not None
    assert (entry.seen.sha256, entry.seen.revision) == (Hosted(CONTENT).sha256, COMMIT)
    assert hosts.bodies("cdn.example.org") == [None, "bytes=70000-"]


def test_a_file_that_is_not_what_hugging_face_states_is_refused(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hosts.hub[HUB_PATH] = Hosted(CONTENT)
    monkeypatch.setattr(Hosted, "sha256", property(lambda self: "0" * 64))
    with pytest.raises(UserError, match="instead of 0000"):
        fetch(hosts, card_with(WeightsFile("net.safetensors", HUB, "MIT")), tmp_path)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("mood", "code", "words"),
    [
        ("gated", "weights_manual", r"agreed to its terms.*huggingface\.co/lab/net, sign in"),
        ("gone", "weights_link_dead", "does not have this file"),
        ("busy", "weights_busy", r"too many downloads.*Wait some minutes.*continues"),
    ],
)
def test_what_hugging_face_refuses_is_said_with_the_way_out(
    hosts: Hosts, tmp_path: Path, mood: str, code: str, words: str
):
    if mood != "gone":
        hosts.hub[HUB_PATH] = Hosted(CONTENT, mood=mood)
    pauses: list[float] = []
    with pytest.raises(UserError, match=words) as caught:
        fetch(hosts, card_with(WeightsFile("net.safetensors", HUB, "MIT")), tmp_path, pauses=pauses)
    assert caught.value.code == code
    assert pauses == ([7.0, 7.0] if mood == "busy" else [])  # as its header Retry-After asks


def test_a_page_in_place_of_a_file_is_not_installed(hosts: Hosts, tmp_path: Path):
    hosts.web["/net.pth"] = Hosted(b"", mood="page")
    with pytest.raises(UserError, match=r"a web page \(Please sign in\) instead of the file.*Open https://www"):
        fetch(hosts, card_with(WeightsFile("net.pth", "https://www.example.org/net.pth", "MIT")), tmp_path)
    assert leftovers(tmp_path) == []


def test_an_encrypted_address_does_not_lead_to_an_open_one(hosts: Hosts, tmp_path: Path):
    hosts.web["/net.pth"] = Hosted(CONTENT, mood="downgrade")
    with pytest.raises(UserError, match="not encrypted"):
        fetch(hosts, card_with(WeightsFile("net.pth", "https://www.example.org/net.pth", "MIT")), tmp_path)
    assert leftovers(tmp_path) == []


def test_a_file_replaced_during_the_download_is_never_pieced_together(hosts: Hosts, tmp_path: Path):
    hosted = hosts.web["/net.pth"] = Hosted(CONTENT, cut_after=[100_000, 0, 0])
    card = card_with(WeightsFile("net.pth", "https://www.example.org/net.pth", "MIT"))
    with pytest.raises(UserError, match=r"100,000 of 512,000 bytes are stored"):
        fetch(hosts, card, tmp_path)
    hosted.content = bytes(reversed(CONTENT))
    assert fetch(hosts, card, tmp_path).path.read_bytes() == hosted.content


def test_a_started_file_of_another_address_is_not_continued(hosts: Hosts, tmp_path: Path):
    hosts.web |= {"/a.pth": Hosted(CONTENT, cut_after=[100_000, 0, 0]), "/b.pth": Hosted(bytes(reversed(CONTENT)))}
    first, second = "https://www.example.org/a.pth", "https://www.example.org/b.pth"
    entry = fetch(hosts, card_with(WeightsFile("net.pth", first, "MIT", alternatives=(second,))), tmp_path)
    assert entry.path.read_bytes() == hosts.web["/b.pth"].content
    assert hosts.bodies("/b.pth") == [None]


def test_a_disk_without_room_for_the_file_is_said_before_the_download(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hosts.web["/net.pth"] = Hosted(CONTENT)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100_400_000}))
    card = card_with(WeightsFile("net.pth", "https://www.example.org/net.pth", "MIT"))
    with pytest.raises(UserError, match=r"needs 512,000 bytes more.*room for 400,000") as caught:
        fetch(hosts, card, tmp_path)
    assert caught.value.code == "disk_full"


def test_a_pytorch_file_must_have_the_sha256_that_its_name_begins(hosts: Hosts, tmp_path: Path):
    right = Hosted(CONTENT).sha256[:8]
    for name, fits in ((f"vgg19-{right}.pth", True), ("vgg19-deadbeef.pth", False)):
        hosts.web[f"/models/{name}"] = Hosted(CONTENT)
        card = card_with(WeightsFile(name, f"https://download.pytorch.org/models/{name}", "BSD-3-Clause"))
        copy = tmp_path / name
        copy.write_bytes(CONTENT)
        if fits:
            assert WeightsFolder(tmp_path / "weights").add(card, copy).state == "installed"
        else:
            with pytest.raises(UserError, match="its name says another"):
                WeightsFolder(tmp_path / "weights").add(card, copy)


def test_a_host_that_is_away_is_said_as_before(tmp_path: Path):
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Name or service not known", request=request)

    card = card_with(WeightsFile("net.pth", DRIVE, "MIT"))
    client, words = (
        httpx.Client(transport=httpx.MockTransport(away)),
        r"\(Name or service not known\).*Check the network",
    )
    with client, pytest.raises(UserError, match=words):
        WeightsFolder(tmp_path).fetch(card, card.weights[0], client=client, pause=lambda seconds: None)
