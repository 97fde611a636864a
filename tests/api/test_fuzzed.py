"""The OpenAPI document against the API itself: schemathesis makes requests out of it, right ones and wrong ones, with a fixed seed."""

from __future__ import annotations

import pytest
import schemathesis
from flask import Flask
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from frontend.portal import portal
from tests.api.programs import Program, new_key
from tests.frontend.stories import PIN, finish

#: Right by the schema and refused nevertheless, with a reason: an address that is not public or not there, a file that is no media, a
#: detector that is not offered, a range beyond the end, a state that does not allow it.
REASONED = ["2xx", "404", "409", "413", "415", "416", "422"]

CONFIG = """
seed = 20260105
[generation]
max-examples = {examples}
database = "none"
[phases.stateful]
enabled = false
[phases.coverage]
unexpected-methods = ["PUT", "PATCH", "TRACE", "DELETE", "POST"]
[checks.positive_data_acceptance]
expected-statuses = {reasoned}
[headers]
{headers}
[parameters]
"path.id" = "{job}"
[[operations]]
include-name = "DELETE /api/v1/submissions/{{id}}"
parameters = {{ "path.id" = "{gone}" }}
"""


def failures(url: str, header: str, *, examples: int, job: str, gone: str) -> tuple[list[str], dict[str, int]]:
    """What is wrong, and how many requests had which status."""
    config = SchemathesisConfig.from_str(
        CONFIG.format(examples=examples, reasoned=REASONED, headers=header, job=job, gone=gone)
    )
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json", config=config)
    wrong: list[str] = []
    statuses: dict[str, int] = {}
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            wrong.append(str(event.info if isinstance(event, events.NonFatalError) else event.exception))
        if not isinstance(event, events.ScenarioFinished):
            continue
        for made in event.recorder.interactions.values():
            if made.response is not None:
                name = f"{made.request.method} {made.response.status_code}"
                statuses[name] = statuses.get(name, 0) + 1
        for checks in event.recorder.checks.values():
            for check in checks:
                if check.status == Status.FAILURE and check.failure_info is not None:
                    wrong.append(
                        f"{event.recorder.label}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
                    )
    return wrong, statuses


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a thousand requests do not meet, and no network."""
    monkeypatch.setattr("frontend.api.caller.REQUESTS_A_MINUTE", 1_000_000)
    monkeypatch.setattr("frontend.api.caller.UPLOADS_PER_PEER", "1000000 per hour")

    def unreachable(host: str, port: int) -> list[str]:
        raise OSError("no network in tests")

    monkeypatch.setattr("shared.download.resolve", unreachable)


@pytest.mark.parametrize("examples", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_every_answer_is_as_the_document_says(site: tuple[Flask, str], calm: None, examples: int):
    app, url = site
    token = new_key(app, "fuzzer", quota=100_000)
    desk = Program(app.test_client(), key=token)
    job, gone = desk.submit(headers={"PIN": PIN}), desk.submit()
    finish(app, job)
    wrong, statuses = failures(url, f'Authorization = "Bearer {token}"', examples=examples, job=job, gone=gone)
    assert wrong == [], "\n\n".join(wrong[:5])
    assert sum(statuses.values()) > 200, statuses
    assert {"GET 200", "POST 201", "POST 422", "DELETE 204"} <= set(statuses), statuses
    assert not [name for name in statuses if name.rpartition(" ")[2].startswith("5")], statuses
    assert list((portal(app).store.submissions / "tmp").iterdir()) == []
