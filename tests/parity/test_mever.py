"""Our MeVer against the rule of the paper (the golden vectors of the research data) and against torch's own building blocks.

Code and weights of the authors are private: there are no published numbers of the networks to compare with.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from backend.scores.aggregate import video_score  # noqa: E402
from base_detector import FACE_DTYPE, BaseDetector, FacePack, WorkerFailure, load_detector  # noqa: E402
from detectors.nets import mever  # noqa: E402
from detectors.nets.checkpoint import CheckpointError  # noqa: E402
from detectors.nets.checkpoint import fill as fill_net  # noqa: E402
from shared.errors import SENTENCES  # noqa: E402
from tests.packs import finish_pack, write_faces  # noqa: E402
from tests.parity.recipe import golden_of  # noqa: E402

#: the networks that these tests install: the smallest, and one with a head
INSTALLED = ("m1", "m3")


@functools.cache
def made(name: str) -> nn.Module:
    """A network whose numbers stay in range: random weights, and the statistics of their own activations in the batch norms."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(name[1]))
        net = mever.build(name)
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 1.0
        with torch.no_grad():
            net.train()(torch.randn(1, 3, mever.SIDE, mever.SIDE))
    return net.eval()


def write_weights(folder: Path, research: Path) -> None:
    """Two of the five files; nobody publishes any, so their numbers are made here."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for name in INSTALLED:
        save_file(made(name).state_dict(), folder / f"{name}.safetensors")


# --------------------------------------------------------------------------- the rule


def write_pack(
    folder: Path,
    faces: list[tuple[int, int, int]],
    *,
    pictures: dict[int, list[int]],
    kind: str = "video",
) -> FacePack:
    """A pack of one-colour faces, (shot, frame, person) each; face i is grey level i. ``pictures``: frames of each shot."""
    folder.mkdir()
    rows = np.zeros(len(faces), FACE_DTYPE)
    side = 8
    for row, (shot, frame, person) in zip(rows, faces, strict=True):
        row["shot"], row["frame"], row["person"] = shot, frame, person
        row["box"], row["landmarks"], row["confidence"] = (0, 0, side, side), np.nan, 1
    write_faces(folder, rows, [np.full((side, side, 3), index, np.uint8) for index in range(len(faces))])
    frames = [frame for frames in pictures.values() for frame in frames]
    shots = [{"shot": shot, "start": frames[0], "end": frames[-1]} for shot, frames in pictures.items()]
    return finish_pack(folder, size=(side, side), sampled=frames, shots=shots, kind=kind)


def answering(probabilities: np.ndarray) -> BaseDetector:
    """A detector whose networks know each face by its grey level; ``probabilities`` (faces, networks)."""
    detector = load_detector("detectors.mever")

    def network(column: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        logits = np.log(column / (1 - column))

        def answer(batch: np.ndarray) -> np.ndarray:
            assert batch.shape[1:] == (3, 300, 300)
            assert np.ptp(batch, axis=(2, 3)).max() < 1e-6
            levels = np.rint((batch[:, 0, 0, 0] * 0.229 + 0.485) * 255).astype(int)
            return logits[levels][:, None]

        return answer

    detector._nets = [network(column) for column in np.asarray(probabilities, np.float64).T]
    return detector


def silent(done: int, total: int) -> None:
    """Progress nobody reads."""


def test_the_papers_rule_gives_the_golden_scores(research: Path, tmp_path: Path):
    cases = golden_of(research, "mever")["cases"]
    compared = 0
    for number, case in enumerate(cases):
        faces, probabilities, pictures, person, frame = [], [], {}, 0, 0
        for shot, clusters in enumerate(case["shots_clusters_faces_models"]):
            longest = max(map(len, clusters))
            pictures[shot] = list(range(frame, frame + longest))
            for cluster in clusters:
                faces += [(shot, frame + place, person) for place in range(len(cluster))]
                probabilities += cluster
                person += 1
            frame += longest
        pack = write_pack(tmp_path / f"case{number}", faces, pictures=pictures)
        if not faces:
            assert case["video"] == "no face"
            found = load_detector("detectors.mever").judge(pack, silent)
            assert found.video is None
            assert len(found.softlabels) == 0
            continue
        found = answering(np.array(probabilities)).judge(pack, silent)
        assert found.skipped == {}
        np.testing.assert_allclose(1 - found.softlabels, np.mean(probabilities, axis=1), atol=1e-9)
        assert 1 - found.video == pytest.approx(case["video"], abs=1e-6)
        shared_rule = video_score(
            "max_of_persons_of_shots", scores=1 - found.softlabels, faces=pack.faces, persons_scores={}
        )
        assert shared_rule == pytest.approx(1 - found.video, abs=1e-9)
        scores = answering(np.array(probabilities)).run_pack(pack, tmp_path)
        assert scores["video_fake_score"] == pytest.approx(case["video"], abs=1e-6)
        assert max(entry["fake_score"] for entry in scores["persons"]) == pytest.approx(case["video"], abs=1e-6)
        compared += 1
    assert compared


def test_a_person_counts_with_its_highest_shot_and_each_shot_with_its_own_mean(tmp_path: Path):
    faces = [(0, 0, 7), (0, 1, 7), (1, 2, 7), (1, 3, 7)]
    pack = write_pack(tmp_path / "pack", faces, pictures={0: [0, 1], 1: [2, 3]})
    found = answering(np.array([[0.1], [0.3], [0.9], [0.5]])).judge(pack, silent)
    assert found.persons == {7: pytest.approx(0.3)}
    assert found.video == pytest.approx(0.3)


def test_who_is_seen_in_less_than_a_fifth_of_a_shot_is_not_judged_there(tmp_path: Path):
    # of 20 pictures person 0 is in all, person 1 in four (a fifth), person 2 in three; person 2 fills the second shot
    faces = [(0, frame, 0) for frame in range(20)]
    faces += [(0, frame, 1) for frame in range(4)] + [(0, frame, 2) for frame in range(3)]
    faces += [(1, 20, 2)]
    pack = write_pack(tmp_path / "pack", faces, pictures={0: list(range(20)), 1: [20]})
    probabilities = np.array([0.1] * 20 + [0.3] * 4 + [0.99] * 3 + [0.2])[:, None]
    found = answering(probabilities).judge(pack, silent)
    assert np.isnan(found.softlabels[24:27]).all()
    assert not np.isnan(np.delete(found.softlabels, range(24, 27))).any()
    assert found.skipped == {"person_too_brief": 3}
    assert 1 - found.video == pytest.approx(0.3)
    assert {person: round(1 - score, 6) for person, score in found.persons.items()} == {0: 0.1, 1: 0.3, 2: 0.2}
    assert "person_too_brief" in SENTENCES


def test_when_everybody_is_seen_too_briefly_there_is_no_score(tmp_path: Path):
    pack = write_pack(tmp_path / "pack", [(0, 3, 0)], pictures={0: list(range(6))})
    found = answering(np.array([[0.9]])).judge(pack, silent)
    assert found.video is None
    assert np.isnan(found.softlabels).all()
    assert (found.persons, found.skipped) == ({}, {"person_too_brief": 1})


def test_of_a_long_shot_64_pictures_are_looked_at_evenly(tmp_path: Path):
    faces = [(0, frame, 0) for frame in range(200)]
    pack = write_pack(tmp_path / "pack", faces, pictures={0: list(range(200)), 1: [200, 201]})
    found = answering(np.linspace(0.1, 0.9, 200)[:, None]).judge(pack, silent)
    chosen = np.flatnonzero(~np.isnan(found.softlabels))
    assert len(chosen) == 64
    assert (chosen[0], chosen[-1]) == (0, 199)
    assert set(np.diff(chosen)) <= {3, 4}
    assert 1 - found.video == pytest.approx(np.linspace(0.1, 0.9, 200)[chosen].mean(), abs=1e-9)


def test_a_picture_has_no_rule_of_shots(tmp_path: Path):
    faces = [(0, 0, 0), (0, 0, -1)]
    pack = write_pack(tmp_path / "picture", faces, pictures={0: [0]}, kind="image")
    found = answering(np.array([[0.4], [0.6]])).judge(pack, silent)
    assert 1 - found.video == pytest.approx(0.6)
    assert not np.isnan(found.softlabels).any()
    clip = write_pack(tmp_path / "clip", faces, pictures={0: [0]})
    found = answering(np.array([[0.4], [0.6]])).judge(clip, silent)
    assert 1 - found.video == pytest.approx(0.4)  # in a clip a face of nobody is in no cluster


def test_the_networks_that_are_there_are_averaged():
    detector = answering(np.array([[0.2, 0.9, 0.4]]))
    assert detector.run(np.zeros((40, 40, 3), np.uint8)) == pytest.approx(0.5)
    detector._nets = detector._nets[:2]
    assert detector.run(np.zeros((40, 40, 3), np.uint8)) == pytest.approx(0.55)


# --------------------------------------------------------------------------- the networks


@pytest.mark.parametrize(
    ("name", "backbone", "total"),
    [
        # backbone: the figures of timm's models without classifier; head: counted by hand below
        ("m1", 17_548_616, 17_548_616 + 1793),
        ("m2", 17_548_616, 17_548_616 + 17_822_977),
        ("m3", 17_548_616, 17_548_616 + 17_822_977 + 2 * 50 * 128),
        ("m4", 17_548_616, 17_548_616 + 2 * 17_822_977 + 2 * 50 * 128),
        ("m5", 52_858_356, 52_858_356 + 1281),
    ],
)
def test_sizes_are_those_of_the_published_parts(name: str, backbone: int, total: int):
    attention, dense, norm = 4 * 256 * 256 + 4 * 256, 2 * 256 * 2048 + 2048 + 256, 2 * 256
    transformer = 6 * (attention + dense + 2 * norm) + 6 * (2 * attention + dense + 3 * norm) + norm
    assert (1792 * 256 + 256) + transformer + 256 + 257 == 17_822_977
    with torch.device("meta"):
        net = mever.build(name)
    parts = dict(net.named_parameters())
    own = sum(item.numel() for key, item in parts.items() if not key.startswith(("heads.", "classifier.")))
    assert own == backbone
    assert sum(item.numel() for item in parts.values()) == total


def test_names_are_those_of_timm_and_detr():
    with torch.device("meta"):
        names = {name: mever.build(name).state_dict() for name in mever.NAMES}
    for part in (
        "conv_stem.weight",
        "blocks.1.0.conv_pw.weight",
        "blocks.5.7.se.conv_reduce.bias",
        "classifier.weight",
    ):
        assert part in names["m1"]
        assert part.startswith("classifier") or f"backbone.{part}" in names["m2"]
    for part, shape in {
        "blocks.0.2.conv.weight": (24, 24, 3, 3),
        "blocks.1.0.conv_exp.weight": (96, 24, 3, 3),
        "blocks.2.4.conv_pwl.weight": (80, 320, 1, 1),
        "blocks.3.0.se.conv_reduce.weight": (20, 320, 1, 1),
        "blocks.5.17.conv_dw.weight": (1824, 1, 3, 3),
        "blocks.6.4.bn3.running_mean": (512,),
        "conv_head.weight": (1280, 512, 1, 1),
    }.items():
        assert tuple(names["m5"][part].shape) == shape
    head = "heads.0.transformer."
    for part, shape in {
        f"{head}encoder.layers.5.self_attn.in_proj_weight": (768, 256),
        f"{head}decoder.layers.5.multihead_attn.out_proj.weight": (256, 256),
        f"{head}decoder.layers.0.norm3.bias": (256,),
        f"{head}decoder.norm.weight": (256,),
        "heads.0.query_embed.weight": (1, 256),
        "heads.0.position_embedding.row_embed.weight": (50, 128),
    }.items():
        assert tuple(names["m3"][part].shape) == shape
    assert not [part for part in names["m2"] if "position_embedding" in part]
    assert [part.split(".")[1] for part in names["m4"] if part.endswith("class_embed.bias")] == ["0", "1"]


def test_an_unknown_network_is_told_with_the_known_ones():
    with pytest.raises(ValueError, match="one of m1, m2, m3, m4, m5, not 'm6'"):
        mever.build("m6")


def test_attention_is_that_of_torch():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        theirs = nn.MultiheadAttention(256, 8, batch_first=True).eval()
        nn.init.normal_(theirs.in_proj_bias)
        ours = mever.Attention().eval()
        fill_net(ours, theirs.state_dict())
        query, key, value = torch.randn(2, 1, 256), torch.randn(2, 7, 256), torch.randn(2, 7, 256)
    with torch.no_grad():
        torch.testing.assert_close(ours(query, key, value), theirs(query, key, value)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", ["fixed", "learned"])
def test_a_head_is_detr_built_of_torchs_parts(position: mever.Position):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        head = mever.Head(12, position=position).eval()
        for name, item in head.named_parameters():
            if item.dim() == 1:
                nn.init.normal_(item, float("norm" in name and "weight" in name), 0.2)
            elif "in_proj" in name:
                item.data *= 3  # attention that chooses: else all places count alike, and their order would not show
        places = 2 * torch.randn(3, 12, 10, 10) + torch.randn(3, 12, 1, 1)
    state = head.state_dict()

    def attend(prefix: str, query, key, value):
        part = nn.MultiheadAttention(256, 8, batch_first=True).eval()
        part.load_state_dict({name: state[f"{prefix}.{name}"] for name in part.state_dict()})
        return part(query, key, value)[0]

    def layer(prefix: str, kind: str, *items):
        return getattr(nn.functional, kind)(*items, state[f"{prefix}.weight"], state[f"{prefix}.bias"])

    def norm(prefix: str, x):
        return nn.functional.layer_norm(x, (256,), state[f"{prefix}.weight"], state[f"{prefix}.bias"])

    def dense(prefix: str, x):
        return layer(f"{prefix}.linear2", "linear", layer(f"{prefix}.linear1", "linear", x).relu())

    where = torch.zeros(100, 256)
    for y in range(10):
        for x in range(10):
            if position == "learned":
                row = state["position_embedding.row_embed.weight"][y]
                where[10 * y + x] = torch.cat([state["position_embedding.col_embed.weight"][x], row])
                continue
            for index in range(128):
                for half, place in enumerate((y, x)):
                    angle = (place + 1) / (10 + 1e-6) * 2 * np.pi / 10000 ** ((index // 2 * 2) / 128)
                    where[10 * y + x, 128 * half + index] = np.cos(angle) if index % 2 else np.sin(angle)
    with torch.no_grad():
        source = layer("input_proj", "conv2d", places).flatten(2).transpose(1, 2)
        for number in range(6):
            name = f"transformer.encoder.layers.{number}"
            source = norm(f"{name}.norm1", source + attend(f"{name}.self_attn", source + where, source + where, source))
            source = norm(f"{name}.norm2", source + dense(name, source))
        query, answer = state["query_embed.weight"].expand(3, 1, 256), torch.zeros(3, 1, 256)
        for number in range(6):
            name = f"transformer.decoder.layers.{number}"
            own = attend(f"{name}.self_attn", answer + query, answer + query, answer)
            answer = norm(f"{name}.norm1", answer + own)
            read = attend(f"{name}.multihead_attn", answer + query, source + where, source)
            answer = norm(f"{name}.norm2", answer + read)
            answer = norm(f"{name}.norm3", answer + dense(name, answer))
        wanted = layer("class_embed", "linear", norm("transformer.decoder.norm", answer))[:, 0]
        found = head(places)
        assert found.shape == (3, 1)
        assert wanted.std() > 1e-3
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        # rows for columns is another head
        turned = head(places.transpose(2, 3))
        assert (turned - wanted).abs().max() > 1e-3


def test_two_heads_are_averaged_and_the_map_has_ten_by_ten_places():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        net = mever.build("m4").eval()
    with torch.no_grad():
        places = net.backbone.extract_features(torch.zeros(1, 3, 300, 300))
        assert places.shape == (1, 1792, mever.GRID, mever.GRID)
        each = [head(places) for head in net.heads]
        net.backbone.extract_features = lambda x: places  # what it gave for the same picture
        torch.testing.assert_close(net(torch.zeros(1, 3, 300, 300)), (each[0] + each[1]) / 2)
        assert (each[0] - each[1]).abs().item() > 1e-3


# --------------------------------------------------------------------------- files


def test_the_installed_files_are_loaded_and_answer_as_torch_does(detector: BaseDetector):
    assert len(detector._nets) == len(INSTALLED)
    pictures = np.random.default_rng(3).integers(0, 256, (3, 90, 90, 3), np.uint8)
    batch = np.stack([detector.preproc(picture) for picture in pictures])
    with torch.no_grad():
        logits = [made(name)(torch.from_numpy(batch))[:, 0].double().numpy() for name in INSTALLED]
    found = detector.probabilities(batch)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.stack(logits))), atol=1e-4)
    assert np.ptp(found, axis=1).min() > 1e-4
    single = [detector.get_softlabel(item[None])[0] for item in batch]
    np.testing.assert_allclose(detector.get_softlabel(batch), single, atol=1e-6)
    np.testing.assert_allclose(single, 1 - found.mean(axis=0), atol=1e-6)


def test_without_any_file_the_weights_are_missing(tmp_path: Path):
    with pytest.raises(WorkerFailure) as caught:
        load_detector("detectors.mever").load(tmp_path, "cpu")
    assert caught.value.code == "weights_missing"
    card = load_detector("detectors.mever").card
    assert [item.file for item in card.weights] == [f"{name}.safetensors" for name in mever.NAMES]
    assert all(item.optional and item.manual for item in card.weights)


def test_files_of_another_network_and_of_another_kind_are_refused(weights: Path, tmp_path: Path):
    (tmp_path / "m2.safetensors").hardlink_to(weights / "m3.safetensors")
    with pytest.raises(CheckpointError, match=r"extra heads\.0\.position_embedding\.col_embed\.weight"):
        load_detector("detectors.mever").load(tmp_path, "cpu")
    (tmp_path / "m2.safetensors").unlink()
    torch.save({}, tmp_path / "m1.safetensors")
    with pytest.raises(CheckpointError, match=r"m1\.safetensors is not a safetensors file"):
        load_detector("detectors.mever").load(tmp_path, "cpu")
