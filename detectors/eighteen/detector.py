"""Eighteen Years Old (DFDC, fourth place): four SlowFast and seven image networks over face tubes; card in ``detector.toml``.

The rules between frames, faces and networks are in ``fusion``, the tubes in ``tubes``. Index 1 of every published softmax is fake.
The networks are read or made one after another for each clip, so that memory holds one of the eleven at a time.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from base_detector import Array, BaseDetector, Card, FacePack, Judgement, Progress, Skip
from detectors.eighteen import fusion, tubes
from detectors.nets.faces import IMAGENET_MEAN, IMAGENET_STD
from detectors.nets.own_finder import Finder, is_wanted

if TYPE_CHECKING:
    import torch

    from detectors.nets.checkpoint import Published

Compiled = Callable[..., Any]

_IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
_HALVES = (np.full(3, 0.5, np.float32), np.full(3, 0.5, np.float32))
#: Kinetics' mean and deviation in grey levels, as published
_KINETICS = ((110.63666788, 103.16065604, 96.29023126), (38.7568578, 37.88248729, 40.02898126))
#: the fewest frames that make a clip: the image networks need a group of five
_FEWEST = fusion.GROUP
#: RetinaFace with MobileNet-0.25, in the team's repository
FINDER = "mobilenet0.25_Final.pth"


@dataclass(frozen=True)
class Network:
    """One published network. ``prefix``: how many leading parts of the names in its file are not the network's own.

    ``flipped``: logits are averaged with those of the mirrored picture. ``softened``: its very sure scores are pulled in.
    """

    name: str
    file: str
    kind: str
    side: int
    prefix: int = 1
    bgr: bool = False
    flipped: bool = False
    softened: bool = False

    @property
    def sees_clips(self) -> bool:
        """Whether it takes a whole tube in place of single pictures."""
        return self.kind == "slowfast"


NETWORKS = (
    Network("sf1", "sf_bc_jc_44000.pth.tar", "slowfast", 256),
    Network("sf2", "sf_32000.pth.tar", "slowfast", 256),
    Network("sf3", "sf_16x8_bc_jc_44000.pth.tar", "slowfast", 256),
    Network("sf4", "sf_trainval_52000.pth.tar", "slowfast", 256),
    # names in the file: module.model.conv1 ...
    Network("xcp", "xcep_bgr_58000.pth.tar", "xception", 299, prefix=2, bgr=True, flipped=True),
    Network("b3", "b3_rgb_50000.pth.tar", "b3", 299, softened=True),
    Network("res34", "res34_rgb_23000.pth.tar", "resnet34", 256, flipped=True, softened=True),
    Network("b1", "b1_rgb_58000.pth.tar", "b1", 299, flipped=True),
    Network("b1long", "b1_rgb_long_alldata_66000.pth.tar", "b1", 299),
    Network("b1short", "b1_rgb_alldata_58000.pth.tar", "b1", 299),
    Network("b0", "b0_rgb_58000.pth.tar", "b0", 299, flipped=True),
)


class Eighteen(BaseDetector):
    """Eleven networks, one at a time, over the tubes of one or two people."""

    _finder: Finder | None = None

    def load(self, weights: Path, device: str) -> None:
        """Make every network once, so that a wrong file is reported now and all are kept; each clip reads them again, one by one."""
        from detectors.runtime import make_sure

        self._weights, self._device = weights, device
        for network in NETWORKS:
            make_sure(*self._recipe(network), device=device, **_compilation(network))
        self._finder = _finder(weights, self.card, device) if (weights / FINDER).is_file() else None

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        none = np.full(len(pack), np.nan)
        try:
            find = self._finder if is_wanted(self.card, pack.mode) else None
            found, frames = find_clip(pack, find=find, context=self.card.margin)
        except Skip as reason:
            return Judgement(none, skipped={str(reason): len(pack)})
        used = [network for network in NETWORKS if frames.complete or not network.sees_clips]
        scores: dict[str, list[Array]] = {}
        for place, network in enumerate(used):
            run = self._compile(network)
            scores[network.name] = []
            for done, tube in enumerate(found, start=place * len(found) + 1):
                scores[network.name].append(self._score_tube(run, network, pack=pack, tube=tube))
                progress(done, len(used) * len(found))
            del run
            gc.collect()
        return _judgement(found, scores, faces=np.asarray(pack.faces))

    # -- inside

    def _recipe(self, network: Network) -> tuple[Any, ...]:
        """The function that makes a network, and its arguments."""
        from detectors.nets.checkpoint import Published

        return _net, Published(self._weights, self.card, network.file), network.kind, network.prefix

    def _compile(self, network: Network) -> Compiled:
        from detectors.runtime import compiled

        return compiled(*self._recipe(network), device=self._device, **_compilation(network))

    def _score_tube(self, run: Compiled, network: Network, *, pack: FacePack, tube: tubes.Tube) -> Array:
        """The network's scores of one tube: of its groups of five frames, (n,); of SlowFast the one of the whole, (1,)."""
        if network.sees_clips:
            pictures = tubes.read_tube(pack, tube, positions=np.arange(len(tube)), side=network.side)
            return fusion.fake_probability(np.asarray(run(clip_input(pictures))))
        positions = fusion.image_frames(len(tube))
        logits = np.empty((len(positions), 2))
        for start in range(0, len(positions), self.card.batch):
            some = slice(start, start + self.card.batch)
            pictures = tubes.read_tube(pack, tube, positions=positions[some], side=network.side)
            logits[some] = image_logits(run, pictures, network=network)
        return fusion.group_scores(logits)


