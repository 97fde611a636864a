"""Results as in the tests of the report."""

from tests.report.conftest import made_detector, made_result, made_silent

__all__ = ["made_detector", "made_result", "made_silent"]
