"""Content credentials: what is read of files that we sign and damage ourselves, and what hostile ones cannot do."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("c2pa")
pytest.importorskip("av")

from PIL import Image

from backend.media import provenance
from backend.media.provenance import ManifestReader
from shared.origin import LONGEST, Credentials
from tests.media.clips import encode, moving
from tests.media.credentials import Authority, flipped, mutants, sign
from tests.media.sounds import tone, write_sound


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> dict[str, Path]:
    """A small file of each kind that can carry credentials, without any."""
    folder = tmp_path_factory.mktemp("plain")
    small = Image.fromarray(astronaut[:256, :256])
    files = {kind: folder / f"a.{kind}" for kind in ("jpg", "png", "mp4", "wav", "mp3")}
    small.save(files["jpg"], quality=85)
    small.save(files["png"])
    encode(files["mp4"], moving(astronaut, count=5))
    write_sound(files["wav"], tone(1.0), codec="pcm_s16le")
    write_sound(files["mp3"], tone(1.0), codec="libmp3lame")
    return files


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, plain: dict[str, Path], authority: Authority) -> dict[str, Path]:
    """The same, signed."""
    folder = tmp_path_factory.mktemp("signed")
    return {kind: sign(path, folder / path.name, authority) for kind, path in plain.items()}


def read(path: Path, *, anchors: Path | None = None) -> Credentials:
    with ManifestReader(path, anchors=anchors) as reader:
        return reader.credentials()


def listing(folder: Path, *authorities: Authority) -> Path:
    path = folder / "signers.pem"
    path.write_text("".join(item.pem for item in authorities))
    return path


KINDS = ("jpg", "png", "mp4", "wav", "mp3")


@pytest.mark.parametrize("kind", KINDS)
def test_signer_claims_and_changes_are_read_in_each_kind_of_file(
    signed: dict[str, Path], plain: dict[str, Path], tmp_path: Path, kind: str
):
    found = read(signed[kind])
    claim = found.claims[0]
    assert (found.state, found.list_sha256) == ("intact", None)
    assert (claim.signer, claim.organisation, claim.issuer) == ("Test camera", "Test maker", "Tests")
    assert (claim.title, claim.generator) == ("A picture", "Test program 1.0")
    assert [(step.action, step.software, step.source) for step in claim.actions] == [
        ("c2pa.created", "Tool", "digitalCapture")
    ]
    assert claim.valid_from < claim.valid_until
    assert read(plain[kind]).state == "none"
    size = signed[kind].stat().st_size
    in_the_content = 5000 if kind == "wav" else size - size // 20  # a WAV has its manifest at the end
    assert read(flipped(signed[kind], tmp_path / "changed", in_the_content)).state == "invalid"


def test_who_is_on_the_list_and_who_is_not(signed: dict[str, Path], authority: Authority, tmp_path: Path):
    """Without a list nobody is on it."""
    other = Authority("Somebody else")
    assert read(signed["jpg"], anchors=listing(tmp_path, other)).state == "unlisted"
    found = read(signed["jpg"], anchors=listing(tmp_path, other, authority))
    assert (found.state, found.claims[0].failures) == ("listed", ())
    assert len(found.list_sha256) == 64
    bad = tmp_path / "bad.pem"
    bad.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    assert read(signed["jpg"], anchors=bad).state in ("unlisted", "unreadable")


def test_each_kind_of_damage_has_its_own_finding(
    signed: dict[str, Path], plain: dict[str, Path], authority: Authority, tmp_path: Path
):
    content = signed["jpg"].read_bytes()
    claim, action = content.index(b"A picture"), content.index(b"digitalCapture")
    pixels = read(flipped(signed["jpg"], tmp_path / "pixels.jpg", len(content) - 3000))
    assert (pixels.state, pixels.claims[0].failures) == ("invalid", ("assertion.dataHash.mismatch",))
    forged = read(flipped(signed["jpg"], tmp_path / "forged.jpg", claim))
    assert (forged.state, forged.claims[0].failures) == ("invalid", ("claimSignature.mismatch",))
    edited = read(flipped(signed["jpg"], tmp_path / "edited.jpg", action))
    assert (edited.state, edited.claims[0].failures) == ("invalid", ("assertion.hashedURI.mismatch",))
    old = read(sign(plain["jpg"], tmp_path / "old.jpg", authority, days=(-400, -30)))
    assert (old.state, old.claims[0].failures) == ("invalid", ("signingCredential.expired",))
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(content[: claim + 50])
    assert read(cut) == Credentials("unreadable", code="damaged")


def test_what_a_file_was_made_of_and_that_ai_made_it(plain: dict[str, Path], authority: Authority, tmp_path: Path):
    made = sign(
        plain["jpg"], tmp_path / "made.jpg", authority, source_type="trainedAlgorithmicMedia", signer="Generator"
    )
    edit = sign(
        plain["jpg"], tmp_path / "edit.jpg", authority, title="Edit", signer="Editor", parent=(made, "image/jpeg")
    )
    own, parent = read(edit).claims
    assert (own.title, own.signer, own.ingredients[0].title) == ("Edit", "Editor", "made.jpg")
    assert own.ingredients[0].has_manifest
    assert "c2pa.color_adjustments" in [step.action for step in own.actions]
    assert (parent.signer, parent.sources) == ("Generator", ("trainedAlgorithmicMedia",))


def test_a_manifest_on_the_web_is_not_fetched(plain: dict[str, Path], authority: Authority, tmp_path: Path):
    asked = []

    class Counting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/manifest.c2pa"
        found = read(sign(plain["jpg"], tmp_path / "remote.jpg", authority, remote=address))
        server.shutdown()
    assert (found, asked) == (Credentials("remote", host="127.0.0.1"), [])


def test_a_reader_can_open_no_socket_and_no_file():
    code = (
        "import socket, c2pa\n"
        "from backend.media.manifest_reader import confine\n"
        "confine()\n"
        "for attempt in (lambda: socket.socket(), lambda: open('/etc/passwd')):\n"
        "    try:\n"
        "        attempt()\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["24", "24"]  # EMFILE


def test_strangers_text_is_one_short_line(plain: dict[str, Path], authority: Authority, tmp_path: Path):
    nasty = "a\u202eb\u0000c\nd\u200b<script>" + "x" * 5000
    found = read(sign(plain["png"], tmp_path / "nasty.png", authority, title=nasty, signer="N\u202eame"))
    title, signer = found.claims[0].title, found.claims[0].signer
    assert (title[:13], len(title), title[-1]) == ("abc d<script>", LONGEST, "…")
    assert signer == "Name"


def test_a_manifest_of_many_megabytes_ends_in_an_answer(plain: dict[str, Path], authority: Authority, tmp_path: Path):
    path = sign(plain["png"], tmp_path / "large.png", authority, thumbnail=bytes(50_000_000))
    assert path.stat().st_size > 50_000_000
    assert read(path).state == "intact"


@pytest.mark.parametrize("ending", ["import os; os.abort()", "print('{')", "print('[]')", "while True: pass"])
def test_a_reader_that_dies_or_hangs_is_an_answer(
    signed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
):
    (tmp_path / "broken_reader.py").write_text(ending)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(provenance, "_READER", "broken_reader")
    monkeypatch.setattr(provenance, "LONGEST_S", 1.0 if "while" in ending else 30.0)
    code = "timed_out" if "while" in ending else "reader_failed"
    assert read(signed["jpg"]) == Credentials("unreadable", code=code)


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_end_in_an_answer(signed: dict[str, Path], tmp_path: Path, kind: str):
    """A few here; ``python -m tests.bench.manifests`` reads thousands."""
    path = tmp_path / "mutant"
    for mutant in mutants(signed[kind].read_bytes(), count=6, seed=7):
        path.write_bytes(mutant)
        found = read(path)
        assert found.state in ("none", "invalid", "unreadable", "intact", "remote")
        assert found.code not in ("timed_out", "no_reader")
