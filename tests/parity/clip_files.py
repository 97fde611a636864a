"""The large files of the detectors with CLIP's tower, filled by the recipe: 300 million numbers, drawn by a thread on each core."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.recipe import fill, golden_of, listed_names

#: where ``write_clip`` has written the tower of this run
_written: list[Path] = []


def filled_large(names: dict[str, tuple[tuple[int, ...], str]], scale_pow2: dict[str, int]) -> dict[str, Any]:
    """As ``recipe.filled_state``, in threads: numpy draws without holding the interpreter."""
    import torch

    def one(name: str) -> Any:
        values = fill(name, names[name][0])
        values *= np.float32(2.0 ** scale_pow2.get(name, 0))
        return torch.from_numpy(values)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def write_clip(path: Path, research: Path) -> None:
    """CLIP's tower as OpenAI names it, filled once a run: UnivFD's and RINE's golden vectors were made with the same numbers."""
    from safetensors.torch import save_file

    if _written and _written[0].exists():
        os.link(_written[0], path)
        return
    names = listed_names(research, "clip_vit_l14_visual_openai")
    save_file(filled_large(names, golden_of(research, "univfd")["scale_pow2"]), path)
    _written[:] = [path]


def as_they_are(names: Iterable[str], research: Path, file: str) -> dict[str, Any]:
    """Some tensors of ``state_dicts/<file>.txt`` without numbers: names and shapes are all that a test of the layout needs."""
    import torch

    listed = listed_names(research, file)
    return {name: torch.empty(listed[name][0], device="meta") for name in names}
