"""EfficientNet: its sizes, its padding rules, its names, without any weights."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from detectors.nets.efficientnet import EfficientNet, PaddedConv2d, TimmEfficientNet, channels, plan  # noqa: E402
from detectors.runtime import compile_net  # noqa: E402
from tests.parity.recipe import assert_each_difference_is_named  # noqa: E402


def parameters(net: nn.Module) -> int:
    return sum(item.numel() for item in net.parameters())


@pytest.mark.parametrize(
    ("variant", "classes", "count", "features"),
    [("b0", 2, 4_010_110, 1280), ("b1", 2, 6_515_746, 1280), ("b2", 2, 7_703_812, 1408), ("b3", 2, 10_699_306, 1536),
     ("b7", 1, 63_789_521, 2560)],
)  # fmt: skip
def test_variants_have_the_published_number_of_parameters(variant: str, classes: int, count: int, features: int):
    with torch.device("meta"):
        net = EfficientNet(variant, classes=classes, padding="0.7.1")
    assert (parameters(net), net.features) == (count, features)


def test_the_two_namings_hold_the_same_numbers():
    with torch.device("meta"):
        mine = TimmEfficientNet("b7", size=(380, 380))
        backbone = TimmEfficientNet("b4", size=(300, 300), classes=0)
        same = EfficientNet("b7", padding="same", size=(380, 380))
    assert parameters(mine) == parameters(same) == 66_347_960
    assert (parameters(backbone), backbone.features) == (17_548_616, 1792)


def test_channels_round_to_eight_and_lose_no_more_than_a_tenth():
    assert [channels(count, width=1.1) for count in (16, 24, 32, 40, 80, 112, 192, 320, 1280)] == [
        16, 24, 32, 48, 88, 120, 208, 352, 1408,
    ]  # fmt: skip
    assert channels(9, width=1.0) == 16  # 8 would lose more than a tenth


#: measured on the published libraries: left, right, top, bottom of stem and strided blocks
STRIDED = {
    ("b0", "0.6.3"): {-1: 0, 1: 0, 3: 1, 5: 0, 11: 1},
    ("b1", "0.6.3"): {-1: 0, 2: 0, 5: 1, 8: 0, 16: 1},
    ("b3", "0.6.3"): {-1: 0, 2: 0, 5: 1, 8: 0, 18: 1},
    ("b7", "0.6.3"): {-1: 0, 4: 0, 11: 1, 18: 0, 38: 1},
    ("b0", "0.7.1"): {-1: 0, 1: 0, 3: 1, 5: 0, 11: 1},
    ("b1", "0.7.1"): {-1: 0, 2: 0, 5: 1, 8: 0, 16: 2},
    ("b2", "0.7.1"): {-1: 0, 2: 0, 5: 2, 8: 1, 16: 2},
    ("b3", "0.7.1"): {-1: 0, 2: 0, 5: 2, 8: 0, 18: 2},
    ("b7", "0.7.1"): {-1: 0, 4: 0, 11: 1, 18: 1, 38: 1},
    ("b0", "0.7.0"): {-1: 1, 1: 1, 3: 2, 5: 1, 11: 2},
    ("b2", "0.7.0"): {-1: 1, 2: 1, 5: 2, 8: 1, 16: 2},
}


@pytest.mark.parametrize(("variant", "padding"), STRIDED)
def test_each_version_pads_as_it_was_published(variant: str, padding: str):
    wanted, numbers = STRIDED[variant, padding], plan(variant, padding=padding)
    found = {-1: (numbers.stem_pad, 3)}
    found |= {i: (block.pad, block.kernel) for i, block in enumerate(numbers.blocks) if block.stride == 2}
    assert set(found) == set(wanted)
    for place, (pad, kernel) in found.items():
        first = wanted[place]
        # the whole is what an even map needs (kernel - 2) or, where the two sides are equal, what an odd map needs
        second = first if padding == "0.7.0" or first == kernel // 2 else kernel - 2 - first
        assert pad == (first, second, first, second)
    for block in numbers.blocks:
        if block.stride == 1:
            assert block.pad == (block.kernel // 2,) * 4


@pytest.mark.parametrize("size", [(96, 64), (75, 101), (64, 33)])
def test_same_is_tensorflows_rule_at_every_layer(size: tuple[int, int]):
    """The padding of each layer equals what the layer's own input asks for."""
    net = EfficientNet("b0", classes=2, padding="same", size=size).eval()
    seen: list[PaddedConv2d] = []

    def check(conv: PaddedConv2d, inputs: tuple, output: torch.Tensor) -> None:
        (x,), seen_pad = inputs, conv.pad or (conv.padding[1], conv.padding[1], conv.padding[0], conv.padding[0])
        totals = [
            max((-(-side // conv.stride[0]) - 1) * conv.stride[0] + conv.kernel_size[0] - side, 0)
            for side in (x.shape[3], x.shape[2])
        ]
        assert seen_pad == (totals[0] // 2, -(-totals[0] // 2), totals[1] // 2, -(-totals[1] // 2))
        assert output.shape[2:] == tuple(-(-side // conv.stride[0]) for side in x.shape[2:])
        seen.append(conv)

    for part in net.modules():
        if isinstance(part, PaddedConv2d):
            part.register_forward_hook(check)
    with torch.no_grad():
        assert net(torch.zeros(1, 3, *size)).shape == (1, 2)
    assert len(seen) == 17  # stem and sixteen blocks


def test_another_input_size_is_refused_where_the_padding_depends_on_it():
    for net in (
        TimmEfficientNet("b0", size=(64, 64), classes=1),
        EfficientNet("b0", classes=1, padding="same", size=(64, 64)),
    ):
        with pytest.raises(ValueError, match="64 x 64, not 96 x 64"):
            net.eval()(torch.zeros(1, 3, 96, 64))
    with torch.no_grad():  # nominal padding does not care
        assert EfficientNet("b0", classes=1, padding="0.6.3").eval()(torch.zeros(1, 3, 96, 64)).shape == (1, 1)


@pytest.mark.parametrize(
    ("variant", "padding", "remedy"),
    [("b9", "same", "b0, b1"), ("b0", "0.6", "0.6.3"), ("b0", "same", "give its size")],
)
def test_wrong_choices_name_the_right_ones(variant: str, padding: str, remedy: str):
    with pytest.raises(ValueError, match=remedy):
        plan(variant, padding=padding)


def test_uneven_padding_is_zeros_on_the_named_sides():
    conv = PaddedConv2d(1, 1, 3, pad=(0, 1, 1, 2), stride=2)
    with torch.no_grad():
        x = torch.rand(1, 1, 7, 6)
        wanted = functional.conv2d(functional.pad(x, (0, 1, 1, 2)), conv.weight, stride=2)
        assert torch.equal(conv(x), wanted)


def test_compiled_nets_answer_alike_for_a_batch_and_its_items():
    """Both namings, an oblong input, odd maps: compile_net itself compares with torch."""
    torch.manual_seed(1)
    for net in (
        TimmEfficientNet("b0", size=(76, 100), classes=3),
        EfficientNet("b0", classes=3, padding="0.7.1"),
    ):
        x = np.random.default_rng(1).standard_normal((3, 3, 76, 100)).astype(np.float32)
        run = compile_net(net, example=x[:1], device="cpu", threads=1)
        np.testing.assert_allclose(run(x), np.concatenate([run(x[i : i + 1]) for i in range(3)]), atol=1e-5)


def test_expansions_of_ones_own_take_the_place_of_the_opening_convolution():
    class Temporal(nn.Module):
        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            self.conv = nn.Conv3d(before, after, (3, 1, 1), padding=(1, 0, 0), bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x.transpose(0, 1)[None])[0].transpose(0, 1)

    net = EfficientNet("b0", classes=1, padding="0.6.3", expansion=Temporal).eval()
    names = [name for name in net.state_dict() if "_expand_conv" in name]
    assert len(names) == 15
    assert all(name.endswith("_expand_conv.conv.weight") for name in names)
    with torch.no_grad():
        assert net(torch.zeros(7, 3, 64, 64)).shape == (7, 1)


def test_every_missing_extra_and_misshapen_entry_is_named():
    net = TimmEfficientNet("b0", size=(64, 64), classes=1)
    assert_each_difference_is_named(
        net,
        missing="blocks.0.0.se.conv_reduce.weight",
        extra="blocks.7.0.bn1.bias",
        misshapen=("classifier.weight", (1000, 1280), (1, 1280)),
    )
