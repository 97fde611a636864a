"""The same pack as for the workers."""

from tests.workers.conftest import pack

__all__ = ["pack"]
