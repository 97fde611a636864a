"""A worker that speaks protocol v1 and misbehaves as each request says. Standard library only: it runs anywhere.

``python acting.py EXCHANGE``; a file ``never`` beside the exchange folder makes it not listen at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HOARD: list[bytearray] = []


def act(request: dict, send) -> dict | None:
    verb = request["verb"]
    if verb == "health":
        return {"status": "ok", "protocol": 1, "verbs": ["load", "predict"]}
    if verb == "describe":
        return {"status": "ok", "card": {"id": "acting", "version": "1", "contract": "1"}}
    if verb in ("load", "echo"):
        return {"status": "ok", "request": request, "pid": os.getpid()}
    if verb == "environment":
        limits = Path("/proc/self/limits").read_text()
        return {"status": "ok", "environment": dict(os.environ), "limits": limits, "files": os.listdir("/proc/self/fd")}
    if verb == "look":
        found = {}
        for path in sorted(Path(request["at"]).rglob("*")):
            with contextlib.suppress(OSError):
                found[str(path)] = path.read_bytes().hex() if path.is_file() else None
        return {"status": "ok", "found": found}
    if verb == "sleep":
        time.sleep(request["seconds"])
    elif verb == "count":
        for done in range(request["total"] + 1):
            send({"event": "progress", "done": done, "total": request["total"]})
    elif verb == "say":
        send(request["what"])
        return None
    elif verb == "raw":
        return {"raw": request["what"]}
    elif verb == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "fail":
        print(request.get("words", ""), file=sys.stderr, flush=True)
        return {"status": "error", "code": request["code"], "retryable": request.get("retryable", False)}
    elif verb == "refuse":
        return {"status": "not_applicable", "reason": request["reason"]}
    elif verb == "deaf":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    elif verb == "linger":
        request_stop["after"] = request["seconds"]
    elif verb == "child":
        command = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", command])
        return {"status": "ok", "pid": child.pid}
    elif verb == "write":
        path = Path(request["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(b"x" * request["bytes"])
        time.sleep(request.get("seconds", 0))
    elif verb == "many":
        for index in range(request["count"]):
            Path(request["path"], f"{index}").touch()
        time.sleep(60)
    elif verb == "hoard":
        HOARD.append(bytearray(request["bytes"]))
        HOARD[-1][::4096] = b"x" * len(HOARD[-1][::4096])
    elif verb == "run":
        scope: dict = {"request": request}
        exec(request["code"], scope)
        return {"status": "ok", "value": scope.get("value")}
    return {"status": "ok"}


request_stop = {"after": 0.0}


def main() -> None:
    exchange = Path(sys.argv[-1])
    os.chdir(exchange)
    if Path("../never").exists():
        time.sleep(600)
    with contextlib.suppress(FileNotFoundError):
        os.unlink("worker.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("worker.sock.tmp")
    listener.listen(4)
    os.chmod("worker.sock.tmp", 0o777)
    os.rename("worker.sock.tmp", "worker.sock")
    while True:
        caller, _ = listener.accept()
        with caller, caller.makefile("rwb") as stream, contextlib.suppress(OSError):

            def send(message) -> None:
                stream.write((message if isinstance(message, str) else json.dumps(message)).encode() + b"\n")
                stream.flush()

            for line in stream:
                request = json.loads(line)
                if request["verb"] == "stop":
                    send({"status": "ok"})
                    time.sleep(request_stop["after"])
                    return
                try:
                    answer = act(request, send)
                except MemoryError:
                    answer = {"status": "error", "code": "out_of_memory", "retryable": True}
                if answer is not None:
                    send(answer.get("raw", answer))


if __name__ == "__main__":
    main()
