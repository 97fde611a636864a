"""Where somebody speaks in a sound: Silero VAD, whose network is in its wheel (MIT), run by OpenVINO.

Detectors of voices give music and noise scores that mean nothing, so stretches with speech are found first. Owns the thresholds, which
are those Silero VAD publishes. Promises: memory does not grow with the length. ``silero_vad`` itself, which wants torch, is not
imported. Imported by ``extract`` only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.media.limits import Deadline
from base_detector import SOUND_RATE, Array

#: Samples of a step of the network at 16 kHz, those of the step before that it sees too, and the size of its memory: Silero VAD 6,
#: ``sequence_vad.py`` (``RATE_CONFIG``, ``STATE_SHAPE``).
_STEP, _CONTEXT, _STATE = 512, 64, (1, 1, 128)
#: Steps of one call: 16 seconds.
_BLOCK: Final = 512
#: Speech begins above the first probability and ends when it stays below the second for a while; what is shorter than the least is none,
#: and a pad around it belongs to it: defaults of ``get_speech_timestamps``.
_BEGINS, _ENDS, _PAUSE_S, _LEAST_S, _PAD_S = 0.5, 0.35, 0.1, 0.25, 0.03


def speech_in(sound: Array, *, deadline: Deadline) -> list[list[float]]:
    """Stretches of ``sound``, (n,) float32 at SOUND_RATE, with speech: [start, end] in seconds from its first sample, ascending.

    Raises WorkerFailure ``media_timed_out``.
    """
    step_s, total_s = _STEP / SOUND_RATE, len(sound) / SOUND_RATE
    found: list[list[float]] = []
    start: float | None = None
    low: float | None = None
    for number, probability in enumerate(_probabilities(sound, deadline)):
        now = number * step_s
        if probability >= _BEGINS:
            start, low = now if start is None else start, None
        elif start is not None and probability < _ENDS:
            low = now if low is None else low
            if now - low >= _PAUSE_S:
                found.append([start, low])
                start = low = None
    if start is not None:
        found.append([start, total_s])
    padded = [[max(0.0, a - _PAD_S), min(total_s, b + _PAD_S)] for a, b in found if b - a >= _LEAST_S]
    return [[round(a, 3), round(b, 3)] for a, b in _joined(padded)]


def _joined(stretches: list[list[float]]) -> Iterator[list[float]]:
    """Stretches that touch, as one."""
    waiting: list[float] | None = None
    for stretch in stretches:
        if waiting is not None and stretch[0] <= waiting[1]:
            waiting[1] = stretch[1]
        else:
            if waiting is not None:
                yield waiting
            waiting = stretch
    if waiting is not None:
        yield waiting


def _probabilities(sound: Array, deadline: Deadline) -> Iterator[float]:
    """Of speech, for each step of the sound; the last one is filled up with silence."""
    network = warm_network()
    hidden, cell = (np.zeros(_STATE, np.float32) for _ in range(2))
    before = np.zeros(_CONTEXT, np.float32)
    for start in range(0, len(sound), _BLOCK * _STEP):
        deadline.check()
        samples = np.asarray(sound[start : start + _BLOCK * _STEP], np.float32)
        steps = np.zeros((-(-len(samples) // _STEP), _STEP), np.float32)
        steps.reshape(-1)[: len(samples)] = samples
        context = np.concatenate([before[None], steps[:-1, -_CONTEXT:]])
        answer = network({"input": np.concatenate([context, steps], axis=1), "h": hidden, "c": cell})
        hidden, cell, before = answer["hn"], answer["cn"], steps[-1, -_CONTEXT:]
        yield from answer["speech_probs"].reshape(-1).tolist()


@lru_cache(maxsize=1)
def warm_network() -> Any:
    """The compiled network, loaded once in a process; it is small (1.2 MB), and one thread reads an hour in four seconds."""
    import openvino

    core = openvino.Core()
    return core.compile_model(core.read_model(_network_file()), "CPU", {"INFERENCE_NUM_THREADS": 1})


def _network_file() -> Path:
    spec = importlib.util.find_spec("silero_vad")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (path := Path(folder) / "data" / "silero_vad_16k_sequence.onnx").is_file():
            return path
    raise FileNotFoundError("Silero VAD's network is missing: pip install --no-deps silero-vad==6.2.3")
