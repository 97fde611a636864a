"""Makes the example of the front page anew, and the picture beside it: ``python -m tests.example`` (needs mesonet's weights as well).

``frontend/static/example.jpg`` is the portrait of Eileen Collins (NASA, public domain) with her face blended with a copy of itself, as the
fixtures have it; ``example-result.webp`` is cut out of the marked picture of its report, as ``analyze`` writes it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
STATIC = ROOT / "frontend" / "static"
#: Where the fixtures' face was cut out of the portrait.
FACE_AT = (156, 66)
#: The parts of the marked picture that are shown, one above the other: the framed face, and the scores. Both are 472 pixels wide.
FACE, SCORES = (0, 0, 472, 240), (512, 0, 984, 240)


def example() -> Image.Image:
    """The portrait with the blended face, 512 x 512."""
    portrait = Image.open(FIXTURES / "astronaut.jpg").convert("RGB")
    portrait.paste(Image.open(FIXTURES / "astronaut_blend.png").convert("RGB"), FACE_AT)
    return portrait


def main() -> None:
    """Write both files."""
    example().save(STATIC / "example.jpg", quality=88, subsampling=0)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "deepfake_o_meter",
                "analyze",
                str(STATIC / "example.jpg"),
                "--out",
                folder,
                "--detectors",
                "selfblend,mesonet",
            ],
            check=True,
        )
        marked = Image.open(Path(folder) / "example" / "video" / "side_by_side.png").convert("RGB")
    shown = Image.new("RGB", (472, 480))
    shown.paste(marked.crop(FACE), (0, 0))
    shown.paste(marked.crop(SCORES), (0, 240))
    shown.save(STATIC / "example-result.webp", quality=80)


if __name__ == "__main__":
    main()
