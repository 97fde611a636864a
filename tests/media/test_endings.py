"""Files that did not arrive whole, or are no video at all: each is called what it is, and what came of a clip is judged with a note."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.media.limits import UNLIMITED
from backend.media.opening import open_medium
from base_detector import WorkerFailure
from shared.errors import MEDIA_CODES, SENTENCES
from shared.signatures import HEAD_BYTES, refusal
from tests.media.clips import encode, scene


def _told(path: Path) -> str:
    with pytest.raises(WorkerFailure) as failure:
        open_medium(path, limits=UNLIMITED)
    return str(failure.value.code)


def _notes(path: Path) -> dict[str, float | None]:
    with open_medium(path, limits=UNLIMITED) as medium:
        assert [picture.index for picture in medium.pictures()]
        return {note.code: note.value for note in medium.notes}


@pytest.fixture(scope="module")
def pictures(astronaut: np.ndarray) -> list[np.ndarray]:
    return [np.roll(scene(astronaut), 3 * index, axis=1) for index in range(30)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, pictures: list[np.ndarray]) -> bytes:
    """An MP4 as phones write it: the index comes last."""
    return encode(tmp_path_factory.mktemp("recording") / "a.mp4", pictures, options={"g": "6"}).read_bytes()


@pytest.mark.parametrize("share", [0.2, 0.7, 0.9])
def test_an_interrupted_recording_or_download_is_called_so(tmp_path: Path, recording: bytes, share: float) -> None:
    (tmp_path / "clip.mp4.crdownload").write_bytes(recording[: int(len(recording) * share)])
    assert _told(tmp_path / "clip.mp4.crdownload") == "video_unfinished"


@pytest.mark.parametrize(
    "added",
    [b"", bytes(5000), b"\x7f\xa1" * 2500, b"\xff\xff\xff\xf0SEFT" * 9],
    ids=["as_is", "zeros", "junk", "maker"],
)
def test_a_whole_recording_has_no_note_whatever_was_appended(tmp_path: Path, recording: bytes, added: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(recording + added)
    assert _notes(tmp_path / "clip.mp4") == {}


def test_a_stream_that_ended_before_its_first_picture_is_called_unfinished(
    tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    content = encode(tmp_path / "live.mp4", pictures[:2], container_options=options).read_bytes()
    (tmp_path / "live.mp4").write_bytes(content[: content.index(b"moof") - 4])
    assert _told(tmp_path / "live.mp4") == "video_unfinished"


@pytest.mark.parametrize("head", [b"", b"\0\0\0\x14stypmsdh\0\0\0\0msdh"], ids=["hls", "dash"])
def test_a_piece_of_a_stream_without_its_beginning_is_called_so(
    tmp_path: Path, pictures: list[np.ndarray], head: bytes
) -> None:
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    content = encode(tmp_path / "live.mp4", pictures[:2], container_options=options).read_bytes()
    (tmp_path / "seg_7.m4s").write_bytes(head + content[content.index(b"moof") - 4 :])
    assert _told(tmp_path / "seg_7.m4s") == "video_piece"


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {"movflags": "faststart"}), ("a.mov", {"movflags": "faststart"}), ("a.mkv", {}), ("a.avi", {})],
)
def test_a_clip_without_its_end_is_judged_with_a_note(
    tmp_path: Path, pictures: list[np.ndarray], name: str, options: dict[str, str]
) -> None:
    clip = encode(tmp_path / name, pictures, options={"g": "6"}, container_options=options)
    assert "clip_cut_off" not in _notes(clip)
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 6 // 10])
    assert _notes(clip)["clip_cut_off"] == pytest.approx(0.6, abs=0.01)


_TEXTS = {
    "video.mp4": '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>expired</Message></Error>',
    "reel.mp4": '{"error":{"message":"Unsupported get request","type":"GraphMethodException","code":100}}',
    "live.m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:6.0,\nseg0.ts\n#EXT-X-ENDLIST\n",
    "clip.srt": "1\r\n00:00:00,000 --> 00:00:02,000\r\nDas hat er nie gesagt, so ähnlich klang es auch für uns — übel\r\n",
    "link.url": "[InternetShortcut]\nURL=https://example.org/watch\n",
    "film.torrent": "d8:announce40:http://tracker.example.org:6969/announce4:infod6:lengthi1000000e",
    "сообщение.mp4": "Видео по этой ссылке больше не доступно, оно было удалено автором",
}


@pytest.mark.parametrize("name", _TEXTS)
def test_text_under_the_name_of_a_video_is_called_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(_TEXTS[name].encode())
    assert _told(tmp_path / name) == "text_file"


def test_a_page_that_begins_with_a_remark_is_a_web_page(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("\n<!-- saved from url=(0014) -->\n<html><body>", encoding="utf-8")
    assert _told(tmp_path / "a.mp4") == "web_page"


@pytest.mark.parametrize("name", ["a.aiff", "a.caf", "a.w64"])
def test_sound_that_is_not_read_is_called_sound(tmp_path: Path, name: str) -> None:
    import av

    codecs = {"a.caf": "pcm_s16be", "a.w64": "pcm_s16le"}
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codecs.get(name, "pcm_s16be"), rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        frame.rate = 44100
        container.mux([*stream.encode(frame), *stream.encode()])
    assert _told(tmp_path / name) == "sound_file"


@pytest.mark.parametrize(
    "head", [b"GIF89a", b"OggS", b"BMX", b"FLV\x01", b"RIFF....AVI LIST....hdrlavih8\0\0\0", b"\0\0\0\x20ftypisom"]
)
def test_media_that_begin_with_letters_are_not_taken_for_text(head: bytes) -> None:
    assert refusal(head) is None


def test_text_is_known_where_the_head_ends_within_a_letter() -> None:
    for lead in range(4):
        assert refusal(("x" * lead + "я" * 60).encode()[:HEAD_BYTES]) == "text_file"


def test_each_code_has_words_and_may_come_from_the_media_worker() -> None:
    for code in ("text_file", "sound_file", "no_picture_or_sound", "video_piece", "video_unfinished", "codec_unknown"):
        assert code in MEDIA_CODES
        assert code in SENTENCES
