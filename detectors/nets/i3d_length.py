"""Which lengths of clips may share a traced I3D (``detectors.nets.i3d``). Without torch, so that a detector can ask at once.

May be imported by detectors and ``detectors.nets.i3d``, in workers only.
"""

from __future__ import annotations

#: shortest clip: two positions in time are left before the last pooling, which spans two
SHORTEST = 9


def length_class(frames: int) -> int:
    """The shortest length whose network does for clips of ``frames`` too: the strides in time multiply to 8.

    Raises ValueError below ``SHORTEST``.
    """
    if frames < SHORTEST:
        raise ValueError(f"I3D takes {SHORTEST} frames or more, not {frames}")
    return SHORTEST + (frames - SHORTEST) % 8
