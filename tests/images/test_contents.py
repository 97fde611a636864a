"""What enters an image and when it is built anew; no engine needed."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import build as builder
import pytest
import requests
from docker.errors import APIError, ImageNotFound
from images import ROOT, Image, all_images, bare_name, detector_image, modules_of
from wheels import TORCH_CPU, WheelError, Wheelhouse, read_lock

IMAGES = {image.name: image for image in all_images()}
DETECTORS = sorted(path.parent.name for path in (ROOT / "detectors").glob("*/detector.toml"))

CARD = """
id = "mine"
version = "1"
title = "Mine"
summary = "s"
paper = "p"
year = 2026
input = "face"
sampling = "fps:1"
margin = 1.3
threshold = 0.5
aggregation = "mean"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with a detector ``mine``."""
    files = {
        "base_detector.py": "import json\n",
        "shared/__init__.py": "",
        "shared/errors.py": "",
        "frontend/__init__.py": "",
        "backend/__init__.py": "",
        "backend/media/__init__.py": "",
        "backend/media/worker.py": "from backend.media import extract\nfrom shared.errors import X\n",
        "backend/media/extract.py": "def f():\n    from detectors.nets import mtcnn\n",
        "backend/pipeline.py": "import frontend\n",
        "detectors/__init__.py": "",
        "detectors/nets/__init__.py": "",
        "detectors/nets/mtcnn.py": "from ..runtime import compile_net\n",
        "detectors/nets/other.py": "",
        "detectors/runtime.py": "import torch\n",
        "detectors/mine/__init__.py": "",
        "detectors/mine/detector.py": "import detectors.nets.other\nfrom .inner import x\nimport frontend\n",
        "detectors/mine/inner.py": "",
        "detectors/mine/detector.toml": CARD,
        "detectors/mine/README.md": "model card",
        "detectors/mine/__pycache__/inner.pyc": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


# --------------------------------------------------------------------------- files of ours


def test_an_image_follows_imports_wherever_they_stand(checkout: Path):
    found = modules_of([checkout / "backend" / "media" / "worker.py"], root=checkout)
    assert set(found) == {
        "backend/__init__.py", "backend/media/__init__.py", "backend/media/worker.py", "backend/media/extract.py",
        "shared/__init__.py", "shared/errors.py", "detectors/__init__.py", "detectors/nets/__init__.py",
        "detectors/nets/mtcnn.py", "detectors/runtime.py",
    }  # fmt: skip


def test_a_new_detector_needs_its_folder_only(checkout: Path):
    image = detector_image(checkout / "detectors" / "mine")
    assert (image.name, image.parent) == ("mine", "base")
    assert set(image.files) == {
        "base_detector.py", "detectors/__init__.py", "detectors/nets/__init__.py", "detectors/nets/other.py",
        "detectors/mine/__init__.py", "detectors/mine/detector.py", "detectors/mine/inner.py",
        "detectors/mine/detector.toml", "detectors/mine/README.md",
    }  # fmt: skip
    assert image.command[:4] == ("python", "-m", "base_detector", "detectors.mine")
    (checkout / "detectors" / "mine" / "requirements.txt").write_text("# landmarks\nDlib_bin >= 20  # any\n")
    assert detector_image(checkout / "detectors" / "mine").parent == "faces"


#: What the image of a detector may hold of ours, besides its own folder; the media image holds the media pass in place of that.
SHARED = (
    r"base_detector\.py|detectors/__init__\.py|detectors/(?:runtime|kept|probes|gpu|graphs)\.py|detectors/nets/\w+\.py"
)
MEDIA = r"backend/__init__\.py|backend/media/\w+\.py|shared/\w+\.py"


@pytest.mark.parametrize("name", ["media", *DETECTORS])
def test_an_image_holds_no_more_of_ours_than_its_worker_may_know(name: str):
    """Neither the portal nor the orchestration, and of the detectors neither another one's folder nor the training."""
    allowed = re.compile(f"{SHARED}|{MEDIA if name == 'media' else rf'detectors/{name}/.+'}")
    assert IMAGES[name].files
    assert [file for file in IMAGES[name].files if not allowed.fullmatch(file)] == []


