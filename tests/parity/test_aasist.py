"""Our AASIST and AASIST-L with the published weights against outputs of the authors' code (the golden vectors of the research data)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from backend.media.extract import extract_pack  # noqa: E402
from backend.media.windows import sound_windows  # noqa: E402
from base_detector import BaseDetector, ContractError, FacePack, Skip, load_detector  # noqa: E402
from detectors.aasist import detector as own  # noqa: E402
from detectors.nets import aasist  # noqa: E402
from detectors.nets.checkpoint import WeightsUnusable  # noqa: E402
from detectors.nets.scores import softmax_at  # noqa: E402
from tests.parity.recipe import (  # noqa: E402
    assert_each_difference_is_named,
    compare,
    listed_names,
)
from tests.parity.sounds import assert_differs, assert_logits, prepared, sound  # noqa: E402

GOLDEN = "aasist"
#: Net of the golden vectors -> list of its names.
LISTS = {"AASIST": "aasist", "AASIST-L": "aasist_l"}


def write_weights(folder: Path, research: Path) -> None:
    """The published files."""
    for _, file in own.VARIANTS.values():
        shutil.copy(research / "weights" / "aasist" / file, folder / file)


@pytest.fixture(scope="module")
def nets(weights: Path) -> dict[str, BaseDetector]:
    """The detector with each of its networks, by the name that the golden vectors have for it."""
    found = {}
    for variant in own.VARIANTS:
        found[variant] = load_detector("detectors.aasist")
        found[variant].card = replace(found[variant].card, parameters={"variant": variant})
        found[variant].load(weights, "cpu")
    return found


def test_names_and_shapes_are_the_published_ones(golden: dict, research: Path):
    for name, (size, _) in own.VARIANTS.items():
        state = aasist.AASIST(getattr(aasist, size)).state_dict()
        found = {key: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for key, tensor in state.items()}
        assert found == listed_names(research, LISTS[name])
        assert len(found) == golden["state_dict"][name]["entries"]
        assert sum(tensor.numel() for tensor in state.values()) == golden["state_dict"][name]["numbers_all_tensors"]


def test_the_sizes_are_those_of_the_published_configurations(golden: dict):
    for name, (size, _) in own.VARIANTS.items():
        wanted, found = golden["config"][name], getattr(aasist, size)
        assert [tuple(pair) for pair in wanted["filts"][1:]] == [
            (1, found.channels[0]),
            (found.channels[0], found.channels[0]),
            found.channels,
            (found.channels[1], found.channels[1]),
        ]
        assert wanted["gat_dims"][0] == found.graph
        assert wanted["pool_ratios"][:3] == [found.spectral, found.temporal, found.joint]
        assert wanted["nb_samp"] == aasist.SAMPLES


def test_the_filter_bank_is_the_published_one(golden: dict):
    compare(aasist.band_pass(), golden["band_pass"]["tensor"], atol=1e-6)
    np.testing.assert_allclose(aasist.band_edges(), golden["band_pass"]["band_edges_hz"], rtol=1e-6)


def test_preprocessing_is_the_published_one(golden: dict, research: Path, nets: dict[str, BaseDetector]):
    assert golden["preprocess"]
    for entry in golden["preprocess"]:
        samples = sound(research, entry["input"])
        assert len(samples) == entry["samples_in"]
        compare(prepared(nets["AASIST"], samples), entry["tensor"], atol=1e-6)


def test_logits_and_scores_are_the_published_ones(golden: dict, research: Path, nets: dict[str, BaseDetector]):
    assert {entry["net"] for entry in golden["forward"]} == set(own.VARIANTS)
    for entry in golden["forward"]:
        net = nets[entry["net"]]
        (logits,) = net._net(prepared(net, sound(research, entry["input"])))
        assert_logits(logits, entry["logits"])
        assert softmax_at(logits, index=0) == pytest.approx(entry["p_spoof"], abs=1e-4)
    # the last one, through the contract
    assert net.run(sound(research, entry["input"])[: aasist.SAMPLES]) == pytest.approx(entry["p_spoof"], abs=1e-4)


#: What a negative control is made of, where the input alone is wrong: samples (n,) -> (64600,).
WRONG = {
    "short clip zero-padded": lambda samples: np.pad(samples, (0, aasist.SAMPLES))[: aasist.SAMPLES],
    "level halved": lambda samples: samples[: aasist.SAMPLES] / 2,
    "peak-normalised": lambda samples: samples[: aasist.SAMPLES] / np.abs(samples[: aasist.SAMPLES]).max(),
    "shifted by one sample": lambda samples: samples[1 : aasist.SAMPLES + 1],
}


def test_what_is_wrong_in_one_thing_gives_other_logits(golden: dict, research: Path, nets: dict[str, BaseDetector]):
    """The authors' code with one fault each: ours has none of them, and has the same where the input is at fault."""
    made = 0
    for control in golden["negative_controls"]:
        net, samples = nets[control["net"]], sound(research, control["input"])
        assert_differs(net._net(prepared(net, samples))[0], control["logits"])
        for what, input_of in WRONG.items():
            if control["what"].startswith(what):
                made += 1
                assert_logits(net._net(input_of(samples)[None])[0], control["logits"])
    assert made >= 3


