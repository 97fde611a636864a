"""What each worker image is made of: parent, Python packages, our files, command and labels.

Promises: of our code, an image holds only the modules its worker imports; the packages are those that the lock
file pins. Imported by docker/build.py and the tests of the images; imports the contract and the platform's reading of cards.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backend.catalog.cards import read_card
from base_detector import CONTRACT_VERSION

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "docker"

#: Our top-level modules that an image may hold; the portal and the composition root never enter one.
OURS = ("base_detector", "shared", "backend", "detectors")
LABEL = "org.deepfake-o-meter"
SOURCES = f"{LABEL}.sources"


@dataclass(frozen=True)
class Image:
    """One image to build. ``files`` maps a path below ``/app`` to the file on this machine."""

    name: str
    parent: str | None
    dockerfile: Path
    requirements: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


def all_images(*, root: Path = ROOT) -> list[Image]:
    """Every image of the checkout ``root``, parents first: base, faces, decoder, media, links, then one for each detector's card.

    The packages of the media pass are a separate image, so that a change of its code only copies a few files.
    """
    layer = HERE / "layer.Dockerfile"
    common = [
        Image("base", None, HERE / "base.Dockerfile", read_requirements(HERE / "base.txt")),
        Image("faces", "base", layer, read_requirements(HERE / "faces.txt")),
        Image("decoder", "faces", layer, read_requirements(HERE / "decoder.txt")),
    ]
    media = Image(
        "media",
        "decoder",
        layer,
        (),
        modules_of((root / "backend" / "media").rglob("*.py"), root=root),
        ("python", "-m", "backend.media.worker", "--serve", "/exchange"),
        {f"{LABEL}.contract": CONTRACT_VERSION},
    )
    links = Image(
        "links",
        "decoder",
        layer,
        read_requirements(HERE / "links.txt"),
        modules_of([root / "backend" / "links" / "worker.py"], root=root),
        ("python", "-m", "backend.links.worker", "--serve", "/exchange"),
        {f"{LABEL}.contract": CONTRACT_VERSION},
    )
    return [
        *common,
        media,
        links,
        *(detector_image(toml.parent) for toml in sorted((root / "detectors").glob("*/detector.toml"))),
    ]


def detector_image(folder: Path) -> Image:
    """The image of the detector ``<checkout>/detectors/<name>``; its parent is ``faces`` when it requires dlib, else on ``base``."""
    card = read_card(folder)
    root = folder.parent.parent
    requirements = read_requirements(folder / "requirements.txt")
    faces = {bare_name(line) for line in read_requirements(HERE / "faces.txt")}
    own = {f"detectors/{folder.name}/{path.relative_to(folder)}": path for path in _own_files(folder)}
    module = f"detectors.{folder.name}"
    imported = modules_of([root / "base_detector.py", *folder.rglob("*.py")], root=root)
    return Image(
        card.id,
        "faces" if faces & {bare_name(line) for line in requirements} else "base",
        HERE / "layer.Dockerfile",
        requirements,
        imported | own,
        ("python", "-m", "base_detector", module, "--serve", "/exchange", "--weights", "/weights"),
        {
            f"{LABEL}.card": json.dumps(card.as_json(), sort_keys=True),
            f"{LABEL}.contract": CONTRACT_VERSION,
            "org.opencontainers.image.title": card.title,
            "org.opencontainers.image.version": card.version,
        },
    )


def _own_files(folder: Path) -> Iterator[Path]:
    """All but reference sets, which the back-end reads: a new one is no new image."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not {"__pycache__", "references"} & set(path.relative_to(folder).parts):
            yield path


def read_requirements(path: Path) -> tuple[str, ...]:
    """Lines of a requirements file without comments; none when there is no such file."""
    if not path.exists():
        return ()
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)


def bare_name(requirement: str) -> str:
    """``dlib-bin>=20`` -> ``dlib-bin``, in the spelling of package indexes (lower case, dashes)."""
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def sources_digest(image: Image) -> str:
    """sha256 over our own files in ``image``; the image carries it as a label, so that an old one is recognised."""
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in image.files.items()}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


# --------------------------------------------------------------------------- which modules of ours


def modules_of(entries: Iterable[Path], *, root: Path = ROOT) -> dict[str, Path]:
    """Files of ours that ``entries`` import, themselves and the packages above them included; read, never run."""
    found: dict[str, Path] = {}
    waiting = list(entries)
    while waiting:
        path = waiting.pop()
        name = str(path.relative_to(root))
        if name not in found:
            found[name] = path
            waiting += [
                folder / "__init__.py"
                for folder in path.parents
                if folder != root and (folder / "__init__.py").is_file()
            ]
            waiting += [target for module in _imports(path, root=root) if (target := _file_of(module, root=root))]
    return dict(sorted(found.items()))


def _imports(path: Path, *, root: Path) -> Iterator[str]:
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)  # a module, or a name in one


def _file_of(module: str, *, root: Path) -> Path | None:
    parts = module.split(".")
    if parts[0] in OURS:
        for path in (root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")):
            if path.is_file():
                return path
    return None