def test_the_media_image_holds_the_worker_and_what_it_imports():
    assert {"backend/media/worker.py", "detectors/nets/mtcnn.py", "detectors/runtime.py", "base_detector.py"} <= set(
        IMAGES["media"].files
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [("dlib-bin>=20,<21", "dlib-bin"), ("Foo_Bar == 1", "foo-bar"), ("a[x]~=2", "a"), ("numpy", "numpy")],
)
def test_requirement_names(line: str, name: str):
    assert bare_name(line) == name


@pytest.mark.parametrize("name", ["base", "layer"])
def test_the_dockerfiles_build_without_buildkit(name: str):
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    assert not re.search(r"--mount=|<<-?\s*[\"']?EOF|^#\s*syntax\s*=|--chmod|--link", text, re.MULTILINE)
    assert text.count("FROM ") == 2


# --------------------------------------------------------------------------- digests and contexts


def digest(image: Image, **changed: Any) -> str:
    given = {"dockerfile": "FROM x", "wheels": [], "parent": "sha256:1"} | changed
    return builder.digest_of(image, **given)


def test_every_input_and_nothing_else_changes_the_digest(tmp_path: Path):
    code, wheel = tmp_path / "a.py", tmp_path / "x-1-py3-none-any.whl"
    code.write_text("1")
    wheel.write_bytes(b"12")
    image = Image("x", "base", code, files={"a.py": code}, labels={"l": "1"})
    first = digest(image, wheels=[wheel])
    code.touch()
    assert digest(image, wheels=[wheel]) == first
    assert len({
        first,
        digest(image),
        digest(image, wheels=[wheel], parent="sha256:2"),
        digest(image, wheels=[wheel], dockerfile="FROM y"),
        digest(Image("x", "base", code, files={"b.py": code}, labels={"l": "1"}), wheels=[wheel]),
        digest(Image("x", "base", code, files={"a.py": code}, labels={"l": "2"}), wheels=[wheel]),
    }) == 6  # fmt: skip
    code.write_text("2")
    assert digest(image, wheels=[wheel]) != first


def test_a_context_shows_no_user_clock_or_umask(tmp_path: Path):
    code, pip = tmp_path / "a.py", tmp_path / "pip-1-py3-none-any.whl"
    code.write_text("1")
    pip.write_bytes(b"pip")
    code.chmod(0o600)
    target = io.BytesIO()
    builder.write_context(
        target, Image("x", "base", code, files={"a.py": code}), dockerfile="FROM x", wheels=[], pip=pip
    )
    target.seek(0)
    with tarfile.open(fileobj=target) as tar:
        entries = tar.getmembers()
    assert [entry.name for entry in entries] == [
        "Dockerfile",
        "ca.pem",
        "pip",
        "wheels",
        "app",
        f"pip/{pip.name}",
        "app/a.py",
    ]
    assert {(entry.uid, entry.gid, entry.mtime, entry.uname) for entry in entries} == {(0, 0, 0, "")}
    assert {entry.mode for entry in entries if entry.isfile()} == {0o644}


def test_parents_come_first_and_unknown_names_are_reported():
    images = list(IMAGES.values())
    chosen = [
        (image.name, [parent.name for parent in parents]) for image, parents in builder.with_parents(images, ["media"])
    ]
    assert chosen == [
        ("base", []),
        ("faces", ["base"]),
        ("decoder", ["base", "faces"]),
        ("media", ["base", "faces", "decoder"]),
    ]
    assert [image.name for image, _ in builder.with_parents(images, [])] == list(IMAGES)
    with pytest.raises(builder.BuildError, match=r"There is no image nosuch\. Known: base, faces, decoder, media"):
        list(builder.with_parents(images, ["nosuch"]))


def test_certificates_named_by_hand_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DFOM_BUILD_CA", str(tmp_path / "none.pem"))
    with pytest.raises(builder.BuildError, match="is not a file"):
        builder.ca_bundle()
    (tmp_path / "none.pem").write_text("-----BEGIN")
    assert builder.ca_bundle() == "-----BEGIN"


# --------------------------------------------------------------------------- the builder and a scripted engine


