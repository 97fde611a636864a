"""Which clips a net is trained on and which it is judged on: leave a group of methods and their scenes out, or scenes alone.

Owns: the split of labelled clips. A scene is never on both sides, nor is a method where methods are left out.
Promises: each clip is judged by exactly one fold's ``home``; the split follows from the clips alone.
May be imported by detectors.training and its tests.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from detectors.training.clips import Clip
from detectors.training.dataset import DataError

#: Share of the scenes with real clips that choose the threshold of a net that ships, and train nothing.
CALIBRATION = 0.2


@dataclass(frozen=True)
class Fold:
    """One split. ``methods`` are judged and never trained on; empty where scenes alone are left out.

    ``home``: the clips whose score of record this fold gives. ``beside``: originals of its fakes whose home is another fold.
    """

    number: int
    methods: tuple[str, ...]
    train: tuple[Clip, ...]
    home: tuple[Clip, ...]
    beside: tuple[Clip, ...]

    @property
    def judged(self) -> tuple[Clip, ...]:
        """All clips this fold scores."""
        return self.home + self.beside


def method_groups(clips: Iterable[Clip], *, count: int) -> list[tuple[str, ...]]:
    """The methods of the fakes in ``count`` groups of about as many clips each; methods of one montage stay together where they can.

    Large methods first; each joins the group with which it shares most scenes among those with room, else the smallest one. What shares
    scenes costs training clips when it is apart: a scene of the left-out methods trains nothing.
    """
    fakes = [clip for clip in clips if clip.fake]
    sizes = Counter(clip.method for clip in fakes)
    if len(sizes) < count:
        raise DataError(
            f"{len(sizes)} methods cannot make {count} groups: ask for fewer folds, or add fakes by other methods"
        )
    scenes = {method: {clip.scene for clip in fakes if clip.method == method} for method in sizes}
    room = len(fakes) / count
    groups: list[list[str]] = [[] for _ in range(count)]

    def clips_in(group: Sequence[str]) -> int:
        return sum(sizes[method] for method in group)

    for method in sorted(sizes, key=lambda name: (-sizes[name], name)):
        shared = {
            number: len(scenes[method] & set().union(*(scenes[other] for other in group)))
            for number, group in enumerate(groups)
            if clips_in(group) + sizes[method] <= room
        }
        best = max(shared, key=lambda number: shared[number], default=None)
        if best is None or not shared[best]:
            best = min(range(count), key=lambda number: clips_in(groups[number]))
        groups[best].append(method)
    return [tuple(sorted(group)) for group in groups]


def leave_methods_out(clips: Sequence[Clip], *, count: int) -> list[Fold]:
    """``count`` folds. Fakes are at home where their method is left out, a scene's real clips where most of its fakes are.

    Scenes without fakes are divided evenly, in the order of a hash of their name.
    """
    groups = method_groups(clips, count=count)
    place = {method: number for number, group in enumerate(groups) for method in group}
    votes: dict[str, Counter[int]] = {}
    for clip in clips:
        if clip.fake:
            votes.setdefault(clip.scene, Counter())[place[clip.method]] += 1
    alone = sorted({clip.scene for clip in clips} - set(votes), key=_hash)
    homes = {scene: number % count for number, scene in enumerate(alone)}
    homes |= {scene: min(own, key=lambda number: (-own[number], number)) for scene, own in votes.items()}
    return [_fold(clips, number, groups[number], homes) for number in range(count)]


def _fold(clips: Sequence[Clip], number: int, methods: tuple[str, ...], homes: dict[str, int]) -> Fold:
    scenes = {clip.scene for clip in clips if clip.fake and clip.method in methods}
    home = tuple(clip for clip in clips if (clip.method in methods if clip.fake else homes[clip.scene] == number))
    judged = scenes | {clip.scene for clip in home}
    train = tuple(clip for clip in clips if clip.scene not in judged and not (clip.fake and clip.method in methods))
    beside = tuple(clip for clip in clips if not clip.fake and clip.scene in scenes and homes[clip.scene] != number)
    return Fold(number, methods, train, home, beside)


def leave_scenes_out(clips: Sequence[Clip], *, count: int) -> list[Fold]:
    """``count`` folds over the scenes alone: judged fakes are of people the net never saw, but mostly by methods it knows.

    Scenes with most fakes are dealt first, like cards; each kind of scene evenly, in the order of a hash where they are alike.
    """
    fakes = Counter(clip.scene for clip in clips if clip.fake)
    scenes = sorted({clip.scene for clip in clips}, key=lambda scene: (-fakes[scene], _hash(scene)))
    homes = {scene: number % count for number, scene in enumerate(scenes)}
    folds = []
    for number in range(count):
        home = tuple(clip for clip in clips if homes[clip.scene] == number)
        folds.append(Fold(number, (), tuple(clip for clip in clips if homes[clip.scene] != number), home, ()))
    return folds


def keep_for_calibration(clips: Sequence[Clip], *, share: float = CALIBRATION) -> tuple[list[Clip], list[Clip]]:
    """(clips to train on, real clips for the threshold): a ``share`` of the scenes with real clips is kept, and trains nothing."""
    scenes = sorted({clip.scene for clip in clips if not clip.fake}, key=_hash)
    kept = set(scenes[: round(share * len(scenes))])
    calibration = [clip for clip in clips if clip.scene in kept and not clip.fake]
    return [clip for clip in clips if clip.scene not in kept], calibration


def _hash(scene: str) -> str:
    return hashlib.sha256(f"place of {scene}".encode()).hexdigest()
