"""NTechLab's ensemble (DFDC 2020, third place): two B7 on single frames, one on sequences; card in ``detector.toml``.

The nets are in ``detectors.nets.sequence_b7``, the choice of frames in ``tracks``. Each net gives the probability of a fake for every
frame it sees: training mixed a real and a fake face with weight ``target`` on the fake, so a high output means fake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from base_detector import Array, BaseDetector, Card, FacePack, Judgement, Progress, Skip
from detectors.nets.faces import IMAGENET_MEAN, IMAGENET_STD
from detectors.nets.own_finder import Finder, Found, by_mode, found_again, is_wanted, overlaps
from detectors.nets.scores import sigmoid
from detectors.ntech.tracker import DETECT_EVERY, follow, in_pack
from detectors.ntech.tracks import (
    LENGTH,
    Kept,
    Look,
    Rhythm,
    Track,
    is_first_nets,
    keep_frames,
    rhythm_of,
    sequence_looks,
    single_looks,
    tracks_of,
)

if TYPE_CHECKING:
    import torch

    from detectors.nets.checkpoint import Published

Rectangle = tuple[int, int, int, int]

#: Published files by what they are for, each named after the folder it is published in (the files there share one name).
SEQUENCE = "efficientnet-b7_ns_seq_aa-original-mstd0.5_100k_v4_cad79a.fp16.pth"
FIRST = "efficientnet-b7_ns_aa-original-mstd0.5_large_crop_100k_v4_cad79a.fp16.pth"
SECOND = "efficientnet-b7_ns_aa-original-mstd0.5_re_100k_v4_cad79a.fp16.pth"

#: DSFD, which the published code finds faces with
FINDER = "WIDERFace_DSFD_RES152.fp16.pth"

#: of the networks' input, in pixels
HEIGHT, WIDTH = 224, 192
#: the shorter side after scaling: the first net sees more around the face
FIRST_SIDE, SECOND_SIDE = 192, 224
#: the crop is this much larger than the face box
WIDENING = 1.5
#: Confidence grows with this power of its distance from 0.5, within these limits: mixed training pictures left it too modest.
_POWER, _LOWEST, _HIGHEST = 0.65, 0.01, 0.99
#: weight of a probability that says nothing
_LEAST_WEIGHT = 1e-4

#: ImageNet's mean and deviation in grey levels; the published code multiplies by the reciprocal of the deviation
_MEAN = IMAGENET_MEAN * 255
_SCALE = np.reciprocal(IMAGENET_STD * 255)


class Ntech(BaseDetector):
    """Judges clips: frames and sequences of every person pooled into one score, each weighted by how sure it is."""

    _finder: Finder | None = None

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import Published
        from detectors.runtime import compiled

        def ready(build: Callable[[Published], torch.nn.Module], file: str, *, frames: int) -> Callable[[Array], Array]:
            example = np.zeros((frames, 3, HEIGHT, WIDTH), np.float32)
            return compiled(build, Published(weights, self.card, file), example=example, device=device, half=True)

        self._first = ready(_frame_net, FIRST, frames=1)
        self._second = ready(_frame_net, SECOND, frames=1)
        self._sequence = ready(_sequence_net, SEQUENCE, frames=LENGTH)
        self._finder = _finder(weights, self.card, device) if (weights / FINDER).is_file() else None

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """Soft labels of the faces looked at, of persons and of the clip: 1 minus the pooled probability of a fake."""
        rhythm = rhythm_of(_fps(pack))
        tracks = self._tracks(pack, keep_frames(pack.frames, rhythm), rhythm)
        looks = sum(len(single_looks(track)) + len(sequence_looks(track, rhythm)[0]) for track in tracks)
        softlabels = np.full(len(pack), np.nan)
        pooled: dict[int, list[float]] = {}
        skipped: dict[str, int] = {}
        done = 0
        for track in tracks:
            for look, probabilities in self._probabilities(pack, track, rhythm, skipped):
                pooled.setdefault(track.person, []).extend(float(p) for p in probabilities)
                softlabels[look.middle] = 1 - float(np.mean(probabilities))
                done += 1
                progress(done, looks)
        if not pooled:
            skipped.setdefault("needs_a_clip", len(pack))
            return Judgement(softlabels, skipped=skipped)
        persons = {person: 1 - pool(scores) for person, scores in pooled.items()}
        everything = [score for scores in pooled.values() for score in scores]
        return Judgement(softlabels, video=1 - pool(everything), persons=persons, skipped=skipped)

    # -- inside

    def _tracks(self, pack: FacePack, kept: Kept, rhythm: Rhythm) -> list[Track]:
        """The published tracks where the card asks for the own finder in this mode and it is installed, else those of persons."""
        if self._finder is None or not rhythm.steady or not is_wanted(self.card, pack.mode):
            return tracks_of(pack.upright, kept, shortest=by_mode(self.card, "shortest_track", pack.mode))
        detections = []
        for frame in kept.frames[::DETECT_EVERY]:
            rows = np.flatnonzero(pack.faces["frame"] == frame)
            found = [
                one for row in rows for one in found_again(pack, int(row), self._finder, context=self.card.margin)[:1]
            ]
            found.sort(key=lambda one: -one.score)
            detections.append(_apart(found))
        return in_pack(follow(detections), pack.upright, kept)

    def _probabilities(
        self, pack: FacePack, track: Track, rhythm: Rhythm, skipped: dict[str, int]
    ) -> Iterator[tuple[Look, Array]]:
        """Each look of a track with the probability of a fake for each of its frames, (1,) or (7,) float64."""
        singles = single_looks(track)
        sequences, missing = sequence_looks(track, rhythm)
        _count(skipped, "needs_a_clip", missing)
        shares = (
            (self._sequence, SECOND_SIDE, sequences),
            (self._first, FIRST_SIDE, [look for i, look in enumerate(singles) if is_first_nets(i)]),
            (self._second, SECOND_SIDE, [look for i, look in enumerate(singles) if not is_first_nets(i)]),
        )
        for net, side, looks in shares:
            most = max(1, self.card.batch // len(looks[0].rows)) if looks else 1
            for start in range(0, len(looks), most):
                inputs = []
                for look in looks[start : start + most]:
                    try:
                        inputs.append((look, frames_of(pack, look, side=side)))
                    except Skip as reason:
                        _count(skipped, str(reason), 1)
                if inputs:
                    logits = np.asarray(net(np.concatenate([frames for _, frames in inputs])), np.float64).reshape(-1)
                    for (look, _), own in zip(inputs, logits.reshape(len(inputs), -1), strict=True):
                        yield look, sigmoid(own)


# --------------------------------------------------------------------------- pixels


def wide_box(box: Sequence[float] | Array, *, frame_size: tuple[int, int]) -> Rectangle:
    """The face box (x1 y1 x2 y2, pixels of the frame) 1.5 times as large about its centre, in whole pixels.

    Fractions are cut off, and so is what is outside the frame (width, height); right and bottom are exclusive.
    """
    left, top, right, bottom = np.asarray(box, np.float32)
    width, height = (right - left) * np.float32(WIDENING), (bottom - top) * np.float32(WIDENING)
    x, y = left + (right - left) / 2 - width / 2, top + (bottom - top) / 2 - height / 2
    return max(int(x), 0), max(int(y), 0), min(int(x + width), frame_size[0]), min(int(y + height), frame_size[1])


def prepare(crop: Array, *, side: int) -> Array:
    """(h, w, 3) uint8 RGB -> (3, 224, 192) float32, ImageNet's mean 0 and deviation 1.

    The shorter side becomes ``side`` (bilinear); what is then lower than 224 grows by its own mirror image above and below, what is
    larger is cut about its middle.
    """
    factor = side / min(crop.shape[:2])
    if factor != 1:
        size = (round(crop.shape[1] * factor), round(crop.shape[0] * factor))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR)
    if (lacking := HEIGHT - crop.shape[0]) > 0:
        above = lacking // 2
        crop = cv2.copyMakeBorder(crop, above, lacking - above, 0, 0, cv2.BORDER_REFLECT_101)
    y, x = (crop.shape[0] - HEIGHT) // 2, (crop.shape[1] - WIDTH) // 2
    window = crop[y : y + HEIGHT, x : x + WIDTH].astype(np.float32)
    return np.ascontiguousarray(((window - _MEAN) * _SCALE).transpose(2, 0, 1))


def cuts(pack: FacePack, look: Look) -> list[Array]:
    """The faces of a look, 1 or 7 of (h, w, 3) uint8 RGB, all cut with the box of its middle one and mirrored where it says so.

    Raises Skip ``needs_a_clip`` or ``face_too_small``.
    """
    alone = len(look.rows) == 1
    if min(look.rows) < 0:
        raise Skip("needs_a_clip")
    left, top, right, bottom = wide_box(look.box, frame_size=pack.face(look.middle).frame_size or pack.frame_size)
    if right <= left or bottom <= top:
        raise Skip("face_too_small")
    found = []
    for index in look.rows:
        image, origin = pack.image(index), pack.upright[index]["crop_origin"]
        x, y = left - int(origin[0]), top - int(origin[1])
        cut = image[max(y, 0) : max(bottom - int(origin[1]), 0), max(x, 0) : max(right - int(origin[0]), 0)]
        whole = cut.shape[:2] == (bottom - top, right - left)
        # a face that moves fast leaves the surroundings that were kept of it half a sequence before
        if not cut.size or not (alone or whole):
            raise Skip("face_too_small" if alone else "needs_a_clip")
        found.append(np.ascontiguousarray(cut[:, ::-1]) if look.mirrored else cut)
    return found


def frames_of(pack: FacePack, look: Look, *, side: int) -> Array:
    """The input of a look, (1 or 7, 3, 224, 192) float32; Skip as ``cuts``."""
    return np.stack([prepare(cut, side=side) for cut in cuts(pack, look)])


# --------------------------------------------------------------------------- numbers


def pool(probabilities: Sequence[float] | Array) -> float:
    """One probability of a fake from many: each made surer, then averaged with its own first distance from 0.5 as weight.

    p' = 0.5 +- |p - 0.5|^0.65, cut to 0.01..0.99; weight |p - 0.5| + 0.0001. A p of exactly 0.5 stays.
    """
    distance = np.asarray(probabilities, np.float64) - 0.5
    surer = 0.5 + np.sign(distance) * np.abs(distance) ** _POWER
    weight = np.abs(distance) + _LEAST_WEIGHT
    return float((surer.clip(_LOWEST, _HIGHEST) * weight).sum() / weight.sum())


def _apart(found: list[Found]) -> tuple[Array, Array]:
    """Boxes (k, 4) and scores (k,) of one frame, the surest first: two crops may show the same face, which then counts once."""
    from detectors.nets.dsfd_boxes import OVERLAP

    kept: list[Found] = []
    for one in found:
        if not kept or overlaps(np.array([other.box for other in kept]), one.box).max() <= OVERLAP:
            kept.append(one)
    boxes = np.array([one.box for one in kept], np.float32).reshape(-1, 4)
    return boxes, np.array([one.score for one in kept], np.float32)


def _finder(weights: Path, card: Card, device: str) -> Finder:
    """The published face finder."""
    from detectors import probes
    from detectors.nets import dsfd_boxes
    from detectors.nets.checkpoint import Published
    from detectors.nets.own_finder import DsfdFinder
    from detectors.runtime import compiled

    probe = dsfd_boxes.prepare_crop(probes.face(128), factor=1.0)
    net = compiled(
        _finder_net,
        Published(weights, card, FINDER),
        example=probe,
        probe=probe,
        input_shapes=[(1, 3, None, None)],
        device=device,
    )
    return DsfdFinder(net)


def _finder_net(file: Published) -> torch.nn.Module:
    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.dsfd import Dsfd

    return filled(Dsfd, in_float(read_torch(file.read())))


def _frame_net(file: Published) -> torch.nn.Module:
    """A net of single frames."""
    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.sequence_b7 import frame_b7

    return filled(frame_b7, in_float(read_torch(file.read())))


def _sequence_net(file: Published) -> torch.nn.Module:
    """The net of sequences."""
    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.sequence_b7 import sequence_b7

    return filled(sequence_b7, in_float(read_torch(file.read())))


def in_float(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The published halves as float32. Counters of batches were halved too (100000 became infinity); nothing reads them: zeros."""
    import torch

    return {
        name: torch.zeros_like(tensor, dtype=torch.int64) if name.endswith("num_batches_tracked") else tensor.float()
        for name, tensor in state.items()
    }


def _fps(pack: FacePack) -> float | None:
    """Frames a second as the container says, else as the times of the faces say."""
    if pack.fps:
        return pack.fps
    frames, times = pack.faces["frame"], pack.faces["time_s"]
    if not len(frames) or times[-1] <= times[0]:
        return None
    return float((frames[-1] - frames[0]) / (times[-1] - times[0]))


def _count(skipped: dict[str, int], reason: str, count: int) -> None:
    if count:
        skipped[reason] = skipped.get(reason, 0) + count
