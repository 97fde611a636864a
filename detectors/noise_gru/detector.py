"""A GRU on windows of 20 noise levels; net and windows in ``detectors.nets.noise``, card in ``detector.toml``.

The net answers a logit of *fake*; the line chosen on held-out identities makes it a score, and one minus that is the soft label.
"""

from __future__ import annotations

from pathlib import Path

from base_detector import BaseDetector, ContractError, FacePack, Judgement, Progress


class NoiseGruDetector(BaseDetector):
    """The operator's own network on windows of 20 faces."""

    def load(self, weights: Path, device: str) -> None:
        from detectors import probes
        from detectors.nets import noise
        from detectors.nets.trained import compile_trained

        wrong = noise.wrong_parameter(self.card.parameters)
        if wrong:
            raise ContractError(f"{self.card.id}: {wrong}")
        sigma = float(self.card.parameters["sigma"])
        probe = noise.features(probes.moving_face(noise.LENGTH, noise.SIDE), sigma=sigma, means=True)[None]
        numbers = {"units": self.card.parameters["units"]}
        self._net = compile_trained(
            noise.NoiseGru, weights, card=self.card, numbers=numbers, probe=probe, device=device
        )

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """Score every window; its score is given to its middle face. The video's score is that of its most suspicious person."""
        from detectors.nets import noise

        sigma = float(self.card.parameters["sigma"])
        return noise.judge_windows(pack, progress, card=self.card, sigma=sigma, net=self._net, means=True)
