"""What a worker wrote is taken over only when it keeps the contract; nothing is followed, repaired or filled in."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.harvest.media_pack import MAX_PACK_JSON_BYTES, harvest_pack
from backend.harvest.scores import HarvestedScores, harvest_masks, harvest_scores, harvested_masks
from backend.harvest.untrusted import Refused, harvest_file, read_array
from backend.workers.calls import make_pack
from base_detector import FACE_DTYPE, BaseDetector, FacePack
from shared.errors import PermanentError
from shared.findings import MediaPack
from shared.origin import Origin
from shared.settings import Settings
from tests.workers.conftest import ORIGIN, write_pack

GOOD: dict[str, Any] = {
    "schema": 3, "unit": "face", "contract": "1", "detector": "acting", "version": "1", "index": [0, 2], "fake_score": [0.25, 1],
    "persons": [{"person": 0, "faces": 2, "fake_score": 0.5, "hard_label": "fake"}], "skipped": {"face_too_small": 1},
    "masks": [], "seconds": {"net": 0.1},
}  # fmt: skip


def taken(out: Path) -> HarvestedScores:
    return harvest_scores(out, card_id="acting", units=4)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "exchange" / "job" / "out"
    (folder / "masks").mkdir(parents=True)
    return folder


def test_good_scores_are_taken_and_can_be_taken_again(out: Path) -> None:
    (out / "scores.json").write_text(json.dumps(GOOD))
    scores = taken(out)
    assert (scores.index, scores.fake_score, scores.skipped) == ((0, 2), (0.25, 1.0), {"face_too_small": 1})
    (out / "scores.json").write_text(json.dumps(scores.model_dump(mode="json")))
    assert taken(out) == scores, "the pipeline stores them in this form"


LIES = {
    "nan": '"fake_score": [NaN, 1]', "infinity": '"fake_score": [Infinity, 1]', "huge": '"fake_score": [1e999, 1]',
    "negative": '"fake_score": [-0.0001, 1]', "above one": '"fake_score": [1.0001, 1]', "text": '"fake_score": ["0.5", 1]',
    "truth": '"fake_score": [true, 1]', "null": '"fake_score": [null, 1]', "too few": '"fake_score": [1]',
    "other detector": '"detector": "mesonet"', "later schema": '"schema": 4', "row twice": '"index": [2, 2]',
    "rows descend": '"index": [2, 0]', "row too high": '"index": [0, 4]', "row negative": '"index": [-1, 0]',
    "row is no integer": '"index": [0.5, 2]', "nothing scored": '"index": [], "fake_score": [], "persons": []',
    "unknown member": '"note": "<script>"', "skip is no code": '"skipped": {"Click here!": 1}', "deep": '"seconds": ' + "[" * 100_000,
    "persons miscounted": '"persons": [{"person": 0, "faces": 1, "fake_score": 0.5, "hard_label": "fake"}]',
    "person nan": '"persons": [{"person": 0, "faces": 2, "fake_score": NaN, "hard_label": "fake"}]',
    "label of its own": '"persons": [{"person": 0, "faces": 2, "fake_score": 0.5, "hard_label": "guilty"}]',
    "mask elsewhere": '"masks": [{"index": 0, "file": "../../pack/crops.bin"}]',
    "mask of no face": '"masks": [{"index": 1, "file": "masks/000001.npy"}]', "seconds negative": '"seconds": {"net": -1}',
}  # fmt: skip


def without(text: str, members: set[str]) -> str:
    """JSON ``text`` of an object without ``members``."""
    return json.dumps({name: value for name, value in json.loads(text).items() if name not in members})


@pytest.mark.parametrize("lie", LIES)
def test_scores_that_lie_are_refused(out: Path, lie: str) -> None:
    told = {name for name in GOOD if f'"{name}": ' in LIES[lie].partition("[{")[0]}
    honest = without(json.dumps(GOOD), told)
    (out / "scores.json").write_text(f"{honest[:-1]}, {LIES[lie]}}}")
    with pytest.raises(PermanentError, match="detector_bad_output"):
        taken(out)


TWICE = {
    "the same value": '"fake_score": [0.25, 1]',
    "another value": '"fake_score": [0.9, 0.9]',
    "written otherwise": '"f\\u0061ke_score": [0.25, 1]',
    "behind a space": '"version"  \n: "1"',
    "a wrong one before": '"seconds": {"net": 0.1, "net": 0.2}',
    "in a person": '"persons": [{"person": 1, "person": 0, "faces": 2, "fake_score": 0.5, "hard_label": "fake"}]',
    "in skipped": '"skipped": {"face_too_small": 1, "face_too_small": 2}',
}


@pytest.mark.parametrize("where", TWICE)
def test_a_key_that_is_there_twice_is_refused(out: Path, where: str) -> None:
    inner = where.startswith("in ") or where.startswith("a wrong")
    honest = without(json.dumps(GOOD), {TWICE[where].split('"')[1]} if inner else set())
    (out / "scores.json").write_text(f"{honest[:-1]}, {TWICE[where]}}}")
    with pytest.raises(PermanentError, match="detector_bad_output"):
        taken(out)


FLOODS = {
    "lists": '"index": [' + "[]," * 400_000 + "0]",
    "objects": '"persons": [' + "{}," * 400_000 + "{}]",
    "texts": '"fake_score": [' + '"",' * 400_000 + "0]",
    "masks": '"masks": [' + "{}," * 400_000 + "{}]",
    "seconds": '"seconds": {' + ",".join(f'"s{i}": ""' for i in range(100_000)) + "}",
    "members": ",".join(f'"s{i}": ""' for i in range(100_000)),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_mistakes_costs_no_more_than_the_file(out: Path, flood: str) -> None:
    (out / "scores.json").write_text("{" + FLOODS[flood] + "}")
    tracemalloc.start()
    with pytest.raises(PermanentError, match="detector_bad_output"):
        harvest_scores(out, card_id="acting", units=1500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000, "bytes; a list of all mistakes takes hundreds of millions"


def test_as_many_mistakes_as_fit_cost_little(out: Path) -> None:
    (out / "scores.json").write_text('{"index": [' + "[]," * 8_900 + "0]}")
    tracemalloc.start()
    with pytest.raises(PermanentError, match="detector_bad_output"):
        harvest_scores(out, card_id="acting", units=1500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_honest_scores_of_a_long_clip_fit_however_they_are_written(out: Path) -> None:
    faces = 20_000
    long = GOOD | {
        "index": list(range(faces)),
        "fake_score": [1 / 3] * faces,
        "persons": [{"person": i, "faces": 1, "fake_score": 1 / 3, "hard_label": "real"} for i in range(faces)],
        "masks": [],
    }
    for indent in (None, 8):
        (out / "scores.json").write_text(json.dumps(long, indent=indent))
        assert len(harvest_scores(out, card_id="acting", units=faces).persons) == faces


@pytest.mark.parametrize("kind", ["missing", "empty", "link", "pipe", "folder", "device", "binary", "sparse", "large"])
def test_scores_that_are_no_plain_file_are_refused_without_waiting(out: Path, tmp_path: Path, kind: str) -> None:
    path = out / "scores.json"
    if kind == "link":
        (tmp_path / "elsewhere").write_text(json.dumps(GOOD))
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "binary":
        path.write_bytes(bytes(range(256)))
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif kind == "large":
        path.write_text(json.dumps(GOOD) + " " * 64_000_001)
    elif kind == "empty":
        path.touch()
    with pytest.raises(PermanentError) as caught:
        taken(out)
    assert caught.value.code == ("output_too_large" if kind in ("sparse", "large") else "detector_bad_output")


@pytest.mark.parametrize("level", [0, 1])
def test_a_folder_swapped_for_a_link_is_not_entered(out: Path, tmp_path: Path, level: int) -> None:
    real = tmp_path / "elsewhere" / "out"
    real.mkdir(parents=True)
    (real / "scores.json").write_text(json.dumps(GOOD))
    victim = [out, out.parent][level]
    victim.rename(tmp_path / "away")
    victim.symlink_to([real, real.parent][level])
    with pytest.raises(PermanentError, match="detector_bad_output"):
        taken(out)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(GOOD)), inner, max_size=4)),
       st.sampled_from(list(GOOD)))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_any_other_value_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, value: Any, member: str
) -> None:
    out = tmp_path_factory.mktemp("out")
    (out / "scores.json").write_text(json.dumps(GOOD | {member: value}))
    try:
        scores = taken(out)
    except PermanentError:
        return
    assert all(0 <= score <= 1 for score in scores.fake_score)
    assert len(scores.fake_score) == len(scores.index) > 0


# --------------------------------------------------------------------------- masks


def npy(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, pixels, **options)
    return stream.getvalue()


def masked(out: Path, content: bytes) -> HarvestedScores:
    masks = [{"index": 2, "file": "masks/000002.npy"}]
    (out / "scores.json").write_text(json.dumps(GOOD | {"masks": masks}))
    (out / "masks/000002.npy").write_bytes(content)
    return taken(out)


@pytest.mark.parametrize("shape", [(40, 30), (1, 1), (1024, 1024)])
def test_a_mask_is_written_anew_with_the_same_pixels(out: Path, tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    scores = masked(out, npy(pixels))
    harvest_masks(out, scores, tmp_path / "ours")
    written = harvested_masks(tmp_path / "ours", scores)
    assert list(written) == [2]
    assert np.array_equal(np.load(written[2], allow_pickle=False), pixels)


def test_what_the_contract_writes_is_taken(out: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (30, 40), np.uint8).T  # columns first in memory

    class Drawing(BaseDetector):
        card = None

        def load(self, weights, device):
            pass

        def get_softlabel(self, batch):
            pass

        def evidence(self, batch):
            return [pixels]

    (mask,) = Drawing()._draw({2: pixels}, out)
    (out / "scores.json").write_text(json.dumps(GOOD | {"masks": [mask]}))
    harvest_masks(out, taken(out), tmp_path)
    assert np.array_equal(np.load(tmp_path / mask["file"], allow_pickle=False), pixels)


EIGHT = np.zeros((8, 8), np.uint8)

BAD_MASKS: dict[str, bytes] = {
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "floats": npy(EIGHT.astype(np.float32)),
    "truth values": npy(EIGHT.astype(bool)),
    "signed": npy(EIGHT.astype(np.int8)),
    "records": npy(np.zeros((8, 8), [("grey", "u1")])),
    "pickle": npy(np.array([[print]], object), allow_pickle=True),
    "colour": npy(np.zeros((8, 8, 3), np.uint8)),
    "a line": npy(np.zeros(8, np.uint8)),
    "a number": npy(np.array(5, np.uint8)),
    "no pixels": npy(np.zeros((0, 8), np.uint8)),
    "too wide": npy(np.zeros((8, 1025), np.uint8)),
    "columns first": npy(np.asfortranarray(np.zeros((8, 9), np.uint8))),
    "format 2.0": npy(EIGHT, version=(2, 0)),
    "says it is huge": npy(EIGHT).replace(b"(8, 8)", b"(50000, 50000)"),
    "says it is negative": npy(EIGHT).replace(b"(8, 8)", b"(-8, -8)"),
    "says it is endless": npy(EIGHT).replace(b"(8, 8), }" + b" " * 20, b"(8, 8" + b"0" * 20 + b"), }"),
    "runs a call": npy(EIGHT).replace(b"(8, 8), }      ", b"exit(), }      "),
    "cut short": npy(EIGHT)[:-1],
    "too long": npy(EIGHT) + b"<script>alert(1)</script>",
    "empty": b"",
    "header only": npy(EIGHT)[:-64],
    "header cut": npy(EIGHT)[:20],
}


@pytest.mark.parametrize("kind", BAD_MASKS)
def test_a_mask_that_is_no_small_grey_picture_is_refused(out: Path, tmp_path: Path, kind: str) -> None:
    assert BAD_MASKS[kind] != npy(EIGHT)
    scores = masked(out, BAD_MASKS[kind])
    with pytest.raises(PermanentError, match="detector_bad_output"):
        harvest_masks(out, scores, tmp_path)
    assert not list(tmp_path.glob("masks/*"))


def test_a_mask_of_many_bytes_is_refused_unread(out: Path, tmp_path: Path) -> None:
    scores = masked(out, b"")
    os.truncate(out / "masks/000002.npy", 2**40)
    with pytest.raises(PermanentError, match="output_too_large"):
        harvest_masks(out, scores, tmp_path)


def test_a_mask_that_is_a_link_is_refused(out: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.npy").write_bytes(npy(EIGHT))
    scores = masked(out, b"")
    (out / "masks/000002.npy").unlink()
    (out / "masks/000002.npy").symlink_to(tmp_path / "secret.npy")
    with pytest.raises(PermanentError, match="detector_bad_output"):
        harvest_masks(out, scores, tmp_path)


def test_scores_of_an_older_worker_say_that_its_image_is_outdated(out: Path) -> None:
    """Schema 1 had its masks as PNG."""
    old = GOOD | {"schema": 1, "masks": [{"index": 2, "file": "masks/000002.png"}]}
    (out / "scores.json").write_text(json.dumps(old))
    with pytest.raises(PermanentError, match="image_outdated"):
        taken(out)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_mask_or_refused(junk: bytes) -> None:
    good = npy(EIGHT)
    for untrusted in (junk, b"\x93NUMPY\x01\x00" + junk, good[:10] + junk + good[10 + len(junk) :]):
        with contextlib.suppress(Refused):
            found = read_array(untrusted, name="a mask", dtype=np.dtype(np.uint8), dimensions=2)
            assert (found.dtype, found.ndim) == (np.uint8, 2)


# --------------------------------------------------------------------------- files


def test_a_file_is_copied_and_a_later_change_does_not_reach_it(out: Path, tmp_path: Path) -> None:
    (out / "result.mp4").write_bytes(b"film")
    with (out / "result.mp4").open("r+b") as still_open:
        harvest_file(out, "result.mp4", tmp_path / "result.mp4", max_bytes=100)
        still_open.write(b"evil")
    assert (tmp_path / "result.mp4").read_bytes() == b"film"


@pytest.mark.parametrize("kind", ["link", "pipe", "missing", "large"])
def test_a_file_that_is_none_is_refused_and_nothing_is_left(out: Path, tmp_path: Path, kind: str) -> None:
    source = out / "result.mp4"
    {
        "link": lambda: source.symlink_to("/etc/passwd"),
        "pipe": lambda: os.mkfifo(source),
        "missing": lambda: None,
        "large": lambda: source.write_bytes(b"x" * 101),
    }[kind]()
    with pytest.raises(PermanentError) as caught:
        harvest_file(out, "result.mp4", tmp_path / "result.mp4", max_bytes=100)
    assert caught.value.code == ("output_too_large" if kind == "large" else "media_bad_output")
    assert not (tmp_path / "result.mp4").exists()


# --------------------------------------------------------------------------- packs


@pytest.mark.parametrize("moved", [False, True])
def test_a_good_pack_is_taken_whole(pack: Path, tmp_path: Path, moved: bool) -> None:
    shutil.copytree(pack, tmp_path / "given")
    harvest_pack(pack, tmp_path / "job" / "pack", moved=moved)
    before, after = FacePack(tmp_path / "given"), FacePack(tmp_path / "job" / "pack")
    assert json.loads((pack / "pack.json").read_text()) == json.loads(
        (tmp_path / "job" / "pack" / "pack.json").read_text()
    )
    assert before.faces.tobytes() == after.faces.tobytes()
    assert all(np.array_equal(before.image(i), after.image(i)) for i in range(len(before)))
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["pack"]


def test_a_pack_of_an_earlier_version_has_no_notes(pack: Path, tmp_path: Path) -> None:
    edit_json(lambda info: info.pop("notes"))(pack)
    harvest_pack(pack, tmp_path / "job" / "pack")
    assert MediaPack(tmp_path / "job" / "pack").notes == ()


def test_origin_is_taken_and_a_pack_of_an_earlier_version_has_none(pack: Path, tmp_path: Path) -> None:
    harvest_pack(pack, tmp_path / "job" / "pack")
    assert MediaPack(tmp_path / "job" / "pack").origin == ORIGIN
    edit_json(lambda info: info.pop("origin"))(pack)
    harvest_pack(pack, tmp_path / "job" / "earlier")
    assert MediaPack(tmp_path / "job" / "earlier").origin == Origin()


def test_a_pack_without_a_face_is_a_pack(tmp_path: Path) -> None:
    harvest_pack(write_pack(tmp_path / "empty", faces=0), tmp_path / "job" / "pack")
    assert len(FacePack(tmp_path / "job" / "pack")) == 0


def edit_json(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(pack: Path) -> None:
        info = json.loads((pack / "pack.json").read_text())
        change(info)
        (pack / "pack.json").write_text(json.dumps(info))

    return edit


def edit_row(**values: Any) -> Callable[[Path], None]:
    def edit(pack: Path) -> None:
        faces = np.load(pack / "faces.npy")
        for name, value in values.items():
            faces[name][1] = value
        np.save(pack / "faces.npy", faces)

    return edit


def odd_truth(pack: Path) -> None:
    raw = bytearray((pack / "faces.npy").read_bytes())
    raw[-1] = 7
    (pack / "faces.npy").write_bytes(raw)


def pickled(pack: Path) -> None:
    np.save(pack / "faces.npy", np.array([print], object), allow_pickle=True)


def crops_a_link(pack: Path) -> None:
    (pack / "crops.bin").unlink()
    (pack / "crops.bin").symlink_to("/dev/zero")


def crops_a_pipe(pack: Path) -> None:
    (pack / "crops.bin").unlink()
    os.mkfifo(pack / "crops.bin")


BAD_PACKS: dict[str, Callable[[Path], object]] = {
    "no pack.json": lambda pack: (pack / "pack.json").unlink(),
    "deep json": lambda pack: (pack / "pack.json").write_text("[" * 200_000),
    "later schema": edit_json(lambda info: info.update(schema=4)),
    "no frames": edit_json(lambda info: info.update(frames=[])),
    "nan in the media": edit_json(lambda info: info["media"].update(duration_s=float("nan"))),
    "markup in the codec": edit_json(lambda info: info["media"].update(codec="<b>h264</b>")),
    "an unknown member of a person": edit_json(lambda info: info["persons"][0].update(age=40)),
    "an unknown member of the media": edit_json(lambda info: info["media"].update(colours=3)),
    "an unknown member": edit_json(lambda info: info.update(sound={})),
    "a note that is no word": edit_json(lambda info: info["notes"][0].update(code="<b>fine</b>")),
    "a note of nan": edit_json(lambda info: info["notes"][0].update(value=float("nan"))),
    "too many notes": edit_json(lambda info: info.update(notes=info["notes"] * 201)),
    "markup in a state of credentials": edit_json(lambda info: info["origin"]["credentials"].update(state="<b>")),
    "a signer of two lines": edit_json(lambda info: info["origin"]["credentials"]["claims"][0].update(signer="a\nb")),
    "a signer that turns the text": edit_json(
        lambda info: info["origin"]["credentials"]["claims"][0].update(signer="a\u202eb")
    ),
    "a title without an end": edit_json(
        lambda info: info["origin"]["credentials"]["claims"][0].update(title="a" * 301)
    ),
    "a failure that is no code": edit_json(
        lambda info: info["origin"]["credentials"]["claims"][0].update(failures=["a b"])
    ),
    "claims without an end": edit_json(
        lambda info: info["origin"]["credentials"].update(claims=info["origin"]["credentials"]["claims"] * 13)
    ),
    "a trace that is no word": edit_json(lambda info: info["origin"]["traces"][0].update(code="<b>")),
    "traces without an end": edit_json(lambda info: info["origin"].update(traces=info["origin"]["traces"] * 25)),
    "a mark that is none": edit_json(lambda info: info["origin"]["fingerprint"].update(pictures=["x" * 64])),
    "a place": edit_json(lambda info: info["origin"]["traces"][1].update(latitude=52.5)),
    "frames descend": edit_json(lambda info: info["frames"].reverse()),
    "person not among faces": edit_json(lambda info: info["persons"].append(dict(info["persons"][0], person=1))),
    "person not listed": edit_json(lambda info: info.update(persons=[])),
    "persons miscounted": edit_json(lambda info: info["persons"][0].update(faces=3)),
    "keyface out of range": edit_json(lambda info: info["persons"][0].update(keyface=4)),
    "unknown shot": edit_json(lambda info: info.update(shots=[])),
    "crop behind the file": edit_row(crop_offset=10**12),
    "crop before the file": edit_row(crop_offset=-1),
    "crop without pixels": edit_row(crop_height=0),
    "crop that overflows": edit_row(crop_height=2**31 - 1, crop_width=2**31 - 1, crop_offset=2**62),
    "crop beyond its frame": edit_row(crop_origin=(40, 0)),
    "crop left of its frame": edit_row(crop_origin=(-1, 0)),
    "crop turned askew": edit_row(turn=45),
    "box of nan": edit_row(box=(np.nan, 8, 24, 24)),
    "box without area": edit_row(box=(24, 8, 8, 24)),
    "box on another planet": edit_row(box=(8, 8, 1e30, 24)),
    "confidence above one": edit_row(confidence=1.5),
    "time of infinity": edit_row(time_s=np.inf),
    "landmarks of infinity": edit_row(landmarks=np.inf),
    "frame not sampled": edit_row(frame=9),
    "rows not sorted": edit_row(frame=3),
    "truth value of seven": odd_truth,
    "pickle": pickled,
    "other layout": lambda pack: np.save(pack / "faces.npy", np.zeros(4)),
    "two dimensions": lambda pack: np.save(pack / "faces.npy", np.zeros((2, 2), FACE_DTYPE)),
    "rows cut off": lambda pack: os.truncate(pack / "faces.npy", (pack / "faces.npy").stat().st_size - 1),
    "no array": lambda pack: (pack / "faces.npy").write_bytes(b"faces"),
    "crops cut off": lambda pack: os.truncate(pack / "crops.bin", 1000),
    "crops too long": lambda pack: os.truncate(pack / "crops.bin", 10**9),
    "crops a link": crops_a_link,
    "crops a pipe": crops_a_pipe,
}


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("kind", BAD_PACKS)
def test_a_pack_that_breaks_its_schema_is_refused(pack: Path, tmp_path: Path, kind: str, moved: bool) -> None:
    BAD_PACKS[kind](pack)
    with pytest.raises(PermanentError) as caught:
        harvest_pack(pack, tmp_path / "job" / "pack", moved=moved)
    assert caught.value.code == ("output_too_large" if kind == "crops too long" else "media_bad_output")
    assert list((tmp_path / "job").iterdir()) == []


@pytest.mark.parametrize(("started_by", "same"), [("process", True), ("docker", False)])
def test_crops_of_a_process_are_renamed_and_those_of_a_container_copied(
    pack: Path, tmp_path: Path, started_by: str, same: bool
) -> None:
    """A container's exchange folder stays mounted: what runs there could change, or cut off, a file that was only renamed."""

    @contextlib.contextmanager
    def room(name: str):
        yield SimpleNamespace(link=lambda *_: None, path=lambda name: name, out=pack.parent)

    inode = (pack / "crops.bin").stat().st_ino
    worker: Any = SimpleNamespace(room=room, call=lambda *_, **__: {}, started_by=started_by)
    make_pack(
        worker, Path("media"), tmp_path / "job" / "pack", name="job", wanted={"samplings": ["fps:1"]}, mode="quick", settings=Settings(),
    )  # fmt: skip
    crops = tmp_path / "job" / "pack" / "crops.bin"
    assert (crops.stat().st_ino == inode) is same
    assert crops.stat().st_mode & 0o777 == 0o444


