"""What a detector's class can rely on (docs/detector.md), in a worker that runs as the platform runs it."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base_detector import FACE_DTYPE
from tests.packs import finish_pack

ROOT = Path(__file__).resolve().parents[2]
CARD = """
id = "witness"
version = "1.0"
title = "Witness"
summary = "Writes down what it is asked."
paper = "none"
year = 2026
input = "face"
sampling = "fps:5"
margin = 1.0
threshold = 0.5
aggregation = "mean"
[resources]
batch = 4
[[weights]]
file = "net.bin"
url = "https://example.org/net.bin"
licence = "MIT"
[[weights]]
file = "more.bin"
url = "https://example.org/more.bin"
licence = "MIT"
optional = true
"""
CODE = """
import json, threading, time
import numpy as np
from base_detector import BaseDetector, Skip

def note(what, **more):
    with open("notes.jsonl", "a") as file:
        file.write(json.dumps({"what": what, "thread": threading.get_ident(), "at": time.monotonic(), **more}) + chr(10))

class Witness(BaseDetector):
    def load(self, weights, device):
        note("load", files=sorted(path.name for path in weights.iterdir()), device=device)

    def crop_face(self, image, face):
        note("crop", writable=bool(image.flags.writeable), dtype=str(image.dtype), pixel=image[0, 0].tolist(), shape=list(image.shape),
             frame=face.frame, person=face.person)
        return super().crop_face(image, face)

    def preproc(self, face):
        if face[0, 0, 0] == 66:
            raise ValueError("a mistake of the detector")
        return np.array(face[0, 0, 0] / 255)

    def get_softlabel(self, batch):
        print("a detector may print")
        note("batch", labels=batch.tolist())
        time.sleep(0.05)
        note("end")
        return batch

    def postproc(self, softlabels):
        note("postproc", labels=softlabels.tolist())
        return float(softlabels.max())

    def get_hardlabel(self, softlabel):
        note("label", label=softlabel)
        return super().get_hardlabel(softlabel)

    def evidence(self, batch):
        note("evidence", labels=batch.tolist())
        return np.zeros((len(batch), 3, 5), np.uint8)
"""
REDS = [10, 20, 30, 40, 50, 60]


def write_pack(folder: Path, *, reds: list[int], persons: list[int]) -> None:
    """A pack of faces of 4 by 6 pixels whose red is given; two persons take turns."""
    folder.mkdir(parents=True)
    faces = np.zeros(len(reds), FACE_DTYPE)
    faces["frame"] = np.arange(len(reds)) // 2
    faces["person"] = persons
    faces["box"], faces["confidence"], faces["landmarks"] = (0, 0, 6, 4), 1, np.nan
    faces["crop_height"], faces["crop_width"] = 4, 6
    faces["crop_offset"] = np.arange(len(reds)) * 72
    np.save(folder / "faces.npy", faces)
    (folder / "crops.bin").write_bytes(b"".join(bytes([red, 2, 3]) * 24 for red in reds))
    finish_pack(folder, size=(6, 4))


class Served:
    """``python -m base_detector detectors.witness --serve``, asked over its socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exchange = folder / "exchange"
        self.output = folder / "output.txt"
        self.exchange.mkdir()
        command = [sys.executable, "-P", "-m", "base_detector", "detectors.witness", "--serve", str(self.exchange)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--weights", str(folder / "weights")],
                env={**os.environ, "PYTHONPATH": str(folder)}, stdout=output, stderr=output,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not (self.exchange / "worker.sock").exists():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def connected(self) -> socket.socket:
        handle = os.open(self.exchange, os.O_PATH)
        try:
            caller = socket.socket(socket.AF_UNIX)
            caller.settimeout(60)
            caller.connect(f"/proc/self/fd/{handle}/worker.sock")
            return caller
        finally:
            os.close(handle)

    def ask(self, verb: str, **members: Any) -> dict[str, Any]:
        with self.connected() as caller, caller.makefile("rwb") as stream:
            stream.write(json.dumps({"verb": verb, **members}).encode() + b"\n")
            stream.flush()
            for line in stream:
                if "event" not in (answer := json.loads(line)):
                    return answer
        raise AssertionError("it hung up")

    def predict(self, name: str, *, reds: list[int], persons: list[int] | None = None) -> dict[str, Any]:
        write_pack(self.exchange / name / "pack", reds=reds, persons=persons or [i % 2 for i in range(len(reds))])
        (self.exchange / name / "out").mkdir()
        return self.ask("predict", pack=f"{name}/pack", out=f"{name}/out")

    def notes(self, *kinds: str) -> list[dict[str, Any]]:
        lines = (self.exchange / "notes.jsonl").read_text().splitlines()
        return [item for item in map(json.loads, lines) if item["what"] in kinds or not kinds]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "base_detector.py").write_text((ROOT / "base_detector.py").read_text())
    folder = tmp_path / "detectors" / "witness"
    folder.mkdir(parents=True)
    (tmp_path / "detectors" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "detector.toml").write_text(CARD)
    (folder / "detector.py").write_text(CODE)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.bin").touch()
    worker = Served(tmp_path)
    yield worker
    worker.process.kill()
    worker.process.wait()