def find_clip(
    pack: FacePack, *, find: Finder | None = None, context: float = 0.0
) -> tuple[list[tubes.Tube], tubes.Frames]:
    """The tubes of a pack, ``find`` and ``context`` as in ``tubes.find_tubes``, and its frames.

    Raises Skip ``needs_a_clip``, ``face_seldom_seen`` or ``face_too_small``.
    """
    frames = tubes.choose_frames(pack.frames, total=pack.frame_count)
    if len(frames.numbers) < _FEWEST:
        raise Skip("needs_a_clip")
    found = tubes.find_tubes(pack, frames, find=find, context=context)
    if not found:
        raise Skip("face_seldom_seen")
    return found, frames


def _finder(weights: Path, card: Card, device: str) -> Finder:
    """The published face finder, as the published code sets it."""
    from detectors import probes
    from detectors.nets import retinaface_boxes
    from detectors.nets.checkpoint import Published
    from detectors.nets.own_finder import RetinaFinder
    from detectors.runtime import compiled

    probe = retinaface_boxes.prepare(probes.face(96, 128))
    file = Published(weights, card, FINDER)
    net = compiled(_finder_net, file, example=probe, probe=probe, input_shapes=[(1, 3, None, None)], device=device)
    return RetinaFinder(net, least=tubes.LEAST, shorter=tubes.SHORTER, longest=tubes.LONGEST, overlap=tubes.OVERLAP)


def _finder_net(file: Published) -> torch.nn.Module:
    from detectors.nets.checkpoint import filled, read_torch
    from detectors.nets.retinaface import mobilenet025

    return filled(mobilenet025, read_torch(file.read(), inside="state_dict", prefix="module."))


def build(kind: str) -> torch.nn.Module:
    """An empty network of two classes; ``kind`` as in ``NETWORKS``."""
    if kind == "slowfast":
        from detectors.nets.slowfast import SlowFast

        return SlowFast(classes=2)
    if kind == "xception":
        from detectors.nets.xception import Xception

        return Xception(classes=2, head="fc")
    if kind == "resnet34":
        from detectors.nets.resnet import ResNet

        return ResNet(34, classes=2)
    from detectors.nets.efficientnet import EfficientNet

    # the team's own copy pads as the library did in 0.6: for the nominal size of the variant
    return EfficientNet(kind, classes=2, padding="0.6.3")


def _net(file: Published, kind: str, prefix: int) -> torch.nn.Module:
    """A network of ``NETWORKS`` with the numbers of its file."""
    from detectors.nets.checkpoint import fill, read_torch

    net = build(kind)
    fill(net, bare_names(read_torch(file.read(), inside="state_dict"), prefix=prefix))
    return net


