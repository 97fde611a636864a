"""The jobs' scratch of one back-end on this machine: a claimed folder, swept at its opening. Imported by the dispatcher and by ``node``."""

from __future__ import annotations

import contextlib
import re
import shutil

from backend.workers.scratch import Claim, claim, remove_abandoned
from shared.records import ID_PATTERN
from shared.settings import Settings
from shared.store import Store


def open_room(settings: Settings, store: Store) -> Claim:
    """A folder for the jobs' finished parts that no other back-end of this machine uses, not even a stopped one."""
    jobs = settings.scratch_folder / "jobs"
    room = claim(jobs)
    remove_abandoned(jobs)
    for folder in jobs.iterdir():
        if re.fullmatch(ID_PATTERN, folder.name):  # of versions that kept the jobs' scratch here
            shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        active = set(store.ids("active"))
        for folder in room.folder.iterdir():
            if re.fullmatch(ID_PATTERN, folder.name) and folder.name not in active:
                shutil.rmtree(folder, ignore_errors=True)
    return room
