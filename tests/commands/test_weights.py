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


# --------------------------------------------------------------------------- first sha256, consent, dry run, recommended


@pytest.fixture
def unhashed(site: Path) -> Path:
    """The card of ``good`` without sha256 and size, as of a file that its authors published without."""
    path = site / "detectors" / "good" / "detector.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("sha256", "bytes"))]
    path.write_text("\n".join(lines))
    return path


def test_a_first_sha256_is_shown_and_a_later_change_is_refused_until_it_is_accepted(site: Path, unhashed: Path):
    result = call("fetch", "good")
    assert result.exit_code == 0
    assert hashlib.sha256(CONTENT).hexdigest() in result.output
    assert "another file under that address will be refused" in result.output
    listed = next(entry for entry in json.loads(call("list", "--json").output) if entry["detector"] == "good")
    assert listed["seen"]["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    (site / "data" / "weights" / "good" / "good.bin").unlink()
    (site / "www" / "good.bin").write_bytes(CONTENT[::-1])
    result = call("fetch", "good")
    assert result.exit_code == 1
    assert "Find out whether the authors replaced it" in result.output
    assert call("fetch", "good", "--accept-changed").exit_code == 0
    assert (site / "data" / "weights" / "good" / "good.bin").read_bytes() == CONTENT[::-1]


def test_a_licence_that_forbids_some_uses_is_agreed_to_once(site: Path, unhashed: Path):
    text = unhashed.read_text().replace('bin"\nlicence = "MIT"', 'bin"\nlicence = "for research only"\nconsent = true')
    unhashed.write_text(text)
    result = call("fetch", "good")
    assert result.exit_code == 1
    assert "nothing was downloaded" in result.output
    assert "for research only" in result.output
    assert "weights fetch good --accept-licence" in result.output
    assert states()["good"] == "missing"
    assert call("fetch", "good", "--accept-licence").exit_code == 0
    agreed = json.loads((site / "data" / "weights" / "known.json").read_text())["agreed"]["good"]
    assert [item["licence"] for item in agreed] == ["for research only"]
    (site / "data" / "weights" / "good" / "good.bin").unlink()
    assert call("fetch", "good").exit_code == 0
    unhashed.write_text(text.replace("for research only", "for research at universities only"))
    (site / "data" / "weights" / "good" / "good.bin").unlink()
    assert call("fetch", "good").exit_code == 1


def test_what_make_run_fetches_never_asks_for_consent(site: Path):
    path = site / "detectors" / "good" / "detector.toml"
    path.write_text(path.read_text() + "consent = true\n")
    result = call("fetch", "--small")
    assert "good" not in result.output
    assert states()["good"] == "missing"


def test_an_optional_file_of_unknown_size_does_not_keep_a_small_detector_from_make_run(site: Path):
    path = site / "detectors" / "good" / "detector.toml"
    url = path.read_text().split('url = "')[1].split('"')[0]
    path.write_text(
        f'{path.read_text()}[[weights]]\nfile = "big.bin"\nurl = "{url}"\nlicence = "MIT"\noptional = true\n'
    )
    call("fetch", "--small")
    assert [item.name for item in (site / "data" / "weights" / "good").iterdir()] == ["good.bin"]
    path.write_text(path.read_text().replace("optional = true\n", ""))  # now it is needed, and may be of any size
    (site / "data" / "weights" / "good" / "good.bin").unlink()
    call("fetch", "--small")
    assert list((site / "data" / "weights" / "good").iterdir()) == []


def test_a_dry_run_lists_bytes_and_licences_and_downloads_nothing(site: Path, unhashed: Path):
    result = call("fetch", "--dry-run")
    assert result.exit_code == 0
    assert f"To download: {2 * len(CONTENT):,} bytes. Nothing was downloaded." in result.output
    assert result.output.count("MIT") == 2
    assert states() == {"good": "missing", "gone": "missing"}
    call("fetch", "good")
    assert f"To download: {len(CONTENT):,} bytes." in call("fetch", "--dry-run").output


def test_recommended_fetches_the_files_of_the_list_and_nothing_else(site: Path):
    (site / "detectors" / "recommended.toml").write_text(
        '[[detector]]\ncard = "absent"\n[[detector]]\ncard = "good"\nwhy = "W"\nseconds_per_face = 2.0\n'
    )
    listed = call("fetch", "--recommended", "--dry-run")
    assert "good.bin" in listed.output
    assert "gone" not in listed.output
    assert " 20 " in listed.output  # fps:1 on ten seconds, two seconds a face
    result = call("fetch", "--recommended")
    assert result.exit_code == 0
    assert "The recommended weights are installed" in result.output
    assert states() == {"good": "installed", "gone": "missing"}


def test_of_a_detector_with_optional_files_only_the_recommended_one_is_fetched(site: Path):
    path = site / "detectors" / "good" / "detector.toml"
    head, entry = path.read_text().split("[[weights]]")
    other = entry.replace("good.bin", "other.bin")
    path.write_text(f"{head}[[weights]]{entry}optional = true\n[[weights]]{other}optional = true\n")
    (site / "www" / "other.bin").write_bytes(CONTENT)
    (site / "detectors" / "recommended.toml").write_text('[[detector]]\ncard = "good"\nfiles = ["other.bin"]\n')
    assert call("fetch", "--recommended").exit_code == 0
    folder = site / "data" / "weights" / "good"
    assert [item.name for item in folder.iterdir()] == ["other.bin"]
    call("fetch")  # without a name, a detector whose files are all optional gets all of them
    assert sorted(item.name for item in folder.iterdir()) == ["good.bin", "other.bin"]


def test_after_the_small_ones_the_recommended_ones_are_named(site: Path):
    (site / "www" / "gone.bin").write_bytes(CONTENT)
    assert "recommended" not in call("fetch", "--small").output
    (site / "detectors" / "recommended.toml").write_text('[[detector]]\ncard = "good"\n')
    assert "weights fetch --recommended --dry-run" in call("fetch", "--small").output


def test_a_mistake_in_the_list_of_recommended_ones_is_named(site: Path):
    (site / "detectors" / "recommended.toml").write_text('[[detector]]\nid = "good"\n')
    result = call("fetch", "--recommended")
    assert result.exit_code == 1
    assert "recommended.toml has a mistake" in result.output
