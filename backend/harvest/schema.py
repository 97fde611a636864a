"""The JSON Schema of ``scores.json``: ``python -m backend.harvest.schema`` writes docs/scores.schema.json.

May be imported by tests; the schema is generated from ``backend.harvest.scores``. What a schema cannot say (that lists are parallel,
that rows ascend) is in docs/worker_protocol.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backend.harvest.scores import HarvestedScores

SCHEMA_FILE = Path(__file__).resolve().parents[2] / "docs" / "scores.schema.json"


def scores_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of what a detector's worker writes."""
    schema = HarvestedScores.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The schema as it is in the docs."""
    return json.dumps(scores_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
