"""The client and the examples of docs/api.md against the whole site: ``deepfake-o-meter serve`` with real workers."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from frontend import client as module
from frontend.client import ApiError, Client, Failed, Progress, WaitedTooLong
from shared.results import Result
from tests.conftest import ROOT
from tests.frontend.serving import Served, eventually
from tests.frontend.stories import JPEG, PIN


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, weights_folder: Path) -> Iterator[tuple[Served, str]]:
    """A running site that can judge, and a key of it."""
    folder = tmp_path_factory.mktemp("site")
    with Served(folder, weights=weights_folder) as site:
        environment = os.environ | {"DFOM_DATA": str(site.data)}
        command = [sys.executable, "-m", "deepfake_o_meter", "keys", "issue", "tests", "--json"]
        made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        eventually(lambda: site.get("/ready").status_code == 200, within_s=60)
        yield site, json.loads(made.stdout)["key"]


def test_the_client_can_be_copied_alone():
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"httpx"}


@pytest.mark.timeout(300)
def test_submit_wait_read_download_again_delete(served: tuple[Served, str], astronaut_clip: Path, tmp_path: Path):
    site, key = served
    seen: list[Progress] = []
    with Client(site.url, key=key) as desk:
        assert {one["id"] for one in desk.detectors() if one["unavailable"] is None} >= {"mesonet"}
        job = desk.submit(astronaut_clip, detectors=["mesonet"], mode="quick")
        with pytest.raises(WaitedTooLong):
            desk.wait(job.id, timeout_s=0.01)
        ended = desk.wait(job.id, progress=seen.append, timeout_s=200, video=True)
        assert (ended.state, ended.over, seen[-1]) == ("done", True, ended)
        assert len({now.progress for now in seen}) >= 2
        result = Result.model_validate(desk.result(job.id))
        assert [item.id for item in result.detectors] == ["mesonet"]
        assert result.detectors[0].fake_score is not None
        bundle = desk.download(job.id, "bundle.zip", tmp_path / "all.zip")
        with zipfile.ZipFile(bundle) as archive:
            assert archive.testzip() is None
            assert Result.model_validate_json(archive.read("result.json")) == result
        again = desk.again(job.id, ["mesonet"], mode="standard")
        assert desk.wait(again.id, timeout_s=200).state == "done"
        assert [item["id"] for item in desk.submissions(part=1)] == [again.id, job.id]
        assert desk.delete(job.id)
        with pytest.raises(ApiError) as gone:
            desk.result(job.id)
        assert (gone.value.status, gone.value.code) == (404, "not_found")
        broken = tmp_path / "broken.jpg"
        broken.write_bytes(JPEG)
        with pytest.raises(Failed) as failed:
            desk.wait(desk.submit(broken, detectors=["mesonet"]).id, timeout_s=100)
        assert failed.value.code == "picture_cut_off"
    assert key not in site.log.read_text(encoding="utf-8")


@pytest.mark.timeout(300)
def test_the_examples_of_the_documentation_run(served: tuple[Served, str], astronaut_clip: Path, tmp_path: Path):
    site, key = served
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- curl: .*? -->\n```bash\n(.*?)```\n<!-- end of curl -->", page, re.DOTALL)
    assert found
    (tmp_path / "clip.mp4").write_bytes(astronaut_clip.read_bytes())
    environment = os.environ | {"SITE": site.url, "KEY": key, "PIN": PIN}
    subprocess.run(["bash", "-euo", "pipefail", "-c", found[1]], cwd=tmp_path, env=environment, check=True)
    assert Result.model_validate_json((tmp_path / "result.json").read_text()).detectors[0].id == "mesonet"
    assert len((tmp_path / "first_ten_bytes").read_bytes()) == 10
    assert json.loads((tmp_path / "with_pin.json").read_text())["state"] == "queued"
