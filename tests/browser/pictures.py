"""The pictures of the help, from a real result: ``python -m tests.browser.pictures`` (weights of mesonet and selfblend have to be there).

Starts ``deepfake-o-meter serve`` on an empty folder, sends the example of the front page (a portrait by NASA, public domain), and cuts
parts of its pages out, in each language. Writes ``frontend/static/help/<name>.<language>.webp`` and their sizes.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import sync_playwright

from shared.languages import OFFERED

ROOT: Final = Path(__file__).resolve().parents[2]
TARGET: Final = ROOT / "frontend" / "static" / "help"
CHROMIUM: Final = "/usr/bin/chromium"
EXAMPLE: Final = ROOT / "frontend" / "static" / "example.jpg"
PIN: Final = "480613"
CHOOSE: Final = "names => document.querySelectorAll('[name=detectors]').forEach(one => { one.checked = names.includes(one.value); })"
#: Of the file of a picture.
MOST_BYTES: Final = 40_000
#: Name -> page, and what is cut out of it.
PARTS: Final = {
    "finding": ("result", "main section:has(#h-summary)"),
    "score": ("result", "ul.scores > li:first-child"),
    "detectors": ("/detectors?open=selfblend", "details.detector[open]"),
    "pin": ("pin", "main section.card"),
}


def main() -> None:
    """Make all pictures anew."""
    with running() as url:
        _make(url)


@contextmanager
def running(**more: str) -> Iterator[str]:
    """``serve`` on an empty folder, with ``more`` settings; its address, when it is ready."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        settings = {"DFOM_DATA": folder, "DFOM_PORT": str(port), "DFOM_RUNNER": "process"}
        settings |= {f"DFOM_{name.upper()}": value for name, value in more.items()}
        program = [sys.executable, "-m", "deepfake_o_meter", "serve"]
        with subprocess.Popen(program, cwd=ROOT, env=os.environ | settings) as serve:
            try:
                url = f"http://127.0.0.1:{port}"
                _until_ready(url)
                yield url
            finally:
                serve.send_signal(signal.SIGTERM)


def _make(url: str) -> None:
    TARGET.mkdir(exist_ok=True)
    sizes: dict[str, tuple[int, int]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 720, "height": 1400}, color_scheme="light")
        page = context.new_page()
        result = _judged(page, url)
        for code in OFFERED:
            page.goto(f"{url}/help?language={code}")
            for name, (where, part) in PARTS.items():
                if where == "pin":
                    context.clear_cookies(name="dfom")
                page.goto(f"{url}{where}" if where.startswith("/") else result)
                if where == "result" and page.locator("#pin").count():
                    page.fill("#pin", PIN)
                    page.keyboard.press("Enter")
                    page.wait_for_selector("#h-summary")
                file = f"{name}.{code}.webp"
                sizes[file] = _cut(page, part, TARGET / file)
        browser.close()
    (TARGET / "sizes.json").write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")


def _judged(page: Any, url: str) -> str:
    """Send the example; the address of its result, when it is there."""
    page.goto(url)
    page.set_input_files("#file", str(EXAMPLE))
    page.wait_for_selector("#preview img:visible")
    page.evaluate(CHOOSE, ["mesonet", "selfblend"])
    page.fill("#pin", PIN)
    page.check("input[name=consent]")
    page.click("#send")
    page.wait_for_url("**/r/*", timeout=60_000)
    page.wait_for_selector("#pin", timeout=400_000)
    return str(page.url)


def _cut(page: Any, part: str, path: Path) -> tuple[int, int]:
    """Keep a part of the page as a small picture; its width and height."""
    page.wait_for_selector(part)
    picture = Image.open(io.BytesIO(page.locator(part).first.screenshot(animations="disabled")))
    for quality in (80, 65, 50, 35, 20, 10):
        picture.save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size <= MOST_BYTES:
            return picture.size
    raise SystemExit(f"{path.name} is larger than {MOST_BYTES} bytes")


def _until_ready(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise SystemExit("the site did not become ready")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
