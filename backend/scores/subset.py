"""Small face packs of some units of a pack: what a detector judges again, and the same with changed pixels or places.

Owns which units are judged again, and how such packs are written. Promises: a pack that was checked gives packs that keep the same rules
(docs/face_pack.md), and no pixel is decoded here: they are copied as they are. May be imported by the back-end.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from base_detector import Array, Card, FacePack
from shared.findings import MediaPack
from shared.stability import MOST_BYTES, most_units

#: Files of pixels and samples by what is judged.
PIXELS: Final = {"face": "crops.bin", "picture": "pictures.bin", "sound": "sound.f32"}


def chosen(card: Card, pack: FacePack) -> Array:
    """Rows of the units of ``card`` that are judged again, (k,) int64 ascending: spread evenly over the file, or, for a detector that
    judges faces over time, the first ones. No more than ``MOST_BYTES`` of pixels, and at least one."""
    rows, most = pack.units(card), most_units(card)
    if card.input == "video":
        return np.arange(min(most, len(rows)))
    most = max(1, min(most, int(MOST_BYTES // max(1.0, _bytes(rows, card).mean())))) if len(rows) else 0
    return np.unique(np.linspace(0, max(0, len(rows) - 1), most).round().astype(np.int64))


def _bytes(rows: Array, card: Card) -> Array:
    """Bytes of each unit, (n,) float64."""
    if card.unit == "sound":
        return np.asarray((rows["stop"] - rows["start"]) * 4.0)
    names = ("crop_height", "crop_width") if card.unit == "face" else ("height", "width")
    return np.asarray(rows[names[0]].astype(np.float64) * rows[names[1]] * 3.0)


def write_subset(pack: MediaPack, card: Card, rows: Array, target: Path) -> MediaPack:
    """Write ``rows`` of the units of ``card`` as a pack of their own to ``target``, which must not exist."""
    target.mkdir(parents=True)
    units, info = np.array(pack.units(card)[rows]), json.loads((pack.folder / "pack.json").read_text(encoding="utf-8"))
    tables = {"face": pack.faces[:0], "picture": pack.pictures[:0], "sound": pack.windows[:0], card.unit: units}
    with (target / PIXELS[card.unit]).open("wb") as stream:
        if card.unit == "sound":
            info["sound"] |= {"samples": _copy_sound(pack, units, stream), "speech": None}
        else:
            info["sound"] = None
            _copy_pixels(pack, card, rows, units, stream)
    info["frames"] = _frames(pack, card, units)
    info["persons"] = _persons(units, info["persons"]) if card.unit == "face" else []
    _finish(target, tables, info)
    return MediaPack(target)


def _copy_pixels(pack: FacePack, card: Card, rows: Array, units: Array, stream: Any) -> None:
    name, read = ("crop_offset", pack.image) if card.unit == "face" else ("offset", pack.picture)
    for place, row in enumerate(rows.tolist()):
        units[name][place] = stream.tell()
        stream.write(np.ascontiguousarray(read(row)).tobytes())


def _copy_sound(pack: FacePack, units: Array, stream: Any) -> int:
    """Write the windows one after the other; the samples in all."""
    end = 0
    for window in units:
        piece = np.array(pack.sound[window["start"] : window["stop"]], "<f4")
        stream.write(piece.tobytes())
        window["start"], window["stop"] = end, end + len(piece)
        end += len(piece)
    return end


def _frames(pack: FacePack, card: Card, units: Array) -> list[dict[str, Any]]:
    """The sampled frames that the units are of; for faces over time all up to the last one, for sound all that there are."""
    own = np.ones(len(pack.frames), bool)
    if card.unit != "sound":
        own = pack.frames <= units["frame"].max() if card.input == "video" else np.isin(pack.frames, units["frame"])
    pairs = zip(pack.frames[own].tolist(), pack.times[own].tolist(), strict=True)
    return [{"frame": frame, "time_s": time_s} for frame, time_s in pairs]


def _persons(units: Array, persons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The persons who are seen on the units; the first face stands for a person's best one."""
    found = []
    for item in persons:
        places = np.flatnonzero(units["person"] == item["person"])
        if len(places):
            first, last = (float(units["time_s"][at]) for at in (places[0], places[-1]))
            found.append(item | {"faces": len(places), "keyface": int(places[0]), "first_s": first, "last_s": last})
    return found


def _finish(folder: Path, tables: dict[str, Array], info: dict[str, Any]) -> None:
    for name, unit in (("faces.npy", "face"), ("pictures.npy", "picture"), ("windows.npy", "sound")):
        np.save(folder / name, tables[unit], allow_pickle=False)
    (folder / "pack.json").write_text(json.dumps(info, allow_nan=False), encoding="utf-8")
    for name in PIXELS.values():
        (folder / name).touch()
    for path in folder.iterdir():
        os.chmod(path, 0o444)
    os.chmod(folder, 0o755)  # noqa: S103  containers read it as another user


def with_pixels(base: FacePack, unit: str, pixels: Path, target: Path) -> None:
    """A pack like ``base`` whose pixels (or samples) are those of the file ``pixels``; all files are linked."""
    target.mkdir()
    for path in base.folder.iterdir():
        if path.name != PIXELS[unit]:
            os.link(path, target / path.name)
    os.chmod(pixels, 0o444)
    os.link(pixels, target / PIXELS[unit])
    os.chmod(target, 0o755)  # noqa: S103


def shifted(base: MediaPack, unit: str, target: Path, *, pixels: int) -> None:
    """A pack like ``base`` in which every face's place is ``pixels`` further right and down, so that a detector cuts its crop there; whole
    pictures lose so many columns at their left and rows at their top. ValueError where a picture has no more than that."""
    target.mkdir()
    info = json.loads((base.folder / "pack.json").read_text(encoding="utf-8"))
    faces, pictures = np.array(base.faces), np.array(base.pictures)
    if unit == "face":
        faces["box"] += pixels
        faces["landmarks"] += pixels
        os.link(base.folder / PIXELS[unit], target / PIXELS[unit])
    else:
        if min(pictures["height"].min(), pictures["width"].min()) <= pixels:
            raise ValueError("a picture is too small to be moved")
        with (target / PIXELS[unit]).open("wb") as stream:
            for index in range(len(pictures)):
                pictures["offset"][index] = stream.tell()
                stream.write(np.ascontiguousarray(base.picture(index)[pixels:, pixels:]).tobytes())
        for name in ("height", "width"):
            pictures[name] -= pixels
    _finish(target, {"face": faces, "picture": pictures, "sound": np.array(base.windows)}, info)
