"""The parts of the operator's side, wired, in one frozen object that its views reach through ``office()``."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, current_app

from frontend.operator.access_log import init_access_log
from frontend.operator.entry import Entry
from frontend.operator.metrics import Counts, SiteCollector, init_counts
from frontend.operator.pause import Intake, init_pause
from frontend.portal import Portal
from shared.desk import Desk

EXTENSION = "deepfake_o_meter.operator"


@dataclass(frozen=True)
class Office:
    """Built once by ``init_operator``."""

    entry: Entry
    desk: Desk
    intake: Intake
    counts: Counts


def office(app: Flask | None = None) -> Office:
    """The office of ``app``, or of the application that serves the current request."""
    found = (app or current_app).extensions[EXTENSION]
    if not isinstance(found, Office):
        raise TypeError("this application has no operator's side: build it with frontend.create_app")
    return found


def init_operator(app: Flask, site: Portal) -> None:
    """Attach it to ``app``, before everything else that looks at requests: what is refused is counted and logged as well."""
    desk, intake = Desk(site.store), Intake(site.settings.frontend_state, now=site.clock)
    counts = Counts()
    counts.registry.register(SiteCollector(site, desk, intake))
    entry = Entry(site.settings, now=lambda: site.clock().timestamp())
    app.extensions[EXTENSION] = Office(entry, desk, intake, counts)
    if site.settings.access_log:
        init_access_log(app)
    init_counts(app, counts)
    init_pause(app, intake)
