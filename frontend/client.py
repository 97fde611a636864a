"""A client of DeepFake-o-meter's API, in one file that may be copied alone: Python 3.11 and httpx, nothing else.

::

    from client import Client

    with Client("https://dfom.example.org", key="dfom_...") as site:
        job = site.submit("clip.mp4", mode="quick")
        site.wait(job.id, progress=lambda now: print(now.state, now.stage, now.progress))
        for detector in site.result(job.id)["detectors"]:
            print(detector["id"], detector["fake_score"], "threshold", detector["threshold"])

Instead of ``key``, ``pin`` gives access to one submission. A score of None means that a detector could not judge the file: neither real
nor fake. Waits as long as the server asks for (``Retry-After``), so that limits do not end a long run. Licence: Apache-2.0.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx

__all__ = ["ApiError", "Client", "Failed", "Progress", "Step", "WaitedTooLong", "verify_webhook"]

Mode = Literal["quick", "standard", "thorough"]
State = Literal["queued", "working", "done", "failed", "expired"]

#: Seconds between two looks where no events come.
POLL_S: Final = 2.0
#: How often a request is sent again after a lost connection, or after an answer that says "later".
TRIES: Final = 5
#: Longest time a signed message may be under way, seconds.
FRESH_S: Final = 300


class ApiError(Exception):
    """The server refused a request. ``code`` never changes; ``detail`` is for people; ``errors`` names wrong parts of a request."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", f"http_{status}"))
        self.title, self.detail = str(problem.get("title", "")), str(problem.get("detail", ""))
        self.errors: dict[str, str] = dict(problem.get("errors") or {})
        super().__init__(f"{status} {self.code}: {self.detail}")


class Failed(Exception):
    """The analysis ended without a result; ``code`` says why."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.code = progress, progress.code
        super().__init__(f"{progress.state}: {progress.code}")


class WaitedTooLong(TimeoutError):
    """The work goes on, but not within the time that was given."""


@dataclass(frozen=True)
class Step:
    """How far one detector is: ``done`` of ``total`` faces, pictures or windows of sound."""

    id: str
    state: str
    done: int
    total: int
    code: str | None


@dataclass(frozen=True)
class Progress:
    """The status of a submission. ``progress`` is 0 to 1; ``raw`` has all that the server said."""

    id: str
    state: State
    stage: str
    progress: float
    queue_position: int | None
    code: str | None
    video_pending: bool
    detectors: tuple[Step, ...]
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def ended(self) -> bool:
        """Whether the numbers, or the reason why there are none, are there."""
        return self.state in ("done", "failed", "expired")

    @property
    def over(self) -> bool:
        """Whether nothing of it changes any more; the video of a clip follows its numbers."""
        return self.ended and not self.video_pending

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Progress:
        """From the server's JSON."""
        steps = raw.get("detectors") or ()
        return cls(
            id=raw["id"],
            state=raw["state"],
            stage=raw["stage"],
            progress=float(raw["progress"]),
            queue_position=raw.get("queue_position"),
            code=raw.get("code"),
            video_pending=raw.get("video") is not None,
            detectors=tuple(Step(one["id"], one["state"], one["done"], one["total"], one.get("code")) for one in steps),
            raw=raw,
        )


@dataclass(frozen=True)
class Submitted:
    """A new submission: its id, and the address of its page for people, who open it with the PIN."""

    id: str
    page: str