def test_load_comes_first_and_once(served: Served):
    assert served.predict("one", reds=REDS)["status"] == "ok"
    assert served.ask("load") == {"status": "ok"}
    assert served.predict("two", reds=REDS)["status"] == "ok"
    notes = served.notes()
    assert [item["what"] for item in notes].count("load") == 1
    assert notes[0]["what"] == "load"
    assert (notes[0]["files"], notes[0]["device"]) == (["net.bin"], "cpu"), "an optional file may be missing"


def test_load_without_a_needed_file_is_answered_by_code(served: Served):
    (served.folder / "weights" / "net.bin").unlink()
    assert served.ask("load") == {"status": "error", "code": "weights_missing", "retryable": False}
    assert not (served.exchange / "notes.jsonl").exists(), "the detector was not asked"


def test_calls_come_one_after_the_other_in_one_thread(served: Served):
    for name in ("one", "two"):
        write_pack(served.exchange / name / "pack", reds=REDS, persons=[0] * 6)
        (served.exchange / name / "out").mkdir()
    callers = [served.connected() for _ in range(2)]
    for caller, name in zip(callers, ("one", "two"), strict=True):
        caller.sendall(json.dumps({"verb": "predict", "pack": f"{name}/pack", "out": f"{name}/out"}).encode() + b"\n")
    for caller in callers:  # the second is heard when the first has hung up
        with caller, caller.makefile("rb") as stream:
            assert [json.loads(line) for line in stream if b"event" not in line or not caller.shutdown(socket.SHUT_WR)]
    steps = served.notes("batch", "end")
    assert [item["what"] for item in steps] == ["batch", "end"] * 4
    assert len({item["thread"] for item in served.notes()}) == 1


def test_crops_are_read_only_rgb(served: Served):
    served.predict("one", reds=REDS)
    crops = served.notes("crop")
    assert [item["pixel"] for item in crops] == [[red, 2, 3] for red in REDS]
    assert {(item["dtype"], item["writable"], tuple(item["shape"])) for item in crops} == {("uint8", False, (4, 6, 3))}


def test_faces_come_in_order_in_batches_of_the_card(served: Served):
    served.predict("one", reds=REDS)
    assert [(item["frame"], item["person"]) for item in served.notes("crop")] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]
    reds = [[round(label * 255) for label in item["labels"]] for item in served.notes("batch")]
    assert reds == [REDS[:4], REDS[4:]]


def test_an_exception_ends_one_call_and_the_worker_goes_on(served: Served):
    assert served.predict("bad", reds=[10, 66, 20]) == {
        "status": "error",
        "code": "detector_failed",
        "retryable": False,
    }
    assert not list((served.exchange / "bad" / "out").glob("scores.json*"))
    assert served.predict("good", reds=REDS)["status"] == "ok"
    assert served.process.poll() is None
    output = served.output.read_text()
    assert "ValueError: a mistake of the detector" in output
    assert "a detector may print" in output, "printing does not disturb the protocol"


def test_evidence_is_asked_for_few_faces(served: Served):
    served.predict("one", reds=[*range(100, 140)], persons=[0] * 40)
    kinds = [item["what"] for item in served.notes("batch", "evidence")]
    asked = [label for item in served.notes("evidence") for label in item["labels"]]
    assert len(asked) == 8
    assert (round(asked[0] * 255), round(asked[-1] * 255)) == (100, 139), "evenly over the clip"
    assert kinds[0] == "batch"
    assert all(before == "batch" for before, kind in itertools.pairwise(kinds) if kind == "evidence")
    masks = json.loads((served.exchange / "one" / "out" / "scores.json").read_text())["masks"]
    assert len(masks) == 8
    assert np.load(served.exchange / "one" / "out" / masks[0]["file"]).shape == (3, 5)


def test_persons_are_joined_by_postproc_once_each(served: Served):
    served.predict("one", reds=REDS)
    assert [[round(x * 255) for x in item["labels"]] for item in served.notes("postproc")] == [
        [10, 30, 50],
        [20, 40, 60],
    ]
    assert [round(item["label"] * 255) for item in served.notes("label")] == [50, 60]


@pytest.mark.parametrize("signal", ["terminate", "kill"])
def test_a_worker_holds_nothing_that_must_be_put_away(served: Served, signal: str, tmp_path: Path):
    served.predict("one", reds=REDS)
    end: Callable[[], None] = getattr(served.process, signal)
    end()
    assert served.process.wait(10) != 0
    left = {path.name for path in served.exchange.iterdir()}
    assert left == {"worker.sock", "one", "notes.jsonl"}
