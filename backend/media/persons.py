"""Which tracks show the same person: face embeddings of good views, clustered; tracks visible at the same time are never merged.

Owns the portraits, the embedding (dlib's published ResNet, 128 numbers), the clustering and the keyface. The method and its
limits are described in docs/media_pass.md. May be imported by ``extract``; dlib is imported when two tracks must be compared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from backend.media.tracks import Portrait, Sighting, Track, overlap
from base_detector import Array

#: Side of the chips dlib's network was trained on, and where MTCNN's five landmarks are on them: medians over 266 faces whose
#: chips dlib itself had cut (5-point model, padding 0.25).
_CHIP = 150
_TEMPLATE = np.array([[47.6, 45.7], [102.3, 45.8], [74.4, 76.2], [51.4, 99.8], [98.5, 100.4]])
#: Views kept of a track, and how far apart they are at least.
_PORTRAITS, _APART_S = 3, 0.5
#: A view this many pixels wide is as good as any larger one.
_AMPLE_SIDE = 150.0
#: Distance under which tracks are one person. dlib's own 0.6 takes 1.4 % of pairs of strangers for one person, 0.5 takes
#: 0.02 % (15,000 pairs of LFW, chips cut as here): one person counted twice harms less than two joined.
_SAME = 0.5
#: Profiles resemble each other (.47-.50 between strangers of one clip): a track without a view more frontal than this is kept
#: further from all others.
_FRONTAL, _PROFILE_PENALTY = 0.3, 0.05
#: Bonus of a track that begins where another ended a moment before in the same view: a head that turned away and back.
_CONTINUED, _CONTINUED_S, _CONTINUED_OVERLAP = 0.12, 2.0, 0.3
#: Tracks visible at the same time are different persons: a distance that no average brings under the threshold.
_NEVER = 1e6
#: Clustering needs memory of its square; the shortest tracks beyond it join the nearest person or stay single.
_MOST_TRACKS = 3000
#: Tracks whose portraits are embedded at once; limits the chips held in memory.
_BATCH = 32


class FaceEmbedder:
    """dlib's face recognition network (King, 2017; weights CC0), on the CPU."""

    def __init__(self, weights: Path | None = None) -> None:
        import dlib

        self._net = dlib.face_recognition_model_v1(str(weights or find_embedding_weights()))

    def embed(self, chips: Sequence[Array]) -> Array:
        """Descriptors (n, 128) float64 of aligned chips, (150, 150, 3) uint8 RGB each."""
        return np.array(self._net.compute_face_descriptor(list(chips))).reshape(-1, 128)


def find_embedding_weights() -> Path:
    """dlib's model file in the installed face_recognition_models, which is not imported (it needs pkg_resources)."""
    spec = importlib.util.find_spec("face_recognition_models")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "models" / "dlib_face_recognition_resnet_model_v1.dat"
        if path.is_file():
            return path
    raise FileNotFoundError("dlib's face embedding is missing: pip install face_recognition_models==0.3.0")


@lru_cache(maxsize=1)
def shared_embedder() -> FaceEmbedder:
    """The embedder, loaded once in a process."""
    return FaceEmbedder()


def consider_portrait(track: Track, sighting: Sighting, *, row: int) -> None:
    """Keep this view of the track when it is among its best; ``row`` is the face's row in the pack."""
    if sighting.found.tracked:
        return
    quality = _promise(sighting)
    near = [i for i, item in enumerate(track.portraits) if abs(item.time_s - sighting.time_s) < _APART_S]
    rivals = near or (range(len(track.portraits)) if len(track.portraits) >= _PORTRAITS else [])
    worst = min(rivals, key=lambda i: track.portraits[i].quality, default=None)
    if worst is not None and quality <= track.portraits[worst].quality:
        return
    chip = aligned_chip(sighting)
    quality *= _sharpness(chip)
    if worst is not None:
        if quality <= track.portraits[worst].quality:
            return
        track.portraits.pop(worst)
    track.portraits.append(Portrait(chip, quality, sighting.found.frontality, row, sighting.time_s))


def aligned_chip(sighting: Sighting) -> Array:
    """The face turned upright and scaled so that its landmarks are where dlib's network expects them: (150, 150, 3) uint8 RGB."""
    points = sighting.in_crop(sighting.found.landmarks.astype(float))
    crop = sighting.crop
    matrix = _similarity(points, _TEMPLATE)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:  # bilinear sampling alone would skip pixels
        size = tuple(max(1, round(side * scale)) for side in crop.shape[1::-1])
        points = points * np.array(size) / np.array(crop.shape[1::-1])
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        matrix = _similarity(points, _TEMPLATE)
    chip: Array = cv2.warpAffine(crop, matrix, (_CHIP, _CHIP), flags=cv2.INTER_LINEAR)
    return chip


def _similarity(points: Array, targets: Array) -> Array:
    """Least-squares turn, scale and shift from ``points`` to ``targets`` (n, 2): a (2, 3) matrix, in complex numbers."""
    source, target = points - points.mean(axis=0), targets - targets.mean(axis=0)
    s, t = source @ [1, 1j], target @ [1, 1j]
    turn = np.vdot(s, t) / max(float(np.vdot(s, s).real), 1e-9)
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.hstack([matrix, (targets.mean(axis=0) - matrix @ points.mean(axis=0))[:, None]])


