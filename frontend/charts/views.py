"""The curve of another person, or of a part of the time, for the script of the result page; in a browser that has the result open only.

The person is in the path, not in a query: answers to addresses with a query are not compressed (``frontend.delivery``).
"""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template

from frontend.charts.page import curve_view
from frontend.result_files import open_reading
from shared.errors import PermanentError

blueprint = Blueprint("charts", __name__)


@blueprint.get("/r/<untrusted_id>/curve/<untrusted_who>")
@blueprint.get("/r/<untrusted_id>/curve/<untrusted_who>/<untrusted_part>")
def curve(untrusted_id: str, untrusted_who: str, untrusted_part: str | None = None) -> Response:
    """The inside of the curve's card as HTML."""
    reading = open_reading(untrusted_id)
    view = curve_view(reading, untrusted_who, untrusted_part)
    if view is None:
        raise PermanentError("not_found")
    response = make_response(
        render_template("result/curve_part.html", view=view, job=reading.result.id, result=reading.result)
    )
    response.headers["Cache-Control"] = "private, no-store"
    return response
