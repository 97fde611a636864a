"""A job leaves nothing in the media worker: no memory, no threads, nothing that waits for Python's collector."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.media.clips import encode, moving

ROOT = Path(__file__).resolve().parents[2]
JOBS, FIRST = 12, 3

#: A child runs jobs with the verbs of the worker, without the collector, and says what is there after the third and the last one. Every
#: third job ends with an error. ``Fixed``: a detector that finds the same face at once.
CHILD = """
import gc, json, os, shutil, sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import backend.media.extract as extract, backend.media.sweep as sweep
from backend.media.worker import verbs
from base_detector import WorkerFailure

class Fixed:
    def detect(self, image, *, min_face=20.0):
        box = np.array([[80, 40, 240, 200]], np.float32)
        points = box[:, None, :2] + 160 * np.array([[[.3, .4], [.7, .4], [.5, .6], [.35, .8], [.65, .8]]], np.float32)
        return SimpleNamespace(boxes=box, confidence=np.ones(1), landmarks=points)
    def settle(self, image, boxes):
        return SimpleNamespace(boxes=boxes, confidence=np.ones(len(boxes)), landmarks=boxes.repeat(5, axis=0).reshape(-1, 5, 4)[..., :2])

extract.warm_detector = lambda: Fixed()
sweep.believable = lambda detector, sighting: True
media, room, limits = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
found = []

def job(number):
    bounds = limits | ({"max_pack_mb": 1} if number % 3 == 2 else {})
    request = {"media": media, "pack": f"{room}/pack", "samplings": ["every_frame"], "limits": bounds}
    try:
        answer = verbs("cpu")["extract"](request, lambda done, total: None)["faces"]
        shutil.rmtree(f"{room}/pack")
    except WorkerFailure as error:
        answer = str(error)
    found.append(answer)

def state():
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"bytes": resident, "threads": len(os.listdir("/proc/self/task"))}

job(0)  # loads what is loaded late
gc.collect()
gc.disable()
found.clear()
states = []
for number in range(int(sys.argv[4])):
    job(number)
    states.append(state())
gc.set_debug(gc.DEBUG_SAVEALL)
gc.collect()
kinds = Counter(f"{type(item).__module__}.{type(item).__qualname__}" for item in gc.garbage)
print(json.dumps({"answers": found, "states": states, "left": dict(kinds)}))
"""


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> dict[str, Any]:
    from dataclasses import asdict

    from backend.media.limits import MediaLimits
    from shared.settings import Settings

    folder = tmp_path_factory.mktemp("leavings")
    clip = encode(
        folder / "clip.mp4", moving(astronaut, count=20, width=640, height=480, side=300), options={"bf": "2"}
    )
    limits = json.dumps(asdict(MediaLimits.of(Settings())))
    command = [sys.executable, "-c", CHILD, str(clip), str(folder), limits, str(JOBS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["answers"] == [20, 20, "pack_too_large"] * (JOBS // 3)
    return found


def test_nothing_of_a_job_waits_for_the_collector(worked: dict[str, Any]):
    ours = {kind: count for kind, count in worked["left"].items() if kind.startswith(("av.", "numpy", "backend."))}
    assert ours == {}


def test_after_the_last_job_the_worker_is_as_large_as_after_the_third(worked: dict[str, Any]):
    third, last = worked["states"][FIRST - 1], worked["states"][-1]
    assert last["bytes"] <= 1.1 * third["bytes"]


def test_threads_of_decoders_and_converters_end_with_their_job(worked: dict[str, Any]):
    third, last = worked["states"][FIRST - 1], worked["states"][-1]
    assert last["threads"] <= third["threads"]
