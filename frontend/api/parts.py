"""Parts of the OpenAPI document that the views name beside themselves: who may call, parameters, bodies, errors. For ``frontend.api`` only.

apiflask lets a view add members to its operation that begin with ``x-``; ``document`` puts them where they belong.
"""

from __future__ import annotations

from typing import Any, Final

from frontend.api.schemas import EXAMPLE_ID
from shared.records import ID_PATTERN

#: Who may call: a key, or who has the PIN; a key alone; anyone.
BOTH: Final[Any] = [{"key": []}, {"pin": []}]
KEY_ONLY: Final[Any] = [{"key": []}]
ANYONE: Final[Any] = [{}]
#: A key, or nothing but a new PIN, which opens nothing yet.
KEY_OR_PIN_OF_NEW: Final[Any] = [{"key": []}, {}]

ID: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "the id of a submission",
    "schema": {"type": "string", "pattern": ID_PATTERN},
    "example": EXAMPLE_ID,
}
NAME: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "a name out of `files` of the result, `result.json`, or `bundle.zip` for everything",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "example": "scores.csv",
}
RANGE: Final = {
    "name": "Range",
    "in": "header",
    "required": False,
    "description": "a part of the file (RFC 9110)",
    "schema": {"type": "string"},
    "example": "bytes=0-1023",
}
IDEMPOTENCY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "the same key with the same request within 24 hours leads to the same submission; with another request: 422",
    "schema": {"type": "string", "maxLength": 200},
    "example": "9f1c2d0e-5b1b-4a57-a6c7-0a4d2a1c9e55",
}
NEW_PIN: Final = {
    "name": "PIN",
    "in": "header",
    "required": False,
    "description": "4 to 6 digits that will open the submission; needed without a key",
    "schema": {"type": "string", "pattern": "^[0-9]{4,6}$"},
    "example": "482913",
}
LOCATION: Final = {"Location": {"description": "the status of the submission", "schema": {"type": "string"}}}


def parameters(*given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Parameters of an operation, for ``doc(extensions=...)``."""
    return {"x-parameters": list(given), **{f"x-{name}": value for name, value in more.items()}}


#: Judging again takes a small JSON.
AGAIN: Final = parameters(
    ID,
    IDEMPOTENCY,
    body={
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/AgainAsked"},
                "example": {"detectors": ["mesonet"], "mode": "thorough"},
            }
        },
    },
)

#: POST /submissions takes one of two bodies.
SUBMITTING: Final = parameters(
    NEW_PIN,
    IDEMPOTENCY,
    body={
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"$ref": "#/components/schemas/SubmissionByFile"},
                "encoding": {"detectors": {"style": "form", "explode": True}},
            },
            "application/json": {
                "schema": {"$ref": "#/components/schemas/SubmissionByAddress"},
                "example": {"url": "https://example.org/clip.mp4", "mode": "quick"},
            },
        },
    },
)


#: What each status means here, for the document.
MEANINGS: Final[dict[int, str]] = {
    400: "The request could not be read.",
    401: "No key and no PIN, or a key that does not work.",
    403: "The key lacks the scope, or the PIN is wrong.",
    404: "There is no such submission or file of this caller.",
    405: "The address does not take this method.",
    409: "Not yet, or not any more: the state of the submission does not allow it.",
    410: "The file was deleted: its retention time is over.",
    413: "The file or the request is too large.",
    415: "The content is not of an accepted type.",
    416: "The file has no such part.",
    422: "Something in the request is wrong; `errors` names it.",
    423: "Too many wrong PINs: the submission is locked.",
    429: "Too many requests, submissions or wrong PINs; `Retry-After` says how long to wait.",
    503: "Busy, or the storage does not answer.",
    504: "The other site did not hand out the file in time.",
    507: "The disk of this site is full.",
}


def problems(*statuses: int) -> Any:
    """The answers of an operation that are errors, for its documentation."""
    return {
        status: {
            "description": MEANINGS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
