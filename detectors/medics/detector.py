"""The Medics (fifth place of the DFDC, 2020): seven 3-D networks and a 2-D one over one face in time; card in ``detector.toml``.

Every network answers for every region (``regions``), and the video's score is the mean over networks of the mean over regions,
clipped to 0.001..0.999. Output 0 of the 3-D networks is *fake* (upstream's ``REVERSE_PROBS``); the 2-D network's sigmoid is fake, too.
Only one network is in memory at a time: the eight hold 0.8 GB, and what a 3-D network keeps of its last clip is as large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from base_detector import Array, BaseDetector, FacePack, Judgement, Progress
from detectors.medics import clips
from detectors.medics.regions import EVERY, FIRST, SHORTEST, Region, find_regions, grid_of
from detectors.nets.i3d_length import length_class
from detectors.nets.scores import sigmoid, softmax_at

if TYPE_CHECKING:
    import torch

    from detectors.nets.checkpoint import Published


#: published file -> its network and preprocessing, in upstream's order
NETWORKS = {
    "j3d_e1_l0.1374.model": "i3d",
    "res34_1cy_minaug_nonorm_e4_l0.1794.model": "res34",
    "mc3_18_112_1cy_lilaug_nonorm_e9_l0.1905.model": "mc3_112",
    "mc3_18_112t224_1cy_lilaug_nonorm_e7_l0.1901.model": "mc3_224",
    "r2p1_18_8_112tr_112te_e12_l0.1741.model": "r2p1_112",
    "i3dcutmix_e11_l0.1612.model": "i3d",
    "r2plus1dcutmix_112_e10_l0.1608.model": "r2p1_112",
    "SRXT50_094_VM-0.2504.PTH": "2d",
}

#: what each kind of 3-D network eats
PREPARE = {
    "i3d": clips.prepare_i3d,
    "res34": clips.prepare_raw,
    "mc3_112": clips.prepare_112,
    "mc3_224": clips.prepare_224,
    "r2p1_112": clips.prepare_112,
}

#: bounds of the video's score
LOWEST, HIGHEST = 0.001, 0.999

#: A region of which the crops show less than three quarters is not judged: what replaces the rest is not what upstream saw. Ours.
MOST_UNSEEN = 0.25

#: Frames and side of the example that a 3-D network is traced and checked with: small, as torch runs it twice, and enough, as these
#: networks take any size. I3D has its own length and side.
_EXAMPLE_FRAMES, _EXAMPLE_SIDE = 4, 48


@dataclass(frozen=True)
class Stay:
    """A person in a shot, and the region of its face (turned upright). ``face``: the row of the pack that gets its score."""

    person: int
    region: Region
    face: int


class Medics(BaseDetector):
    """Clips of faces; ``judge`` scores each face's stay among the first 100 frames."""

    def load(self, weights: Path, device: str) -> None:
        """Make every network once, so that a wrong file is reported now, not in the middle of a video, and all are kept."""
        from detectors.runtime import make_sure

        self._weights, self._device = weights, device
        for file, kind in NETWORKS.items():
            frames = example_frames(kind, FIRST)
            make_sure(*self._recipe(file, frames=frames), device=device, **compilation(kind, frames=frames))

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        found = find_stays(pack)
        turns = pack.faces["turn"]
        stays = [
            stay for stay in found if clips.unseen_share(pack, stay.region, turn=int(turns[stay.face])) <= MOST_UNSEEN
        ]
        softlabels = np.full(len(pack), np.nan)
        skipped = _reasons(pack, found=found, judged=stays)
        if not stays:
            return Judgement(softlabels, skipped=skipped)
        scores = np.array(list(self._network_scores(pack, stays, progress)))
        fake = scores.mean(axis=0)
        persons: dict[int, list[float]] = {}
        for stay, score in zip(stays, fake, strict=True):
            softlabels[stay.face] = 1 - score
            persons.setdefault(stay.person, []).append(1 - score)
        return Judgement(
            softlabels,
            video=1 - join(scores),
            persons={person: float(np.mean(labels)) for person, labels in persons.items()},
            skipped=skipped,
        )

    def _network_scores(self, pack: FacePack, stays: list[Stay], progress: Progress) -> Iterator[list[float]]:
        """Of each network in turn, its score of each stay, 1 = fake; clips are cut again, so that memory holds one of them only."""
        by_length = sorted(range(len(stays)), key=lambda i: example_frames("i3d", stays[i].region.length))
        for number, (file, kind) in enumerate(NETWORKS.items()):
            net, traced = None, 0
            scores = [0.0] * len(stays)
            for done, index in enumerate(by_length):
                clip = clips.cut_clip(pack, stays[index].region, turn=int(pack.faces["turn"][stays[index].face]))
                frames = example_frames(kind, len(clip.video))
                if frames != traced:
                    net = None  # before the next one takes its place
                    net, traced = self._compiled(file, frames=frames), frames
                scores[index] = score_2d(net, clip) if kind == "2d" else score_3d(net, clip, kind=kind)
                progress(number * len(stays) + done + 1, len(NETWORKS) * len(stays))
            yield scores

    def _compiled(self, file: str, *, frames: int) -> Any:
        from detectors.runtime import compiled

        recipe = self._recipe(file, frames=frames)
        return compiled(*recipe, device=self._device, **compilation(NETWORKS[file], frames=frames))

    def _recipe(self, file: str, *, frames: int) -> tuple[Any, ...]:
        """The function that makes the network of ``file`` for clips like one of ``frames``, and its arguments."""
        from detectors.nets.checkpoint import Published

        return _net, Published(self._weights, self.card, file), NETWORKS[file], frames


