"""FWA, face warping artifacts (Li and Lyu, CVPRW 2019), in TensorFlow; network in ``detectors.nets.slim_resnet``.

``preproc`` places 68 landmarks and cuts ten heads of random reach (fixed seeds); the score of a face is the mean of the five highest of
their ten probabilities of *fake*, which is index 0 of the softmax. A frame scores as its highest face, a clip as the mean of its
highest frames, a third of all: ``judge``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from base_detector import Array, BaseDetector, FacePack, Judgement, Progress, Skip
from detectors.nets import heads

#: a third of two frames is none, for which the published rule gives no number; one frame is a picture
UNJUDGED = (2,)
#: the checkpoint's files, ``CHECKPOINT``.index and ``CHECKPOINT``.data-00000-of-00001
CHECKPOINT = "fwa.ckpt"


class FaceWarpingArtifacts(BaseDetector):
    """Traces of warping a synthesised face into its frame."""

    def load(self, weights: Path, device: str) -> None:
        """As in the base class; ``device`` is not looked at: the image holds TensorFlow for CPUs."""
        from detectors.nets import slim_resnet
        from detectors.nets.checkpoint import read_published
        from detectors.nets.landmarks import Landmarker

        slim_resnet.import_tensorflow()
        for item in self.card.weights:
            read_published(weights, self.card, item.file)
        self._net = slim_resnet.SlimResNet(slim_resnet.read_checkpoint(weights / CHECKPOINT))
        self._landmarker = Landmarker()

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB, a head with surroundings -> its ten heads (10, 224, 224, 3) float32 BGR 0..255. Raises Skip."""
        return prepared(heads.heads_of(face, landmarker=self._landmarker))

    def get_softlabel(self, batch: Array) -> Array:
        """1 - probability of *fake*: (N, 10, 224, 224, 3) -> (N,)."""
        return 1 - heads.fake_of_faces(self._net, batch)

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """Every face, and the video by the rule of the authors' demo: ``video_score``."""
        softlabels = np.full(len(pack), np.nan)
        skipped: dict[str, int] = {}
        frames = len(pack.frames)
        if frames in UNJUDGED:
            return Judgement(softlabels, skipped={"too_few_frames": len(pack)})
        for index in range(len(pack)):
            try:
                prepared_face = self.preproc(self.crop_face(pack.image(index), pack.face(index)))
                softlabels[index] = self.get_softlabel(prepared_face[None])[0]
            except Skip as reason:
                skipped[str(reason)] = skipped.get(str(reason), 0) + 1
            progress(index + 1, len(pack))
        video = video_score(1 - softlabels, pack.faces["frame"], frames=frames)
        return Judgement(softlabels, video=None if video is None else 1 - video, skipped=skipped)


def video_score(fake: Array, frame_of: Array, *, frames: int) -> float | None:
    """The score of a video or picture from its faces' (n,) probabilities of fake, NaN = none; ``frame_of`` (n,) their frames.

    A frame scores as its highest face; the video as the mean of its ``frames // 3`` highest frames, where ``frames`` counts all that
    were looked at, with or without a face; when fewer have a score, of those (the authors' ``demo.py``). A single frame is a picture and
    scores as its highest face. None when no face has a score.
    """
    known = ~np.isnan(fake)
    if not known.any():
        return None
    scores = [fake[known & (frame_of == frame)].max() for frame in np.unique(frame_of[known])]
    return float(np.mean(sorted(scores, reverse=True)[: max(1, frames // 3)]))


def prepared(pictures: Array) -> Array:
    """(10, 224, 224, 3) uint8 RGB -> the same in float32 BGR, 0..255; the network takes the mean off itself."""
    return np.ascontiguousarray(pictures[..., ::-1]).astype(np.float32)
