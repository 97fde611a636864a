"""The clips that are damaged on purpose, one a codec and container, kept in ``tests/fixtures/damage``.

Encoders give other bytes on another processor, and whether noise in H.264 decodes without an error hangs on each byte (docs/media_pass.md,
"Damage"). So the clips are made once, by ``python -m tests.media.damage_clips``, and every machine damages the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.media.clips import encode

FOLDER = Path(__file__).parents[1] / "fixtures" / "damage"
#: Pictures of a clip, and from one key frame to the next.
COUNT, GROUP = 45, 15
WIDTH, HEIGHT = 160, 120

H264 = {"g": str(GROUP), "sc_threshold": "0", "preset": "veryfast"}
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "h264_bframes.mp4": ("libx264", H264 | {"bf": "2"}),
    "h264.mkv": ("libx264", H264 | {"bf": "0"}),
    "h264.ts": ("libx264", H264 | {"bf": "2"}),
    "h264_open.ts": ("libx264", H264 | {"bf": "2", "x264-params": "open-gop=1"}),
    "h264_once.mp4": ("libx264", H264 | {"g": "1000", "bf": "0"}),
    "h264_refresh.mkv": ("libx264", H264 | {"bf": "0", "x264-params": "intra-refresh=1"}),
    "hevc.mp4": ("libx265", {"x265-params": f"log-level=none:keyint={GROUP}:min-keyint={GROUP}:scenecut=0:open-gop=0"}),
    "hevc_open.ts": ("libx265", {"x265-params": f"log-level=none:keyint={GROUP}:min-keyint={GROUP}:scenecut=0"}),
    "vp8.webm": ("libvpx", {"g": str(GROUP), "deadline": "realtime", "cpu-used": "8", "b": "300k"}),
    "vp9.webm": ("libvpx-vp9", {"g": str(GROUP), "deadline": "realtime", "cpu-used": "8", "b": "300k"}),
    "mpeg4.avi": ("mpeg4", {"g": str(GROUP), "b": "400k"}),
    "mpeg4_bframes.mp4": ("mpeg4", {"g": str(GROUP), "bf": "2", "b": "400k"}),
    "mpeg2.ts": ("mpeg2video", {"g": str(GROUP), "bf": "2", "b": "800k"}),
    "sorenson.flv": ("flv", {"g": str(GROUP), "b": "400k"}),
    "mjpeg.avi": ("mjpeg", {"q": "4", "b": "1200k"}),
    "prores.mov": ("prores_ks", {"profile": "0"}),
}
PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}


def restless(portrait: np.ndarray) -> list[np.ndarray]:
    """The portrait swaying and turning behind a little noise: no picture is a plain shift of the one before."""
    rnd, side, pictures = np.random.default_rng(3), portrait.shape[0], []
    for index in range(COUNT):
        turn = cv2.getRotationMatrix2D((side / 2, side * 0.4), 6 * np.sin(index / 4), 0.31 + 0.02 * np.sin(index / 3))
        turn[:, 2] += WIDTH / 2 - side / 2 + index - 20, HEIGHT / 2 - side * 0.4
        picture = cv2.warpAffine(portrait, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        noise = rnd.normal(0, 4, (HEIGHT // 2, WIDTH // 2, 1)).repeat(2, axis=0).repeat(2, axis=1)
        pictures.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
    return pictures


def main() -> None:
    portrait = np.asarray(Image.open(FOLDER.parent / "astronaut.jpg").convert("RGB"))
    FOLDER.mkdir(exist_ok=True)
    for kind, (codec, options) in KINDS.items():
        clip = encode(
            FOLDER / kind, restless(portrait), codec=codec, pix_fmt=PIXELS.get(codec, "yuv420p"), options=options
        )
        print(f"{kind}: {clip.stat().st_size} bytes")


if __name__ == "__main__":
    main()
