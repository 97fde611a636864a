"""The clip of a page, fetched by yt-dlp in a real container from a site on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backend.links.egress import Egress
from backend.links.fetching import FetchedClip, fetch_clip, links_spec
from backend.workers.pool import WorkerPool
from backend.workers.runner import Runners, docker_runner
from backend.workers.spec import WorkerError
from shared.digest import sha256_of
from shared.settings import Settings
from tests.links.sites import PUBLIC, Site, streamable

pytestmark = pytest.mark.docker


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with streamable(tmp_path) as found:
        yield found


@pytest.fixture
def fetch(
    tmp_path: Path, site: Site, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., FetchedClip]]:
    settings = Settings(data=tmp_path / "var", max_upload_mb=2, link_timeout_s=90)
    runner = docker_runner(threads=1)
    if code := runner.available(links_spec(settings)):
        pytest.skip(f"no container of links can run here ({code}; 'make images')")
    monkeypatch.setenv("SSL_CERT_FILE", str(site.authority))
    pool = WorkerPool(settings, runners=Runners(runner, None))
    way = partial(Egress, resolver=site.resolve, connect=site.connect)

    def get(page: str, name: str = "streamable") -> FetchedClip:
        with pool.lease(links_spec(settings)) as worker:
            return fetch_clip(worker, page, name, tmp_path / "clip", name="job", settings=settings, egress=way)

    get.pool = pool  # type: ignore[attr-defined]
    yield get
    pool.close()


def test_a_clip_is_fetched_whole_under_a_name_of_ours_and_the_container_is_gone(
    fetch: Any, site: Site, astronaut_clip: Path, engine: Any
) -> None:
    clip = fetch(site.clip("abc1", astronaut_clip.read_bytes()))
    assert clip.file.read_bytes() == astronaut_clip.read_bytes()
    assert (clip.sha256, clip.bytes) == (sha256_of(astronaut_clip), astronaut_clip.stat().st_size)
    assert clip.name == "streamable_abc1.mp4"
    assert "ajax.streamable.com/videos/abc1" in site.asked
    assert fetch.pool.ended == {"cold": 1}
    assert not [item for item in engine.containers.list(all=True) if "links-0" in item.name]


def test_a_page_that_leads_to_this_machine_or_its_network_gets_nothing_from_it(fetch: Any, site: Site) -> None:
    for number, url in enumerate(
        (
            f"http://127.0.0.1:{site.port}/secret",
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "https://inside.example/x.mp4",
        )
    ):
        site.addresses["inside.example"] = [PUBLIC, "10.0.0.7"]
        with pytest.raises(WorkerError, match="link_failed"):
            fetch(site.clip(f"bad{number}", b"", url=url))
    site.answers["/moved.mp4"] = (302, f"https://127.0.0.1:{site.port}/secret", b"")
    with pytest.raises(WorkerError, match="link_failed"):
        fetch(site.clip("moved9", b"", url="https://cdn.streamable.com/moved.mp4"))
    assert not [asked for asked in site.asked if "secret" in asked or "inside" in asked]


@pytest.mark.parametrize(
    ("number", "facts", "code"),
    [
        ("none", {"files": {}}, "link_without_clip"),
        ("gone", {"status": 3}, "link_failed"),
    ],
)
def test_a_page_without_a_clip_says_why(fetch: Any, site: Site, number: str, facts: dict[str, Any], code: str) -> None:
    page = site.clip(number, b"", **facts)
    with pytest.raises(WorkerError, match=code):
        fetch(page)


def test_a_clip_that_is_too_large_is_not_kept(fetch: Any, site: Site, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="link_too_large"):
        fetch(site.clip("big1", bytes(2_100_000)))
    assert not (tmp_path / "clip").exists()


def test_other_pages_are_not_opened_with_what_the_site_needs(fetch: Any, site: Site) -> None:
    with pytest.raises(WorkerError, match="link_unsupported"):
        fetch("https://cdn.streamable.com.example.org/clip.mp4")
    assert site.asked == []


def test_pictures_and_sound_in_two_files_become_one(tmp_path: Path, astronaut_clip: Path) -> None:
    import av

    from backend.links.worker import _joined

    out = tmp_path / "out"
    out.mkdir()
    for kind, name in (("video", "clip.mp4"), ("audio", "sound.m4a")):
        with av.open(str(astronaut_clip)) as source, av.open(str(out / name), "w", format="mp4") as target:
            stream = next(item for item in source.streams if item.type == kind)
            copy = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
    assert _joined(out, "clip.mp4", "sound.m4a") == "joined.mkv"
    with av.open(str(out / "joined.mkv")) as joined:
        assert [stream.type for stream in joined.streams] == ["video", "audio"]
        assert sum(1 for _ in joined.decode(video=0)) == 50
    assert os.listdir(out) == ["joined.mkv"]
    shutil.rmtree(out)
