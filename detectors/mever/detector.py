"""The ensemble of the MeVer service (Baxevanakis et al., MAD 2022); networks in ``detectors.nets.mever``, card in ``detector.toml``.

Every network answers one logit whose sigmoid is the probability of *fake*; a face has the mean over the networks that are installed. The
rest is the paper's: people who are hardly seen are left out, a person in a shot is the mean of its faces, a shot its highest person, a clip
its highest shot.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from base_detector import Array, BaseDetector, FacePack, Judgement, Progress
from detectors.nets import faces
from detectors.nets.scores import sigmoid

if TYPE_CHECKING:
    import torch

    from detectors.nets.checkpoint import Published

#: the networks of the paper by their names in ``detectors.nets.mever``, and the operator's files
FILES = {f"m{number}": f"m{number}.safetensors" for number in range(1, 6)}
#: side of the input
SIDE = 300
#: most pictures of a shot that are looked at; smallest share of them in which a person is seen
PICTURES, LEAST_SHARE = 64, 0.2


class MeVer(BaseDetector):
    """Up to five networks; those whose files are installed take part, one at least."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import Published, WeightsUnusable
        from detectors.runtime import compiled

        names = [name for name, file in FILES.items() if (weights / file).is_file()]
        if not names:
            raise WeightsUnusable(
                "weights_missing", f"{weights} holds none of {', '.join(FILES.values())}: README.md says more"
            )
        self._nets = []
        for name in names:
            file, example = Published(weights, self.card, FILES[name]), np.zeros((1, 3, SIDE, SIDE), np.float32)
            self._nets.append(compiled(_net, name, file, example=example, device=device, half=True))

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB -> (3, 300, 300) float32, Pillow's bilinear, ImageNet's mean 0 and deviation 1."""
        scaled = Image.fromarray(np.ascontiguousarray(face)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return faces.normalized(np.asarray(scaled))

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*, mean over the networks: (N, 3, 300, 300) -> (N,)."""
        return np.asarray(1 - self.probabilities(batch).mean(axis=0))

    def probabilities(self, batch: Array) -> Array:
        """Probability of *fake* by each network: (N, 3, 300, 300) -> (networks, N) float64."""
        logits = np.stack([np.asarray(net(batch), np.float64)[:, 0] for net in self._nets])
        return sigmoid(logits)

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """64 pictures of each shot; a person's score is that of its highest shot. Pictures have no rule of shots."""
        rows, brief = kept_rows(pack)
        skipped = {"person_too_brief": brief} if brief else {}
        labels = np.full(len(pack), np.nan)
        for some, batch in faces.batches(self, pack, rows, skipped=skipped, progress=progress):
            labels[some] = self.get_softlabel(batch)
        known = ~np.isnan(labels)
        persons = person_scores(1 - labels[known], shots=pack.faces["shot"][known], persons=pack.faces["person"][known])
        return Judgement(
            labels,
            video=1 - max(persons.values()) if persons else None,
            persons={person: 1 - score for person, score in persons.items()},
            skipped=skipped,
        )


def _net(name: str, file: Published) -> torch.nn.Module:
    """One of the five networks; CheckpointError where ``file`` is no safetensors file of it."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from detectors.nets import mever
    from detectors.nets.checkpoint import CheckpointError, fill

    net = mever.build(name)
    try:
        fill(net, load(file.read()))
    except SafetensorError as error:
        raise CheckpointError(
            f"{file.file} is not a safetensors file ({error}): README.md says how to make one"
        ) from None
    return net


def kept_rows(pack: FacePack) -> tuple[Array, int]:
    """The faces that are judged, as rows of the pack, ascending, and how many faces of people hardly seen were left out.

    Of each shot 64 pictures, evenly, and of those the people with faces in a fifth of them or more; of a picture every face. A face
    without a person (negative number) is in no cluster, so it is left out of clips.
    """
    if pack.is_image:
        return np.arange(len(pack)), 0
    kept: list[Array] = []
    brief = 0
    for shot, frames in _pictures(pack).items():
        if len(frames) > PICTURES:
            frames = frames[np.unique(np.linspace(0, len(frames) - 1, PICTURES).astype(np.int64))]
        rows = np.flatnonzero((pack.faces["shot"] == shot) & np.isin(pack.faces["frame"], frames))
        numbers, counts = np.unique(pack.faces["person"][rows], return_counts=True)
        # a small allowance: 0.2 has no exact binary form, and a fifth itself is enough
        enough = numbers[(numbers >= 0) & (counts >= LEAST_SHARE * len(frames) - 1e-9)]
        seen = np.isin(pack.faces["person"][rows], enough)
        kept.append(rows[seen])
        brief += int((~seen).sum())
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64), brief


def _pictures(pack: FacePack) -> dict[int, Array]:
    """Frame numbers of each shot's sampled pictures, ascending."""
    frames = pack.frames
    return {item.shot: frames[(frames >= item.start) & (frames <= item.end)] for item in pack.shots}


def person_scores(fake: Array, *, shots: Array, persons: Array) -> dict[int, float]:
    """Probability of fake of each person: mean of its faces in a shot, highest of its shots. The highest of all is the clip's.

    All (n,), one entry a face: its probability, its shot, its person.
    """
    scores: dict[int, float] = {}
    for shot, person in sorted({(int(shot), int(person)) for shot, person in zip(shots, persons, strict=True)}):
        mean = float(fake[(shots == shot) & (persons == person)].mean())
        scores[person] = max(scores.get(person, 0.0), mean)
    return scores