class Client:
    """One caller: with an API ``key``, or with the ``pin`` of a submission. ``http``: an httpx client of your own, as with a proxy."""

    def __init__(
        self,
        site: str,
        *,
        key: str | None = None,
        pin: str | None = None,
        timeout_s: float = 60.0,
        http: httpx.Client | None = None,
    ) -> None:
        self._root = site.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._headers |= {"PIN": pin} if pin else {}
        self._http = http or httpx.Client(timeout=timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    # -- submissions

    def submit(
        self,
        media: str | Path | None = None,
        *,
        url: str | None = None,
        detectors: Sequence[str] = (),
        mode: Mode = "standard",
        stability: Literal["fast", "all"] = "fast",
        video_per_detector: bool = False,
        email: str | None = None,
        webhook: str | None = None,
        idempotency_key: str | None = None,
    ) -> Submitted:
        """Send a file, or the web address of one. Without ``detectors`` all that are available are asked.

        The request carries an Idempotency-Key, so that it can be sent again after a lost connection and is one submission nevertheless.
        """
        if (media is None) == (url is None):
            raise ValueError("Give a file or a web address.")
        wish: dict[str, Any] = {"mode": mode, "stability": stability, "video_per_detector": video_per_detector}
        wish |= {name: value for name, value in (("email", email), ("webhook", webhook)) if value}
        if detectors:
            wish["detectors"] = list(detectors)
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(16)}
        if media is None:
            answer = self._ask("POST", "/submissions", json=wish | {"url": url}, headers=headers)
        else:
            fields = {name: str(value).lower() if isinstance(value, bool) else value for name, value in wish.items()}
            answer = self._send_file(Path(media), fields, headers)
        return self._submitted(answer)

    def again(
        self,
        job: str,
        detectors: Sequence[str],
        *,
        mode: Mode = "standard",
        stability: Literal["fast", "all"] = "fast",
        webhook: str | None = None,
    ) -> Submitted:
        """Have the file of a submission judged by other detectors or in another mode; nothing is sent again."""
        wish: dict[str, Any] = {"detectors": list(detectors), "mode": mode, "stability": stability}
        wish |= {"webhook": webhook} if webhook else {}
        headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
        return self._submitted(self._ask("POST", f"/submissions/{job}/again", json=wish, headers=headers))

    def status(self, job: str) -> Progress:
        """How far a submission is."""
        return Progress.of(self._ask("GET", f"/submissions/{job}").json())

    def wait(
        self,
        job: str,
        *,
        progress: Callable[[Progress], object] = lambda now: None,
        timeout_s: float | None = None,
        video: bool = False,
        poll_s: float = POLL_S,
    ) -> Progress:
        """Wait for the result; ``video``: until the result video is there, too. ``progress`` is called with each change.

        Follows the server's events, and asks now and then where there are none. Failed: there will be no result; WaitedTooLong: not yet.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        last: Mapping[str, Any] | None = None
        while True:
            for now in self._changes(job, deadline):
                if now.raw != last:
                    last = now.raw
                    progress(now)
                if now.over or (now.ended and not video):
                    if now.state != "done":
                        raise Failed(now)
                    return now
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitedTooLong(f"{job} is not finished after {timeout_s} s")
            time.sleep(poll_s if deadline is None else max(0.0, min(poll_s, deadline - time.monotonic())))

    def _changes(self, job: str, deadline: float | None) -> Iterator[Progress]:
        """The events of one stream; of none, the status."""
        try:
            with self._http.stream(
                "GET",
                f"{self._root}/api/v1/submissions/{job}/events",
                headers=self._headers | {"Accept": "text/event-stream"},
                timeout=httpx.Timeout(30.0),
            ) as answer:
                if answer.status_code == 200:
                    for line in answer.iter_lines():
                        if line.startswith("data:"):
                            yield Progress.of(json.loads(line[5:]))
                        if deadline is not None and time.monotonic() >= deadline:
                            return
                    return
        except (httpx.HTTPError, ValueError, KeyError):
            pass  # a proxy that holds events back, or a lost connection: the status says the same
        yield self.status(job)

    def result(self, job: str) -> dict[str, Any]:
        """The content of result.json: docs/report.md of the project explains each member."""
        return dict(self._ask("GET", f"/submissions/{job}/result").json())

    def download(self, job: str, name: str, target: str | Path) -> Path:
        """Save a file of the result (a name of ``files``, or bundle.zip for everything); a broken download goes on where it ended."""
        target = Path(target)
        target.unlink(missing_ok=True)
        for number in range(TRIES):
            have = target.stat().st_size if target.exists() else 0
            headers = {"Range": f"bytes={have}-"} if have else {}
            try:
                self._save(f"/submissions/{job}/files/{name}", headers, target)
                break
            except httpx.TransportError:
                if number == TRIES - 1:
                    target.unlink(missing_ok=True)
                    raise
                time.sleep(2.0**number)
        return target

    def _save(self, path: str, headers: Mapping[str, str], target: Path) -> None:
        with self._http.stream("GET", f"{self._root}/api/v1{path}", headers=self._headers | dict(headers)) as answer:
            if answer.status_code >= 400:
                answer.read()
                raise _error_of(answer)
            with target.open("ab" if answer.status_code == 206 else "wb") as file:
                for piece in answer.iter_bytes():
                    file.write(piece)

    def delete(self, job: str) -> bool:
        """Delete a submission and all of it; False: it is in work, and goes as soon as that has ended."""
        return self._ask("DELETE", f"/submissions/{job}").status_code == 204

    def submissions(self, *, part: int = 50) -> Iterator[dict[str, Any]]:
        """All submissions of the key, newest first."""
        query: dict[str, Any] = {"limit": part}
        while True:
            page = self._ask("GET", "/submissions", params=query).json()
            yield from page["items"]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    # -- the site

    def detectors(self) -> list[dict[str, Any]]:
        """The detectors of the site; those with ``unavailable`` None can be chosen."""
        return list(self._ask("GET", "/detectors").json()["items"])

    def limits(self) -> dict[str, Any]:
        """What the site takes, and what is left of your submissions."""
        return dict(self._ask("GET", "/limits").json())

    # -- inside

    def _submitted(self, answer: httpx.Response) -> Submitted:
        made = answer.json()
        return Submitted(made["id"], self._root + made["links"]["page"])

    def _send_file(self, path: Path, fields: Mapping[str, Any], headers: Mapping[str, str]) -> httpx.Response:
        def send() -> httpx.Response:
            with path.open("rb") as file:
                return self._once(
                    "POST", "/submissions", data=fields, files={"media": (path.name, file)}, headers=headers
                )

        return self._repeated(send)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._repeated(lambda: self._once(method, path, **more))

    def _once(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = self._headers | dict(more.pop("headers", {}))
        return self._http.request(method, f"{self._root}/api/v1{path}", headers=headers, **more)

    def _repeated(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """The answer; ApiError when it is a refusal. Waits and sends again after a lost connection, a full limit or a busy server."""
        for number in range(TRIES):
            last = number == TRIES - 1
            try:
                answer = send()
            except httpx.TransportError:
                if last:
                    raise
                time.sleep(2.0**number)
                continue
            if answer.status_code < 400:
                return answer
            error = _error_of(answer)
            pause = _pause(answer, error, number)
            if last or pause is None:
                raise error
            time.sleep(pause)
        raise AssertionError("not reached")


def _pause(answer: httpx.Response, error: ApiError, number: int) -> float | None:
    """Seconds until a refused request may be sent again; None: that would not help, or not within a minute."""
    if answer.status_code not in (429, 503) or error.code == "pin_wait":
        return None
    wait_s = 2.0**number
    with contextlib.suppress(ValueError):
        wait_s = float(answer.headers.get("Retry-After", wait_s))
    return wait_s if wait_s <= 60 else None


def _error_of(answer: httpx.Response) -> ApiError:
    problem: Any = None
    with contextlib.suppress(ValueError):
        problem = answer.json()
    return ApiError(answer.status_code, problem if isinstance(problem, dict) else {})


def verify_webhook(body: bytes, headers: Mapping[str, str], secret: str, *, now: float | None = None) -> dict[str, Any]:
    """The message of a webhook, checked: it was signed with this ``secret`` (whsec_...) within the last five minutes. ValueError if not.

    ``body`` are the bytes as they came. Keep ``webhook-id`` for a day: a message may come twice.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message_id, moment = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not moment.isdecimal() or abs((time.time() if now is None else now) - int(moment)) > FRESH_S:
        raise ValueError("This message is too old, or has no time.")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.digest(key, f"{message_id}.{moment}.".encode() + body, hashlib.sha256)).decode()
    signatures = [
        part.partition(",")[2] for part in given.get("webhook-signature", "").split() if part.startswith("v1,")
    ]
    if not any(hmac.compare_digest(wanted, signature) for signature in signatures):
        raise ValueError("This message is not signed with this secret.")
    return dict(json.loads(body))
