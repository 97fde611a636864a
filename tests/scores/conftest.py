"""Results as in the tests of the report."""

from tests.report.conftest import made_detector

__all__ = ["made_detector"]
