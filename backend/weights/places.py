"""How the places where weights are published answer: Google Drive, Hugging Face, and plain web servers.

Drive and Hugging Face are spoken directly, with the client that fetches everything else: docs/weights.md says why their own libraries are
not used. Promises: what comes out is an answer whose body is the file, never a page about it; an address of https never leads to one
without; ``Refused`` says what happened and what to do. May be imported by ``backend.weights``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit, urlunsplit

import httpx

from backend.weights.archives import the_one

#: Most bytes of a page about a file; Drive's are below 100 kB.
_MOST_PAGE: Final = 1_000_000
#: Pages before the file: Drive's warning that it did not look for viruses. More than these lead nowhere.
_MOST_PAGES: Final = 3
_DRIVE: Final = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")
_ID: Final = r"[\w-]{10,}"
#: What Drive writes when a file was downloaded too often (its pages are in English for a client without a language).
_QUOTA: Final = re.compile(r"too many users have viewed|quota (?:has been )?exceeded|download quota", re.I)


class Refused(Exception):
    """This place does not give the file: ``code`` of shared.errors, what happened, and what to do first where that helps."""

    def __init__(self, code: str, happened: str, *, do: str = "") -> None:
        super().__init__(happened)
        self.code, self.happened, self.do = code, happened, do


@dataclass(frozen=True)
class Places:
    """The places of one run; what was learned of them is kept, so that eleven files of a folder need one look into it."""

    client: httpx.Client
    _folders: dict[str, dict[str, str]] = field(default_factory=dict)
    #: hosts that did not answer: whoever only asks for sizes does not wait for them again
    away: set[str] = field(default_factory=set)

    @contextmanager
    def opened(self, address: str, *, name: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The answer of ``address``, its body not read yet; ``name`` is the file's, where the address is a folder.

        Raises Refused, and httpx.HTTPError when the network fails.
        """
        file, folder = drive_file(address), drive_folder(address)
        if folder:
            file = self._in_folder(folder, name)
        link = f"https://drive.google.com/uc?{urlencode({'export': 'download', 'id': file})}" if file else address
        for _ in range(_MOST_PAGES):
            with self.client.stream("GET", link, headers=headers) as response:
                _stay_encrypted(address, response)
                if not _is_page(response, of_drive=bool(file)):
                    if not file:
                        _explain_hugging_face(response)
                    yield response
                    return
                page = _read(response)
                if not file:
                    raise _page_instead(response, page)
                link = _after_page(response, page, file)
        raise Refused("weights_link_dead", "Google Drive shows one page after the other and does not give the file")

    def _in_folder(self, folder: str, name: str) -> str:
        """The id of the file ``name`` (or the only one that a pattern fits) in a public folder of Drive."""
        if folder not in self._folders:
            link = f"https://drive.google.com/embeddedfolderview?{urlencode({'id': folder})}"
            with self.client.stream("GET", link) as response:
                page = _read(response)
                if response.status_code != httpx.codes.OK or not page.files:
                    raise Refused(
                        "weights_link_dead",
                        f"the folder on Google Drive shows no files to the public (status {response.status_code})",
                    )
                self._folders[folder] = page.files
        files = self._folders[folder]
        found = the_one(name, list(files))
        if len(found) != 1:
            fault = f"more than one {name}" if found else f"no {name}"
            content = ", ".join(sorted(files)[:20])
            raise Refused("weights_mismatch", f"the folder on Google Drive has {fault}; it has {content}")
        return files[found[0]]


# --------------------------------------------------------------------------- addresses


def drive_file(address: str) -> str | None:
    """The id of the file on Google Drive that ``address`` names, None when it names none."""
    parts = _split(address)
    if parts is None or parts.hostname not in _DRIVE:
        return None
    if found := re.match(rf"/file/(?:u/\d+/)?d/({_ID})", parts.path):
        return found[1]
    ids = parse_qs(parts.query).get("id", [])
    usual = parts.path in ("/open", "/uc", "/download")
    return ids[0] if usual and len(ids) == 1 and re.fullmatch(_ID, ids[0]) else None


def drive_folder(address: str) -> str | None:
    """The id of the folder on Google Drive that ``address`` names, None when it names none."""
    parts = _split(address)
    if parts is None or parts.hostname not in _DRIVE:
        return None
    found = re.match(rf"/drive/(?:u/\d+/)?folders/({_ID})", parts.path)
    return found[1] if found else None


def on_hugging_face(address: str) -> bool:
    """Whether ``address`` names a file of Hugging Face."""
    return host_of(address) in ("huggingface.co", "hf.co")


def host_of(address: str) -> str:
    """The host that ``address`` names, "" when it names none."""
    parts = _split(address)
    return (parts.hostname or "") if parts else ""


def _split(address: str) -> SplitResult | None:
    try:
        return urlsplit(address)
    except ValueError:
        return None


# --------------------------------------------------------------------------- what is said of the file


def published_sha256(response: httpx.Response) -> str:
    """The sha256 that Hugging Face states for a large file ("" where nothing does): in the redirect, as ``X-Linked-Etag``."""
    for answer in (*response.history, response):
        stated = answer.headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
        if on_hugging_face(str(answer.url)) and re.fullmatch(r"[0-9a-f]{64}", stated):
            return str(stated)
    return ""


def revision(response: httpx.Response) -> str:
    """The commit that Hugging Face answered from, "" elsewhere."""
    for answer in (*response.history, response):
        commit = answer.headers.get("X-Repo-Commit", "")
        if on_hugging_face(str(answer.url)) and re.fullmatch(r"[0-9a-f]{40}", commit):
            return str(commit)
    return ""