class ScriptedEngine:
    """What the builder asks of an engine: images by tag, a build, a prune."""

    def __init__(self, *events: dict[str, str], pull: Exception | None = None) -> None:
        self.events, self.pull_error, self.builds, self.known = events, pull, [], {}
        self.images = SimpleNamespace(get=self._get, pull=self._pull, prune=lambda filters: None)
        self.api = SimpleNamespace(build=self._build)

    def _get(self, tag: str) -> Any:
        if tag not in self.known:
            raise ImageNotFound(tag)
        return self.known[tag]

    def _pull(self, *name: str) -> Any:
        if self.pull_error:
            raise self.pull_error
        return SimpleNamespace(id="sha256:pulled", labels={}, attrs={"Size": 5})

    def _build(self, **given: Any) -> tuple[dict[str, str], ...]:
        self.builds.append(given)
        self.known[given["tag"]] = SimpleNamespace(id="sha256:new", labels=given["labels"], attrs={"Size": 10})
        return self.events


def fake_wheelhouse(tmp_path: Path) -> Any:
    pip = tmp_path / "pip-1-py3-none-any.whl"
    pip.write_bytes(b"")
    return SimpleNamespace(pip=lambda: pip, wheels_of=lambda image, parents: [])


def test_what_is_up_to_date_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    engine = ScriptedEngine({"stream": "Step 1"})
    image = Image("base", None, ROOT / "docker" / "base.Dockerfile")
    mine = builder.Builder(engine, prefix="p", wheelhouse=fake_wheelhouse(tmp_path))
    mine.build(image, [])
    mine.build(image, [])
    assert [build["tag"] for build in engine.builds] == ["p/base:latest"]
    assert capsys.readouterr().out.splitlines()[-1].split(maxsplit=1) == ["base", "up to date"]
    mine.build(image, [], force=True)
    assert len(engine.builds) == 2


def test_only_the_base_may_use_the_network_while_it_is_built(tmp_path: Path):
    engine = ScriptedEngine()
    mine = builder.Builder(engine, prefix="p", wheelhouse=fake_wheelhouse(tmp_path))
    mine.build(Image("base", None, ROOT / "docker" / "base.Dockerfile"), [])
    mine.build(Image("x", "base", ROOT / "docker" / "layer.Dockerfile", command=("python", "-m", "y")), [])
    assert [build["network_mode"] for build in engine.builds] == [None, "none"]
    assert engine.builds[1]["buildargs"] == {"BASE": "p/base:latest"}


def test_a_failed_build_shows_what_the_builder_said(tmp_path: Path):
    engine = ScriptedEngine({"stream": "E: no such package\n"}, {"error": "returned a non-zero code: 100"})
    mine = builder.Builder(engine, prefix="p", wheelhouse=fake_wheelhouse(tmp_path))
    with pytest.raises(builder.BuildError, match=r"(?s)base could not be built: returned.*E: no such package"):
        mine.build(Image("base", None, ROOT / "docker" / "base.Dockerfile"), [])


def test_without_debian_the_remedy_is_named(tmp_path: Path):
    engine = ScriptedEngine(pull=ImageNotFound("refused"))
    mine = builder.Builder(engine, prefix="p", wheelhouse=fake_wheelhouse(tmp_path))
    with pytest.raises(builder.BuildError, match="debootstrap --variant=minbase bookworm"):
        mine.build(Image("base", None, ROOT / "docker" / "base.Dockerfile"), [])


# --------------------------------------------------------------------------- wheels


