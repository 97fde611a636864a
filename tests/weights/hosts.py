"""Servers on this machine that answer as Google Drive and Hugging Face do, and a client that takes them for those.

Drive: ``uc`` leads to ``drive.usercontent.google.com``, where a small file comes at once and a large one behind a page that warns of
viruses; pages for a quota, for a file that is not shared and for one that was removed; folders as a page of links. Hugging Face:
``resolve`` leads to another host and states sha256 and commit on the way; errors have their reason in a header.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx

Server = TypeVar("Server", bound=ThreadingHTTPServer)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WARNING = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title><style>a{{}}</style></head><body>
<p class="uc-warning-caption">Google Drive can't scan this file for viruses.</p>
<p class="uc-warning-subcaption"><a href="/open?id={id}">{id}</a> is too large. Would you still like to download this file?</p>
<form id="download-form" action="{action}" method="get"><input type="submit" id="uc-download-link" value="Download anyway"/>
<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="5a-7"></form></body></html>"""
QUOTA = """<html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can&#39;t view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently. Please try accessing the
file again later. It may take up to 24 hours to be able to view or download the file.</p></body></html>"""
ENTRY = """<div class="flip-entry" id="entry-{id}" tabindex="0" role="link"><div class="flip-entry-info"><a
href="https://drive.google.com/file/d/{id}/view?usp=drive_web" target="_blank"><div class="flip-entry-visual"></div><div
class="flip-entry-title">{name}</div></a></div></div>"""


@dataclass
class Hosted:
    """A file of one of the hosts. ``mood``: what its host does instead of giving it; ``cut_after``: bytes until an answer ends."""

    content: bytes
    large: bool = False
    mood: str = ""
    cut_after: list[int] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class Hosts(ThreadingHTTPServer):
    """All hosts of these tests in one server: it looks at the header ``Host``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.drive: dict[str, Hosted] = {}
        self.folders: dict[str, dict[str, str]] = {}  # folder -> name -> id
        self.hub: dict[str, Hosted] = {}  # path below huggingface.co
        self.web: dict[str, Hosted] = {}  # path below www.example.org
        self.asked: list[tuple[str, str | None]] = []  # (host and path, Range)

    def client(self) -> httpx.Client:
        """A client for which every name leads here."""
        return httpx.Client(follow_redirects=True, transport=_Here(self.server_address[1]))

    def bodies(self, part: str) -> list[str | None]:
        """The ranges asked of addresses that contain ``part``."""
        return [wanted for address, wanted in self.asked if part in address]


class _Here(httpx.HTTPTransport):
    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        here = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        headers = [*request.headers.raw, (b"x-scheme", request.url.scheme.encode())]
        return super().handle_request(httpx.Request(request.method, here, headers=headers, stream=request.stream))


class _Handler(BaseHTTPRequestHandler):
    server: Hosts

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.close_connection = True
        host, parts = self.headers["Host"], urlsplit(self.path)
        self.server.asked.append((host + self.path, self.headers.get("Range")))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client had enough
            if host == "drive.google.com":
                self._drive(parts.path, query)
            elif host == "drive.usercontent.google.com":
                self._usercontent(query)
            elif host == "huggingface.co":
                self._hub(parts.path)
            elif host == "cdn.example.org":
                self._file(self.server.hub[parts.path])
            elif host in ("www.example.org", "download.pytorch.org"):
                self._web(parts.path)
            else:
                self._page(200, "<title>Sign in - Google Accounts</title>")

    def _drive(self, path: str, query: dict[str, str]) -> None:
        if path == "/embeddedfolderview":
            names = self.server.folders.get(query["id"], {})
            entries = "".join(ENTRY.format(id=drive_id, name=name) for name, drive_id in names.items())
            self._page(200 if names else 404, f"<html><head><title>weights</title></head><body>{entries}</body></html>")
            return
        found = self.server.drive.get(query["id"])
        if found and found.mood == "private":
            self._lead("https://accounts.google.com/ServiceLogin?continue=x")
        else:
            self._lead(f"https://drive.usercontent.google.com/download?id={query['id']}&export=download", status=303)

    def _usercontent(self, query: dict[str, str]) -> None:
        found = self.server.drive.get(query["id"])
        if found is None:
            self._page(404, "<title>Error 404 (Not Found)!!1</title>")
        elif found.mood == "quota":
            self._page(200, QUOTA)
        elif found.mood == "elsewhere":
            self._page(200, WARNING.format(id=query["id"], action="https://evil.example.org/download"))
        elif found.mood == "loop" or (found.large and query.get("uuid") != "5a-7"):
            action = "https://drive.usercontent.google.com/download"
            self._page(200, WARNING.format(id=query["id"], action=action))
        else:
            self._file(found, attached=True)

    def _hub(self, path: str) -> None:
        found = self.server.hub.get(path)
        if found is None or found.mood:
            status, reason = {"gated": (401, "GatedRepo"), "busy": (429, "")}.get(
                found.mood if found else "", (404, "EntryNotFound")
            )
            self.send_response(status)
            self.send_header("X-Error-Code", reason)
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        stated = {
            "X-Linked-Etag": f'"{found.sha256}"',
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(found.content)),
        }
        self._lead(f"https://cdn.example.org{path}", **stated)

    def _web(self, path: str) -> None:
        found = self.server.web[path]
        if found.mood == "page":
            self._page(200, "<html><head><title>Please sign in</title></head><body>sign in</body></html>")
        elif found.mood == "downgrade" and self.headers["X-Scheme"] == "https":
            self._lead(f"http://www.example.org{path}")
        else:
            self._file(found)

    def _lead(self, target: str, *, status: int = 302, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Location": target, "Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _page(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def _file(self, found: Hosted, *, attached: bool = False) -> None:
        etag, wanted = f'"{found.sha256[:16]}"', self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        body = found.content[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(found.content) - 1}/{len(found.content)}")
        if attached:
            self.send_header("Content-Disposition", 'attachment; filename="model.pth"')
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if found.cut_after:
            body = body[: found.cut_after.pop(0)]
        self.wfile.write(body)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """``server`` while it answers, in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def serving() -> contextlib.AbstractContextManager[Hosts]:
    return running(Hosts())
