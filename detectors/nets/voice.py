"""A window of sound as the networks of voices take it, in numpy.

Owns: the length of the input, the gate against silence. Promises: the level stays as it is (scores move with it, and the authors do not
normalise it); a shorter sound is repeated to the length, as the authors' ``pad`` does, and not filled with zeros.
May be imported by detectors, in workers only.
"""

from __future__ import annotations

import numpy as np

from base_detector import Array, Skip

#: Samples of one input at 16 kHz, 4.0375 s: ``nb_samp`` of AASIST's configuration, and what RawNet2 and SSL_AASIST take.
SAMPLES = 64_600

#: Quieter windows hold no speech to judge: -50 dB below full scale, root mean square. Our choice, no paper's.
GATE = 10 ** (-50 / 20)


def prepared(window: Array) -> Array:
    """Samples of a window, (n,) float in -1..1 at 16 kHz -> (64600,) float32: the first ones, or all of them again and again.

    Raises Skip ``silence`` below the gate.
    """
    if not len(window) or np.sqrt(np.mean(np.square(window, dtype=np.float64))) < GATE:
        raise Skip("silence")
    return np.resize(window[:SAMPLES], SAMPLES).astype(np.float32)
