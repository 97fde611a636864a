"""WM (cuihaoleo/kaggle-dfdc, second place of the DFDC, 2020): three nets on an aligned face; nets in ``detectors.nets.wsdan``.

Of each net's two logits index 1 is *fake*. A face's fake score is .2, .7 and .1 of the three softmaxes; its soft label one minus that.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from base_detector import Array, BaseDetector, Card, ContractError, Face, FacePack, Judgement, Progress, Skip
from detectors.nets.own_finder import Finder, found_again, is_wanted
from detectors.nets.scores import softmax_at

if TYPE_CHECKING:
    import torch

    from detectors.nets.checkpoint import Published

#: Published files: Xception, WS-DAN on Xception, WS-DAN on EfficientNet-b3
FILES = ("xception-hg-2.pth", "ckpt_x.pth", "ckpt_e.pth")
#: RetinaFace with ResNet-50, which the authors find faces with, and the score from which one counts (face_utils.py)
FINDER, LEAST = "RetinaFace-Resnet50-fixed.pth", 0.8
#: shares of the three nets in a face's score (submission.py)
SHARES = np.array([0.2, 0.7, 0.1])

#: Red, green, blue in 0..1: mean and deviation of the training faces (submission.py)
MEAN = np.array([0.4479, 0.3744, 0.3473], np.float32)
STD = np.array([0.2537, 0.2502, 0.2424], np.float32)

#: Side of the aligned picture, and where its five landmarks are (face_utils.py): eyes, nose, corners of the mouth
SIDE = 320
PLACES = np.array([[122.5, 141.25], [197.5, 141.25], [160.0, 178.75], [137.5, 225.25], [182.5, 225.25]])


class Wm(BaseDetector):
    """Up to ``parameters.frames`` frames of a clip; a face counts for its person, the largest of each frame for the video."""

    _finder: Finder | None = None

    def load(self, weights: Path, device: str) -> None:
        from detectors import probes
        from detectors.nets.checkpoint import Published
        from detectors.runtime import compiled

        frames = self.card.parameters["frames"]
        if not isinstance(frames, int) or frames < 1:
            raise ContractError(f"wm: parameters.frames must be a whole number above 0, not {frames!r}")
        files = [Published(weights, self.card, file) for file in FILES]
        probe = self.preproc(probes.face(SIDE))[None]
        self._trio = compiled(_trio, *files, example=probe, device=device, probe=probe)
        self._finder = _finder(weights, self.card, device) if (weights / FINDER).is_file() else None

    def crop_face(self, image: Array, face: Face) -> Array:
        """The aligned face, (320, 320, 3) uint8 RGB, black where the frame ends; Skip ``landmarks_not_found``."""
        origin = np.array(face.image_origin, np.float64)
        # the published code stores landmarks as whole numbers of the frame: fractions cut off
        matrix = alignment(np.trunc(face.landmarks + origin))
        matrix[:, 2] += matrix[:, :2] @ origin
        return cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)

    def preproc(self, face: Array) -> Array:
        """(320, 320, 3) uint8 RGB -> (3, 320, 320) float32, the published mean 0 and deviation 1; the graph resizes for each net."""
        values = (face.astype(np.float32) / np.float32(255) - MEAN) / STD
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def get_softlabel(self, batch: Array) -> Array:
        """One minus the face's fake score: (N, 3, 320, 320) -> (N,)."""
        return 1.0 - fused([softmax_at(logits, index=1) for logits in self._trio(batch)])

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """All faces of up to ``parameters.frames`` evenly chosen frames; the video is the mean over the largest face of each."""
        softlabels, skipped = np.full(len(pack), np.nan), dict[str, int]()
        boxes, find = np.array(pack.faces["box"]), self._finder if is_wanted(self.card, pack.mode) else None
        wanted = chosen_faces(pack.faces["frame"], most=self.card.parameters["frames"])
        for start in range(0, len(wanted), self.card.batch):
            prepared: dict[int, Array] = {}
            for index in map(int, wanted[start : start + self.card.batch]):
                try:
                    face = pack.face(index) if find is None else seen_again(pack, index, find, context=self.card.margin)
                    boxes[index] = face.box
                    prepared[index] = self.preproc(self.crop_face(pack.image(index), face))
                except Skip as reason:
                    skipped[str(reason)] = skipped.get(str(reason), 0) + 1
            if prepared:
                softlabels[list(prepared)] = self.get_softlabel(np.stack(list(prepared.values())))
            progress(min(start + self.card.batch, len(wanted)), len(wanted))
        scored = np.flatnonzero(~np.isnan(softlabels))
        largest = largest_faces(pack.faces["frame"][scored], boxes[scored])
        video = float(softlabels[scored[largest]].mean()) if len(scored) else None
        return Judgement(softlabels, video=video, skipped=skipped)


