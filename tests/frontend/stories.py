"""What the stories about the portal share: a catalog, a finished report made with the real models, and two actors."""

from __future__ import annotations

import hashlib
import io
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from backend.report.boxes import write_boxes
from backend.report.build import scored_detectors
from backend.report.curves import write_curves
from backend.report.plan import counts_at
from frontend.portal import portal
from shared.records import Catalog, CatalogEntry, DetectorProgress, JobId, Status
from shared.results import (
    Consensus,
    DetectorResult,
    Evidence,
    FaceRow,
    Keyframe,
    MediaFacts,
    MediaWorker,
    Person,
    PersonScore,
    Provenance,
    Result,
    Shot,
    VideoState,
)

PIN = "482913"
#: Cost of argon2id in stories that are not about it.
CHEAP = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
EMAIL = "alex@example.org"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(200)
START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class FrozenClock:
    """A clock that moves when told to."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)


def catalog(now: datetime, *, all_kinds: bool = False) -> Catalog:
    """Detectors of faces; with ``all_kinds`` also one of sound, and one of whole pictures."""

    def entry(
        name: str, title: str, year: int, summary: str, *, unavailable: str | None = None, **more: Any
    ) -> CatalogEntry:
        return CatalogEntry(
            id=name,
            title=title,
            version="1.0",
            summary=summary,
            paper="Authors et al., A Paper on It, WIFS",
            year=year,
            licence="MIT",
            threshold=0.5,
            aggregation="mean",
            sees=("Face swaps by autoencoders", "Face2Face re-enactment"),
            limits=("Fully synthetic faces", "Strong compression"),
            weights=(),
            unavailable=unavailable,
            runner=None if unavailable else "docker" if name == "va" else "process",
            typical_seconds=None if name == "va" else 7.4,
            measured_jobs=0 if name == "va" else 12,
            **more,
        )

    return Catalog(
        updated=now,
        runner="process",
        queued=0,
        working=0,
        detectors=(
            entry("mesonet", "MesoInception4", 2018, "Looks at mid-sized patterns of the skin of swapped faces."),
            entry("classnseg", "ClassNSeg", 2019, "Marks the manipulated part of a face and gives a score."),
            entry("va", "Visual Artifacts", 2019, "Measures eyes and teeth for missing reflections and details."),
            entry(
                "xception",
                "Xception",
                2019,
                "A large network trained on four ways of face forgery.",
                unavailable="weights_missing",
            ),
        )
        + (
            entry("aasist", "AASIST", 2022, "Listens for traces of synthetic speech.", input="sound", recommended=1),
            entry(
                "ferretnet", "FerretNet", 2025, "Looks for traces of generators.", input="picture", lossless_only=True
            ),
        )
        * all_kinds,
    )


def finish(
    app: Flask,
    job: str,
    *,
    video: Path | None = None,
    portrait: Path | None = None,
    kind: str = "video",
    curves: bool = True,
    state: VideoState | None = "ready",
    change: Callable[[Result], Result] = lambda result: result,
) -> Result:
    """Do the back-end's part for a submission: move it on, publish a report, say done.

    ``curves``: with ``curves.json`` and ``boxes.json`` in it; ``state``: of its video, which ``add_video`` adds to a pending one.
    ``change``: what makes another result of the usual one (tests/units.py).
    """
    site = portal(app)
    now = site.clock()
    result = change(a_result(job, now, kind=kind))
    folder = site.settings.data / "scratch" / job
    folder.mkdir(parents=True)
    if curves:
        scored = scored_detectors(result)
        write_curves(result, scored, folder / "curves.json")
        said = counts_at([pair for pair in scored if pair[0].unit == "face"], units=len(result.faces))
        write_boxes(result, said, folder / "boxes.json")
    files = _write_files(folder, result, video=video, portrait=portrait)
    if state not in (None, "ready"):
        shutil.rmtree(folder / "video")
        files = {name: digest for name, digest in files.items() if not name.startswith("video/")}
    result = result.model_copy(update={"files": files, "video": state})
    (folder / "result.json").write_text(result.model_dump_json())
    site.store.move(JobId(job), "new", "active")
    site.store.publish(JobId(job), folder)
    pending = "pending" if state == "pending" else None
    site.store.write_status(status(job, now, state="done", step="done", progress=1.0, finished=now, video=pending))
    if not pending:
        site.store.move(JobId(job), "active", "done")
    return result


def add_video(app: Flask, job: str, video: Path | None = None, *, state: VideoState = "ready") -> None:
    """Do the rest of the back-end's part for a result that was published without its video; ``state``: how that ended."""
    site = portal(app)
    folder = site.settings.data / "scratch" / job
    files = {}
    if state == "ready":
        (folder / "video").mkdir()
        content = video.read_bytes() if video else bytes(5000)
        (folder / "video" / "side_by_side.mp4").write_bytes(content)
        files = {"video/side_by_side.mp4": hashlib.sha256(content).hexdigest()}
    elif state == "failed":
        (folder / "video").mkdir()
        (folder / "video" / "not_drawn.txt").write_text("The video could not be drawn.")
        files = {"video/not_drawn.txt": hashlib.sha256(b"The video could not be drawn.").hexdigest()}
    result = Result.model_validate_json((folder / "result.json").read_bytes())
    result = result.model_copy(update={"files": result.files | files, "video": state})
    (folder / "result.json").write_text(result.model_dump_json())
    site.store.complete(JobId(job), folder)
    known = site.store.read_status(job)
    assert known is not None
    site.store.write_status(known.model_copy(update={"video": None}))
    site.store.move(JobId(job), "active", "done")


