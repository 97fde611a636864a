"""The blueprint of the API, on which its views are registered. For ``frontend.api`` only."""

from __future__ import annotations

from typing import Final

from apiflask import APIBlueprint

#: Where the API is on the site.
ROOT: Final = "/api/v1"

blueprint: Final = APIBlueprint("api", __name__, url_prefix=ROOT, tag="Submissions")