def seen_again(pack: FacePack, index: int, find: Finder, *, context: float) -> Face:
    """Face ``index`` with the box and landmarks of the published finder, the largest box where it draws several; Skip when it sees none."""
    found = found_again(pack, index, find, context=context)
    if not found:
        raise Skip("landmarks_not_found")
    one = max(found, key=lambda item: float((item.box[2:] - item.box[:2]).prod()))
    face = pack.face(index)
    origin = np.array(face.image_origin, np.float32)
    return replace(face, box=one.box - np.tile(origin, 2), landmarks=one.points - origin)


def _finder(weights: Path, card: Card, device: str) -> Finder:
    """The published face finder: frames at their own size, and no box removed for another one."""
    from detectors import probes
    from detectors.nets import retinaface_boxes
    from detectors.nets.checkpoint import Published
    from detectors.nets.own_finder import RetinaFinder
    from detectors.runtime import compiled

    probe, file = retinaface_boxes.prepare(probes.face(96, 128)), Published(weights, card, FINDER)
    net = compiled(_finder_net, file, example=probe, probe=probe, input_shapes=[(1, 3, None, None)], device=device)
    return RetinaFinder(net, least=LEAST)


def _finder_net(file: Published) -> torch.nn.Module:
    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.retinaface import resnet50

    return filled(resnet50, read_torch(file.read(), inside="state_dict", prefix="module."))


def _trio(*files: Published) -> torch.nn.Module:
    """The three nets as one, filled from their files."""
    from detectors.nets.checkpoint import fill, read_torch
    from detectors.nets.wsdan import Trio, WsDan
    from detectors.nets.xception import Xception

    nets = Xception(), WsDan("xception"), WsDan("b3")
    for net, file in zip(nets, files, strict=True):
        fill(net, read_torch(file.read(), inside="state_dict", prefix="module."))
    return Trio(nets, mean=MEAN.tolist(), std=STD.tolist())


def alignment(landmarks: Array) -> Array:
    """The similarity that brings landmarks (5, 2) closest to ``PLACES``: (2, 3) float64. Skip when they are unknown or one point.

    Least squares after Umeyama (IEEE PAMI 1991, equations 39 to 43), as scikit-image's SimilarityTransform.
    """
    points = np.asarray(landmarks, np.float64)
    centred, wanted = points - points.mean(axis=0), PLACES - PLACES.mean(axis=0)
    spread = float(np.square(centred).sum()) / len(points)
    # written so that NaN is refused too
    if not spread > 1e-6:
        raise Skip("landmarks_not_found")
    left, scales, right = np.linalg.svd(wanted.T @ centred / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    scaled = (scales @ signs / spread) * (left * signs) @ right
    return np.column_stack([scaled, PLACES.mean(axis=0) - scaled @ points.mean(axis=0)])


def fused(fakes: list[Array]) -> Array:
    """Fake score of each face from those of the three nets, (N,) each: the published shares."""
    out: Array = np.tensordot(SHARES, np.stack(fakes), axes=1)
    return out


def chosen_faces(frames: Array, *, most: int) -> Array:
    """Indices of all faces, (n,) of their frame numbers, in ``most`` evenly chosen frames with faces (all when fewer)."""
    present = np.unique(frames)
    if len(present) > most:
        present = present[np.linspace(0, len(present) - 1, most).round().astype(int)]
    return np.flatnonzero(np.isin(frames, present))


def largest_faces(frames: Array, boxes: Array) -> Array:
    """The face of the largest box (width times height) in each frame: indices into ``frames`` (n,) and ``boxes`` (n, 4)."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.lexsort((-areas, frames))
    first: Array = order[np.unique(frames[order], return_index=True)[1]]
    return first
