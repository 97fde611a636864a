"""``pack.json`` of packs that tests make by hand: whole, as the media pass writes it; what is not given follows from the faces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from base_detector import PACK_SCHEMA, PICTURE_DTYPE, WINDOW_DTYPE, turn_points
from shared.findings import MediaPack, Note


def write_faces(folder: Path, rows: np.ndarray, crops: Iterable[np.ndarray]) -> None:
    """Write ``faces.npy`` and ``crops.bin``: ``rows`` (n,) of FACE_DTYPE, of which the places in the file are set here, and their crops."""
    offset = 0
    with (folder / "crops.bin").open("wb") as stream:
        for row, crop in zip(rows, crops, strict=True):
            row["crop_offset"], row["crop_height"], row["crop_width"] = offset, *crop.shape[:2]
            offset += stream.write(np.ascontiguousarray(crop, np.uint8).tobytes())
    np.save(folder / "faces.npy", rows)


def write_no_pictures_nor_sound(folder: Path) -> None:
    """The files of a pack in which nobody asked for whole pictures or sound."""
    np.save(folder / "pictures.npy", np.zeros(0, PICTURE_DTYPE))
    np.save(folder / "windows.npy", np.zeros(0, WINDOW_DTYPE))
    for name in ("pictures.bin", "sound.f32"):
        (folder / name).touch()


def finish_pack(
    folder: Path,
    *,
    size: tuple[int, int],
    sampled: Iterable[int] | None = None,
    fps: float | None = 25.0,
    shots: list[dict[str, int]] | None = None,
    notes: Iterable[Note] = (),
    mode: str = "thorough",
    **media: Any,
) -> MediaPack:
    """Write ``pack.json`` beside the ``faces.npy`` and ``crops.bin`` in ``folder``.

    ``sampled``: numbers of the sampled pictures, those with faces where None. ``shots``: ``shot``, ``start`` and ``end`` of each.
    """
    faces = np.load(folder / "faces.npy")
    times = {int(row["frame"]): float(row["time_s"]) for row in faces}
    numbers = sorted(times) or [0] if sampled is None else [int(frame) for frame in sampled]
    step = 1 / (fps or 25.0)
    if shots is None:
        of_shot = {int(shot): faces["frame"][faces["shot"] == shot] for shot in np.unique(faces["shot"])}
        shots = [{"shot": shot, "start": int(own.min()), "end": int(own.max())} for shot, own in of_shot.items()]
    persons = []
    for person in (int(person) for person in np.unique(faces["person"]) if person >= 0):
        rows = np.flatnonzero(faces["person"] == person)
        first, last = (float(faces["time_s"][row]) for row in (rows[0], rows[-1]))
        persons.append(
            {"person": person, "faces": len(rows), "first_s": first, "last_s": last, "keyface": int(rows[0])}
        )
    total = max(numbers, default=0) + 1
    info = {
        "schema": PACK_SCHEMA,
        "media": {
            "kind": "video", "width": size[0], "height": size[1], "fps": fps, "duration_s": total * step, "frames": total,
            "codec": "h264", "container": "mp4", "rotation": 0, "has_audio": False, "sizes": [], "lossless": False,
        } | media,
        "sampling": {"mode": mode, "samplings": ["every_frame"], "context": 2.0, "detect_every": 1},
        "frames": [{"frame": frame, "time_s": times.get(frame, frame * step)} for frame in numbers],
        "shots": [item | {"start_s": item["start"] * step, "end_s": item["end"] * step} for item in shots],
        "persons": persons,
        "notes": [asdict(note) for note in notes],
        "sound": None,
        "seconds": {"total": 0.5},
    }  # fmt: skip
    (folder / "pack.json").write_text(json.dumps(info), encoding="utf-8")
    write_no_pictures_nor_sound(folder)
    return MediaPack(folder)


def turned_pack(pack: MediaPack, folder: Path, *, turn: int) -> MediaPack:
    """``pack`` of upright faces as if its frames were shown on their side or head: ``turn`` degrees clockwise make them upright again."""
    rows, (width, height) = np.array(pack.faces), pack.frame_size
    back, size = 360 - turn, (width, height)
    crops = [pack.image(index) for index in range(len(pack))]
    for row, crop in zip(rows, crops, strict=True):
        corners = np.array([row["crop_origin"], row["crop_origin"] + crop.shape[1::-1]])
        row["crop_origin"] = turn_points(corners, turn=back, size=size).min(axis=0)
        row["box"] = np.sort(turn_points(row["box"].reshape(2, 2), turn=back, size=size), axis=0).reshape(4)
        row["landmarks"] = turn_points(row["landmarks"], turn=back, size=size)
        row["turn"] = turn
    folder.mkdir()
    write_faces(folder, rows, crops)
    info = json.loads((pack.folder / "pack.json").read_text(encoding="utf-8"))
    if turn % 180:
        info["media"] |= {"width": height, "height": width}
    (folder / "pack.json").write_text(json.dumps(info), encoding="utf-8")
    write_no_pictures_nor_sound(folder)
    return MediaPack(folder)
