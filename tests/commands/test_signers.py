"""``deepfake-o-meter signers``: a list is shown first, and installed only with its sha256."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backend.workers.signers import signers
from deepfake_o_meter import main
from shared.settings import Settings
from tests.media.credentials import Authority

LIST = Authority("First").pem + Authority("Second").pem


@pytest.fixture
def published() -> Iterator[str]:
    """The address of a list on a server of our own."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = {"/LIST.pem": LIST.encode(), "/page.pem": b"<html>"}.get(self.path)
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["signers", *arguments], env={"DFOM_DATA": str(data)})


def test_a_list_is_shown_first_and_installed_with_its_sha256(tmp_path: Path, published: str):
    digest = hashlib.sha256(LIST.encode()).hexdigest()
    assert "There is no list" in ask(tmp_path).output
    shown = ask(tmp_path, "--fetch", f"{published}/LIST.pem")
    assert (shown.exit_code, "2 certificates" in shown.output, digest in shown.output) == (0, True, True)
    wrong = ask(tmp_path, "--fetch", f"{published}/LIST.pem", "--sha256", "0" * 64)
    assert (wrong.exit_code, "Nothing was installed" in wrong.output) == (2, True)
    assert not (tmp_path / "signers").exists()
    assert ask(tmp_path, "--fetch", f"{published}/LIST.pem", "--sha256", digest).exit_code == 0
    assert "LIST.pem  2 certificates" in ask(tmp_path).output
    with signers(Settings(data=tmp_path)) as joined:
        assert joined.read_text() == LIST.rstrip() + "\n"
        assert joined.stat().st_mode & 0o444 == 0o444
    assert not joined.exists()


@pytest.mark.parametrize("name", ["page.pem", "nowhere.pem"])
def test_what_is_no_list_is_refused(tmp_path: Path, published: str, name: str):
    refused = ask(tmp_path, "--fetch", f"{published}/{name}", "--sha256", "0" * 64)
    assert refused.exit_code == 2
    assert not (tmp_path / "signers").exists()


def test_a_file_of_this_machine_is_added(tmp_path: Path):
    own = tmp_path / "Our list.pem"
    own.write_text(LIST)
    assert ask(tmp_path, "--add", str(own), "--sha256", hashlib.sha256(LIST.encode()).hexdigest()).exit_code == 0
    assert (tmp_path / "signers" / "Our-list.pem").read_text() == LIST
    assert ask(tmp_path, "--add", str(tmp_path / "none.pem")).exit_code == 2
    with signers(Settings(data=tmp_path / "elsewhere")) as none:
        assert none is None