def test_crops_with_a_second_name_are_copied(pack: Path, tmp_path: Path) -> None:
    os.link(pack / "crops.bin", tmp_path / "second")
    harvest_pack(pack, tmp_path / "job" / "pack", moved=True)
    (tmp_path / "second").write_bytes(b"")
    assert (tmp_path / "job" / "pack" / "crops.bin").stat().st_size > 0


def test_crops_that_are_exchanged_while_they_are_taken_are_refused(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def exchanging(source: Any, target: Any, **where: Any) -> None:
        if source == "crops.bin":
            os.unlink(pack / "crops.bin")
            os.symlink("/etc/passwd", pack / "crops.bin")
        rename(source, target, **where)

    monkeypatch.setattr(os, "rename", exchanging)
    with pytest.raises(PermanentError, match="media_bad_output"):
        harvest_pack(pack, tmp_path / "job" / "pack", moved=True)
    assert list((tmp_path / "job").iterdir()) == []


@pytest.mark.parametrize("member", ["frames", "shots", "persons"])
@pytest.mark.parametrize("count", [200_000, 8_000_000])
def test_a_flood_of_mistakes_in_a_pack_costs_no_more_than_the_file(pack: Path, tmp_path: Path, member: str, count: int):
    info = json.loads((pack / "pack.json").read_text())
    del info[member]
    (pack / "pack.json").write_text(json.dumps(info)[:-1] + f', "{member}": [' + "{}," * count + "{}]}")
    size = (pack / "pack.json").stat().st_size
    tracemalloc.start()
    with pytest.raises(PermanentError, match="media_bad_output"):
        harvest_pack(pack, tmp_path / "job" / "pack")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MAX_PACK_JSON_BYTES + 3 * size, "the room to read the file into, and little more"


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_array_of_faces_or_refused(junk: bytes) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(2, FACE_DTYPE))
    good = stream.getvalue()
    for untrusted in (junk, b"\x93NUMPY\x01\x00" + junk, good[:10] + junk + good[10 + len(junk) :]):
        with contextlib.suppress(Refused):
            assert read_array(untrusted, name="faces.npy", dtype=FACE_DTYPE, dimensions=1).dtype == FACE_DTYPE
