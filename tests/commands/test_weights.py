"""``deepfake-o-meter weights`` as an operator types it: exit status and sentences."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backend.commands.weights import weights

CONTENT = b"weights of a toy" * 1000


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder, two detectors' cards and a server that publishes the weights of the first only."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "good.bin").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    for name in ("good", "gone"):
        folder = tmp_path / "detectors" / name
        folder.mkdir(parents=True)
        (folder / "detector.toml").write_text(
            f'id = "{name}"\nversion = "1"\ntitle = "T"\nsummary = "S"\npaper = "P"\nyear = 2026\nlicence = "MIT"\ninput = "face"\n'
            'sampling = "fps:1"\nmargin = 1.0\nthreshold = 0.5\naggregation = "mean"\n[[weights]]\n'
            f'file = "{name}.bin"\nurl = "http://127.0.0.1:{server.server_address[1]}/{name}.bin"\n'
            f'sha256 = "{hashlib.sha256(CONTENT).hexdigest()}"\nbytes = {len(CONTENT)}\nlicence = "MIT"\n'
        )
    for name in [key for key in os.environ if key.startswith("DFOM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DFOM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DFOM_DETECTORS", str(tmp_path / "detectors"))
    monkeypatch.setenv("COLUMNS", "200")
    yield tmp_path
    server.shutdown()
    thread.join()
    server.server_close()


def call(*words: str) -> Result:
    return CliRunner().invoke(weights, list(words), catch_exceptions=False)


def states() -> dict[str, str]:
    return {entry["detector"]: entry["state"] for entry in json.loads(call("list", "--json").output)}


def test_fetch_of_one_detector_installs_it_and_ends_with_0(site: Path):
    assert states() == {"good": "missing", "gone": "missing"}
    result = call("fetch", "good")
    assert result.exit_code == 0, result.output
    assert (site / "data" / "weights" / "good" / "good.bin").read_bytes() == CONTENT
    assert states() == {"good": "installed", "gone": "missing"}


def test_fetch_without_names_fetches_all_and_a_dead_link_does_not_stop_the_others(site: Path):
    result = call("fetch")
    assert result.exit_code == 1
    assert "the link is dead" in result.output
    assert "weights add gone FILE" in result.output
    assert states() == {"good": "installed", "gone": "missing"}


def test_add_installs_a_copy_and_refuses_another_file_with_1(site: Path):
    assert call("add", "gone", str(site / "www" / "good.bin")).exit_code == 0
    assert states()["gone"] == "installed"
    (site / "other").write_bytes(b"no")
    result = call("add", "good", str(site / "other"))
    assert result.exit_code == 1
    assert "not a file of good" in result.output
    assert states()["good"] == "missing"


def test_verify_ends_with_1_and_the_command_to_run_while_something_is_missing_or_changed(site: Path):
    result = call("verify")
    assert result.exit_code == 1
    assert "weights fetch gone good" in result.output
    call("fetch", "good")
    assert call("verify", "good").exit_code == 0
    (site / "data" / "weights" / "good" / "good.bin").write_bytes(CONTENT[:-1] + b"?")
    result = call("verify", "good")
    assert result.exit_code == 1
    assert "differs from the published file" in result.output


def test_an_unknown_name_is_told_with_the_known_ones(site: Path):
    for verb in (["fetch", "nonsense"], ["verify", "nonsense"], ["add", "nonsense", "x"]):
        result = call(*verb)
        assert result.exit_code == 2
        assert "Known: gone, good" in result.output


def test_list_shows_licence_and_state(site: Path):
    result = call("list")
    assert result.exit_code == 0
    assert "MIT" in result.output
    assert result.output.count("not installed") == 2
