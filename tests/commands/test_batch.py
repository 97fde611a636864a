"""The command ``batch``: from a folder or list to rows and a page; killed and called again; what a dry run says."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from backend.commands.batch import Asked, gather, run
from backend.dispatch.heartbeat import Heartbeat
from deepfake_o_meter import _visitors, build_backend
from shared.errors import UserError
from shared.records import new_id
from shared.settings import Settings
from shared.store import Store
from tests.batch.clips import ROOT, command, environment, tiny_clips
from tests.batch.stand_in import StandIn
from tests.batch.test_soak import rows_kept
from tests.compiled import share_compiled

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., str]:
    """Runs the command in this process with a pipeline that needs no workers; what it said on stderr."""

    def judged(source: Path | str, **options: Any) -> str:
        stand_in = StandIn(tmp_path / "var")
        said = Console(file=io.StringIO(), width=300)

        def build(settings: Settings) -> Any:
            real = build_backend(settings)
            stand_in.settings = settings
            pipeline: Any = stand_in
            pipeline.catalog, pipeline.pool = real.catalog, real.pool
            return SimpleNamespace(pool=real.pool, catalog=real.catalog, pipeline=pipeline)

        settings = Settings(data=tmp_path / "var", runner="process")
        asked = Asked(str(source), out=tmp_path / "out", **({"names": "mesonet"} | options))
        run(asked, settings, build=build, visitors=None, console=said)
        return said.file.getvalue()

    return judged


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {row["file"]: row for row in pq.read_table(out / "rows").to_pylist()}


def test_a_folder_becomes_rows_and_a_page_and_the_same_command_does_nothing_again(
    tmp_path: Path, judged: Callable[..., str], capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "in/sub").mkdir(parents=True)
    for name, content in {
        "a.png": PNG,
        "sub/b.png": PNG + b"2",
        "sub/c.png": PNG,
        "d.mp4": b"",
        "notes.txt": b"hello",
    }.items():
        (tmp_path / "in" / name).write_bytes(content)
    said = judged(tmp_path / "in")
    assert "files without video, picture or sound: 1 (1 .txt)" in said
    assert "d.mp4: The file is empty" in said
    assert "4 files: 3 judged, 1 not." in capsys.readouterr().out
    found = rows(tmp_path / "out")
    assert sorted(found) == ["a.png", "d.mp4", "sub/b.png", "sub/c.png"]
    page = (tmp_path / "out/summary.html").read_text()
    assert "4 files: 3 judged, 1 not. 1 file has the content of another one" in page
    assert "Going on: 4 files done before, 0 left" in judged(tmp_path / "in")
    assert rows(tmp_path / "out") == found
    with pytest.raises(UserError, match="rows already"):
        judged(tmp_path / "in", resume=False)


def test_a_list_keeps_its_columns_and_the_page_escapes_what_is_in_them(tmp_path: Path, judged: Callable[..., str]):
    odd = "<script>alert(1)</script>.png"
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "list.csv").write_text(f'path,label,status\na.png,real,new\n"{odd.replace("/", "_")}",fake,old\n')
    judged(tmp_path / "list.csv")
    found = rows(tmp_path / "out")
    assert [found["a.png"][name] for name in ("path", "label", "list_status", "status")] == [
        "a.png",
        "real",
        "new",
        "judged",
    ]
    page = (tmp_path / "out/summary.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|reports/)", page), "it reads offline"
    assert page.count("data:image/png;base64") == 3


def test_a_list_on_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a.png\nb.png\n")))
    entries, _ = gather(Asked("-", tmp_path / "out"), ours=[])
    assert [entry.file for entry in entries.entries] == ["a.png", "b.png"]
    [alone] = gather(Asked("a.png", tmp_path / "out"), ours=[])[0].entries
    assert (alone.file, alone.path) == ("a.png", Path("a.png"))
    for source in ("missing", tmp_path / "empty.txt"):
        (tmp_path / "empty.txt").touch()
        with pytest.raises(UserError):
            gather(Asked(str(source), tmp_path / "out"), ours=[])


def test_nothing_judged_is_an_exit_status_of_its_own(tmp_path: Path, judged: Callable[..., str]):
    (tmp_path / "list.txt").write_text("gone.mp4\n")
    with pytest.raises(SystemExit) as ended:
        judged(tmp_path / "list.txt")
    assert ended.value.code == 3
    assert rows(tmp_path / "out")["gone.mp4"]["code"] == "no_such_file"


def test_machines_judge_their_shares_of_one_list_into_one_folder(tmp_path: Path, judged: Callable[..., str]):
    (tmp_path / "in").mkdir()
    for number in range(20):
        (tmp_path / f"in/{number}.png").write_bytes(PNG + b"%d" % number)
    for part in (1, 2, 3):
        judged(tmp_path / "in", part=(part, 3))
    assert len(rows(tmp_path / "out")) == 20
    assert len(list((tmp_path / "out/rows").iterdir())) == 3
    assert "20 files: 20 judged" in (tmp_path / "out/summary.html").read_text()


def test_a_dry_run_says_time_and_cost_and_keeps_no_row(
    tmp_path: Path, judged: Callable[..., str], capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "in").mkdir()
    for number in range(100):
        (tmp_path / f"in/{number}.png").write_bytes(PNG + b"%d" % number)
    judged(tmp_path / "in", dry_run=True, nodes=8, price=0.53)
    words = capsys.readouterr().out
    assert re.search(r"100 files, \d\.\d\d s in work each", words)
    assert "On 8 like this one" in words
    assert "at 0.53 an hour each" in words
    judged(tmp_path / "in", dry_run=True, nodes=8, price=36.0, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["files"], found["nodes"]) == (100, 8)
    assert found["sample"] in (40, 50)
    low, high = found["interval_s"]
    assert low <= found["seconds"] <= high
    assert found["cost"] == pytest.approx(8 * 36.0 * found["seconds"] / 3600, abs=0.02)
    assert not (tmp_path / "out").exists()


def test_a_batch_beside_a_portal_counts_its_jobs_that_wait_or_are_in_work(tmp_path: Path):
    settings = Settings(data=tmp_path)
    assert _visitors(settings) is None, "no portal runs"
    store = Store(settings.submissions, settings.results).prepare(settings.backend_state)
    dispatcher = Heartbeat(settings.results)
    dispatcher.claim()
    visitors = _visitors(settings)
    assert visitors is not None
    assert visitors.waiting() == 0
    for stage in ("new", "active", "done"):
        store.job(stage, new_id()).mkdir()
    again = _visitors(settings)
    assert again is not None
    assert again.waiting() == 2
    dispatcher.release()
    assert _visitors(settings) is None


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a web server with the files of ``tmp_path/web``."""
    (tmp_path / "web").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_list_with_files_and_addresses_is_judged_by_workers_also_when_it_is_killed(
    tmp_path: Path, site: str, astronaut: np.ndarray
):
    clips = tiny_clips(tmp_path / "in", astronaut, count=4, scale=2)
    clips[3].rename(tmp_path / "web/d.mp4")
    (tmp_path / "in/cut.mp4").write_bytes(clips[0].read_bytes()[:900])
    names = [path.name for path in clips[:3]] + ["cut.mp4", f"{site}/d.mp4?token=1", f"{site}/gone.mp4"]
    (tmp_path / "in/list.csv").write_text("file,label\n" + "".join(f"{name},x\n" for name in names))
    share_compiled(tmp_path / "var")
    out = tmp_path / "out"
    call = command(tmp_path / "in/list.csv", "--out", out, "--detectors", "selfblend", "--units", "--json")
    settings = environment(tmp_path / "var", url_allow_private="true")
    with subprocess.Popen(call, cwd=ROOT, env=settings) as process:
        until = time.monotonic() + 120
        while not rows_kept(out):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    said = subprocess.run(call, cwd=ROOT, env=settings, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["files"] == 6
    found = rows(out)
    assert sorted(found) == sorted(names)
    scored = {name for name, row in found.items() if row["selfblend_score"] is not None}
    assert scored == {"0000.mp4", "0001.mp4", "0002.mp4", f"{site}/d.mp4?token=1"}
    assert {found[name]["code"] for name in set(names) - scored} == {"video_unfinished", "fetch_failed"}
    faces = pq.read_table(out / "units").to_pylist()
    assert {face["file"] for face in faces} == scored
    kept = tmp_path / "var/backend/scores"
    assert len(list(kept.iterdir())) == 4, "the cache of a portal on the same data"
    assert not (tmp_path / "var/scratch").exists() or not list((tmp_path / "var/scratch").glob("*/fetched/*"))
