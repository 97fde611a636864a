"""3-D convolutions on windows of 20 noise maps; net and windows in ``detectors.nets.noise``, card in ``detector.toml``.

The net answers a logit of *fake*; the line chosen on held-out identities makes it a score, and one minus that is the soft label.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from base_detector import BaseDetector, ContractError, FacePack, Judgement, Progress


class Noise3dCnnDetector(BaseDetector):
    """The operator's own network on windows of 20 faces."""

    def load(self, weights: Path, device: str) -> None:
        from detectors.nets import noise
        from detectors.nets.checkpoint import fill, read_published
        from detectors.nets.trained import Judge, read_trained
        from detectors.runtime import compile_net

        wrong = noise.wrong_parameter(self.card.parameters)
        if wrong:
            raise ContractError(f"{self.card.id}: {wrong}")
        content = read_published(weights, self.card, "noise_3dcnn.safetensors")
        parameters = {"margin": self.card.margin, **self.card.parameters}
        net = noise.Noise3dCnn(kernel=self.card.parameters["kernel"], pool=self.card.parameters["pool"])
        fill(net, read_trained(content, detector=self.card.id, parameters=parameters))
        example = np.zeros((1, noise.LENGTH, noise.SIDE, noise.SIDE), np.float32)
        self._net = compile_net(Judge(net), example=example, device=device)

    def judge(self, pack: FacePack, progress: Progress) -> Judgement:
        """Score every window; its score stands at its middle face. The video's score is that of its most suspicious person."""
        from detectors.nets import noise

        sigma = float(self.card.parameters["sigma"])
        return noise.judge_windows(pack, progress, card=self.card, sigma=sigma, net=self._net)
