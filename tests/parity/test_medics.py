"""Our port of The Medics against outputs of the published code (the golden vectors of the research data), and its rules at the edges."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from base_detector import FACE_DTYPE, BaseDetector, ContractError, FacePack, load_detector  # noqa: E402
from detectors.medics import clips  # noqa: E402
from detectors.medics import detector as medics  # noqa: E402
from detectors.medics.regions import Region, find_regions, grid_of  # noqa: E402
from detectors.nets import i3d, video_resnet  # noqa: E402
from detectors.nets.checkpoint import CheckpointError  # noqa: E402
from shared.errors import SENTENCES  # noqa: E402
from tests.packs import finish_pack, write_faces  # noqa: E402
from tests.parity.recipe import (  # noqa: E402
    assert_each_difference_is_named,
    compare,
    filled_state,
    golden_of,
    listed_names,
    part_of,
    sighting,
)

#: kind of network -> its list of names, and its entry in the golden vectors
LISTS = {
    "i3d": ("medics_i3d", "i3d"),
    "res34": ("medics_res34", "res34"),
    "mc3_112": ("medics_mc3_112", "mc3_112"),
    "mc3_224": ("medics_mc3_112", "mc3_224"),
    "r2p1_112": ("medics_r2p1_112", "r2p1_112"),
    "2d": ("medics_se_resnext50", "se_resnext50"),
}


GOLDEN = "medics"


def write_weights(folder: Path, research: Path) -> None:
    """The files of the card, filled by the recipe; files of one kind are equal and hard-linked."""
    golden = golden_of(research, "medics")
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    for file, kind in medics.NETWORKS.items():
        names, entry = LISTS[kind]
        kept = json.dumps([names, golden["scale_pow2"][entry]], sort_keys=True)
        if kept in written:
            os.link(written[kept], folder / file)
        else:
            torch.save(filled_state(listed_names(research, names), golden["scale_pow2"][entry]), folder / file)
            written[kept] = folder / file


@pytest.fixture(scope="module")
def frames(research: Path, golden: dict) -> list[np.ndarray]:
    """The golden vectors' video: a picture that is rolled right by a pixel a frame and down by one every other frame."""
    text = described(golden)["input"]
    assert "numpy.roll(img,(t//2,t),axis=(0,1))" in text
    first, longest = (
        part_of(research, text),
        max(entry["face"][0][1] for entry in golden["preprocess"] if "face" in entry),
    )
    return [np.roll(first, (t // 2, t), axis=(0, 1)) for t in range(longest)]


def described(golden: dict) -> dict:
    """The entry of the golden regions that says of which video it is."""
    (entry,) = (item for item in golden["roi"] if "input" in item)
    return entry


def grid_and_scale(entry: dict) -> tuple[tuple[int, int], float]:
    """(width, height) of the pictures that faces were looked for in, and how many times larger the video is."""
    if "input" in entry:
        width, height, scale = re.findall(r"resized by cv2 to (\d+)x(\d+); upsample ([\d.]+)", entry["input"])[0]
        return (int(width), int(height)), float(scale)
    height, width = entry["video_shape"][1:3]
    return (width, height), entry["upsample"]


@pytest.fixture(scope="module")
def loaded(weights: Path) -> Iterator[medics.Medics]:
    detector = load_detector("detectors.medics")
    assert isinstance(detector, medics.Medics)
    detector.load(weights, "cpu")
    yield detector
    for file in weights.iterdir():  # half a gigabyte
        file.unlink()


def region_video(frames: list[np.ndarray], face: list[list[int]]) -> np.ndarray:
    """The clip of a region (frames, rows, columns; the last row and column are part of it)."""
    (first, end), (top, bottom), (left, right) = face
    return np.stack([clips.square_224(frame[top : bottom + 1, left : right + 1]) for frame in frames[first:end]])


def clip_of(golden: dict, frames: list[np.ndarray], model: str) -> clips.Clip:
    entry = next(item for item in golden["preprocess"] if item.get("model") == model)
    if "coords_used" in entry:
        faces = [
            clips.face_256(frame[y1:y2, x1:x2])
            for frame, (x1, y1, x2, y2) in zip(frames, entry["coords_used"], strict=False)
        ]
        return clips.Clip(video=np.stack(faces), faces=np.stack(faces))
    video = region_video(frames, entry["face"])
    return clips.Clip(video=video, faces=video)


# --------------------------------------------------------------------------- against the published code


@pytest.mark.parametrize("kind", LISTS)
def test_names_and_shapes_are_the_published_ones(kind: str, research: Path, golden: dict):
    names, entry = LISTS[kind]
    with torch.device("meta"):
        net = medics.build(kind, frames=16)
    found = {name: (tuple(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in net.state_dict().items()}
    assert found == listed_names(research, names)
    assert len(found) == golden["state_dict"][entry]["entries"]
    assert sum(item.numel() for item in net.parameters()) == golden["state_dict"][entry]["parameters"]


def test_regions_and_squares_are_the_published_ones(golden: dict):
    assert golden["roi"]
    for entry in golden["roi"]:
        looks = entry.get("faces_by_frame") or entry["mtcnn_boxes_per_frame"]
        sure = entry.get("probs") or entry["mtcnn_probs"]
        grid, scale = grid_and_scale(entry)
        regions = find_regions(
            [np.reshape(look if look is not None else [], (-1, 4)) for look in looks],
            probabilities=[np.array(item if item is not None else []) for item in sure],
            grid=grid,
            upsample=scale,
        )
        wanted = entry.get("rois") or entry["rois_frames_rows_cols"]
        assert [[list(r.frames), list(r.rows), list(r.columns)] for r in regions] == wanted
        coordinates = entry.get("coords") or entry["coords_first_last_per_face"]
        for region, (first, *middle, last, count) in zip(regions, coordinates, strict=True):
            assert len(region.squares) == count
            assert region.squares[0].tolist() == first
            assert region.squares[-1].tolist() == last
            assert not middle or region.squares[count // 2].tolist() == middle[0]


def test_squares_of_the_first_frames_are_the_published_ones(golden: dict):
    entry = described(golden)
    grid, scale = grid_and_scale(entry)
    regions = find_regions(
        [np.array(look) for look in entry["mtcnn_boxes_per_frame"]],
        probabilities=[np.array(item) for item in entry["mtcnn_probs"]],
        grid=grid,
        upsample=scale,
    )
    used = next(item["coords_used"] for item in golden["preprocess"] if "coords_used" in item)
    assert regions[0].squares[: len(used)].tolist() == used


def test_preprocessing_is_the_published_one(golden: dict, frames: list[np.ndarray]):
    compared = set()
    for entry in golden["preprocess"]:
        if "tensor_CTHW" in entry:
            video = medics.PREPARE[entry["model"]](region_video(frames, entry["face"]))
            # the raw network's mean is about 140: the tolerance of a float32 sum grows with it
            compare(video, entry["tensor_CTHW"], atol=1e-6 if video.max() < 3 else 1e-5)
        elif "tensor_after_flip_CTHW" in entry:
            prepared = clips.prepare_2d(clip_of(golden, frames, entry["model"]).faces)
            compare(prepared.transpose(1, 0, 2, 3), entry["tensor_after_flip_CTHW"], atol=1e-6)
        else:
            number, bottom, right = map(int, re.findall(r"frame (\d+) rows 0:(\d+) cols 0:(\d+)", entry["square"])[0])
            compare(clips.square_256(frames[number][:bottom, :right])[None], entry["pixels"], atol=1e-6)
        compared.add(entry.get("model", "square"))
    assert compared == {entry for _, entry in LISTS.values()} | {"square"}


def test_padding_on_all_sides_is_not_the_published_one(golden: dict, frames: list[np.ndarray]):
    entry = next(item for item in golden["preprocess"] if item.get("model") == "i3d")
    (first, end), (top, bottom), (left, right) = entry["face"]
    video = np.stack([frame[top : bottom + 1, left : right + 1] for frame in frames[first:end]])
    before = (video.shape[2] - video.shape[1]) // 2
    assert before > 0
    centred = np.pad(video, ((0, 0), (before, before), (0, 0), (0, 0)))
    with pytest.raises(AssertionError):
        compare(
            medics.PREPARE["i3d"](np.stack([clips.square_224(f) for f in centred])), entry["tensor_CTHW"], atol=1e-2
        )


@pytest.mark.parametrize("kind", LISTS)
def test_logits_and_scores_are_the_published_ones(
    kind: str, golden: dict, frames: list[np.ndarray], loaded: medics.Medics
):
    entry = next(item for item in golden["forward"] if item["model"].removesuffix(" (2-D)") == LISTS[kind][1])
    file = next(name for name, of in medics.NETWORKS.items() if of == kind)
    clip = clip_of(golden, frames, LISTS[kind][1])
    count = len(clip.faces) if kind == "2d" else len(clip.video)
    assert count == entry.get("frames", count)
    net = loaded._compiled(file, frames=medics.example_frames(kind, count))
    logits: list[float] = []

    def told(batch: np.ndarray) -> Any:
        answer = net(batch)
        logits.extend(np.ravel(answer).tolist())
        return answer

    if kind == "2d":
        score = medics.score_2d(told, clip)
        wanted = np.array(entry["per_frame_sigmoid"])
        np.testing.assert_allclose(1 / (1 + np.exp(-np.array(logits))), wanted, atol=1e-4)
        wanted_logits = np.log(wanted / (1 - wanted))
    else:
        score = medics.score_3d(told, clip, kind=kind)
        wanted_logits = np.ravel(entry["logits_[clip,flipped]"])
    error = np.abs(np.array(logits) - wanted_logits) / np.maximum(1, np.abs(wanted_logits))
    assert len(error) == len(wanted_logits)
    assert error.max() <= 1e-4
    published = entry["inference_2d_score" if kind == "2d" else "inference_3d_score"]
    assert score == pytest.approx(published, abs=1e-4)
    if kind in ("i3d", "2d"):  # the order of the channels matters
        turned = clips.Clip(video=clip.video[..., ::-1], faces=clip.faces[..., ::-1])
        other = medics.score_2d(net, turned) if kind == "2d" else medics.score_3d(net, turned, kind=kind)
        assert abs(other - published) > 1e-3


def test_the_videos_score_is_the_published_mean(golden: dict):
    cases = golden["aggregate"]["fusion"]
    assert cases
    for case in cases:
        if case["model_values"]:  # without any value upstream answers 0.5; here there is no score then
            scores = np.array(case["model_values"])[:, None]
            assert medics.join(scores) == pytest.approx(case["video"], abs=1e-6)
    for case in golden["aggregate"]["median"]:
        assert medics.lower_median(np.array(case["p"])) == pytest.approx(case["torch_median"], abs=1e-6)


# --------------------------------------------------------------------------- rules that need no research data


def test_the_mean_is_taken_over_stays_first_and_then_over_networks():
    assert medics.join(np.array([[0.2, 0.6], [0.8, 0.9]])) == pytest.approx((0.4 + 0.85) / 2)
    assert medics.join(np.zeros((8, 1))) == 0.001
    assert medics.join(np.ones((8, 2))) == 0.999


def test_output_0_is_fake_and_the_mirror_image_counts_half():
    clip = clips.Clip(video=np.zeros((2, 224, 224, 3), np.uint8), faces=np.zeros((1, 256, 256, 3), np.uint8))
    clip.video[:, :, :112] = 255
    seen = []

    def net(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        bright_left = batch[0, 0, 0, 0, 0] > 0
        return np.array([[np.log(3), 0.0]] if bright_left else [[0.0, 0.0]], np.float32)

    assert medics.score_3d(net, clip, kind="i3d") == pytest.approx((0.75 + 0.5) / 2)
    np.testing.assert_array_equal(seen[0][..., ::-1], seen[1])


def test_a_batch_of_pictures_gives_what_they_give_one_by_one():
    rng = np.random.default_rng(5)
    faces = rng.integers(0, 256, (11, 256, 256, 3), np.uint8)
    clip = clips.Clip(video=faces, faces=faces)

    def net(batch: np.ndarray) -> np.ndarray:
        return batch.mean(axis=(1, 2, 3))

    assert medics.score_2d(net, clip) == pytest.approx(medics.score_2d(net, clip, batch=1), abs=1e-6)


def test_a_short_example_pads_as_the_whole_clip_does():
    strides = [(7, 2), (3, 1), (3, 2), (2, 2), (3, 1)]  # kernels and strides over time

    def padding(length: int) -> list[tuple[int, ...]]:
        found = []
        for kernel, stride in strides:
            found.append(i3d.same_padding((length, 1, 1), kernel=(kernel, 1, 1), stride=(stride, 1, 1)))
            length = -(-length // stride)
        return found

    for frames in range(i3d.SHORTEST, 101):
        assert padding(i3d.length_class(frames)) == padding(frames)
        assert i3d.SHORTEST <= i3d.length_class(frames) < i3d.SHORTEST + 8
    assert len({str(padding(frames)) for frames in range(9, 17)}) == 8
    with pytest.raises(ValueError, match="9 frames or more"):
        i3d.length_class(8)


def test_every_missing_extra_and_misshapen_entry_is_named():
    net = video_resnet.MC3()
    assert_each_difference_is_named(
        net, missing="layer2.0.conv1.0.weight", extra="layer9.bias", misshapen=("fc.bias", (3,), (2,))
    )
    assert issubclass(CheckpointError, ContractError)


# --------------------------------------------------------------------------- from the platform's faces to regions

SIZE = (320, 240)


def scene(frame: int) -> np.ndarray:
    """A frame of noise that moves."""
    noise = np.random.default_rng(3).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    return np.roll(noise, (frame, 2 * frame), axis=(0, 1))


def write_pack(
    folder: Path,
    faces: list[dict[str, Any]],
    *,
    sampled: list[int],
    shots: list[dict[str, int]] | None = None,
    margin=2.0,
) -> FacePack:
    """A pack of ``faces`` (frame, box, and if not 0 person and shot), cut from ``scene`` as the media pass cuts them."""
    folder.mkdir()
    rows, crops = np.zeros(len(faces), FACE_DTYPE), []
    for row, face in zip(rows, sorted(faces, key=lambda item: item["frame"]), strict=True):
        seen = sighting(scene(face["frame"]), face["box"], margin=margin)
        crops.append(seen.crop)
        row["frame"], row["time_s"], row["box"], row["confidence"] = face["frame"], face["frame"] / 25, face["box"], 1
        row["person"], row["shot"] = face.get("person", 0), face.get("shot", 0)
        row["crop_origin"] = seen.origin
    write_faces(folder, rows, crops)
    return finish_pack(folder, size=SIZE, sampled=sampled, shots=shots or [])


def walk(frames: range, *, step: float = 0.5, start: int = 60, **more: int) -> list[dict[str, Any]]:
    """A face of 60 x 80 that walks to the right."""
    return [
        {"frame": f, "box": (start + step * f, 60.0, start + 60 + step * f, 140.0), **more} for f in frames
    ]  # fmt: skip


class Stub(medics.Medics):
    """Networks in place of the published ones: 3-D ones are sure by the clip's length, the 2-D one answers 0."""

    card = medics.Medics.card

    def load(self, weights: Path, device: str) -> None:
        self.asked: list[tuple[str, int]] = []

    def _compiled(self, file: str, *, frames: int) -> Any:
        self.asked.append((file, frames))
        if medics.NETWORKS[file] == "2d":
            return lambda batch: np.zeros(len(batch), np.float32)
        return lambda batch: np.array([[batch.shape[2] / 100, 0.0]], np.float32)


@pytest.fixture
def stub() -> BaseDetector:
    detector = Stub()
    detector.load(Path(), "cpu")
    return detector


def judge(detector: BaseDetector, pack: FacePack, out: Path) -> dict[str, Any]:
    out.mkdir()
    told: list[tuple[int, int]] = []
    scores = detector.run_pack(pack, out, progress=lambda done, total: told.append((done, total)))
    scores["told"] = told
    return scores


def test_a_face_that_stays_gets_one_score_for_its_middle(stub: Stub, tmp_path: Path):
    pack = write_pack(tmp_path / "pack", walk(range(100)), sampled=list(range(100)))
    (stay,) = medics.find_stays(pack)
    assert stay.region.frames == (0, 99)
    width, height, upsample = grid_of(*SIZE)
    assert (width, height) == (480, 360)
    # union of the looks at frames 0 and 90, in whole pixels of the grid
    assert stay.region.columns == (int(60 / upsample) * upsample, int((int(165 / upsample) - 1) * upsample))
    assert stay.region.rows == (60, int((int(140 / upsample) - 1) * upsample))
    scores = judge(stub, pack, tmp_path / "out")
    sure = 1 / (1 + np.exp(-0.99))
    assert scores["index"] == [49]
    assert scores["fake_score"] == [pytest.approx((7 * sure + 0.5) / 8)]
    assert scores["video_fake_score"] == pytest.approx((7 * sure + 0.5) / 8)
    assert scores["persons"][0]["fake_score"] == pytest.approx(scores["video_fake_score"])
    assert scores["skipped"] == {}
    assert scores["told"][-1] == (8, 8)
    assert [frames for file, frames in stub.asked if medics.NETWORKS[file] == "i3d"] == [i3d.length_class(99)] * 2


def test_people_shots_and_strangers_are_kept_apart(stub: Stub, tmp_path: Path):
    faces = walk(range(58), step=0) + walk(range(58, 100), step=0, shot=1)
    faces += walk(range(10, 100), step=0, start=200, person=1, shot=0)[:48] + walk(range(100), start=200, person=-1)
    shots = [{"shot": 0, "start": 0, "end": 57}, {"shot": 1, "start": 58, "end": 99}]
    pack = write_pack(tmp_path / "pack", faces, sampled=list(range(100)), shots=shots)
    stays = medics.find_stays(pack)
    assert [(stay.person, stay.region.frames) for stay in stays] == [(0, (0, 58)), (1, (10, 58)), (0, (60, 99))]
    scores = judge(stub, pack, tmp_path / "out")
    assert len(scores["index"]) == 3
    sure = [1 / (1 + np.exp(-length / 100)) for length in (58, 48, 39)]
    one, two, three = ((7 * value + 0.5) / 8 for value in sure)
    assert {p["person"]: p["fake_score"] for p in scores["persons"]} == {
        0: pytest.approx((one + three) / 2),
        1: pytest.approx(two),
    }
    assert scores["video_fake_score"] == pytest.approx((one + two + three) / 3)
    assert scores["skipped"] == {"no_face_at_start": 100}  # the stranger's


def test_the_face_of_a_middle_is_the_persons_own(stub: Stub, tmp_path: Path):
    pack = write_pack(
        tmp_path / "pack", walk(range(60)) + walk(range(60), start=200, person=1), sampled=list(range(60))
    )
    for stay in medics.find_stays(pack):
        assert pack.faces[stay.face]["person"] == stay.person
        assert abs(int(pack.faces[stay.face]["frame"]) - 29) <= 1


@pytest.mark.parametrize(
    ("faces", "sampled", "code"),
    [
        (walk(range(1)), [0], "needs_a_clip"),
        (walk(range(20)), list(range(20)), "needs_a_clip"),
        (walk(range(0, 300, 2), step=0.1), list(range(0, 300, 2)), "needs_a_clip"),
        (walk(range(90, 200), step=0.1), list(range(200)), "no_face_at_start"),
        (walk(range(30)), list(range(100)), "no_face_at_start"),  # three looks: 29 frames between them
    ],
    ids=["picture", "short", "sparse", "late", "brief"],
)
def test_what_cannot_be_judged_gets_no_score_and_a_reason(
    stub: Stub, tmp_path: Path, faces: list[dict[str, Any]], sampled: list[int], code: str
):
    scores = judge(stub, write_pack(tmp_path / "pack", faces, sampled=sampled), tmp_path / "out")
    assert scores["index"] == []
    assert scores["video_fake_score"] is None
    assert scores["skipped"] == {code: len(faces)}
    assert code in SENTENCES


def test_31_frames_are_enough_and_frames_after_a_gap_are_not_looked_at(tmp_path: Path):
    pack = write_pack(tmp_path / "short", walk(range(31)), sampled=list(range(31)))
    assert [stay.region.frames for stay in medics.find_stays(pack)] == [(0, 31)]
    gap = [frame for frame in range(120) if frame != 65]
    pack = write_pack(tmp_path / "gap", walk(range(100)), sampled=gap)
    assert [stay.region.frames for stay in medics.find_stays(pack)] == [(0, 65)]


def test_a_network_that_fails_is_an_error_and_not_left_out(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pack = write_pack(tmp_path / "pack", walk(range(40)), sampled=list(range(40)))
    whole = stub._compiled

    def one_fails(file: str, *, frames: int) -> Any:
        if file.startswith("r2plus1dcutmix"):
            raise RuntimeError("out of memory")
        return whole(file, frames=frames)

    monkeypatch.setattr(stub, "_compiled", one_fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        judge(stub, pack, tmp_path / "out")


def test_a_face_at_the_border_is_seen(tmp_path: Path):
    pack = write_pack(tmp_path / "pack", walk(range(60), step=0, start=-10), sampled=list(range(60)))
    (stay,) = medics.find_stays(pack)
    assert stay.region.columns[0] == 0


# --------------------------------------------------------------------------- from crops to clips


def test_a_clip_is_cut_as_from_whole_frames_where_crops_show_it(tmp_path: Path):
    pack = write_pack(tmp_path / "pack", walk(range(50), step=0.2), sampled=list(range(50)))
    (stay,) = medics.find_stays(pack)
    clip = clips.cut_clip(pack, stay.region)
    (top, bottom), (left, right) = stay.region.rows, stay.region.columns
    assert clips.unseen_share(pack, stay.region) == 0
    for number, frame in enumerate(range(*stay.region.frames)):
        np.testing.assert_array_equal(
            clip.video[number], clips.square_224(scene(frame)[top : bottom + 1, left : right + 1])
        )
    assert (len(stay.region.squares), len(clip.faces)) == (40, clips.FRAMES_2D)
    for frame, (x1, y1, x2, y2) in enumerate(stay.region.squares[: clips.FRAMES_2D]):
        np.testing.assert_array_equal(clip.faces[frame], clips.face_256(scene(frame)[y1:y2, x1:x2]))


def test_pixels_no_crop_shows_are_the_last_seen_ones_else_the_next(tmp_path: Path):
    # a crop is exactly its box: 20 x 20, right by 20 every frame
    faces = [{"frame": f, "box": (20.0 * f, 100.0, 20.0 * f + 20, 120.0)} for f in range(3)]
    pack = write_pack(tmp_path / "pack", faces, sampled=[0, 1, 2], margin=1.0)
    region = Region((0, 3), (100, 119), (0, 59), np.array([[0, 100, 60, 120]] * 3))
    assert clips.unseen_share(pack, region) == pytest.approx(2 / 3)
    assert len(clips.cut_clip(pack, region).video) == 3
    for frame, seen in enumerate(clips._frames(pack, region.frames, (0, 100), (80, 20))):
        for place in range(3):
            part = np.s_[:, 20 * place : 20 * place + 20]
            np.testing.assert_array_equal(seen[part], scene(place)[100:120][part], err_msg=f"{frame} {place}")
        assert not seen[:, 60:].any()  # never shown: black


def test_what_is_shown_again_replaces_what_stood_in(tmp_path: Path):
    boxes = {0: (0.0, 0.0, 20.0, 20.0), 1: (40.0, 0.0, 60.0, 20.0), 2: (0.0, 0.0, 20.0, 20.0)}
    pack = write_pack(
        tmp_path / "pack", [{"frame": f, "box": b} for f, b in boxes.items()], sampled=[0, 1, 2], margin=1.0
    )
    shown = [picture[:, :20].copy() for picture in clips._frames(pack, (0, 3), (0, 0), (60, 20))]
    for found, frame in zip(shown, (0, 0, 2), strict=True):  # in frame 1 the last one before it stands in
        np.testing.assert_array_equal(found, scene(frame)[:20, :20])


def test_a_face_the_crops_do_not_follow_is_not_judged(stub: Stub, tmp_path: Path):
    # found at every look, and in one frame of five between them
    faces = [face for face in walk(range(60), step=0) if face["frame"] % 5 == 0]
    scores = judge(stub, write_pack(tmp_path / "pack", faces, sampled=list(range(60))), tmp_path / "out")
    assert scores["video_fake_score"] is None
    assert scores["skipped"] == {"face_not_followed": len(faces)}
    assert "face_not_followed" in SENTENCES