def status(job: str, now: datetime, **members: Any) -> Status:
    return Status(**({"id": job, "state": "working", "updated": now, "received": now, "attempt": 1} | members))


def working(job: str, now: datetime) -> Status:
    return status(
        job,
        now,
        step="detectors",
        progress=0.46,
        detectors=(
            DetectorProgress(detector="mesonet", title="MesoInception4", state="ok", seconds=3.2),
            DetectorProgress(detector="classnseg", title="ClassNSeg", state="working", done=31, total=100),
            DetectorProgress(detector="va", title="Visual Artifacts"),
        ),
    )


def _write_files(folder: Path, result: Result, *, video: Path | None, portrait: Path | None) -> dict[str, str]:
    for name in ("video", "curves", "sorted", "keyframes", "gallery", "evidence/classnseg"):
        (folder / name).mkdir(parents=True)
    picture = Image.open(portrait).convert("RGB") if portrait else Image.new("RGB", (64, 64), (90, 90, 90))
    for person in result.persons:
        if person.keyframe:
            picture.resize((256, 256)).save(folder / person.keyframe)
    for item in (one for detector in result.detectors for one in detector.evidence):
        heat = np.linspace(0, 255, 128, dtype=np.uint8)[None].repeat(128, 0)
        Image.fromarray(heat).save(folder / item.file)
        if item.plain:
            picture.resize((256, 256)).save(folder / item.plain)
    for key in result.gallery:
        picture.resize((256, 256)).save(folder / key.file)
    for name in ("curves/all.png", "curves/mesonet.png", "sorted/mesonet.png"):
        Image.new("RGB", (640, 240), "white").save(folder / name)
    (folder / "report.pdf").write_bytes(b"%PDF-1.4 made up")
    if result.media.kind != "image":
        content = video.read_bytes() if video else b"\0" * 5000
        for name in ("side_by_side", "mesonet"):
            (folder / "video" / f"{name}.mp4").write_bytes(content)
    else:
        picture.save(folder / "video" / "side_by_side.png")
    (folder / "scores.csv").write_text("frame,person,mesonet\n0,1,0.5\n")
    (folder / "summary.html").write_text("<script>alert(1)</script>")
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def a_result(job: str, now: datetime, *, kind: str = "video") -> Result:
    """A result of two persons, two shots and three detectors, as the back-end would write it."""
    times = [index / 5 for index in range(60)] if kind == "video" else [0.0]
    faces, first, second = [], [], []
    for frame, time_s in enumerate(times):
        shot = 0 if time_s < 6 else 1
        for person in (0, 1) if time_s < 8 else (0,):
            faces.append(
                FaceRow(
                    frame=frame, time_s=time_s, shot=shot, person=person,
                    box=(40.0 * person + 40, 30.0, 40.0 * person + 130, 140.0), confidence=0.99, tracked=frame % 5 != 0,
                )
            )  # fmt: skip
            first.append(round(0.62 + 0.3 * math.sin(time_s + person + 1), 4))
            second.append(None if 3 < time_s < 4 else round(0.35 + 0.15 * math.cos(2 * time_s + person + 1), 4))
    shots = [
        Shot(shot=0, start=0, end=29, start_s=0.0, end_s=5.8),
        Shot(shot=1, start=30, end=59, start_s=6.0, end_s=11.8),
    ]
    persons = tuple(
        Person(
            person=person, faces=sum(row.person == person for row in faces), first_s=0.0, last_s=11.8,
            keyframe=f"keyframes/person_{person}.jpg",
        )
        for person in (0, 1)
    )  # fmt: skip
    provenance = Provenance(version="1.0", contract="1", weights={}, parameters={}, runner="process", image=None)
    common: dict[str, Any] = {
        "threshold": 0.5, "strategy": "mean", "provenance": provenance, "seconds": {"wall": 3.2},
        "paper": "Afchar et al., MesoNet: a Compact Facial Video Forgery Detection Network, WIFS 2018",
        "limits": ("Fully synthetic faces", "Strong compression"),
    }  # fmt: skip
    pictures = 1 if kind == "image" else 6
    evidence = tuple(
        Evidence(face=face, file=f"evidence/classnseg/{face:06d}.jpg", plain=f"evidence/classnseg/{face:06d}_face.jpg")
        for face in range(pictures)
    )
    shown = {(row.person, row.shot): place for place, row in enumerate(faces)}
    gallery = tuple(Keyframe(face=place, file=f"gallery/{place:06d}.jpg") for place in shown.values())
    detectors = (
        _detector("mesonet", "MesoInception4", faces, first, common),
        _detector("classnseg", "ClassNSeg", faces, second, common).model_copy(update={"evidence": evidence}),
        DetectorResult(
            id="va", title="Visual Artifacts", status="not_applicable", code="mouth_or_eyes_closed",
            message="This detector needs a frame with open mouth and both eyes open; none was found.", **common,
        ),
    )  # fmt: skip
    scores = [item.fake_score for item in detectors if item.fake_score is not None]
    return Result(
        id=job,
        created=now,
        platform_version="0.1.0",
        media=MediaFacts(
            name="press_statement_final (2).mp4" if kind == "video" else "portrait.jpg",
            sha256="ab" * 32, bytes=4_812_345, kind=kind, width=640, height=480, fps=25.0 if kind == "video" else None,
            duration_s=12.0 if kind == "video" else 0.0, frames=300 if kind == "video" else 1,
            codec="h264", container="mov,mp4,m4a,3gp,3g2,mj2", rotation=0, has_audio=True,
        ),
        mode="standard",
        sampled_frames=len(times),
        shots=tuple(shots) if kind == "video" else (Shot(shot=0, start=0, end=0, start_s=0.0, end_s=0.0),),
        persons=persons,
        faces=tuple(faces),
        gallery=gallery,
        detectors=detectors,
        consensus=(Consensus(
            unit="face", detectors=2, mean=float(np.mean(scores)), minimum=min(scores), maximum=max(scores),
            standard_deviation=float(np.std(scores)),
        ),),
        seconds={"media": 1.0},
        media_worker=MediaWorker(runner="docker", image="sha256:" + "cd" * 32),
    )  # fmt: skip