class RecordingWheelhouse(Wheelhouse):
    """Writes the wheels a test names instead of asking an index."""

    def __init__(
        self, *args: Any, published: dict[str, list[str]], cpu_torch_at_hand: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.published, self.cpu_torch_at_hand, self.calls = published, cpu_torch_at_hand, []

    def _run(self, name: str, verb: str, *arguments: str) -> None:
        self.calls.append((verb, *arguments))
        lists = [Path(after) for flag, after in itertools.pairwise(arguments) if flag == "--requirement"]
        asked = [*arguments, *(line.split()[0] for file in lists for line in file.read_text().splitlines())]
        asked = [argument for argument in asked if bare_name(argument) in self.published]
        if not self.cpu_torch_at_hand and "torch==2.13.0+cpu" in asked and TORCH_CPU not in arguments:
            raise WheelError("no such version")
        folder = Path(next(after for flag, after in itertools.pairwise(arguments) if flag in ("--dest", "--wheel-dir")))
        for wheel in {wheel for argument in asked for wheel in self.published[bare_name(argument)]}:
            (folder / wheel).write_bytes(b"")


PUBLISHED = {
    "torch": ["torch-2.13.0+cpu-cp311.whl", "numpy-2-cp311.whl"],
    "openvino": ["openvino-1-cp311.whl", "openvino_telemetry-1-py3.whl", "numpy-2-cp311.whl"],
    "scipy": ["scipy-1-cp311.whl", "numpy-2-cp311.whl"],
    "face-recognition-models": ["face_recognition_models-0.3.0-py2.py3.whl"],
    "facenet-pytorch": ["facenet_pytorch-2.6.0-py3.whl"],
    "pip": ["pip-26-py3.whl"],
}


def wheelhouse(tmp_path: Path, **options: Any) -> RecordingWheelhouse:
    lock = tmp_path / "requirements.lock"
    if not lock.exists():
        lock.write_text("torch==2.13.0\nnumpy==2\nface-recognition-models==0.3.0\n")
    return RecordingWheelhouse(tmp_path / "wheels", lock=lock, arch="amd64", published=PUBLISHED, **options)


def image(name: str, *requirements: str) -> Image:
    return Image(name, None, Path("x"), requirements)


def test_an_image_gets_what_its_parents_lack(tmp_path: Path):
    house = wheelhouse(tmp_path)
    base = image("base", "torch", "openvino")
    names = [path.name for path in house.wheels_of(base, [])]
    assert names == ["numpy-2-cp311.whl", "openvino-1-cp311.whl", "torch-2.13.0+cpu-cp311.whl"]  # and no telemetry
    assert [path.name for path in house.wheels_of(image("more", "scipy"), [base])] == ["scipy-1-cp311.whl"]
    assert house.wheels_of(image("none"), [base]) == []


def test_torch_is_the_cpu_build_from_wherever_it_is_published(tmp_path: Path):
    house = wheelhouse(tmp_path, cpu_torch_at_hand=False)
    house.wheels_of(image("base", "torch"), [])
    assert [("torch==2.13.0+cpu" in call, TORCH_CPU in call) for call in house.calls] == [(True, False), (True, True)]
    assert not any("torch" in call for call in house.calls)


def test_images_for_gpus_hold_the_build_with_cuda_and_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    known = hashlib.sha256(b"").hexdigest()
    (tmp_path / "torch-cpu.lock").write_text(f"torch==2.13.0+cpu \\\n    --hash=sha256:{'0' * 64}\n")
    (tmp_path / "torch-cuda.lock").write_text(f"# comment\nnvidia-cublas==13.1 \\\n    --hash=sha256:{known}\n")
    monkeypatch.setitem(PUBLISHED, "torch", ["torch-2.13.0-cp311.whl", "nvidia_cublas-13.1-py3.whl"])
    house = wheelhouse(tmp_path, torch="cuda")
    names = [path.name for path in house.wheels_of(image("base", "torch"), [])]
    assert names == ["nvidia_cublas-13.1-py3.whl", "torch-2.13.0-cp311.whl"]
    assert ["torch==2.13.0" in call for call in house.calls] == [True]
    monkeypatch.setitem(PUBLISHED, "torch", ["torch-2.13.0+cpu-cp311.whl"])
    (tmp_path / "torch-cpu.lock").write_text(f"torch==2.13.0+cpu \\\n    --hash=sha256:{known}\n")
    names = [path.name for path in wheelhouse(tmp_path).wheels_of(image("base", "torch"), [])]
    assert names == ["torch-2.13.0+cpu-cp311.whl"]  # the other build is not taken for this one
    with pytest.raises(WheelError, match="amd64 only"):
        Wheelhouse(tmp_path, lock=tmp_path / "requirements.lock", arch="arm64", torch="cuda")


def test_nothing_is_downloaded_twice_until_the_lock_changes(tmp_path: Path):
    wheelhouse(tmp_path).wheels_of(image("base", "torch"), [])
    again = wheelhouse(tmp_path)
    assert len(again.wheels_of(image("base", "torch"), [])) == 2
    assert again.calls == []
    (tmp_path / "requirements.lock").write_text("torch==2.13.0\nnumpy==2.1\n")
    again = wheelhouse(tmp_path)
    again.wheels_of(image("base", "torch"), [])
    assert len(again.calls) == 1
    (tmp_path / "wheels" / "numpy-2-cp311.whl").unlink()
    again.wheels_of(image("base", "torch"), [])
    assert len(again.calls) == 2


def test_sources_are_built_here_and_weights_come_without_their_requirements(tmp_path: Path):
    house = wheelhouse(tmp_path)
    names = [
        path.name for path in house.wheels_of(image("x", "face_recognition_models", "facenet-pytorch", "scipy"), [])
    ]
    assert names == [
        "face_recognition_models-0.3.0-py2.py3.whl", "facenet_pytorch-2.6.0-py3.whl", "numpy-2-cp311.whl", "scipy-1-cp311.whl",
    ]  # fmt: skip
    assert [call[0] for call in house.calls] == ["wheel", "download", "download"]
    by_verb = {(call[0], "--no-deps" in call): call for call in house.calls}
    assert "--requirement" in by_verb["wheel", True]
    assert by_verb["download", True][-1] == "facenet-pytorch"
    house.calls.clear()
    house.wheels_of(image("y", "face_recognition_models"), [])
    assert [call[0] for call in house.calls] == ["download"]  # made once, found again


def test_a_file_that_the_lock_does_not_know_is_not_used(tmp_path: Path):
    known, unknown = hashlib.sha256(b"").hexdigest(), "0" * 64  # a published wheel is empty here
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        f"torch==2.13.0 \\\n    --hash=sha256:{unknown}\nnumpy==2 \\\n    --hash=sha256:{unknown} \\\n    --hash=sha256:{known}\n"
    )
    with pytest.raises(WheelError, match=r"torch-2\.13\.0\+cpu-cp311\.whl, wanted for the image base, is not the file"):
        wheelhouse(tmp_path).wheels_of(image("base", "torch"), [])
    (tmp_path / "torch-cpu.lock").write_text(f"# comment\ntorch==2.13.0+cpu \\\n    --hash=sha256:{known}\n")
    assert len(wheelhouse(tmp_path).wheels_of(image("base", "torch"), [])) == 2


