"""``benchmark`` as a user types it: real workers, a made-up data set, stopped and taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.benchmark.records import Benchmark
from backend.scores.references import ReferenceSet
from tests.commands.test_cli import CommandLine


@pytest.fixture
def data(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """Two "real" and two "fake" portraits of one woman, a picture without a face and a damaged file, with a listed one missing."""
    folder = tmp_path / "data"
    folder.mkdir()
    small = astronaut[::2, ::2]  # an attack on a large face takes long
    for name, picture in (("r1", small), ("r2", small[:, ::-1]), ("f1", small[:, :, ::-1]), ("f2", small[:200])):
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{name}.png")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "r3.png")
    (folder / "f3.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    names = ["r1", "r2", "r3", "r4", "f1", "f2", "f3"]
    lines = [f"{name}.png,{'fake' if name[0] == 'f' else 'real'},{'swap' if name[0] == 'f' else ''}" for name in names]
    (folder / "labels.csv").write_text("\n".join(["file,label,subset", *lines]) + "\n")
    return folder


@pytest.mark.timeout(300)
def test_a_benchmark_counts_what_it_judged_keeps_it_and_goes_on(tmp_path: Path, data: Path):
    cli, out = CommandLine(tmp_path), tmp_path / "out"
    command = ("benchmark", data, "--detectors", "selfblend", "--out", out, "--draws", "100", "--jobs", "1")
    said = cli(*command, "--corruptions", "jpeg_30,h264_23", "--pgd", "--reference", "portraits")
    assert said.returncode == 0, said.stderr
    assert "Listed but not there: 1, the first one is r4.png" in said.stderr
    found = Benchmark.model_validate_json((out / "benchmark.json").read_bytes())
    [table] = [one for one in found.tables if (one.condition, one.level, one.subset) == ("untouched", "file", None)]
    assert (table.coverage.all.judged, table.coverage.all.of) == (4, 6)
    assert table.coverage.why == {"media_unreadable": 1, "no_face": 1}
    changed = {one.condition: one.common for one in found.changes}
    assert changed == {"jpeg_30": 4, "pgd_1": 4, "pgd_2": 4, "pgd_4": 4, "pgd_8": 4}  # H.264 is not for stills
    by_eps = {one.condition: one for one in found.changes}
    assert by_eps["pgd_8"].shift_fake is not None
    assert by_eps["pgd_8"].shift_real is not None
    assert by_eps["pgd_8"].shift_fake <= 0 <= by_eps["pgd_8"].shift_real  # towards the error
    reference = tmp_path / "var/references/selfblend/portraits.json"
    assert len(ReferenceSet.model_validate_json(reference.read_bytes()).rows) == 8
    assert {path.name for path in out.iterdir()} == {
        "benchmark.html", "benchmark.json", "run.json", "scores.csv", "scores.jsonl", "tables.csv", "tables.tex", "together.csv",
    }  # fmt: skip

    # killed in the middle of a line: the next run judges what has no row, and gives the same figures
    lines = (out / "scores.jsonl").read_bytes().splitlines(keepends=True)
    again = next(number for number, line in enumerate(lines) if json.loads(line)["condition"] == "jpeg_30")
    (out / "scores.jsonl").write_bytes(b"".join([*lines[:again], *lines[again + 1 :]]) + lines[again][:40])
    said = cli(*command, "--corruptions", "jpeg_30,h264_23", "--pgd")
    assert said.returncode == 0, said.stderr
    resumed = Benchmark.model_validate_json((out / "benchmark.json").read_bytes())
    assert (resumed.tables, resumed.changes, resumed.data) == (found.tables, found.changes, found.data)
    assert len((out / "scores.jsonl").read_bytes().splitlines()) == len(lines) + 1

    said = cli(*command, "--seed", "3")
    assert said.returncode == 2
    assert "Choose another folder with --out" in said.stderr


def test_what_cannot_begin_says_what_to_do(tmp_path: Path, data: Path):
    cli = CommandLine(tmp_path)
    said = cli("benchmark", data, "--detectors", "selfblend", "--out", tmp_path / "out", "--corruptions", "rain")
    assert said.returncode == 2
    assert "There is no corruption 'rain'" in said.stderr
    said = cli("benchmark", tmp_path / "nothing", "--out", tmp_path / "out")
    assert said.returncode == 2
    assert "does not exist" in said.stderr
