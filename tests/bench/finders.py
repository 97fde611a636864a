"""What published face finders and trackers change, on clips: ``python -m tests.bench.finders FOLDER RETINAFACE [--most 32]``.

    python -m tests.bench.finders ../shared/media/clips weights/eighteen/mobilenet0.25_Final.pth

``FOLDER`` has clips; every so manieth is taken. ``RETINAFACE`` is the file of ``eighteen``, the only published finder whose weights
are in its authors' repository. Each clip goes through one thorough media pass; in ten frames of it RetinaFace (proven against its golden
boxes) looks at the whole frame, as the published code does, and at the context crop, as ``eighteen`` does. The squares that the networks
would see are compared: the ratio of their sides, and how far their centres are apart, in sides. For ``ntech`` the tracks of both lengths
are counted. Prints a table in Markdown: medians, and the 90th percentile in brackets.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from backend.media.extract import extract_pack
from backend.media.limits import UNLIMITED
from backend.media.opening import open_medium
from base_detector import Array, FacePack, load_detector
from detectors.eighteen import detector as eighteen
from detectors.eighteen import tubes
from detectors.nets.own_finder import Finder, found_again, overlaps
from detectors.ntech import tracks

_FRAMES = 10


def square(box: Array, *, frame_size: tuple[int, int]) -> Array:
    """Centre and side of the square of a box, (3,)."""
    whole = np.asarray(box).astype(np.int64)
    side = tubes.square_side(whole, frame_size=frame_size) // 2 * 2
    return np.array([*(np.array(tubes.square_corner(whole, side=side, frame_size=frame_size)) + side / 2), side])


def differences(path: Path, pack: FacePack, find: Finder, *, margin: float) -> list[list[Array]]:
    """Of faces in some frames: the squares of the platform, of the finder in the context crop and of it in the whole frame."""
    wanted = set(np.unique(pack.faces["frame"])[:: max(1, len(np.unique(pack.faces["frame"])) // _FRAMES)].tolist())
    out = []
    with open_medium(path, limits=UNLIMITED) as medium:
        for picture in medium.pictures():
            if picture.index not in wanted or picture.damaged:
                continue
            frame = picture.rgb()
            size = (frame.shape[1], frame.shape[0])
            whole = find(frame, origin=(0, 0), frame_size=size)
            for row in np.flatnonzero((pack.faces["frame"] == picture.index) & (pack.faces["turn"] == 0)):
                box, again = pack.faces["box"][row], found_again(pack, int(row), find, context=margin)
                shares = overlaps(np.array([item.box for item in whole]).reshape(-1, 4), box)
                seen = whole[int(shares.argmax())].box if len(shares) and shares.max() >= 0.3 else None
                boxes = [box, again[0].box if again else None, seen]
                out.append(
                    [square(item, frame_size=size) if item is not None else np.full(3, np.nan) for item in boxes]
                )
    return out


def counted(pack: FacePack) -> list[int]:
    """Tracks of ntech in a pack of all frames: of at least 7 and of at least 19 kept frames."""
    kept = tracks.keep_frames(pack.frames, tracks.rhythm_of(pack.fps))
    return [len(tracks.tracks_of(pack.upright, kept, shortest=shortest)) for shortest in (7, 19)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("retinaface", type=Path)
    parser.add_argument("--most", type=int, default=32)
    args = parser.parse_args()
    card = load_detector("detectors.eighteen").card
    find = eighteen._finder(args.retinaface.parent, card, "cpu")
    clips = sorted(args.folder.glob("*.mp4"))
    clips = clips[:: max(1, len(clips) // args.most)][: args.most]
    squares, lengths, faces = [], [], 0
    for clip in clips:
        with tempfile.TemporaryDirectory() as scratch:
            extract_pack(clip, Path(scratch, "pack"), samplings=["every_frame"], mode="thorough", context=card.margin)
            pack = FacePack(Path(scratch, "pack"))
            if len(pack):
                faces += len(pack)
                squares += differences(clip, pack, find, margin=card.margin)
                lengths.append(counted(pack))
    table, tracked = np.array(squares), np.array(lengths)
    print(f"{len(clips)} clips, {faces} faces, {len(table)} compared")
    print("| against RetinaFace on the whole frame | side | centre, in sides | found |\n| --- | --- | --- | --- |")
    for name, ours in (("the platform's box", table[:, 0]), ("RetinaFace in the context crop", table[:, 1])):
        both = ~np.isnan(ours[:, 0]) & ~np.isnan(table[:, 2, 0])
        ratio = ours[both, 2] / table[both, 2, 2]
        away = np.hypot(*(ours[both, :2] - table[both, 2, :2]).T) / table[both, 2, 2]
        low, high = np.percentile(ratio, [5, 95])
        ours_only, theirs_only = (
            int((np.isnan(b) & ~np.isnan(a)).sum()) for a, b in _pairs(ours[:, 0], table[:, 2, 0])
        )
        print(
            f"| {name} | x {np.median(ratio):.3f} (5 to 95 %: {low:.3f} to {high:.3f}) | {np.median(away):.3f} "
            f"({np.percentile(away, 90):.3f}) | {both.sum()} both, {ours_only} this alone, {theirs_only} that alone |"
        )
    print(f"ntech: tracks of 7 or more {tracked[:, 0].sum()}, of 19 or more {tracked[:, 1].sum()}; clips without a track "
          f"{(tracked[:, 0] == 0).sum()} and {(tracked[:, 1] == 0).sum()} of {len(tracked)}")  # fmt: skip


def _pairs(ours: Array, theirs: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    return (ours, theirs), (theirs, ours)


if __name__ == "__main__":
    main()
