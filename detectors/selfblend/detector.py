"""Self-blend traces on one face at a time; net in ``detectors.nets.selfblend``, card in ``detector.toml``, training: docs/training.md.

The net answers a logit of *fake*; calibration on held-out identities makes it a probability, and one minus that is the soft label.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from base_detector import BaseDetector, ContractError, Face, Skip

Array = npt.NDArray[Any]

#: The weights lie in this package: they are there whether or not any publisher's server is.
WEIGHTS = Path(__file__).parent / "weights" / "selfblend.safetensors"
#: Longer side of the face box, in pixels, below which a face holds no trace to judge.
SMALLEST = 32


class SelfBlend(BaseDetector):
    """The shipped network; ``parameters`` of the card hold its sha256 and its calibration."""

    def load(self, weights: Path, device: str) -> None:
        from safetensors.torch import load

        from detectors.nets.checkpoint import fill
        from detectors.nets.selfblend import SelfBlendJudge, SelfBlendNet
        from detectors.runtime import compile_net

        content = WEIGHTS.read_bytes()
        found, wanted = hashlib.sha256(content).hexdigest(), self.card.parameters["weights_sha256"]
        if found != wanted:
            raise ContractError(
                f"selfblend: parameters.weights_sha256 must be {found}, as {WEIGHTS.name} has it, not {wanted!r}: check out both anew"
            )
        self._side = int(self.card.parameters["side"])
        net = SelfBlendNet(side=self._side, widths=tuple(self.card.parameters["widths"]))
        fill(net, load(content))
        judge = SelfBlendJudge(net, slope=self.card.parameters["slope"], offset=self.card.parameters["offset"])
        example = np.zeros((1, 1, self._side, self._side), np.float32)
        self._judge = compile_net(judge, example=example, device=device)

    def crop_face(self, image: Array, face: Face) -> Array:
        """The square of the card's margin about the face box; where it leaves the picture the border is repeated, as in training."""
        box, (height, width) = face.box, image.shape[:2]
        longer = float(max(box[2] - box[0], box[3] - box[1]))
        if longer < SMALLEST or box[2] <= 0 or box[3] <= 0 or box[0] >= width or box[1] >= height:
            raise Skip("face_too_small")
        side = round(longer * self.card.margin)
        x, y = round(float(box[0] + box[2] - side) / 2), round(float(box[1] + box[3] - side) / 2)
        rows = np.clip(np.arange(y, y + side), 0, height - 1)
        columns = np.clip(np.arange(x, x + side), 0, width - 1)
        if x >= 0 and y >= 0 and x + side <= width and y + side <= height:
            return image[y : y + side, x : x + side]
        return np.asarray(image[rows[:, None], columns[None]])

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (1, S, S) float32 luma, 0..255: means of pixels on the way down, straight lines on the way up."""
        luma = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY)
        kind = cv2.INTER_AREA if min(luma.shape) >= self._side else cv2.INTER_LINEAR
        return cv2.resize(luma, (self._side, self._side), interpolation=kind)[None].astype(np.float32)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 1, S, S) -> (N,)."""
        fake, _ = self._judge(batch)
        return 1 - np.asarray(fake, np.float64)

    def evidence(self, batch: Array) -> Array:
        """Where each face looks pasted: (N, S, S) uint8, 255 = surely; a map of S/8 cells a side, drawn smoothly."""
        _, maps = self._judge(batch)
        shape = (self._side, self._side)
        smooth = [cv2.resize(region, shape, interpolation=cv2.INTER_LINEAR) for region in np.asarray(maps)]
        return np.round(np.clip(np.stack(smooth), 0, 1) * 255).astype(np.uint8)
