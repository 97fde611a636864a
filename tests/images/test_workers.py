"""Each worker image, started with the platform's flags: it serves the protocol, holds what it needs and nothing else of ours."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from backend.media.limits import MediaLimits
from base_detector import CONTRACT_VERSION, PROTOCOL_VERSION, Card
from shared.settings import Settings

LIMITS = asdict(MediaLimits.of(Settings()))

ROOT = Path(__file__).resolve().parents[2]
DETECTORS = sorted(path.parent.name for path in (ROOT / "detectors").glob("*/detector.toml"))
LABEL = "org.deepfake-o-meter"

pytestmark = pytest.mark.docker

INVENTORY = """
import json, os, stat, sys
setuid = []
for folder, _, names in os.walk("/"):
    if folder.startswith(("/proc", "/sys")):
        continue
    for name in names:
        mode = os.lstat(os.path.join(folder, name)).st_mode
        if stat.S_ISREG(mode) and mode & 0o6000:
            setuid.append(os.path.join(folder, name))
ours = [os.path.relpath(os.path.join(folder, name), "/app") for folder, _, names in os.walk("/app") for name in names]
writable = []
for place in ("/", "/app", "/usr", "/etc", "/opt/worker", "/exchange", "/tmp", "/var/tmp", "/dev/shm", "/weights"):
    try:
        open(place + "/probe", "w").close()
        writable.append(place)
    except OSError:
        pass
