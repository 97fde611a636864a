"""Every call to the file system may fail: a step of the operator's desk then says so, or has done its work all the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.desk import Desk
from shared.errors import StoreTrouble
from shared.store import Store
from shared.vitals import StateRequest
from tests.operator.vitals import TOKEN, vitals
from tests.shared.test_errno import Faults, check_trouble, every_fault

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD, NEW = vitals(NOW), vitals(NOW, working=2)
REQUEST = StateRequest.signed("mesonet", "disabled", asked=NOW, token=TOKEN)
OTHER = StateRequest.signed("mesonet", "enabled", asked=NOW, token=TOKEN)

#: step -> what it does, and whether it is done
WRITES: dict[str, tuple[Callable[[Desk], object], Callable[[Desk], bool]]] = {
    "write_vitals": (lambda desk: desk.write_vitals(NEW), lambda desk: desk.read_vitals() == NEW),
    "ask": (lambda desk: desk.ask(OTHER), lambda desk: OTHER.id in desk.waiting()),
    "remove_request": (lambda desk: desk.remove_request(REQUEST.id), lambda desk: REQUEST.id not in desk.waiting()),
}
READS: dict[str, Callable[[Desk], object]] = {
    "read_vitals": lambda desk: desk.read_vitals(),
    "waiting": lambda desk: desk.waiting(),
    "read_request": lambda desk: desk.read_request(REQUEST.id),
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], Desk]:
    def make() -> Desk:
        folder = tmp_path / os.urandom(4).hex()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            desk = Desk(Store(folder / "submissions", folder / "results").prepare(folder))
            desk.write_vitals(OLD)
            desk.ask(REQUEST)
            return desk

    return make


def test_every_step_is_tried() -> None:
    assert set(WRITES) | set(READS) == {name for name in vars(Desk) if not name.startswith("_")} - {"check"}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_never_claims_success_for_what_is_not_there(make: Callable[[], Desk], name: str) -> None:
    do, done = WRITES[name]
    for desk, faults in every_fault(make, do):  # type: ignore[arg-type]
        assert isinstance(desk, Desk)
        try:
            with faults.injected():
                do(desk)
        except StoreTrouble as error:
            check_trouble(error, faults)
        except FileNotFoundError:
            pass  # it was there just now
        else:
            assert done(desk), f"{faults.calls[faults.fail_at - 1]}: success was claimed"
        assert desk.read_vitals() in (OLD, NEW)
        if not done(desk):
            do(desk)
            assert done(desk)


@pytest.mark.parametrize("name", READS)
def test_a_read_gives_the_right_answer_or_says_that_it_has_none(make: Callable[[], Desk], name: str) -> None:
    desk, read = make(), READS[name]
    right = read(desk)
    for _, faults in every_fault(lambda: desk, read):  # type: ignore[arg-type,return-value]
        found: object = Faults
        try:
            with faults.injected():
                found = read(desk)
        except StoreTrouble as error:
            check_trouble(error, faults)
        except FileNotFoundError:
            continue
        else:
            assert found in (right, None, [])
            assert found == right or faults.number == errno.ENOENT
