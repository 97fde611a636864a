"""Hostile workers use the fixtures of the worker tests."""

from tests.workers.conftest import acting_image, container_spec, pack, start_container

__all__ = ["acting_image", "container_spec", "pack", "start_container"]