status = dict(line.split(":\\t") for line in open("/proc/self/status") if ":\\t" in line)
print(json.dumps({
    "setuid": setuid, "writable": writable, "interfaces": os.listdir("/sys/class/net"),
    "ours": sorted(name for name in ours if not name.endswith(".pyc")),
    "rights": [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")],
    "seccomp": int(status["Seccomp"]), "no_new_privs": int(status["NoNewPrivs"]), "uid": os.getuid(),
    "pip": any(os.path.exists(os.path.join(place, "pip")) for place in sys.path),
}))
"""


@pytest.mark.parametrize("name", ["media", *DETECTORS])
@pytest.mark.parametrize("by_itself", [False, True], ids=["our command", "the image's command"])
def test_each_image_answers_health_and_stops(serving: Callable[..., Any], name: str, by_itself: bool):
    worker = serving(name, by_itself=by_itself)
    health = worker.ask(verb="health")
    assert health["status"] == "ok"
    assert health["protocol"] == PROTOCOL_VERSION
    assert {"predict", "load"} <= set(health["verbs"]) or {"extract", "render"} <= set(health["verbs"])
    assert worker.ask(verb="stop") == {"status": "ok"}
    assert worker.container.wait(timeout=20)["StatusCode"] == 0


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_image_carries_its_card(serving: Callable[..., Any], built: Callable[[str], Any], name: str):
    card = Card.read(ROOT / "detectors" / name)
    labels = built(name).labels
    assert json.loads(labels[f"{LABEL}.card"]) == json.loads(json.dumps(card.as_json()))
    assert labels[f"{LABEL}.contract"] == CONTRACT_VERSION
    assert serving(name).ask(verb="describe")["card"] == json.loads(json.dumps(card.as_json()))


#: MB of packages that an image brings for its one detector: TensorFlow, SciPy.
OWN_PACKAGES = {"fwa": 1450, "medics": 120, "upconv": 120}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_adds_less_than_30_mb_and_its_own_packages_to_what_all_share(built: Callable[[str], Any], name: str):
    image, base, faces = built(name), built("base"), built("faces")
    layers = image.attrs["RootFS"]["Layers"]
    ground = faces if layers[: len(faces.attrs["RootFS"]["Layers"])] == faces.attrs["RootFS"]["Layers"] else base
    held = ground.attrs["RootFS"]["Layers"]
    assert layers[: len(held)] == held
    assert len(layers) > len(held)
    assert image.attrs["Size"] - ground.attrs["Size"] < (30 + OWN_PACKAGES.get(name, 0)) * 1_000_000


def test_light_detectors_stand_on_the_base_alone(built: Callable[[str], Any]):
    base = built("base").attrs
    for name in ("mesonet", "classnseg"):
        attrs = built(name).attrs
        assert attrs["Size"] - base["Size"] < 30_000_000, name
        assert attrs["RootFS"]["Layers"][0] == base["RootFS"]["Layers"][0]


@pytest.mark.parametrize("name", ["media", *DETECTORS])
def test_what_a_worker_can_see_and_do(run_python: Callable[..., str], name: str):
    from images import all_images

    found = json.loads(run_python(name, INVENTORY))
    image = next(image for image in all_images() if image.name == name)
    assert found["ours"] == sorted(image.files)
    assert not [
        file for file in found["ours"] if file.startswith(("frontend", "deepfake_o_meter", "detectors/training"))
    ]
    assert found["writable"] == ["/exchange", "/tmp", "/dev/shm"] if os.geteuid() else ["/tmp", "/dev/shm"]
    assert found["interfaces"] == ["lo"]
    assert found["setuid"] == []
    assert found["rights"] == [0, 0, 0, 0]
    assert (found["seccomp"], found["no_new_privs"], found["pip"]) == (2, 1, False)
    assert found["uid"] == (os.geteuid() or 65534)


def test_bytecode_lies_beside_the_source_so_a_start_compiles_nothing(run_python: Callable[..., str]):
    code = """
import sys, importlib.util, pathlib
import torch, base_detector, backend.media
loaded = [m.__spec__ for m in sys.modules.values() if getattr(m, "__spec__", None) and m.__spec__.has_location]
sources = [spec for spec in loaded if str(spec.origin).endswith(".py")]
stale = [spec.origin for spec in sources if not (spec.cached and pathlib.Path(spec.cached).exists())]
print(len(sources), len(stale), stale[:5])
"""
    count, stale, examples = run_python("media", code).split(maxsplit=2)
    assert int(count) > 500
    assert int(stale) == 0, examples


def test_a_clip_goes_through_media_and_detector_containers(
    serving: Callable[..., Any], weights_folder: Path, astronaut_clip: Path
):
    media = serving("media")
    shutil.copy(astronaut_clip, media.exchange / "media")
    (media.exchange / "out").mkdir()
    (media.exchange / "out").chmod(0o777)
    cards = [Card.read(ROOT / "detectors" / name) for name in DETECTORS]
    samplings = sorted({card.sampling for card in cards})
    answer = media.ask(
        verb="extract",
        media="media",
        pack="out/pack",
        samplings=samplings,
        mode="quick",
        context=2.0,
        limits=asdict(MediaLimits.of(Settings())),
    )
    assert answer["status"] == "ok", answer
    assert answer["faces"] > 0
    at_hand = [card for card in cards if all((weights_folder / card.id / item.file).is_file() for item in card.weights)]
    assert {card.id for card in at_hand} >= {"mesonet", "classnseg", "va", "selfblend"}
    for card in at_hand:  # the others are run by test_every_detector.py
        name, weights = card.id, weights_folder / card.id
        for path in (weights_folder, weights, *weights.rglob("*")):
            path.chmod(0o755)
        worker = serving(name, weights=weights)
        shutil.copytree(media.exchange / "out" / "pack", worker.exchange / "pack")
        (worker.exchange / "out").mkdir()
        (worker.exchange / "out").chmod(0o777)
        answer = worker.ask(verb="predict", pack="pack", out="out")
        assert answer["status"] in ("ok", "not_applicable"), (name, answer, worker.container.logs().decode())
        if answer["status"] == "ok":
            scores = json.loads((worker.exchange / "out" / "scores.json").read_text())
            assert scores["detector"] == card.id
            assert all(0 <= score <= 1 for score in scores["fake_score"])
