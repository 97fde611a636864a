"""The JSON Schema of ``benchmark.json``: ``python -m backend.benchmark.schema`` writes docs/benchmark.schema.json. Imported by tests."""

from __future__ import annotations

import json
from pathlib import Path

from backend.benchmark.records import schema

SCHEMA_FILE = Path(__file__).resolve().parents[2] / "docs" / "benchmark.schema.json"


def schema_text() -> str:
    """The schema as it is in the docs."""
    return json.dumps(schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
