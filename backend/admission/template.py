"""``detectors new``: the folder a researcher starts from.

Owns the templates. Promises: the new folder runs at once, passes its own test and the admission check, and says where the
researcher's own code goes. May be imported by the command line of detectors.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from shared import durable
from shared.clock import utc_now
from shared.errors import UserError

SAMPLES: Final = Path(__file__).parent / "samples"

_CARD: Final = """id = "{name}"
version = "0.1"
title = "{title}"
summary = "One sentence: what it looks for."
paper = "none"
year = {year}
licence = "Apache-2.0"
input = "face"
sampling = "every_frame"    # every_frame | fps:N | frames:N
margin = 1.3                # the crop is the face box times this, square
threshold = 0.5             # on the fake score: 1 = fake
aggregation = "mean"        # frame scores -> one per video, see docs/strategies.md
sees = ["what it can see"]
limits = ["The template: it measures how blurred a face is and knows nothing of manipulations."]
state = "draft"

[resources]
memory_mb = 1000
seconds_per_face = 0.01
batch = 8

# One table for each published weights file; it reaches load() in the folder `weights`.
# [[weights]]
# file = "net.safetensors"
# url = "https://example.org/net.safetensors"
# licence = "Apache-2.0"
# sha256 = "..."            # sha256sum FILE
# bytes = 0                 # stat -c %s FILE
"""

_CODE: Final = '''"""{title}: one sentence; the card is ``detector.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from base_detector import Array, BaseDetector


class {class_name}(BaseDetector):
    """What it looks for."""

    def load(self, weights: Path, device: str) -> None:
        """Read the weights, once. For torch: ``detectors.nets.checkpoint`` reads files, ``detectors.runtime`` compiles."""

    def preproc(self, face: Array) -> Array:
        """(H, W, 3) uint8 RGB -> (128, 128) float32. Raise ``base_detector.Skip("face_too_small")`` for what cannot be judged."""
        return cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (128, 128)).astype(np.float32)

    def get_softlabel(self, batch: Array) -> Array:
        """(N, 128, 128) -> (N,) in 0..1; inside this class 1 is REAL. Replace this by your network."""
        edges = np.array([cv2.Laplacian(picture, cv2.CV_32F).var() for picture in batch])
        return edges / (edges + 100)
'''

_TEST: Final = '''"""Run with ``pytest detectors/{name}``; ``deepfake-o-meter detectors check detectors/{name}`` checks more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from base_detector import BaseDetector, load_detector

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "var" / "weights" / "{name}"


@pytest.fixture(scope="module")
def detector() -> BaseDetector:
    loaded = load_detector("detectors.{name}")
    loaded.load(WEIGHTS, "cpu")
    return loaded


def picture(name: str) -> np.ndarray:
    return np.asarray(Image.open(HERE / "check" / name).convert("RGB"))


def test_a_fake_scores_above_a_real(detector: BaseDetector):
    real, fake = detector.run(picture("real.png")), detector.run(picture("fake.png"))
    assert fake > real  # fake scores: 1 = fake


def test_the_same_picture_gives_the_same_score(detector: BaseDetector):
    assert detector.run(picture("real.png")) == detector.run(picture("real.png"))
'''

_README: Final = """# {title}

Model card after Mitchell et al. (2019), for [`detector.toml`](detector.toml). Fill every section; write "unknown" where you do not know.

## What it looks for
## Intended use
## Training data
## Published results
## Measured here
<!-- measured: begin -->
`deepfake-o-meter detectors check detectors/{name}` writes this part.
<!-- measured: end -->
## When not to trust it
## Direction and threshold
## Licences of code and weights
"""


def write_detector(name: str, folder: Path) -> Path:
    """Write the folder of detector ``name`` below ``folder``; its path. UserError when the name is not valid, or taken."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", name):
        raise UserError(
            "bad_name", f"{name!r} is not a name for a detector: use small letters, digits and _, a letter first."
        )
    target = folder / name
    if target.exists():
        raise UserError("bad_name", f"{target} exists already. Choose another name, or delete it.")
    if not folder.is_dir():
        raise UserError(
            "bad_name", f"{folder} does not exist: run this in a checkout, or name a folder with DFOM_DETECTORS."
        )
    words = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "year": str(utc_now().year),
    }
    files = {
        "__init__.py": '"""{title}: the detector of this folder; see README.md."""\n',
        "detector.toml": _CARD,
        "detector.py": _CODE,
        "requirements.txt": "# packages beyond torch, OpenVINO, OpenCV, Pillow, SciPy, h5py and safetensors, one per line\n",
        f"test_{name}.py": _TEST,
        "README.md": _README,
    }
    staging = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}-"))
    try:
        _fill(staging, files, words)
        durable.move_directory(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return target


def _fill(folder: Path, files: dict[str, str], words: dict[str, str]) -> None:
    folder.chmod(0o755)
    (folder / "check").mkdir()
    for file, text in files.items():
        for word, value in words.items():
            text = text.replace("{" + word + "}", value)
        (folder / file).write_text(text, encoding="utf-8")
    for kind in ("real", "fake"):
        shutil.copy(SAMPLES / f"{kind}.png", folder / "check" / f"{kind}.png")
