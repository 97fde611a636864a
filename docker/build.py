"""Builds the worker images: ``python docker/build.py`` (``make images``). Only what changed is rebuilt.

An image has the digest of its inputs (Dockerfile, packages, files, labels, parent) as a label; an image with the right digest is
kept. Uses the engine's classic builder through its API, so it needs neither BuildKit nor a docker client.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from images import LABEL, ROOT, SOURCES, Image, all_images, sources_digest
from wheels import WheelError, Wheelhouse

from base_detector import ContractError

DEBIAN = "debian:bookworm-slim"
NO_DEBIAN = """\
{debian} is neither on this machine nor can it be pulled ({why}).
With Debian's packages at hand, make it:
  sudo apt-get install debootstrap
  sudo debootstrap --variant=minbase bookworm /tmp/bookworm
  sudo tar -C /tmp/bookworm -c . | docker import - {debian}"""
#: Where a machine keeps its certificates; only apt in the first stage of the base needs them, and only for https mirrors.
CA_BUNDLES = ("DFOM_BUILD_CA", "SSL_CERT_FILE")
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")
INPUTS = f"{LABEL}.inputs"


class BuildError(Exception):
    """An image could not be built; the message says why."""


class Builder:
    """Builds images as PREFIX/<name> on the engine of ``client``."""

    def __init__(self, client: Any, *, prefix: str, wheelhouse: Wheelhouse, verbose: bool = False) -> None:
        self._client, self._prefix, self._wheelhouse, self._verbose = client, prefix, wheelhouse, verbose

    def build(self, image: Image, parents: list[Image], *, force: bool = False) -> None:
        """Build ``image`` unless the one on the engine has the same inputs; its parents must be built."""
        parent = self._client.images.get(self._tag(image.parent)) if image.parent else self._debian()
        wheels = self._wheelhouse.wheels_of(image, parents)
        dockerfile = image.dockerfile.read_text(encoding="utf-8")
        if image.command:
            dockerfile += f"CMD {json.dumps(image.command)}\n"
        inputs = digest_of(image, dockerfile=dockerfile, wheels=wheels, parent=parent.id)
        if not force and self._built(image.name) == inputs:
            say(image.name, "up to date")
            return
        started = time.monotonic()
        say(image.name, "building ...")
        with tempfile.TemporaryFile() as context:
            write_context(context, image, dockerfile=dockerfile, wheels=wheels, pip=self._wheelhouse.pip())
            context.seek(0)
            self._run(image, context, inputs=inputs)
        self._drop_superseded()
        size = self._client.images.get(self._tag(image.name)).attrs["Size"]
        own = size - parent.attrs["Size"] if image.parent else size
        say(image.name, f"built in {time.monotonic() - started:.0f} s, {own / 1e6:.1f} MB of its own")

    def _tag(self, name: str) -> str:
        return f"{self._prefix}/{name}:latest"

    def _built(self, name: str) -> str | None:
        try:
            labels = self._client.images.get(self._tag(name)).labels
        except ImageNotFound:
            return None
        return str(labels.get(INPUTS))

    def _debian(self) -> Any:
        try:
            return self._client.images.get(DEBIAN)
        except ImageNotFound:
            try:
                return self._client.images.pull(*DEBIAN.split(":"))
            except DockerException as error:
                raise BuildError(NO_DEBIAN.format(debian=DEBIAN, why=error)) from None

    def _run(self, image: Image, context: Any, *, inputs: str) -> None:
        arguments = {
            name: value for name in ("http_proxy", "https_proxy", "no_proxy") if (value := os.environ.get(name))
        }
        if image.parent:
            arguments = {"BASE": self._tag(image.parent)}
        lines: list[str] = []
        events = self._client.api.build(
            fileobj=context,
            custom_context=True,
            tag=self._tag(image.name),
            buildargs=arguments,
            labels=image.labels | {INPUTS: inputs, SOURCES: sources_digest(image)},
            network_mode=None if image.parent is None else "none",  # only the base needs the network (apt)
            rm=True,
            forcerm=True,
            decode=True,
        )
        for event in events:
            lines += str(event.get("stream", "")).splitlines()
            if self._verbose and event.get("stream"):
                print(event["stream"], end="", flush=True)
            if "error" in event:
                tail = "\n".join(f"  {line}" for line in lines[-25:])
                raise BuildError(f"The image {image.name} could not be built: {event['error']}\n{tail}")

    def _drop_superseded(self) -> None:
        """Remove images that newer ones replaced; what another build is pruning at this moment is left to it."""
        for label in (INPUTS, f"{LABEL}.stage"):
            try:
                self._client.images.prune(filters={"dangling": True, "label": label})
            except APIError as error:
                if error.status_code != 409:
                    raise


def say(name: str, what: str) -> None:
    """One line on what happens to image ``name``."""
    print(f"{name:<12} {what}", flush=True)


def digest_of(image: Image, *, dockerfile: str, wheels: list[Path], parent: str) -> str:
    """sha256 over everything that determines the image's content."""
    packages = [(path.name, path.stat().st_size) for path in wheels]
    parts = [dockerfile, image.labels, sources_digest(image), packages, parent]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_context(target: Any, image: Image, *, dockerfile: str, wheels: list[Path], pip: Path) -> None:
    """Write the build context as a tar: Dockerfile, ca.pem, pip/, wheels/, app/. Owners and times are fixed."""
    with tarfile.open(fileobj=target, mode="w") as tar:
        add_text(tar, "Dockerfile", dockerfile)
        add_text(tar, "ca.pem", ca_bundle() if image.parent is None else "")
        for folder in ("pip", "wheels", "app"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(pip, f"pip/{pip.name}", filter=plain)
        for wheel in wheels:
            tar.add(wheel, f"wheels/{wheel.name}", filter=plain)
        for name, path in image.files.items():
            tar.add(path.resolve(), f"app/{name}", filter=plain)


def add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    """Add a file with ``text``."""
    entry = tarfile.TarInfo(name)
    content = text.encode()
    entry.size, entry.mode = len(content), 0o644
    tar.addfile(entry, io.BytesIO(content))


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """An image does not depend on anyone's umask, user or clock."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry


def ca_bundle() -> str:
    """The machine's certificates, empty where there are none; BuildError when DFOM_BUILD_CA does not name a file."""
    named = [Path(os.environ[name]) for name in CA_BUNDLES if os.environ.get(name)]
    if "DFOM_BUILD_CA" in os.environ and not named[0].is_file():
        raise BuildError(f"DFOM_BUILD_CA={named[0]} is not a file. Name a bundle of certificates (PEM) or unset it.")
    for path in [*named, SYSTEM_CA]:
        if path.is_file():
            return path.read_text(encoding="ascii", errors="ignore")
    return ""


def with_parents(images: list[Image], names: list[str]) -> Iterator[tuple[Image, list[Image]]]:
    """The images ``names`` (all, when none is named) and their parents, parents first, each with its line of parents."""
    known = {image.name: image for image in images}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BuildError(f"There is no image {', '.join(unknown)}. Known: {', '.join(known)}.")

    def line_of(image: Image) -> list[Image]:
        return [*line_of(known[image.parent]), known[image.parent]] if image.parent else []

    wanted = {item.name for name in names or known for item in (*line_of(known[name]), known[name])}
    for image in images:
        if image.name in wanted:
            yield image, line_of(image)


def main(argv: list[str] | None = None) -> int:
    """Build all worker images, or those named."""
    parser = argparse.ArgumentParser(prog="make images", description=main.__doc__)
    parser.add_argument("names", nargs="*", help="images to build (default: all)")
    parser.add_argument("--prefix", default="deepfake-o-meter", help="images are PREFIX/<name>")
    parser.add_argument(
        "--torch", choices=("cpu", "cuda"), default="cpu", help="cuda: all images stand on a base for NVIDIA's GPUs"
    )
    parser.add_argument("--force", action="store_true", help="build even what is up to date")
    parser.add_argument("--verbose", action="store_true", help="show what the builder prints")
    args = parser.parse_args(argv)
    try:
        client = docker.from_env(timeout=1800)
        arch = client.version()["Arch"]
        folder = ROOT / "docker" / "context" / "wheels"
        wheelhouse = Wheelhouse(folder, lock=ROOT / "requirements.lock", arch=arch, torch=args.torch)
        builder = Builder(client, prefix=args.prefix, wheelhouse=wheelhouse, verbose=args.verbose)
        for image, parents in with_parents(all_images(), args.names):
            builder.build(image, parents, force=args.force)
    except (BuildError, WheelError, ContractError) as error:
        print(error, file=sys.stderr)
        return 1
    except DockerException as error:
        print(
            f"The Docker engine does not answer or refused ({error}).\nStart it, or give yourself access to it.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
