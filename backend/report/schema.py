"""The JSON Schema of ``result.json``: ``python -m backend.report.schema`` writes docs/result.schema.json.

May be imported by tests; the schema is generated from ``shared.results``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.results import Result

SCHEMA_FILE = Path(__file__).resolve().parents[2] / "docs" / "result.schema.json"


def result_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of what the report writes."""
    schema = Result.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The schema as it is in the docs."""
    return json.dumps(result_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
