"""One detector on one file, without platform: what ``python -m base_detector detectors.<name> MEDIA`` runs.

Prints the content of ``scores.json`` or one line of JSON that says why there is none. Imported by ``base_detector.main`` only, lazily.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from backend.media.extract import extract_pack
from base_detector import BaseDetector, NotApplicable, WorkerFailure, detector_verbs


def judge(detector: BaseDetector, media: Path, *, weights: Path, device: str) -> int:
    """Decode ``media``, score its faces, print the scores. Exit status: 0 scored, 3 could not be scored."""
    predict = detector_verbs(detector, weights, device)["predict"]
    with tempfile.TemporaryDirectory() as scratch:
        pack, out = Path(scratch) / "pack", Path(scratch) / "out"
        out.mkdir()
        try:
            context = max(2.0, detector.card.margin)
            extract_pack(media, pack, samplings=[detector.card.sampling], context=context)
            predict({"pack": str(pack), "out": str(out)}, lambda done, total: None)
        except NotApplicable as reason:
            print(json.dumps({"detector": detector.card.id, "status": "not_applicable", "reason": str(reason)}))
            return 3
        except WorkerFailure as failure:
            print(json.dumps({"detector": detector.card.id, "status": "failed", "code": failure.code}))
            return 3
        print((out / "scores.json").read_text(encoding="utf-8"))
    return 0