def test_the_lock_of_the_checkout_is_read_whole():
    pins = read_lock(ROOT / "requirements.lock")
    assert len(pins) > 100
    assert all(re.fullmatch(r"[0-9][\w.]*", pin.version) for pin in pins.values())
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for pin in pins.values() for sha256 in pin.sha256)
    assert len(pins["numpy"].sha256) > 10
    assert read_lock(ROOT / "torch-cpu.lock")["torch"].version == f"{pins['torch'].version}+cpu"


def test_an_engine_of_another_kind_is_refused_by_name(tmp_path: Path):
    with pytest.raises(WheelError, match="s390x"):
        Wheelhouse(tmp_path, lock=tmp_path / "requirements.lock", arch="s390x")


def test_the_package_lists_of_the_images_are_pinned():
    pinned = set(read_lock(ROOT / "requirements.lock"))
    for image in IMAGES.values():
        if image.name in ("base", "faces", "decoder"):
            assert {bare_name(line) for line in image.requirements} <= pinned
    assert json.loads(IMAGES["mesonet"].labels["org.deepfake-o-meter.card"])["id"] == "mesonet"


class PruningElsewhere:
    """An engine whose answer to ``prune`` has a given status."""

    def __init__(self, status: int) -> None:
        self.images, self._status = self, status

    def prune(self, **_: object) -> None:
        response = requests.Response()
        response.status_code = self._status
        raise APIError("prune", response)


def test_two_builds_at_once_do_not_end_each_other():
    """The engine refuses to prune (409) while another build is pruning; only that is passed over."""
    builder.Builder(PruningElsewhere(409), prefix="x", wheelhouse=None)._drop_superseded()
    with pytest.raises(APIError):
        builder.Builder(PruningElsewhere(500), prefix="x", wheelhouse=None)._drop_superseded()
