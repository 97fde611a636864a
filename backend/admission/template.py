"""``detectors new``: the folder a researcher starts from.

Owns the templates. Promises: the new folder runs at once, passes its own test and the admission check, and says where the
researcher's own code goes. May be imported by the command line of detectors.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from backend.admission.practice_units import synthetic_voice, write_wav
from base_detector import SOUND_RATE
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
{input}
threshold = 0.5             # on the fake score: 1 = fake
aggregation = "mean"        # {noun} scores -> one per file, see docs/strategies.md
sees = ["what it can see"]
limits = ["The template: it measures {measures} and knows nothing of manipulations."]
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

{imports}

from base_detector import Array, BaseDetector


class {class_name}(BaseDetector):
    """What it looks for."""

    def load(self, weights: Path, device: str) -> None:
        """Read the weights, once. For torch: ``detectors.nets.checkpoint`` reads files, ``detectors.runtime`` compiles."""

{code}'''

_PIXELS: Final = '''    def preproc(self, face: Array) -> Array:
        """{gets} -> (128, 128) float32. Raise ``base_detector.Skip("{reason}")`` for what cannot be judged."""
        return cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (128, 128)).astype(np.float32)

    def get_softlabel(self, batch: Array) -> Array:
        """(N, 128, 128) -> (N,) in 0..1; inside this class 1 is REAL. Replace this by your network."""
        edges = np.array([cv2.Laplacian(picture, cv2.CV_32F).var() for picture in batch])
        return edges / (edges + 100)
'''

_SOUND: Final = '''    def preproc(self, face: Array) -> Array:
        """Samples of a window, (n,) float32 -> (33,) float32: power by frequency. Raise ``base_detector.Skip("no_speech")`` for others."""
        whole = np.resize(face, max(len(face), 16_000))  # a short sound is repeated
        frames = whole[: len(whole) // 64 * 64].reshape(-1, 64)
        return (np.abs(np.fft.rfft(frames * np.hanning(64))) ** 2).mean(axis=0).astype(np.float32)

    def get_softlabel(self, batch: Array) -> Array:
        """(N, 33) -> (N,) in 0..1; inside this class 1 is REAL. Replace this by your network."""
        share = batch[:, 17:].sum(axis=1) / (batch.sum(axis=1) + 1e-12)  # above 4 kHz
        return share / (share + 1e-4)
'''

_TEST: Final = '''"""Run with ``pytest detectors/{name}``; ``deepfake-o-meter detectors check detectors/{name}`` checks more."""

from __future__ import annotations

{test_imports}

from base_detector import BaseDetector, load_detector

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "var" / "weights" / "{name}"


@pytest.fixture(scope="module")
def detector() -> BaseDetector:
    loaded = load_detector("detectors.{name}")
    loaded.load(WEIGHTS, "cpu")
    return loaded


def example(name: str) -> np.ndarray:
    {read}


def test_a_fake_scores_above_a_real(detector: BaseDetector):
    real, fake = detector.run(example("real.{ending}")), detector.run(example("fake.{ending}"))
    assert fake > real  # fake scores: 1 = fake


def test_the_same_{noun}_gives_the_same_score(detector: BaseDetector):
    assert detector.run(example("real.{ending}")) == detector.run(example("real.{ending}"))
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


@dataclass(frozen=True)
class Template:
    """What differs between detectors of faces, whole pictures and sound."""

    noun: str
    input: str
    measures: str
    code: str
    ending: str = "png"
    imports: str = "import cv2\nimport numpy as np"
    test_imports: str = "from pathlib import Path\n\nimport numpy as np\nimport pytest\nfrom PIL import Image"
    read: str = 'return np.asarray(Image.open(HERE / "check" / name).convert("RGB"))'


#: By ``input`` of the card.
TEMPLATES: Final = {
    "face": Template(
        "face",
        'input = "face"\nsampling = "every_frame"    # every_frame | fps:N | frames:N\n'
        "margin = 1.3                # the crop is the face box times this, square",
        "how blurred a face is",
        _PIXELS.replace("{gets}", "(H, W, 3) uint8 RGB").replace("{reason}", "face_too_small"),
    ),
    "picture": Template(
        "picture",
        'input = "picture"           # whole pictures, upright, in their own pixels\n'
        'sampling = "frames:8"       # every_frame | fps:N | frames:N; a picture is always judged\n'
        "lossless_only = false       # true: only PNG and the like, no JPEG and no frame of a video",
        "how blurred a picture is",
        _PIXELS.replace("{gets}", "A whole picture, (H, W, 3) uint8 RGB").replace("{reason}", "picture_too_small"),
    ),
    "sound": Template(
        "sound",
        'input = "sound"             # mono, 16,000 samples a second\n'
        "window_s = 4.0              # length of what is judged at once\n"
        "hop_s = 2.0                 # from the start of a window to that of the next\n"
        "least_units = 1             # fewer windows give no score of the file",
        "how much of a sound is above 4 kHz",
        _SOUND,
        ending="wav",
        imports="import numpy as np",
        test_imports="import wave\nfrom pathlib import Path\n\nimport numpy as np\nimport pytest",
        read='with wave.open(str(HERE / "check" / name)) as file:\n'
        '        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768',
    ),
}


def write_detector(name: str, folder: Path, *, unit: str = "face") -> Path:
    """Write the folder of detector ``name`` below ``folder``; its path. ``unit``: one of TEMPLATES.

    UserError when the name is not valid, or taken.
    """
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
    } | {key: value for key, value in vars(TEMPLATES[unit]).items() if key != "code"}
    files = {
        "__init__.py": '"""{title}: the detector of this folder; see README.md."""\n',
        "detector.toml": _CARD,
        "detector.py": _CODE.replace("{code}", TEMPLATES[unit].code),
        "requirements.txt": "# packages beyond torch, OpenVINO, OpenCV, Pillow, SciPy, h5py and safetensors, one per line\n",
        f"test_{name}.py": _TEST,
        "README.md": _README,
    }
    staging = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}-"))
    try:
        _fill(staging, files, words)
        _examples(staging / "check", unit=unit)
        durable.move_directory(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return target


def _fill(folder: Path, files: dict[str, str], words: dict[str, str]) -> None:
    folder.chmod(0o755)
    for file, text in files.items():
        for word, value in words.items():
            text = text.replace("{" + word + "}", value)
        (folder / file).write_text(text, encoding="utf-8")


def _examples(folder: Path, *, unit: str) -> None:
    """Write one that the template calls real and one that it calls fake; of sound a synthetic voice, and the same without its highs."""
    folder.mkdir()
    if unit != "sound":
        for kind in ("real", "fake"):
            shutil.copy(SAMPLES / f"{kind}.png", folder / f"{kind}.png")
        return
    voice = synthetic_voice(4 * SOUND_RATE)
    write_wav(folder / "real.wav", voice)
    highs = np.fft.rfftfreq(len(voice), 1 / SOUND_RATE) > 3000
    write_wav(folder / "fake.wav", np.fft.irfft(np.where(highs, 0, np.fft.rfft(voice)), len(voice)).astype(np.float32))
