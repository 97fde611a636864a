"""One submission judged by every detector in containers: two frameworks, a dozen architectures, one face pack.

Weights nobody may redistribute are filled by the golden vectors' recipe, so the scores mean nothing; that every detector answers, and how
much memory that takes, is what this shows.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.catalog.detectors import read_cards

ROOT = Path(__file__).resolve().parents[2]
CARDS = read_cards(ROOT / "detectors")


def parity_module(detector: str) -> Any:
    """Its tests against the golden vectors; None for a detector of ours, of which there are none."""
    name = f"tests.parity.test_{detector}"
    return importlib.import_module(name) if (ROOT / f"{name.replace('.', '/')}.py").is_file() else None


@pytest.fixture(scope="module")
def every_weight(research: Path, weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of every detector: the published ones that are at hand, recipe-filled ones elsewhere."""
    folder = tmp_path_factory.mktemp("every") / "weights"
    for card in CARDS:
        module = parity_module(card.id)
        if hasattr(module, "write_weights"):
            (folder / card.id).mkdir(parents=True)
            module.write_weights(folder / card.id, research)
        elif (weights_folder / card.id).is_dir():
            folder.mkdir(exist_ok=True)
            (folder / card.id).symlink_to(weights_folder / card.id)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # a container's user reads them, whoever wrote them
    return folder


class Memory:
    """Watches what the containers of the platform use together, from outside."""

    def __init__(self, engine: Any) -> None:
        self.peak_mb, self.each = 0.0, dict[str, float]()
        self._engine, self._ended = engine, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            used = {
                container.name: self._used(container) for container in self._engine.containers.list(ignore_removed=True)
            }
            self.peak_mb = max(self.peak_mb, sum(used.values()))
            for name, value in used.items():
                self.each[name] = max(value, self.each.get(name, 0.0))

    def _used(self, container: Any) -> float:
        try:
            return float(container.stats(stream=False, one_shot=True)["memory_stats"].get("usage", 0)) / 1e6
        except Exception:  # it ended meanwhile
            return 0.0


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_one_clip_is_judged_by_every_detector_in_its_own_container(
    engine: Any, built: Callable[[str], Any], every_weight: Path, research: Path, tmp_path: Path
):
    for card in CARDS:
        built(card.id)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DFOM_")}
    environment |= {
        "DFOM_DATA": str(tmp_path / "var"),
        "DFOM_RUNNER": "docker",
        "DFOM_WEIGHTS": str(every_weight.resolve()),
    }
    clip = research / "media" / "fwa_demo_fake.mp4"
    command = [
        sys.executable,
        "-m",
        "deepfake_o_meter",
        "analyze",
        str(clip),
        "--json",
        "--out",
        str(tmp_path / "out"),
    ]
    started = time.monotonic()
    with Memory(engine) as memory:
        said = subprocess.run(
            [*command, "--detectors", ",".join(card.id for card in CARDS)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert said.returncode == 0, said.stderr
    answers = json.loads(said.stdout)[0]["detectors"]
    for name, answer in answers.items():
        print(name, answer)
    print(f"{time.monotonic() - started:.0f} s; peak of all containers together {memory.peak_mb:.0f} MB; {memory.each}")
    assert set(answers) == {card.id for card in CARDS}
    silent = {name: answer["code"] for name, answer in answers.items() if answer["status"] != "ok"}
    assert not silent
    assert memory.peak_mb < 10_000
