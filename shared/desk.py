"""The operator's desk in the shared folders: what the back-end says of itself, and what it is asked for.

::

    results/vitals.json              written by the back-end, read by the portal
    submissions/requests/<id>.json   written by the portal, taken up, answered in the vitals and removed by the back-end

Errors of every step: as those of ``shared.store``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from shared import durable
from shared.errors import UserError
from shared.guarding import reads, writes
from shared.reading import RecordInvalid, read_record
from shared.records import ID_PATTERN, JobId
from shared.store import Store
from shared.vitals import StateRequest, Vitals

#: Requests that wait at once; more means that no back-end takes them up.
MOST_WAITING = 20


class Desk:
    """On the folders of ``store``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._vitals = store.results / "vitals.json"
        self._requests = store.submissions / "requests"

    def check(self) -> None:
        """StoreTrouble while one of the two folders is away or does not answer."""
        self._store.check()

    @writes
    def write_vitals(self, vitals: Vitals) -> None:
        """Replace what the back-end says of itself."""
        durable.replace_json(self._vitals, vitals.model_dump(mode="json"))

    @reads
    def read_vitals(self) -> Vitals | None:
        """What the back-end says of itself; None while there is nothing that can be read. It writes again every few seconds."""
        try:
            return read_record(self._vitals, Vitals)
        except FileNotFoundError:
            self.check()
            return None
        except RecordInvalid:
            return None

    @writes
    def ask(self, request: StateRequest) -> None:
        """Leave a request for the back-end; UserError when too many wait already."""
        if not durable.exists(self._requests):  # mkdir takes a folder it cannot look at for a file
            self._requests.mkdir(exist_ok=True)
        if len(self.waiting()) >= MOST_WAITING:
            raise UserError("state_requests_waiting", status=503)
        durable.replace_json(self._path(request.id), request.model_dump(mode="json"))

    @reads
    def waiting(self) -> list[JobId]:
        """Ids of the requests that wait, in no order."""
        if not durable.exists(self._requests):
            self.check()
            return []
        with os.scandir(self._requests) as entries:
            names = [Path(entry.name) for entry in entries]
        return [JobId(name.stem) for name in names if name.suffix == ".json" and re.fullmatch(ID_PATTERN, name.stem)]

    @reads
    def read_request(self, request: JobId) -> StateRequest:
        """One request; RecordInvalid for what is none."""
        found = read_record(self._path(request), StateRequest)
        if found.id != request:
            raise RecordInvalid(self._path(request), "of another id")
        return found

    @writes
    def remove_request(self, request: JobId) -> None:
        """Remove whatever has the name of a request."""
        durable.remove(self._path(request))

    def _path(self, request: JobId) -> Path:
        return self._requests / f"{request}.json"
