"""Networks kept on disk: found without torch, only for what they were made from, and never when a byte of them is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from detectors import kept, runtime  # noqa: E402

ROOT = Path(kept.__file__).parent.parent
EXAMPLE = np.zeros((1, 3, 16, 16), np.float32)
PICTURES = np.random.default_rng(2).standard_normal((4, 3, 16, 16)).astype(np.float32)
#: how often ``build`` ran
BUILT: list[float] = []


def build(weights: bytes, slope: float) -> torch.nn.Module:
    """A convolution with ``weights``, times ``slope``."""
    BUILT.append(slope)
    net = torch.nn.Conv2d(3, 2, 3)
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(np.frombuffer(weights, np.float32).reshape(2, 3, 3, 3).copy()))
        net.weight.mul_(slope)
        net.bias.zero_()
    return net


WEIGHTS = np.random.default_rng(3).standard_normal(54).astype(np.float32).tobytes()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "compiled" / "media"))
    BUILT.clear()
    return tmp_path / "compiled" / "media"


def answer(weights: bytes = WEIGHTS, slope: float = 1.5, **options: object) -> np.ndarray:
    return np.asarray(runtime.compiled(build, weights, slope, example=EXAMPLE, device="cpu", **options)(PICTURES))


def entries(place: Path) -> list[Path]:
    return sorted(place.iterdir())


def test_a_network_is_built_once_and_answers_bit_by_bit_as_when_it_was_compiled_freshly(place: Path):
    fresh = np.asarray(runtime.compile_net(build(WEIGHTS, 1.5), example=EXAMPLE, device="cpu")(PICTURES))
    BUILT.clear()
    first, second = answer(), answer()
    assert len(BUILT) == 1
    assert np.array_equal(first, fresh)
    assert np.array_equal(second, fresh)


def test_another_weight_argument_shape_or_probe_is_another_network(place: Path):
    answer()
    changed = bytes([WEIGHTS[0] ^ 1]) + WEIGHTS[1:]
    ways: list[Callable[[], np.ndarray]] = [
        lambda: answer(changed),
        lambda: answer(slope=1.25),
        lambda: answer(input_shapes=[(None, 3, None, None)]),
        lambda: answer(probe=EXAMPLE),
    ]
    for known, way in enumerate(ways, start=1):
        assert len(entries(place)) == known
        way()
        assert len(BUILT) == known + 1


@pytest.mark.parametrize("what", ["openvino", "torch", "code", "processor"])
def test_another_version_code_or_processor_is_another_network(place: Path, what: str, monkeypatch: pytest.MonkeyPatch):
    answer()
    if what == "code":
        monkeypatch.setattr(kept, "_code", lambda folder: "another")
    elif what == "processor":
        monkeypatch.setattr(kept, "_processor", lambda: ["another"])
    else:
        versions = {"openvino": "1", "torch": "1", "numpy": "1"}
        now = kept._versions()
        order = ["openvino", "torch", "numpy"]
        monkeypatch.setattr(
            kept, "_versions", lambda: [versions[name] if name == what else now[order.index(name)] for name in order]
        )
    answer()
    assert len(BUILT) == 2


def test_the_code_of_networks_counts_to_the_last_byte(tmp_path: Path):
    (tmp_path / "net.py").write_text("a = 1\n")
    before = kept._code.__wrapped__(tmp_path)
    assert before == kept._code.__wrapped__(tmp_path)
    (tmp_path / "net.py").write_text("a = 2\n")
    assert before != kept._code.__wrapped__(tmp_path)


@pytest.mark.parametrize("name", ["net.xml", "net.bin", "sums.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_entry_is_made_again_and_answers_rightly(place: Path, name: str, damage: str):
    right = answer()
    (entry,) = entries(place)
    content = (entry / name).read_bytes()
    middle = len(content) // 2
    if damage == "changed":
        (entry / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "cut":
        (entry / name).write_bytes(content[:middle])
    else:
        (entry / name).unlink()
    assert np.array_equal(answer(), right)
    assert len(BUILT) == 2
    assert np.array_equal(answer(), right)
    assert len(BUILT) == 2, "the new entry is intact"


def test_an_entry_under_anothers_name_is_not_used(place: Path):
    answer()
    (first,) = entries(place)
    right = answer(slope=-1)
    (second,) = [entry for entry in entries(place) if entry != first]
    shutil.rmtree(second)
    shutil.copytree(first, second)
    assert np.array_equal(answer(slope=-1), right)
    assert len(BUILT) == 3


def test_an_entry_that_openvino_cannot_read_is_made_again(place: Path):
    right = answer()
    (entry,) = entries(place)
    (entry / kept.NET).write_text("<net/>")
    sums = kept._sums(entry, entry.name)
    (entry / "sums.json").write_text(json.dumps(sums))
    assert np.array_equal(answer(), right)


def test_a_kept_network_that_answers_otherwise_than_torch_is_not_published(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    honest = runtime._read
    right = np.asarray(runtime.compile_net(build(WEIGHTS, 1.5), example=EXAMPLE, device="cpu")(PICTURES))

    def wrong(path: Path | None, *, threads: int) -> runtime.Compiled | None:
        read = honest(path, threads=threads)
        return None if read is None else lambda *inputs: read(*inputs) + np.float32(1e-3)

    monkeypatch.setattr(runtime, "_read", wrong)
    assert np.array_equal(answer(), right)
    assert entries(place) == []


def test_a_folder_that_cannot_be_made_or_is_full_only_means_that_nothing_is_kept(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    place.parent.write_text("a file where the folder would be")
    first = answer()
    place.parent.unlink()
    monkeypatch.setattr(kept, "_LEAST_FREE", 10**18)
    assert np.array_equal(answer(), first)
    assert entries(place) == []


def test_a_file_larger_than_the_process_may_write_only_means_that_nothing_is_kept(place: Path):
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "from tests.detectors import test_kept as t; print(t.answer().sum())"
    )
    done = run(code)
    assert float(done) == pytest.approx(float(answer().sum()), abs=1e-4)
    assert len(entries(place)) == 1, "ours"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ}
    )
    return done.stdout.strip()


def test_the_media_pass_starts_without_torch_and_scipy_once_its_networks_are_kept(place: Path):
    code = (
        "import sys; from detectors.nets.mtcnn import Mtcnn; import cv2\n"
        "found = Mtcnn().detect(cv2.imread('tests/fixtures/astronaut.jpg')[..., ::-1])\n"
        "import backend.media.extract\n"
        "print('torch' in sys.modules, 'scipy' in sys.modules, found.boxes.tobytes().hex(), found.landmarks.tobytes().hex())"
    )
    (with_torch, _, *first), (without, scipy, *second) = (run(code).split() for _ in range(2))
    assert (with_torch, without, scipy) == ("True", "False", "False")
    assert first == second


def test_every_published_detector_loads_without_torch_once_its_networks_are_kept(place: Path):
    """What reads a network and what reads a file of weights are stood in for: all else is the product's."""
    code = (
        "import sys; from pathlib import Path; from base_detector import load_detector\n"
        "from detectors import kept, runtime; from detectors.nets import checkpoint\n"
        "kept.find, runtime._read = lambda key: Path('net.xml'), lambda path, threads: lambda *inputs: None\n"
        "checkpoint.read_published = lambda weights, card, file: file.encode()\n"
        "for name in sys.argv[1:]:\n"
        "    detector = load_detector(f'detectors.{name}')\n"
        "    for item in detector.card.weights:\n"
        "        (Path(name) / item.file).parent.mkdir(parents=True, exist_ok=True)\n"
        "        (Path(name) / item.file).touch()\n"
        "    detector.load(Path(name), 'cpu')\n"
        "print('torch' in sys.modules)"
    )
    names = [
        *("boken", "capsule", "classnseg", "cnndetection", "commfor", "deepware", "effort", "eighteen", "gend"),
        *("rine", "sbi", "univfd", "medics", "mesonet", "mever", "ntech", "selfblend", "selim", "wm", "xception"),
    ]
    place.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", code, *names], cwd=place, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "False", done.stderr


