"""Fixtures all tests share: the research data, a generated clip, installed weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from tests.compiled import kept_here  # noqa: F401  a fixture

ROOT = Path(__file__).resolve().parent.parent
RESEARCH = ROOT.parent / "shared"
FIXTURES = Path(__file__).parent / "fixtures"

#: In CI everything a test may need is there: a skipped test is a failed one. Taken out of the environment, where
#: shared.settings would refuse it as a setting it does not know.
IN_CI = bool(os.environ.pop("DFOM_CI", ""))

#: So many tests may pass in a second run only, on a machine that was busy for a moment. More are a fault, and CI fails.
MOST_SECOND_RUNS = 3


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Turn skips into failures in CI."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """The same for modules that skip as a whole."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} may not be skipped in CI: {reason}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show why tests were run a second time (.ci/run asks for it), so that nobody overlooks a test that fails now and then."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"first run of {report.nodeid}", "-")
        terminalreporter.write_line(report.longreprtext[-3000:])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    second = len({report.nodeid for report in reporter.stats.get("rerun", [])}) if reporter else 0
    if IN_CI and second > MOST_SECOND_RUNS and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"\n{second} tests needed a second run; at most {MOST_SECOND_RUNS} may", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A test that calls a command in this process leaves structlog writing to the stream of its own capture: no later test sees a line."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def research() -> Path:
    """Labelled clips, published weights and golden outputs, beside the checkout; absent in a plain clone."""
    if not (RESEARCH / "media" / "labels.csv").is_file():
        pytest.skip("research data (../shared) not here")
    return RESEARCH


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of the container engine."""
    docker = pytest.importorskip("docker", reason="the extra [docker] is not installed")
    from backend.workers.docker_runner import engine_client
    from backend.workers.spec import WorkerError

    try:
        client = engine_client(timeout_s=120)
        client.ping()
    except (WorkerError, docker.errors.DockerException):
        pytest.skip("no Docker engine answers")
    yield client
    client.close()


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8 RGB portrait of Eileen Collins (NASA, public domain)."""
    from PIL import Image

    return np.asarray(Image.open(FIXTURES / "astronaut.jpg").convert("RGB"))


def write_clip(path: Path, pictures, *, fps: int = 25, sound: bool = True, codec: str = "libx264") -> Path:
    """Encode RGB pictures as a clip, with a quiet tone when ``sound``."""
    import av

    with av.open(str(path), "w") as container:
        stream = None
        tone = container.add_stream("aac", rate=44100) if sound else None
        count = 0
        for picture in pictures:
            if stream is None:
                stream = container.add_stream(codec, rate=fps)
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
            count += 1
        container.mux(stream.encode())
        if tone is not None:
            for block in range(int(44100 * count / fps) // 1024):
                wave = 0.1 * np.sin(2 * np.pi * 440 / 44100 * np.arange(block * 1024, (block + 1) * 1024))
                samples = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
                samples.rate, samples.pts, samples.time_base = 44100, block * 1024, Fraction(1, 44100)
                container.mux(tone.encode(samples))
            container.mux(tone.encode())
    return path


@pytest.fixture(scope="session")
def astronaut_clip(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    """2 s, 640x480, 25 fps, H.264 and AAC: one real face that moves slowly."""

    def pictures():
        for index in range(50):
            canvas = np.full((480, 640, 3), 60, np.uint8)
            left = 20 + index
            canvas[:, left : left + 512] = astronaut[:480]
            yield canvas

    return write_clip(tmp_path_factory.mktemp("clips") / "astronaut.mp4", pictures())


@pytest.fixture(scope="session")
def weights_folder(research: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published weights installed as the platform keeps them: <folder>/<detector>/<file of the card>."""
    from base_detector import Card

    folder = tmp_path_factory.mktemp("weights")
    found = {path.name: path for path in sorted((research / "weights").rglob("*")) if path.is_file()}
    for toml in sorted((ROOT / "detectors").glob("*/detector.toml")):
        card = Card.read(toml.parent)
        (folder / card.id).mkdir()
        for item in card.weights:
            target = folder / card.id / item.file
            target.parent.mkdir(parents=True, exist_ok=True)
            if Path(item.file).name in found:
                shutil.copy(found[Path(item.file).name], target)
    return folder
