"""Another folder of golden vectors, to show that no test hangs on one: ``python -m tests.parity.altered FOLDER OUT [--salt SALT]``.

    python -m tests.parity.altered ../shared/detectors/golden/a /tmp/altered
    GOLDEN=/tmp/altered pytest tests/parity

In ``OUT`` pictures and sounds have other names, lists are in another order, and from most of them an entry is left out; all numbers are
those of ``FOLDER``, so every test passes. With ``--salt`` the texts name another salt than the numbers were made with: the tests of
networks that are filled by the recipe fail by their numbers then, and no other test does.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

#: Lists of entries that stand for themselves. Not here: what lies in an order that is part of its meaning (frames, boxes, samples).
_LISTS = frozenset({
    "crop", "crop_synthetic", "preprocess", "forward", "recipe_forward", "negative_controls", "runs", "networks", "features", "cases",
    "authors_rows", "classifiers", "isotropic_resize_shapes", "image_score", "image_score_rule", "sf_score_rule", "fusion", "median",
    "id_strategy", "strategy", "process", "pooling_formula_retyped", "main", "aggregate", "windows", "resample",
    "retinaface_mobilenet", "stride2_padding",
})  # fmt: skip
#: In these an entry may be the only one of its kind (of a network, of a video), and another list may ask for it: all are kept.
_WHOLE = frozenset({"crop", "preprocess", "forward", "networks", "image_score", "retinaface_mobilenet", "roi"})


def altered(content: Any, *, list_name: str = "") -> Any:
    """``content`` of a file of golden vectors with its lists in another order and shorter."""
    if isinstance(content, dict):
        return {name: altered(value, list_name=name) for name, value in content.items()}
    if not isinstance(content, list):
        return content
    entries = [altered(item) for item in content]
    if list_name not in _LISTS or not all(isinstance(item, dict) for item in entries):
        return entries
    turned = entries[::-1]
    return turned if list_name in _WHOLE or len(turned) < 4 else turned[:-1]


def main() -> int:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--salt", default="")
    args = parser.parse_args()
    names = {path.name: f"other_{path.name}" for path in (args.folder / "inputs").iterdir() if path.suffix != ".json"}
    known = re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)))
    (args.out / "inputs").mkdir(parents=True)
    for name, other in names.items():
        shutil.copyfile(args.folder / "inputs" / name, args.out / "inputs" / other)
    for path in sorted(args.folder.rglob("*.json")):
        text = known.sub(lambda found: names[found[0]], path.read_text())
        if args.salt:
            text = re.sub(r"\bsalt \w+", f"salt {args.salt}", text)
        (args.out / path.relative_to(args.folder)).write_text(json.dumps(altered(json.loads(text))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