def test_windows_are_cut_as_the_golden_vectors_say(golden: dict):
    card = load_detector("detectors.aasist").card
    cases = [entry for entry in golden["windows"] if "samples" in entry]
    assert cases
    for entry in cases:
        windows = sound_windows(entry["samples"], [(card.window_s, card.hop_s)])
        assert windows["start"].tolist() == entry["starts"]
        assert set(windows["stop"] - windows["start"]) == {min(entry["samples"], aasist.SAMPLES)}


def test_a_batch_gives_what_its_windows_give_one_by_one(golden: dict, research: Path, nets: dict[str, BaseDetector]):
    names = sorted({entry["input"] for entry in golden["forward"]})[:3]
    batch = np.concatenate([prepared(nets["AASIST"], sound(research, name)) for name in names])
    alone = [nets["AASIST"].get_softlabel(batch[i : i + 1])[0] for i in range(len(batch))]
    np.testing.assert_allclose(nets["AASIST"].get_softlabel(batch), alone, atol=1e-5)


#: File, steps between the windows that count, what the authors' code gave (SPEC_2.md, section 21, to the two digits it prints): the mean
#: over half-way windows of the first 20 s, and over windows end to end.
KNOWN = [
    ("speech_fake_0ghm5Cqpfwk.mp3", 1, 0.64),
    ("pair_real_11463_11657_000002.flac", aasist.SAMPLES, 0.58),
    ("pair_fake_vocoded_11463_11657_000002.flac", aasist.SAMPLES, 0.99),
]


@pytest.mark.parametrize(("file", "step", "wanted"), KNOWN, ids=[file for file, *_ in KNOWN])
def test_a_recording_gets_the_score_that_the_authors_code_gave_it(
    file: str, step: int, wanted: float, research: Path, nets: dict[str, BaseDetector], tmp_path: Path
):
    """From the file to the score: decoded, mixed, resampled and cut as for a visitor."""
    net = nets["AASIST"]
    lengths = [(net.card.window_s, net.card.hop_s)]
    extract_pack(research / "media" / "audio" / file, tmp_path / "pack", samplings=[], windows=lengths)
    samples = FacePack(tmp_path / "pack").sound[: 20 * 16_000]
    rows = sound_windows(len(samples), lengths)
    scores = [net.run(np.array(samples[row["start"] : row["stop"]])) for row in rows[rows["start"] % step == 0]]
    assert np.mean(scores) == pytest.approx(wanted, abs=0.005 + 1e-3)


# --------------------------------------------------------------------------- without the research data


@pytest.mark.parametrize("samples", [1, 7, 64_599, 64_600])
def test_a_short_window_is_repeated_and_not_filled_with_zeros(samples: int):
    window = np.linspace(0.1, 0.9, samples, dtype=np.float32)
    found = load_detector("detectors.aasist").preproc(window)
    assert found.shape == (64_600,)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.tile(window, -(-64_600 // samples))[:64_600])


def test_a_window_below_the_gate_is_silence():
    detector = load_detector("detectors.aasist")
    hum = np.sin(np.arange(64_600) / 20).astype(np.float32) * np.float32(2**0.5)  # its root mean square is 1
    assert detector.preproc(hum * np.float32(10 ** (-49.9 / 20))).shape == (64_600,)
    for quiet in (hum * np.float32(10 ** (-50.1 / 20)), np.zeros(64_600, np.float32)):
        with pytest.raises(Skip, match="silence"):
            detector.preproc(quiet)


def test_index_one_of_the_logits_is_bona_fide():
    detector = load_detector("detectors.aasist")
    detector._net = lambda batch: np.array([[0.0, 800.0], [1.0, 1.0], [3.0, 1.0]], np.float32)
    np.testing.assert_allclose(detector.get_softlabel(np.zeros((3, 64_600))), [1, 0.5, 1 / (1 + np.e**2)], atol=1e-12)


def test_an_unknown_variant_is_named_with_the_known_ones(tmp_path: Path):
    detector = load_detector("detectors.aasist")
    detector.card = replace(detector.card, parameters={"variant": "L"})
    with pytest.raises(ContractError, match=r"must be one of AASIST, AASIST-L, not 'L'"):
        detector.load(tmp_path, "cpu")


def test_a_changed_file_is_refused(tmp_path: Path):
    (tmp_path / "AASIST.pth").write_bytes(b"0" * 1_281_532)
    with pytest.raises(WeightsUnusable, match="sha256"):
        load_detector("detectors.aasist").load(tmp_path, "cpu")


def test_every_missing_extra_and_misshapen_entry_is_named():
    assert_each_difference_is_named(
        aasist.AASIST(aasist.AASIST_SIZE),
        missing="encoder.1.0.bn1.running_mean",
        extra="encoder.0.0.bn1.weight",
        misshapen=("pos_S", (1, 42, 64), (1, 23, 64)),
    )