def validator(response: httpx.Response) -> str:
    """What tells whether the file behind an address is still the same; "" where nothing does. ``X-Goog-Hash`` is Google's."""
    etag = response.headers.get("ETag", "")
    stated = (etag if not etag.startswith("W/") else "", *map(response.headers.get, ("X-Goog-Hash", "Last-Modified")))
    return next((str(value) for value in stated if value), "")


# --------------------------------------------------------------------------- answers


def _stay_encrypted(address: str, response: httpx.Response) -> None:
    """A file whose sha256 nobody published is believed because of where it comes from, so the way there must not be open to others."""
    if address.startswith("https:") and any(hop.url.scheme != "https" for hop in (*response.history, response)):
        raise Refused("weights_link_dead", f"it leads to {response.url}, which is not encrypted")


def _is_page(response: httpx.Response, *, of_drive: bool) -> bool:
    """Whether the body is a page to read. What an error of a plain server says is not read: its status is enough."""
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    attached = response.headers.get("Content-Disposition", "").lower().startswith("attachment")
    is_error = response.status_code >= httpx.codes.BAD_REQUEST
    return kind in ("text/html", "application/xhtml+xml") and not attached and (of_drive or not is_error)


def _read(response: httpx.Response) -> _Page:
    content = b""
    for block in response.iter_bytes():
        content += block
        if len(content) > _MOST_PAGE:
            break
    page = _Page()
    page.feed(content[:_MOST_PAGE].decode("utf-8", "replace"))
    return page


def _page_instead(response: httpx.Response, page: _Page) -> Refused:
    title = f" ({page.title.strip()[:80]})" if page.title.strip() else ""
    return Refused(
        "weights_link_dead",
        f"it answers with a web page{title} instead of the file",
        do=f"Open {response.url} in a browser to see what it asks for.",
    )


def _after_page(response: httpx.Response, page: _Page, file: str) -> str:
    """The link behind the page that Drive shows instead of a file; Refused when it shows why there is none."""
    seen = f"https://drive.google.com/file/d/{file}/view"
    words = " ".join(page.text.split())
    if _QUOTA.search(f"{page.title} {words}") or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise Refused(
            "weights_busy",
            "Google Drive gives this file to nobody at the moment: too many people downloaded it",
            do=f"Try again in some hours, at most a day. Or download it in a browser where you are signed in to Google: {seen}.",
        )
    if response.url.host == "accounts.google.com" or response.status_code in (401, 403):
        raise Refused("weights_link_dead", "its owner on Google Drive does not share it with everybody (any more)")
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise Refused("weights_busy", f"Google Drive answers {response.status_code}", do="Try again later.")
    if response.status_code >= httpx.codes.BAD_REQUEST:
        raise Refused("weights_link_dead", f"Google Drive answers {response.status_code}: the file was removed")
    if page.action:
        parts = urlsplit(page.action)
        if parts.scheme == "https" and (parts.hostname or "").endswith((".google.com", ".googleusercontent.com")):
            return urlunsplit(parts._replace(query=urlencode({**dict(_pairs(parts.query)), **page.fields})))
    said = f": {words[:120]}" if words else ""
    raise Refused(
        "weights_link_dead",
        f"Google Drive answers with a page instead of the file{said}",
        do=f"Open {seen} in a browser.",
    )


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    return ((name, values[-1]) for name, values in parse_qs(query, keep_blank_values=True).items())


def _explain_hugging_face(response: httpx.Response) -> None:
    """Refused with the reason that Hugging Face gives in a header (huggingface_hub, ``utils/_http.py``)."""
    first = response.history[0] if response.history else response
    if response.status_code < httpx.codes.BAD_REQUEST or not on_hugging_face(str(first.url)):
        return
    path = first.url.path.split("/resolve/")[0].strip("/")
    reason = response.headers.get("X-Error-Code", "")
    if reason == "GatedRepo":
        raise Refused(
            "weights_manual",
            "Hugging Face gives it only to people who agreed to its terms",
            do=f"Open https://huggingface.co/{path}, sign in, agree, and download it there.",
        )
    if reason in ("RevisionNotFound", "EntryNotFound", "RepoNotFound") or response.status_code in (401, 403, 404):
        missing = {"RevisionNotFound": "this version of the model", "EntryNotFound": "this file"}.get(reason, path)
        raise Refused("weights_link_dead", f"Hugging Face does not have {missing} (any more)")


class _Page(HTMLParser):
    """What is read of a page: title, text, the download form of Drive, and the files that a folder of Drive lists."""

    def __init__(self) -> None:
        super().__init__()
        self.title = self.text = self.action = ""
        self.fields: dict[str, str] = {}
        self.files: dict[str, str] = {}  # name -> id
        self._in, self._form, self._link, self._name = "", False, "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("title", "script", "style"):
            self._in = tag
        elif tag == "form":
            self._form = given.get("id") == "download-form"
            self.action = given.get("action", "") if self._form else self.action
        elif tag == "input" and self._form and given.get("type") == "hidden":
            self.fields[given.get("name", "")] = given.get("value", "")
        elif tag == "a":
            self._link, self._name = drive_file(given.get("href", "")) or "", ""

    def handle_endtag(self, tag: str) -> None:
        if tag == self._in:
            self._in = ""
        elif tag == "form":
            self._form = False
        elif tag == "a" and self._link:
            self.files[" ".join(self._name.split())] = self._link
            self._link = ""

    def handle_data(self, data: str) -> None:
        if self._in == "title":
            self.title += data
        elif not self._in:
            self.text += f" {data}"
            self._name += data
