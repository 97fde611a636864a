"""The OpenAPI 3.1 document of the API, made from the blueprint and its schemas.

It is built with an application of apiflask's beside the portal's, on which only the API's blueprint is registered: so nothing of the pages
can get into it, and the portal stays a plain Flask application. For ``frontend.api`` only.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final

from apiflask import APIFlask

from frontend.api.blueprint import blueprint
from frontend.api.parts import LOCATION, MEANINGS
from frontend.api.schemas import AgainAsked, Problem, SubmissionByAddress, SubmissionByFile

#: Errors that any operation may answer.
ALWAYS: Final = (400, 429, 503)

ABOUT: Final = """Ask DeepFake-o-meter to judge a video, picture or sound, follow the work, and read the result.

A score is an indication, not proof. Every score is a `fake_score` from 0 to 1, 1 = fake, and null where there is none: nothing is filled
in. Read each against its own threshold, and look at what its `finding` says it is worth.

Access: an API key (`Authorization: Bearer dfom_...`), which sees the submissions it made; or, for one submission, its PIN in the header
`PIN`. Every error is problem+json (RFC 9457) with a stable `code`."""

SCHEMES: Final = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key; the operator of the site issues it."},
    "pin": {
        "type": "apiKey",
        "in": "header",
        "name": "PIN",
        "description": "The PIN of a submission, 4 to 6 digits.",
    },
}

HEADERS: Final = {
    name: {"description": words, "schema": {"type": "integer", "minimum": 0}}
    for name, words in (
        (
            "RateLimit-Limit",
            "requests a minute; of a new submission: submissions a day (key) or an hour (network address)",
        ),
        ("RateLimit-Remaining", "what is left of them"),
        ("RateLimit-Reset", "seconds until there are more"),
    )
}


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The document, as JSON has it. Not to be changed by the caller."""
    app = APIFlask(
        "frontend.api", title="DeepFake-o-meter", version="1", spec_path=None, docs_path=None, json_errors=False
    )
    app.config.update(
        OPENAPI_VERSION="3.1.0",
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_AUTH_ERROR_RESPONSE=False,
        AUTO_404_RESPONSE=False,
        AUTO_200_RESPONSE=False,
        AUTO_SERVERS=False,
        DESCRIPTION=ABOUT,
        LICENSE={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        SECURITY_SCHEMES=SCHEMES,
        TAGS=[{"name": "Submissions"}, {"name": "Site"}],
    )
    app.register_blueprint(blueprint)
    spec = app.spec
    if not isinstance(spec, dict):
        raise TypeError("not a document")
    made: dict[str, Any] = copy.deepcopy(spec)
    made["info"]["x-platform"] = version("deepfake-o-meter")
    for model in (Problem, SubmissionByFile, SubmissionByAddress, AgainAsked):
        _add_schema(made, model.__name__, model.model_json_schema(ref_template="#/components/schemas/{model}"))
    made["paths"] = {_named(path): _operations(item) for path, item in made["paths"].items()}
    return made


def _add_schema(made: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    for inner, definition in schema.pop("$defs", {}).items():
        made["components"]["schemas"].setdefault(inner, definition)
    made["components"]["schemas"][name] = schema


def _named(path: str) -> str:
    """A path with the names of its parameters as readers know them: a value is untrusted on our side only."""
    return path.replace("{untrusted_", "{")


def _operations(item: dict[str, Any]) -> dict[str, Any]:
    return {method: _operation(operation) for method, operation in item.items()}


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    """Put the parts that views named where they belong, and add what every operation has."""
    own = operation.pop("x-parameters", [])
    others = [one for one in operation.get("parameters", []) if one["in"] != "path"]
    operation["parameters"] = [*own, *others]
    if (body := operation.pop("x-body", None)) is not None:
        operation["requestBody"] = body
    responses = operation["responses"]
    for status in ALWAYS:
        responses.setdefault(str(status), {"description": MEANINGS[status]})
    for status, answer in responses.items():
        answer["headers"] = copy.deepcopy(HEADERS)
        if status == "201":
            answer["headers"] |= LOCATION
        if status == "204":
            answer.pop("content", None)
        elif int(status) >= 400:
            answer["content"] = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation["responses"] = dict(sorted(responses.items()))
    operation.setdefault("tags", ["Submissions"])
    if "security" in operation and operation["operationId"] == "getLimits":
        operation["security"] = [{}, *operation["security"]]
    return operation


# --------------------------------------------------------------------------- for Swagger UI


@lru_cache(maxsize=1)
def as_version_3_0() -> dict[str, Any]:
    """The same in the words of OpenAPI 3.0, for the page that shows it: the packaged Swagger UI (4.15) knows no later version."""
    older = _older(document())
    if not isinstance(older, dict):
        raise TypeError("not a document")
    older["openapi"] = "3.0.3"
    older["info"]["license"].pop("identifier", None)
    return older


def _older(part: Any) -> Any:
    if isinstance(part, list):
        return [_older(item) for item in part]
    if not isinstance(part, dict):
        return part
    made = {name: _older(value) for name, value in part.items()}
    choices = made.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        del made["anyOf"]
        made |= {"nullable": True} | (rest[0] if len(rest) == 1 else {"anyOf": rest})
    if "const" in made and isinstance(made.get("type"), str):
        made["enum"] = [made.pop("const")]
    if isinstance(made.get("examples"), list):
        made["example"] = made.pop("examples")[0]
    if "prefixItems" in made:
        made["items"] = made.pop("prefixItems")[0]
    for bound in ("Minimum", "Maximum"):
        if isinstance(limit := made.get(f"exclusive{bound}"), int | float) and not isinstance(limit, bool):
            made[bound.lower()], made[f"exclusive{bound}"] = limit, True
    return made
