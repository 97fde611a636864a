"""Self-blend traces on one face at a time; net in ``detectors.nets.selfblend``, card in ``detector.toml``, training: docs/training.md.

Two nets of one kind share the work: the coarse one judges a face at 80 pixels, the fine one a large face at 160. Each answers a logit of
*fake*; calibration on held-out identities makes it a probability, and one minus that is the soft label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from base_detector import Array, BaseDetector, ContractError, Face, Skip
from detectors.nets.faces import resized

if TYPE_CHECKING:
    import torch

#: The weights are in this package, so they do not depend on a publisher's server.
WEIGHTS = Path(__file__).parent / "weights"
#: Longer side of the face box, in pixels, below which a face holds no trace to judge.
SMALLEST = 32
#: What the card says of each net; ``fine`` has ``from`` besides.
_KEYS = {"side", "slope", "offset", "file", "sha256"}
#: Luma that means "this face has no fine picture".
NOTHING = -1.0


class SelfBlend(BaseDetector):
    """The shipped networks; ``parameters.coarse`` and ``parameters.fine`` of the card hold their sha256 and calibration."""

    def load(self, weights: Path, device: str) -> None:
        self._side, self._fine_side = (self._of_card(view)["side"] for view in ("coarse", "fine"))
        if self._fine_side != 2 * self._side:
            raise ContractError("selfblend: parameters.fine.side must be twice parameters.coarse.side")
        self._coarse, self._fine = self._net("coarse", device), self._net("fine", device)

    def _of_card(self, view: str) -> dict[str, Any]:
        """The card's table for one of the nets."""
        own = self.card.parameters[view]
        if not isinstance(own, dict) or not _KEYS.issubset(own):
            raise ContractError(
                f"selfblend: parameters.{view} must be a table of {', '.join(sorted(_KEYS))}, not {own!r}"
            )
        return own

    def _net(self, view: str, device: str) -> Any:
        from detectors import probes
        from detectors.runtime import compiled

        own = self._of_card(view)
        path = WEIGHTS / own["file"]
        content = path.read_bytes()
        found, wanted = hashlib.sha256(content).hexdigest(), own["sha256"]
        if found != wanted:
            raise ContractError(
                f"selfblend: parameters.{view}.sha256 must be {found}, as {path.name} has it, not {wanted!r}: check out both again"
            )
        side, widths = own["side"], tuple(self.card.parameters["widths"])
        probe = cv2.cvtColor(probes.face(side), cv2.COLOR_RGB2GRAY)[None, None].astype(np.float32)
        numbers = float(own["slope"]), float(own["offset"])
        return compiled(_judge, content, side, widths, *numbers, example=probe, device=device, probe=probe)

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
        """(h, w, 3) uint8 RGB -> (4, S, S) float32 luma, 0..255: the picture that ``planes`` makes for one of the nets.

        Means of pixels on the way down, straight lines on the way up. A face is large where its box has ``parameters.fine.from`` pixels.
        """
        luma = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY)
        large = min(luma.shape) >= round(self.card.parameters["fine"]["from"] * self.card.margin)
        return planes(resized(luma, self._fine_side if large else self._side), side=self._side)

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 4, S, S) -> (N,)."""
        fake = np.empty(len(batch))
        for own, found, _ in self._judged(batch):
            fake[own] = found
        return 1 - fake

    def evidence(self, batch: Array) -> Array:
        """Where each face looks pasted: (N, S, S) uint8, 255 = surely; a map of S/8 cells a side, drawn smoothly."""
        shape = (self._side, self._side)
        smooth = np.empty((len(batch), *shape), np.float32)
        for own, _, maps in self._judged(batch):
            smooth[own] = [cv2.resize(region, shape, interpolation=cv2.INTER_LINEAR) for region in maps]
        return np.round(np.clip(smooth, 0, 1) * 255).astype(np.uint8)

    def _judged(self, batch: Array) -> Iterator[tuple[Array, Array, Array]]:
        """For each net with faces in the batch: which they are, (N,) bool, their probability of fake and their maps."""
        large = batch[:, -1, 0, 0] != NOTHING
        if (~large).any():
            yield ~large, *self._coarse(np.ascontiguousarray(batch[~large, :1]))
        if large.any():
            yield large, *self._fine(_joined(batch[large]))


def _judge(
    content: bytes, side: int, widths: tuple[int, int, int, int], slope: float, offset: float
) -> torch.nn.Module:
    """One of the nets with its calibration."""
    from safetensors.torch import load

    from detectors.nets.checkpoint import fill
    from detectors.nets.selfblend import SelfBlendJudge, SelfBlendNet

    net = SelfBlendNet(side=side, widths=widths)
    fill(net, load(content))
    return SelfBlendJudge(net, slope=slope, offset=offset)


def planes(picture: Array, *, side: int) -> Array:
    """Luma of one face as a batch holds it, (4, S, S) float32: an (S, S) picture and NOTHING, or the phases of one twice as large.

    Phase 2 i + j holds rows i, i + 2 ... and columns j, j + 2 ...
    """
    if len(picture) == 2 * side:
        return picture.reshape(side, 2, side, 2).transpose(1, 3, 0, 2).reshape(4, side, side).astype(np.float32)
    found = np.full((4, side, side), NOTHING, np.float32)
    found[0] = picture
    return found


def _joined(batch: Array) -> Array:
    """The fine pictures (N, 1, 2 S, 2 S) of faces as ``planes`` made them."""
    count, _, side, _ = batch.shape
    return batch.reshape(count, 2, 2, side, side).transpose(0, 3, 1, 4, 2).reshape(count, 1, 2 * side, 2 * side)