def test_of_workers_that_make_the_same_network_at_once_the_first_leaves_its_entry(place: Path):
    right = answer()
    (entry,) = entries(place)
    with kept.draft() as first, kept.draft() as second:
        assert first is not None
        assert second is not None
        for draft in (first, second):
            shutil.copytree(entry, draft, dirs_exist_ok=True)
        kept.discard(entry.name)
        for draft in (first, second):
            assert kept.find(entry.name) == (None if draft is first else entry / kept.NET)
            kept.publish(draft, entry.name)
    assert entries(place) == [entry]
    assert np.array_equal(answer(), right)
    assert len(BUILT) == 1


def test_a_worker_that_may_only_read_hands_new_networks_out_within_half_of_its_output(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    right = answer()
    monkeypatch.setenv(kept.VARIABLE_NEW, str(tmp_path / "handed"))
    assert np.array_equal(answer(slope=2.0), np.asarray(answer(slope=2.0)))
    assert [len(entries(folder)) for folder in (place, tmp_path / "handed")] == [1, 1]
    monkeypatch.setattr(kept.resource, "getrlimit", lambda which: (10_000, 10_000))
    used = sum(file.stat().st_size for file in (tmp_path / "handed").rglob("*"))
    with kept.draft(size=5000 - used) as fits, kept.draft(size=5001 - used) as too_large:
        assert (fits is not None, too_large) == (True, None)
    assert np.array_equal(answer(), right)


def test_made_sure_of_a_network_is_kept_where_there_is_room_and_built_where_there_is_none(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    def make_sure() -> tuple[int, int]:
        """How often it was built, and how many networks are kept."""
        BUILT.clear()
        runtime.make_sure(build, WEIGHTS, 1.5, example=EXAMPLE, device="cpu")
        return len(BUILT), len(entries(place)) if place.exists() else 0

    with monkeypatch.context() as full:
        full.setattr(kept, "_LEAST_FREE", 10**18)
        full.setattr(runtime, "_converted", None)
        assert make_sure() == (1, 0)
    built, known = make_sure()
    assert built >= 1
    assert known == 1
    assert make_sure() == (0, 1)
    answer()
    assert BUILT == []
    monkeypatch.delenv(kept.VARIABLE)
    assert make_sure() == (1, 1)


def test_what_a_key_cannot_see_is_refused(place: Path):
    with pytest.raises(TypeError, match="must be a function of a module"):
        kept.key_of(lambda: None, ())
    with pytest.raises(TypeError, match="not by PosixPath"):
        kept.key_of(build, (Path("weights"),))


def test_values_of_different_types_never_share_a_key():
    values = [1, 1.0, "1", b"1", True, None, [1], [[1]], {"a": 1}, [["a", 1]], np.ones(1), np.ones(1, np.float32)]
    assert len({kept.key_of(build, (value,)) for value in values}) == len(values)
