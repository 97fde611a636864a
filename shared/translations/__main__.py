"""``python -m shared.translations [LANGUAGE ...]``: bring catalogues up to date with the texts of the program, and name what is missing."""

from __future__ import annotations

import sys

from shared.languages import ENGLISH, OFFERED
from shared.translations import missing, path_of, template, updated


def main(codes: list[str]) -> int:
    """Write the catalogues of ``codes``; without any, those of all offered languages. 1 where a translation is missing."""
    texts = template()
    lacking = 0
    for code in codes or [code for code in OFFERED if code != ENGLISH]:
        path = path_of(code)
        new = updated(code, texts)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != new:
            path.write_bytes(new)
        empty = missing(code)
        lacking += len(empty)
        print(f"{code}: {len(texts)} texts, {len(empty)} without a translation")
        for text in empty[:20]:
            print(f"  {text[:100]!r}")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
