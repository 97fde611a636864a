"""VA, visual artifacts, on one face at a time (Matern et al., WACVW 2019); card in ``detector.toml``.

``crop_face`` cuts the head with its surroundings; ``preproc`` finds dlib's box and landmarks in it and measures 18 texture
energies; the classifier reads those. Faces that cannot be measured are skipped (upstream calls them 0.0, which looks real).
"""

from __future__ import annotations

from pathlib import Path

from base_detector import Array, BaseDetector, ContractError, Skip

#: ``parameters.trained_on`` and ``parameters.classifier`` of the card -> published file
FILES = {
    ("deepfake", "mlp"): "mlp_df.pkl",
    ("deepfake", "logreg"): "logreg_df.pkl",
    ("face2face", "mlp"): "mlp_f2f.pkl",
    ("face2face", "logreg"): "logreg_f2f.pkl",
}


class VisualArtifacts(BaseDetector):
    """Texture of eyes and teeth (``deepfake``) or of nose and face border (``face2face``), judged by MLP or LogReg."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets.checkpoint import read_published
        from detectors.nets.landmarks import Landmarker
        from detectors.va.classifiers import read_classifier

        parameters = self.card.parameters
        key = (parameters["trained_on"], parameters["classifier"])
        if key not in FILES:
            known = ", ".join(" and ".join(pair) for pair in FILES)
            raise ContractError(f"va: parameters.trained_on and parameters.classifier must be {known}, not {key}")
        self._classifier = read_classifier(FILES[key], read_published(weights, self.card, FILES[key]))
        self._landmarker = Landmarker()

    def preproc(self, face: Array) -> Array:
        """(h, w, 3) uint8 RGB, a head with surroundings -> (18,) float64 texture energies. Raises Skip."""
        from detectors.va import texture

        found = self._landmarker.find(face)
        if found is None:
            raise Skip("landmarks_not_found")
        box, landmarks = found
        if self.card.parameters["trained_on"] == "deepfake":
            features = texture.eyes_and_teeth(face, landmarks, box)
            reason = "mouth_or_eyes_closed"
        else:
            features = texture.nose_and_border(face, landmarks, box)
            reason = "not_judgeable"
        if features is None:
            raise Skip(reason)
        return features

    def get_softlabel(self, batch: Array) -> Array:
        """Probability of *real*: (N, 18) -> (N,). The classifier's own output is the probability of *fake*."""
        return 1 - self._classifier.probability(batch)
