"""A file that no sha256 vouches for is loaded once, in a real worker, before it counts as installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch")

from safetensors import safe_open
from safetensors.torch import save_file

from backend.catalog.detectors import BUNDLED
from backend.commands.weights import weights
from backend.workers.pool import WorkerPool
from backend.workers.spec import WorkerError, WorkerSpec
from base_detector import Card
from detectors.nets.checkpoint import CheckpointError, read_torch
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
    assert "(meso_cnn.safetensors: the weights do not fit " in result.output
    assert "missing " in result.output  # the tensor is named
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


def test_a_right_file_stays_when_the_worker_fails_for_another_reason(own: Path, monkeypatch: pytest.MonkeyPatch):
    installed(own).parent.mkdir(parents=True)
    installed(own).write_bytes(b"the one before")

    @contextmanager
    def without_memory(pool: WorkerPool, spec: WorkerSpec) -> Iterator[None]:
        raise WorkerError("out_of_memory", log=["torch: allocating", "load: out_of_memory"])
        yield

    monkeypatch.setattr(WorkerPool, "lease", without_memory)
    result = add(own)
    assert result.exit_code == 1
    assert "is installed, but could not be tried: The worker ran out of memory." in result.output
    assert "Its last words: torch: allocating" in result.output
    assert "says nothing about meso_cnn.safetensors, so it stays" in result.output
    assert installed(own).read_bytes() == own.read_bytes()
    kept = installed(own).with_name(f".{installed(own).name}.before")
    assert f"kept as {kept}" in result.output
    assert kept.is_file()


def test_a_right_file_stays_when_another_file_of_its_detector_does_not_fit(own: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = (item.file for item in Card.read(BUNDLED / "selim").weights[:2])
    blamed = {"file": first}

    @contextmanager
    def does_not_fit(pool: WorkerPool, spec: WorkerSpec) -> Iterator[None]:
        raise WorkerError(
            "weights_do_not_fit", log=[f"load: weights_do_not_fit: {blamed['file']}: missing encoder.bn1.bias"]
        )
        yield

    monkeypatch.setattr(WorkerPool, "lease", does_not_fit)
    folder = own.parent / "data" / "weights" / "selim"
    folder.mkdir(parents=True)
    (folder / first).write_bytes(b"wrong")
    words = ["add", "selim", str(own), "--as", second]
    result = CliRunner().invoke(weights, words, catch_exceptions=False)
    assert result.exit_code == 1
    assert f"({first}: missing encoder.bn1.bias)" in result.output
    assert (folder / second).read_bytes() == own.read_bytes()
    blamed["file"] = second
    result = CliRunner().invoke(weights, words, catch_exceptions=False)
    assert "It was removed again, and the file it replaced is back" in result.output
    assert (folder / second).is_file()


def test_a_file_that_is_none_of_torch_is_said_to_be_none(tmp_path: Path):
    for content, words in ((bytes(range(256)) * 9, "not a torch file"), (b"PK\x03\x04" + bytes(100), "damaged")):
        with pytest.raises(CheckpointError, match=words) as caught:
            read_torch(content)
        assert caught.value.code == "weights_do_not_fit"