def _detector(
    name: str, title: str, faces: list[FaceRow], scores: list[float | None], common: dict[str, Any]
) -> DetectorResult:
    def mean(person: int | None) -> float:
        chosen = [s for row, s in zip(faces, scores, strict=True) if s is not None and person in (None, row.person)]
        return sum(chosen) / len(chosen)

    def label(score: float) -> str:
        return "fake" if score >= 0.5 else "real"

    return DetectorResult(
        id=name,
        title=title,
        status="ok",
        fake_score=mean(None),
        hard_label=label(mean(None)),
        auc=1 - mean(None),
        persons=tuple(PersonScore(person=p, faces=5, fake_score=mean(p), hard_label=label(mean(p))) for p in (0, 1)),
        scores=tuple(scores),
        units_scored=sum(score is not None for score in scores),
        skipped={"face_too_small": 2},
        **common,
    )


@dataclass
class Visitor:
    """Somebody with a browser."""

    client: FlaskClient

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, buffered=True, **more)

    def token(self, path: str = "/") -> str:
        page = self.client.get(path).get_data(as_text=True)
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found, f"no form on {path}"
        return found.group(1)

    def post(self, path: str, data: dict[str, Any] | None = None, *, form_on: str | None = None, **more: Any) -> Any:
        fields = {"csrf_token": self.token(form_on or "/")} | (data or {})
        return self.client.post(path, data=fields, **more)

    def enter_pin(self, job: str, pin: str = PIN) -> Any:
        return self.post(f"/r/{job}/pin", {"pin": pin})


class Uploader(Visitor):
    """A visitor who sends a file."""

    def fields(self, **changed: Any) -> dict[str, Any]:
        form = {
            "media": (io.BytesIO(JPEG), "portrait.jpg"), "detectors": ["mesonet", "classnseg"], "mode": "standard",
            "email": EMAIL, "pin": PIN, "consent": "yes",
        }  # fmt: skip
        form.update(changed)
        return {name: value for name, value in form.items() if value is not None}

    def send(self, *, as_json: bool = True, **changed: Any) -> Any:
        headers = {"Accept": "application/json"} if as_json else {"Accept": "text/html"}
        return self.post("/submit", self.fields(**changed), headers=headers, content_type="multipart/form-data")

    def submit(self, **changed: Any) -> str:
        answer = self.send(**changed)
        assert answer.status_code == 201, answer.get_data(as_text=True)
        return str(answer.json["id"])
