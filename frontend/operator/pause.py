"""The pause of the intake: while it lasts, nothing new is taken, and visitors read why. Work that was taken goes on.

Owns ``DATA/frontend/intake_pause.json``, so a pause outlives a restart. A file that cannot be read counts as a pause: somebody made it for
a reason. Views that take something new are marked with ``takes_in``; they are refused before anything of a request is read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from flask import Flask, Response, current_app, g, request
from pydantic import Field, StringConstraints

from shared import durable
from shared.errors import SENTENCES, UserError
from shared.reading import RecordInvalid, read_record
from shared.records import Moment, Record

#: Longest notice for visitors, characters.
MOST_WORDS: Final = 300
#: Minutes until programs may ask again, and the most.
AGAIN_MIN: Final = 15
MOST_MIN: Final = 7 * 24 * 60

View = TypeVar("View", bound=Callable[..., Any])


class Pause(Record):
    """``notice`` is shown to visitors as text; programs are asked to come back after ``minutes``."""

    since: Moment
    notice: Annotated[str, StringConstraints(min_length=1, max_length=MOST_WORDS)]
    minutes: Annotated[int, Field(ge=1, le=MOST_MIN)] = AGAIN_MIN


def takes_in(view: View) -> View:
    """Mark a view that takes a submission."""
    view.takes_in = True  # type: ignore[attr-defined]
    return view


class Intake:
    """Whether something new is taken; ``state`` is the local folder of the portal."""

    def __init__(self, state: Path, *, now: Callable[[], Any]) -> None:
        self._path, self._now = state / "intake_pause.json", now

    def paused(self) -> Pause | None:
        """The pause that lasts now, None: everything is taken."""
        try:
            return read_record(self._path, Pause)
        except FileNotFoundError:
            return None
        except (RecordInvalid, OSError):
            return Pause(since=self._now(), notice=SENTENCES["intake_paused"])

    def pause(self, notice: str, *, minutes: int = AGAIN_MIN) -> Pause:
        """Take nothing more. ValidationError: the notice is too long, or the time is no time."""
        pause = Pause(since=self._now(), notice=notice, minutes=minutes)
        durable.replace_json(self._path, pause.model_dump(mode="json"))
        return pause

    def resume(self) -> None:
        """Take everything again."""
        durable.remove(self._path)


def init_pause(app: Flask, intake: Intake) -> None:
    """Refuse what is new during a pause. To be called before anything reads forms, which streams the file."""

    @app.before_request
    def refuse() -> None:
        if not takes(request.endpoint) or request.method in ("GET", "HEAD", "OPTIONS"):
            return
        if pause := intake.paused():
            g.retry_after_s = 60 * pause.minutes
            raise UserError("intake_paused", pause.notice, status=503, title="No new files at the moment")

    @app.after_request
    def say_when(response: Response) -> Response:
        if response.status_code == 503 and "retry_after_s" in g:
            response.headers["Retry-After"] = str(g.retry_after_s)
        return response

    app.jinja_env.globals["intake_pause"] = intake.paused


def takes(endpoint: str | None) -> bool:
    """Whether the view of ``endpoint`` takes a submission."""
    return getattr(current_app.view_functions.get(endpoint or ""), "takes_in", False)
