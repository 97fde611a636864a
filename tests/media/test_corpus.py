"""Files of many kinds through the whole media pass: each ends in a face where it is seen, or in a named reason."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from backend.harvest.media_pack import harvest_pack
from base_detector import FacePack, WorkerFailure
from tests.media.clips import encode, moving, scene


def assert_upright(pack: FacePack) -> None:
    """Eyes above nose above mouth, left eye left of the right one, all inside the picture."""
    assert len(pack)
    for row in pack.faces:
        left, right, nose, mouth_left, mouth_right = row["landmarks"]
        assert max(left[1], right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
        assert left[0] < right[0]
        assert 0 < nose[0] < pack.media.width
        assert 0 < nose[1] < pack.media.height


# --------------------------------------------------------------------------- the usual


def test_one_moving_face_is_one_person_in_every_frame(run_pass, astronaut_clip: Path):
    pack = run_pass(astronaut_clip)
    assert vars(pack.media) == {
        "kind": "video",
        "width": 640,
        "height": 480,
        "fps": 25.0,
        "duration_s": pytest.approx(2.0),
        "frames": 50,
        "codec": "h264",
        "container": "mov,mp4,m4a,3gp,3g2,mj2",
        "rotation": 0,
        "has_audio": True,
        "lossless": False,
        "sizes": [],
    }
    assert [p.faces for p in pack.persons] == [50]
    assert pack.faces["frame"].tolist() == list(range(50))
    np.testing.assert_allclose(pack.faces["time_s"], np.arange(50) / 25, atol=1e-6)
    # the portrait moves one pixel a frame: detections and interpolations must follow it
    centre = pack.faces["box"][:, [0, 2]].mean(axis=1)
    np.testing.assert_allclose(centre - centre[0], np.arange(50), atol=5)
    assert 0 < pack.faces["tracked"].sum() < 45
    assert_upright(pack)


def test_context_crops_are_the_pixels_of_the_frame(run_pass, tmp_path: Path, astronaut: np.ndarray):
    pictures = moving(astronaut, count=8)
    clip = encode(tmp_path / "a.mkv", pictures, codec="ffv1", pix_fmt="bgr0")
    pack = run_pass(clip, context=1.6)
    assert len(pack) == 8
    for index, row in enumerate(pack.faces):
        x, y = row["crop_origin"]
        crop = pack.image(index)
        assert np.array_equal(crop, pictures[row["frame"]][y : y + crop.shape[0], x : x + crop.shape[1]])
        side = (row["box"][2:] - row["box"][:2]).max() * 1.6
        assert max(crop.shape[:2]) <= side + 2
        face = pack.face(index)
        assert (face.landmarks > 0).all()
        assert (face.landmarks < crop.shape[1::-1]).all()


def test_pixels_are_those_opencv_reads(run_pass, astronaut_clip: Path):
    """Published detectors were trained on what OpenCV decodes: the same matrix, range and chroma, to the bit."""
    pack = run_pass(astronaut_clip, samplings=["frames:4"])
    reader = cv2.VideoCapture(str(astronaut_clip))
    frames = []
    while (step := reader.read())[0]:
        frames.append(step[1][..., ::-1])
    assert len(pack) == 4
    for index, row in enumerate(pack.faces):
        x, y = row["crop_origin"]
        crop = pack.image(index)
        assert np.array_equal(crop, frames[row["frame"]][y : y + crop.shape[0], x : x + crop.shape[1]])


def test_the_pack_passes_the_check_of_the_other_side(run_pass, tmp_path: Path, astronaut: np.ndarray):
    clip = encode(tmp_path / "a.mp4", moving(astronaut))
    pack = run_pass(clip)
    harvest_pack(pack.folder, tmp_path / "harvested")
    assert np.array_equal(FacePack(tmp_path / "harvested").faces, pack.faces)


def test_the_same_clip_gives_the_same_bytes(run_pass, tmp_path: Path, astronaut: np.ndarray):
    clip = encode(tmp_path / "a.mp4", moving(astronaut))
    first, second = run_pass(clip, name="one"), run_pass(clip, name="two")
    for name in ("faces.npy", "crops.bin"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


# --------------------------------------------------------------------------- turned


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_clips_give_upright_faces(run_pass, tmp_path: Path, astronaut: np.ndarray, turn: int):
    upright = moving(astronaut, count=6)
    stored = [np.rot90(picture, turn // 90) for picture in upright]  # counter-clockwise
    # the display matrix turns it back, clockwise by ``turn``; FFmpeg counts counter-clockwise
    pack = run_pass(encode(tmp_path / "a.mp4", stored, rotation=-turn))
    media = vars(pack.media)
    assert (media["width"], media["height"], media["rotation"]) == (320, 240, turn)
    assert_upright(pack)
    plain = run_pass(encode(tmp_path / "b.mp4", upright), name="plain")
    np.testing.assert_allclose(pack.faces["box"], plain.faces["box"], atol=4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_are_applied(run_pass, tmp_path: Path, astronaut: np.ndarray, orientation: int):
    upright = Image.fromarray(scene(astronaut))
    undo = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # Image.Transpose that makes the stored picture
    stored = upright
    for step in undo.get(orientation, []):
        stored = stored.transpose(Image.Transpose(step))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", quality=95, exif=exif)
    pack = run_pass(tmp_path / "a.jpg")
    media = vars(pack.media)
    assert (media["kind"], media["width"], media["height"]) == ("image", 320, 240)
    assert_upright(pack)
    # the portrait stands left of the middle, so a mirrored picture would show
    assert pack.faces["box"][0][[0, 2]].mean() < 160


# --------------------------------------------------------------------------- odd ones


def test_variable_frame_rate_keeps_presentation_times(run_pass, tmp_path: Path, astronaut: np.ndarray):
    stamps = [0, 40, 80, 400, 440, 1000, 1040, 1500]
    clip = encode(tmp_path / "a.mkv", moving(astronaut, count=8), stamps=stamps, options={"bf": "0"})
    pack = run_pass(clip)
    times = pack.times
    np.testing.assert_allclose(times, np.array(stamps) / 1000, atol=1.5e-3)


def test_time_counts_from_the_first_picture(run_pass, tmp_path: Path, astronaut: np.ndarray):
    clip = encode(tmp_path / "a.mkv", moving(astronaut, count=4), stamps=[7000, 7040, 7080, 7120])
    pack = run_pass(clip)
    np.testing.assert_allclose(pack.times, [0, 0.04, 0.08, 0.12], atol=1.5e-3)
    assert pack.media.duration_s < 0.3


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "size"),
    [
        ("odd.mp4", "libx264", "yuv444p", (321, 243)),
        ("ten_bit.mp4", "libx264", "yuv420p10le", (320, 240)),
        ("grey.mkv", "ffv1", "gray", (320, 240)),
        ("alpha.mkv", "ffv1", "bgra", (320, 240)),
        ("mpeg4.avi", "mpeg4", "yuv420p", (320, 240)),
        ("mjpeg.mov", "mjpeg", "yuvj420p", (320, 240)),
        ("vp9.webm", "libvpx-vp9", "yuv420p", (320, 240)),
        ("stream.ts", "mpeg2video", "yuv420p", (320, 240)),
        ("prores.mov", "prores_ks", "yuv422p10le", (320, 240)),
    ],
)
def test_formats_sizes_and_depths(run_pass, tmp_path: Path, astronaut: np.ndarray, name, codec, pix_fmt, size):
    width, height = size
    clip = encode(tmp_path / name, moving(astronaut, count=6, width=width, height=height), codec=codec, pix_fmt=pix_fmt)
    pack = run_pass(clip)
    media = vars(pack.media)
    assert (media["width"], media["height"], media["frames"]) == (width, height, 6)
    assert [p.faces for p in pack.persons] == [6]
    assert_upright(pack)


def test_a_clip_of_one_frame(run_pass, tmp_path: Path, astronaut: np.ndarray):
    pack = run_pass(encode(tmp_path / "a.mp4", [scene(astronaut)]))
    assert len(pack) == 1
    assert pack.media.frames == 1
    assert [vars(shot) for shot in pack.shots] == [{"shot": 0, "start": 0, "end": 0, "start_s": 0.0, "end_s": 0.0}]


def test_no_face_is_a_pack_without_rows(run_pass, tmp_path: Path):
    noise = np.random.default_rng(5).integers(0, 255, (240, 320, 3), np.uint8)
    pack = run_pass(encode(tmp_path / "a.mp4", [np.roll(noise, index, axis=1) for index in range(6)]))
    assert len(pack) == 0
    assert pack.persons == ()
    assert len(pack.frames) == 6


def test_a_cut_parts_shots_and_faces_are_not_carried_over_it(run_pass, tmp_path: Path, astronaut: np.ndarray):
    bright = np.full((240, 320, 3), 230, np.uint8)
    bright[::8] = (20, 160, 40)
    pictures = moving(astronaut, count=23, step=1) + [bright] * 20
    pack = run_pass(encode(tmp_path / "a.mp4", pictures))
    assert [(shot.start, shot.end) for shot in pack.shots] == [(0, 22), (23, 42)]
    assert pack.faces["frame"].max() == 22  # up to the last picture before the cut, and none behind it
    assert len(pack) == 23
    assert set(pack.faces["shot"]) == {0}


def test_the_same_face_in_two_shots_is_one_person(run_pass, tmp_path: Path, astronaut: np.ndarray):
    first = moving(astronaut, count=20, step=1)
    other = [cv2.flip(255 - np.full_like(first[0], 40), 0) for _ in range(20)]
    for index, picture in enumerate(other):
        picture[0:200, 100 + index : 300 + index] = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)
    pack = run_pass(encode(tmp_path / "a.mp4", first + other))
    assert len(pack.shots) == 2
    assert [p.faces for p in pack.persons] == [40]


# --------------------------------------------------------------------------- images


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "misnamed.mp4"])
def test_images_are_packs_of_one_frame(run_pass, tmp_path: Path, astronaut: np.ndarray, name: str):
    path = tmp_path / name
    Image.fromarray(scene(astronaut)).save(path, format="PNG" if name == "misnamed.mp4" else None)
    pack = run_pass(path)
    media = vars(pack.media)
    assert (media["kind"], media["frames"], media["fps"], media["duration_s"]) == ("image", 1, None, 0.0)
    assert len(pack) == 1
    assert not pack.faces["tracked"][0]


def test_transparent_grey_and_deep_images_are_judged_as_shown(run_pass, tmp_path: Path, astronaut: np.ndarray):
    picture = scene(astronaut)
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    alpha[:, 280:] = 0
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "alpha.png")
    pack = run_pass(tmp_path / "alpha.png", name="alpha", context=8.0)
    assert (pack.image(0)[5, -1] == 255).all()  # what is transparent shows white
    deep = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert len(run_pass(tmp_path / "deep.png", name="deep")) == 1


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_animated_images_are_short_videos(run_pass, tmp_path: Path, astronaut: np.ndarray, kind: str):
    pictures = [Image.fromarray(picture) for picture in moving(astronaut, count=6, step=4)]
    path = tmp_path / f"a.{kind}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=120)
    pack = run_pass(path)
    media = vars(pack.media)
    assert (media["kind"], media["frames"]) == ("video", 6)
    np.testing.assert_allclose(pack.times, np.arange(6) * 0.12, atol=1e-6)
    assert media["duration_s"] == pytest.approx(0.72)
    assert [p.faces for p in pack.persons] == [6]


# --------------------------------------------------------------------------- refused by name


def refused(run_pass, path: Path, **options) -> str:
    """The code of the refusal; nothing may be left behind."""
    with pytest.raises(WorkerFailure) as caught:
        run_pass(path, **options)
    assert sorted(item.name for item in path.parent.iterdir() if "pack" in item.name) == []
    return caught.value.code


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hls.mp4", "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
        ("concat.mp4", "ffconcat version 1.0\nfile secret.mp4\n"),
        ("sdp.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"),
        ("dash.mp4", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>\n'),
        ("text.mp4", "Once upon a time there was no video at all.\n" * 20),
    ],
)
def test_playlists_and_texts_are_refused_whatever_their_name(run_pass, tmp_path: Path, astronaut, name, text):
    encode(tmp_path / "secret.mp4", moving(astronaut, count=3))
    (tmp_path / name).write_text(text)
    assert refused(run_pass, tmp_path / name) == "text_file"


def test_a_name_that_reads_like_a_protocol_is_only_a_name(run_pass, tmp_path: Path, astronaut: np.ndarray, monkeypatch):
    encode(tmp_path / "a.mp4", moving(astronaut, count=3))
    (tmp_path / "a.mp4").rename(tmp_path / "concat:b|c")
    monkeypatch.chdir(tmp_path)
    assert run_pass(Path("concat:b|c")).media.frames == 3


def test_heif_is_not_taken_for_a_video_of_tiles(run_pass, tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 200)
    assert refused(run_pass, tmp_path / "a.mp4") == "media_unreadable"
    (tmp_path / "b.mp4").write_bytes(b"\0\0\0\x18ftypavci\0\0\0\0mif1avci" + b"\0" * 200)
    assert refused(run_pass, tmp_path / "b.mp4") == "heif_picture"


def test_a_truncated_clip_gives_what_decodes(run_pass, tmp_path: Path, astronaut: np.ndarray):
    clip = encode(
        tmp_path / "a.mp4", moving(astronaut, count=40), options={"g": "5"}, container_options={"movflags": "faststart"}
    )
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 2 // 3])
    pack = run_pass(clip)
    assert 5 < pack.media.frames < 40
    assert len(pack) == len(pack.frames)


def test_a_clip_without_its_whole_index_is_named_unfinished(run_pass, tmp_path: Path, astronaut: np.ndarray):
    clip = encode(tmp_path / "a.mp4", moving(astronaut))
    clip.write_bytes(clip.read_bytes()[:-1500])
    assert refused(run_pass, clip) == "video_unfinished"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_damaged_image_is_not_filled_up_and_judged(run_pass, tmp_path: Path, astronaut: np.ndarray, name: str):
    Image.fromarray(scene(astronaut)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 4])
    assert refused(run_pass, tmp_path / name) == ("media_unreadable" if name == "a.webp" else "picture_cut_off")


def test_damaged_copies_end_in_a_pack_or_a_name(tmp_path: Path, astronaut: np.ndarray):
    from backend.media.extract import extract_pack

    rng = np.random.default_rng(11)
    sources = [encode(tmp_path / f"a.{end}", moving(astronaut, count=5)) for end in ("mp4", "mkv", "avi")]
    Image.fromarray(scene(astronaut)).save(tmp_path / "a.jpg")
    outcomes: dict[str, int] = {}
    for number, source in enumerate([*sources, tmp_path / "a.jpg"] * 15):
        content = np.frombuffer(source.read_bytes(), np.uint8).copy()
        wounds = 1 + number % 10
        content[rng.integers(0, len(content), wounds)] = rng.integers(0, 256, wounds)
        broken = tmp_path / "broken"
        kept = len(content) if number % 3 else rng.integers(len(content) // 2, len(content))
        broken.write_bytes(content[:kept].tobytes())
        try:
            extract_pack(broken, tmp_path / f"out{number}", samplings=["frames:2"])
            outcome = "pack"
        except WorkerFailure as failure:
            outcome = failure.code
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert set(outcomes) <= {
        "pack", "media_unreadable", "unsupported_media", "media_too_large", "media_too_long", "picture_cut_off", "media_damaged",
        "video_unfinished",
    }  # fmt: skip
    assert outcomes["pack"] > 5
    assert outcomes["media_unreadable"] + outcomes["video_unfinished"] > 5
