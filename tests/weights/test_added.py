"""A file that no sha256 vouches for is loaded once, in a real worker, before it counts as installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch")

from safetensors import safe_open
from safetensors.torch import save_file

from backend.commands.weights import weights
from tests.parity.test_meso_cnn import write_weights


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's own file of meso_cnn, whose card names no sha256."""
    for name in [key for key in os.environ if key.startswith("DFOM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DFOM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DFOM_RUNNER", "process")
    write_weights(tmp_path, Path("nowhere"))
    return tmp_path / "meso_cnn.safetensors"


def add(file: Path) -> Result:
    return CliRunner().invoke(weights, ["add", "meso_cnn", str(file)], catch_exceptions=False)


def installed(own: Path) -> Path:
    return own.parent / "data" / "weights" / "meso_cnn" / "meso_cnn.safetensors"


def test_a_file_that_the_detector_can_load_is_installed(own: Path):
    result = add(own)
    assert result.exit_code == 0, result.output
    assert installed(own).read_bytes() == own.read_bytes()


def test_a_file_with_a_tensor_missing_is_removed_again(own: Path):
    with safe_open(own, "pt") as opened:
        told = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())[1:]}
    save_file(tensors, own, metadata=told)
    result = add(own)
    assert result.exit_code == 1
    assert "cannot load meso_cnn.safetensors" in result.output
    assert "removed again" in result.output
    assert not installed(own).exists()


def test_a_file_that_does_not_load_costs_nobody_the_one_that_did(own: Path):
    assert add(own).exit_code == 0
    before = own.read_bytes()
    save_file({}, own)
    result = add(own)
    assert result.exit_code == 1
    assert "the file it replaced is back" in result.output
    assert installed(own).read_bytes() == before
    assert [path.name for path in installed(own).parent.iterdir()] == [installed(own).name]