def _promise(sighting: Sighting) -> float:
    """How good a view this may be, 0..1, before its sharpness is known: sure, large, frontal, inside the picture."""
    found = sighting.found
    return found.confidence * min(1.0, found.side / _AMPLE_SIDE) * (0.3 + 0.7 * found.frontality)


def _sharpness(chip: Array) -> float:
    """0..1: the variance of the Laplacian against that of a sharp portrait (about 300 on these chips)."""
    variance = float(cv2.Laplacian(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
    return 0.2 + 0.8 * min(1.0, variance / 300)


class Gallery:
    """Collects ended tracks and says at the end who is who. Chips become descriptors in batches, if ever needed."""

    def __init__(self, embedder: FaceEmbedder | None = None) -> None:
        self._given = embedder
        self._described: dict[int, Array] = {}

    def describe(self, tracks: Sequence[Track]) -> None:
        """Replace the chips of ended ``tracks`` by descriptors once there are many; call it now and then."""
        ready = [track for track in tracks if track.number not in self._described and track.portraits]
        if len(ready) >= _BATCH:
            self._describe(ready)

    def persons(self, tracks: Sequence[Track]) -> dict[int, int]:
        """Track number -> person, persons numbered by the count of their faces, most first (then by appearance)."""
        if not tracks:
            return {}
        labels = self._cluster(tracks) if len(tracks) > 1 else np.zeros(1, np.int64)
        faces = np.bincount(labels, [track.rows for track in tracks])
        begin = np.full(len(faces), np.iinfo(np.int64).max)
        np.minimum.at(begin, labels, [track.first_frame for track in tracks])
        rank = {int(label): person for person, label in enumerate(np.lexsort((begin, -faces)))}
        return {track.number: rank[int(label)] for track, label in zip(tracks, labels, strict=True)}

    # -- inside

    def _describe(self, tracks: Sequence[Track]) -> None:
        chips = [item.chip for track in tracks for item in track.portraits]
        vectors = iter((self._given or shared_embedder()).embed(chips))
        for track in tracks:
            self._described[track.number] = np.mean([next(vectors) for _ in track.portraits], axis=0)
            track.portraits = [replace(item, chip=np.zeros((0, 0, 3), np.uint8)) for item in track.portraits]

    def _cluster(self, tracks: Sequence[Track]) -> Array:
        """A cluster label for each track, (n,)."""
        first, last = _ends(tracks)
        if not len(tracks) or first.max() <= last.min():
            return np.arange(len(tracks))  # all at one moment, as in an image: nothing to compare
        missing = [track for track in tracks if track.number not in self._described]
        if missing:
            self._describe(missing)
        from sklearn.cluster import AgglomerativeClustering  # half a second, and most clips show one person

        longest = sorted(range(len(tracks)), key=lambda i: -tracks[i].rows)
        core, rest = sorted(longest[:_MOST_TRACKS]), longest[_MOST_TRACKS:]
        vectors = np.stack([self._described[track.number] for track in tracks])
        labels = np.full(len(tracks), -1, np.int64)
        distances = _distances([tracks[i] for i in core], vectors[core])
        labels[core] = AgglomerativeClustering(
            n_clusters=None, metric="precomputed", linkage="average", distance_threshold=_SAME
        ).fit_predict(distances)
        for i in rest:
            away = np.linalg.norm(vectors[core] - vectors[i], axis=1)
            away[(first[core] <= last[i]) & (last[core] >= first[i])] = _NEVER
            labels[i] = labels[core[int(away.argmin())]] if away.min() < _SAME else labels.max() + 1
        return labels


def keyface_rows(tracks: Sequence[Track], persons: dict[int, int]) -> dict[int, int]:
    """Person -> row (before sorting) of the best view of that person."""
    best: dict[int, Portrait] = {}
    for track in tracks:
        person = persons[track.number]
        for item in track.portraits:
            if person not in best or item.quality > best[person].quality:
                best[person] = item
    return {person: item.row for person, item in best.items()}


def _distances(tracks: Sequence[Track], vectors: Array) -> Array:
    """Distances between tracks, (n, n): descriptors, overlap in time, and the bonus of continued tracks."""
    squares = (vectors**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * vectors @ vectors.T, 0))
    vague = np.array([max(item.frontality for item in track.portraits) < _FRONTAL for track in tracks])
    distances += _PROFILE_PENALTY * (vague[:, None].astype(float) + vague)
    first, last = _ends(tracks)
    views = np.array([track.view for track in tracks])
    first_s, last_s = (np.array([getattr(track, name) for track in tracks]) for name in ("first_s", "last_s"))
    begins = np.array([track.first_box for track in tracks])
    for i, track in enumerate(tracks):
        pause = first_s - last_s[i]
        later = np.flatnonzero((first > last[i]) & (views == track.view) & (pause >= 0) & (pause <= _CONTINUED_S))
        if len(later):  # in the same view, a moment after; and at the same place
            later = later[overlap(track.last_box[None], begins[later])[0] >= _CONTINUED_OVERLAP]
            distances[i, later] = distances[later, i] = np.maximum(0.0, distances[i, later] - _CONTINUED)
    distances[(first[:, None] <= last) & (last[:, None] >= first)] = _NEVER
    np.fill_diagonal(distances, 0)
    result: Array = distances
    return result


def _ends(tracks: Sequence[Track]) -> tuple[Array, Array]:
    """First and last frame of each track, (n,) int64 each."""
    ends = np.array([(track.first_frame, track.last_frame) for track in tracks], np.int64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]