def _compilation(network: Network) -> dict[str, Any]:
    """How it is compiled and checked: ``example``, ``probe`` and ``input_shapes`` of ``runtime.compiled``."""
    from detectors import probes

    if network.sees_clips:
        # small for the check when it is compiled; five pictures are two of the slow pathway
        probe = clip_input(probes.moving_face(5, 64))
        return {"example": probe, "probe": probe, "input_shapes": [(1, 3, None, None, None)]}
    probe = image_input(probes.face(network.side)[None], network=network)
    return {"example": probe, "probe": probe}


def bare_names(state: dict[str, torch.Tensor], *, prefix: int) -> dict[str, torch.Tensor]:
    """Take the first ``prefix`` parts off the names (``module.``, ``module.model.``) if all tensors have the same ones."""
    heads = {tuple(name.split(".")[:prefix]) for name in state}
    if len(heads) != 1:
        return state
    return {name.split(".", prefix)[-1]: tensor for name, tensor in state.items()}


def image_input(pictures: Array, *, network: Network) -> Array:
    """(n, side, side, 3) uint8 RGB -> (n, 3, side, side) float32, normalised as the network was trained; BGR for Xception."""
    mean, std = _HALVES if network.bgr else _IMAGENET
    scaled = (pictures[..., ::-1] if network.bgr else pictures).astype(np.float32) / np.float32(255)
    return ((scaled - mean) / std).transpose(0, 3, 1, 2)


def image_logits(run: Compiled, pictures: Array, *, network: Network) -> Array:
    """Logits (n, 2) of pictures (n, side, side, 3) uint8 RGB, averaged with their mirror images where published so."""
    batch = image_input(pictures, network=network)
    logits = np.asarray(run(batch))
    return (logits + np.asarray(run(batch[..., ::-1]))) / 2 if network.flipped else logits


def clip_input(pictures: Array) -> Array:
    """(T, 256, 256, 3) uint8 RGB -> (1, 3, T, 256, 256) float32 with the mean and deviation of Kinetics."""
    mean, std = ((np.array(numbers) / 255).astype(np.float32) for numbers in _KINETICS)
    batch = np.empty((1, 3, *pictures.shape[:3]), np.float32)
    for channel in range(3):  # one at a time: the whole tube in float32 is in memory once only
        batch[0, channel] = (pictures[..., channel].astype(np.float32) / np.float32(255) - mean[channel]) / std[channel]
    return batch


def network_score(network: Network, tubes_scores: list[Array]) -> float:
    """One network's score of the video from its scores of the tubes (as ``_score_tube`` gives them), softened where published so."""
    score = fusion.score_of_faces(np.array([fusion.face_score(scores) for scores in tubes_scores]))
    return fusion.soften(score) if network.softened else score


def _judgement(found: list[tubes.Tube], scores: dict[str, list[Array]], *, faces: Array) -> Judgement:
    """Fuse: the video from all tubes, a person from their own, a group of five frames (its middle face) from the image networks.

    A chain of boxes may lead over to another person: who has no tube gets the mean of the own faces in others' tubes.
    """
    used = [network for network in NETWORKS if network.name in scores]
    video = fusion.fuse({network.name: network_score(network, scores[network.name]) for network in used})
    persons: dict[int, float] = {}
    shown: dict[int, list[float]] = {}
    for person in {tube.person for tube in found}:
        places = [place for place, tube in enumerate(found) if tube.person == person]
        own = fusion.fuse({item.name: network_score(item, [scores[item.name][at] for at in places]) for item in used})
        if own is not None:
            persons[person] = 1 - own
    for place, tube in enumerate(found):
        middles = fusion.image_frames(len(tube)).reshape(-1, fusion.GROUP)[:, fusion.GROUP // 2]
        for group, position in enumerate(middles):
            images = {item.name: float(scores[item.name][place][group]) for item in used if not item.sees_clips}
            score = fusion.fuse(images)
            if score is not None:
                shown.setdefault(int(tube.rows[position]), []).append(score)
    softlabels = np.full(len(faces), np.nan)
    for row, several in shown.items():  # a face that is used for missing frames may be the middle of several groups
        softlabels[row] = 1 - float(np.mean(several))
    rows = np.array(list(shown), np.int64)
    for person in set(faces["person"][rows].tolist()) - set(persons):
        persons[person] = float(softlabels[rows[faces["person"][rows] == person]].mean())
    return Judgement(softlabels, video=None if video is None else 1 - video, persons=persons)