def _net(file: Published, kind: str, frames: int) -> torch.nn.Module:
    """The network of a ``kind`` with the numbers of its file."""
    from detectors.nets.checkpoint import fill, read_torch

    net = build(kind, frames=frames)
    fill(net, read_torch(file.read()))
    return net


def compilation(kind: str, *, frames: int) -> dict[str, Any]:
    """How a network for clips like one of ``frames`` is compiled and checked: ``example`` and so on of ``runtime.compiled``."""
    from detectors import probes

    if kind == "2d":
        probe = clips.prepare_2d(probes.face(clips.SQUARE)[None])
        return {"example": probe, "probe": probe}
    side = clips.CROP if kind == "i3d" else _EXAMPLE_SIDE
    probe = PREPARE[kind](probes.moving_face(frames, side))[None]
    shape = (1, 3, None, side, side) if kind == "i3d" else (1, 3, None, None, None)
    return {"example": np.zeros((1, 3, frames, side, side), np.float32), "probe": probe, "input_shapes": [shape]}


def build(kind: str, *, frames: int) -> torch.nn.Module:
    """The network of a ``kind`` of ``NETWORKS``; ``frames`` matters to I3D only."""
    from detectors.nets import i3d, resnet3d, se_resnext, video_resnet

    if kind == "i3d":
        return i3d.I3D(frames=frames)
    plain = {
        "res34": resnet3d.ResNet34,
        "mc3_112": video_resnet.MC3,
        "mc3_224": video_resnet.MC3,
        "r2p1_112": video_resnet.R2Plus1D,
        "2d": se_resnext.SeResNext50,
    }
    return plain[kind]()


def example_frames(kind: str, frames: int) -> int:
    """Length of the example that a network for clips of ``frames`` is traced with: a short one, as the check runs twice."""
    return length_class(frames) if kind == "i3d" else _EXAMPLE_FRAMES


def score_3d(net: Any, clip: clips.Clip, *, kind: str) -> float:
    """Mean of the fake probability of the clip and of its mirror image."""
    video = PREPARE[kind](clip.video)
    # output 0 is fake
    return float(np.mean([softmax_at(net(item[None])[0], index=0) for item in (video, video[..., ::-1])]))


def score_2d(net: Any, clip: clips.Clip, *, batch: int = 8) -> float:
    """Median of the frames' sigmoids: the lower of the two middle ones, as torch has it."""
    prepared = clips.prepare_2d(clip.faces)
    parts = [np.asarray(net(prepared[start : start + batch])) for start in range(0, len(prepared), batch)]
    return lower_median(sigmoid(np.concatenate(parts).astype(np.float64)))


def lower_median(values: Array) -> float:
    """The lower middle value of (n,)."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def join(scores: Array) -> float:
    """Fake score of the video from (networks, stays): mean over networks of the mean over stays, clipped."""
    return float(np.clip(np.asarray(scores).mean(axis=1).mean(), LOWEST, HIGHEST))


def consecutive_frames(pack: FacePack) -> int:
    """How many frames from the first one on were looked at without a gap."""
    sampled = set(pack.frames.tolist())
    return next(count for count in range(len(sampled) + 1) if count not in sampled)


def find_stays(pack: FacePack) -> list[Stay]:
    """The stays of all persons in all shots, by the published rule on this person's boxes in this shot, of one turn and frame size each."""
    end = min(FIRST, consecutive_frames(pack))
    faces = pack.upright[pack.faces["frame"] < end]
    ends = {item.shot: item.end + 1 for item in pack.shots}
    stays = []
    keys = np.column_stack([*(faces[name] for name in ("shot", "person", "turn")), pack.frame_sizes[: len(faces)]])
    for key in np.unique(keys[faces["person"] >= 0], axis=0):
        shot, person = int(key[0]), int(key[1])
        rows = np.flatnonzero((keys == key).all(axis=1))
        width, height, upsample = grid_of(*pack.face(int(rows[0])).frame_size or pack.frame_size)
        looks = [rows[faces["frame"][rows] == frame] for frame in range(0, end, EVERY)]
        regions = find_regions(
            [faces["box"][look] / upsample for look in looks],
            probabilities=[faces["confidence"][look] for look in looks],
            grid=(width, height),
            upsample=upsample,
        )
        for region in regions:
            first, last = region.frames[0], min(region.frames[1], end, ends.get(shot, end))
            middle = int(np.argmin(np.abs(faces["frame"][rows] - (first + last) // 2)))
            stays.append(Stay(person, replace(region, frames=(first, last)), int(rows[middle])))
    return stays


def _reasons(pack: FacePack, *, found: list[Stay], judged: list[Stay]) -> dict[str, int]:
    """Why faces get no opinion: the faces of people of whom no stay is judged, by reason code."""
    long_enough = min(FIRST, consecutive_frames(pack)) > SHORTEST
    reasons: dict[str, int] = {}
    for person in pack.faces["person"].tolist():
        if all(stay.person != person for stay in judged):
            if any(stay.person == person for stay in found):
                reason = "face_not_followed"
            else:
                reason = "no_face_at_start" if long_enough else "needs_a_clip"
            reasons[reason] = reasons.get(reason, 0) + 1
    return reasons
