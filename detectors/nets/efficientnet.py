"""EfficientNet b0 to b7 (Tan and Le, ICML 2019, arXiv:1905.11946), with the key names and the padding of the two torch libraries.

Owns: the scaling of the variants, the MBConv block, the four ways of padding a strided convolution.
Promises: the tensors of the published libraries under their names, so a published state dict fills the net strictly; their outputs
for their weights (tests/parity/test_selim.py, test_deepware.py, test_boken.py). Inference only: no drop-connect, no dropout.
May be imported by detectors, in workers only. Torch is imported with this module.

Two namings: ``EfficientNet`` has the names of efficientnet_pytorch (``_blocks.3._depthwise_conv``), ``TimmEfficientNet`` those of
timm's ``tf_efficientnet_*`` (``blocks.1.0.conv_dw``). Four paddings, by name:

* ``same``: TensorFlow's SAME for the input at hand, which timm works out at run time. Here the input size is given when the net is
  built, so that the traced graph holds constants; another size is refused.
* ``0.6.3``, ``0.7.0``, ``0.7.1``: efficientnet_pytorch of these versions. All three pad for the nominal size of the variant,
  whatever the input: 0.6.3 takes that size for every layer, 0.7.1 follows it through the layers, and 0.7.0 follows it too but
  rounds half of the padding up on all four sides. Weights trained under one rule give other scores under the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, cast

import torch
from torch import nn
from torch.nn import functional

Padding = Literal["same", "0.6.3", "0.7.0", "0.7.1"]
#: height, width
Size = tuple[int, int]
#: makes the pointwise convolution (in channels, out channels) that opens a block
Expansion = Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class Variant:
    """Compound scaling: factor on channels, factor on the layers of a stage, nominal side of the input in pixels."""

    width: float
    depth: float
    size: int


#: the coefficients of the authors' code (tensorflow/tpu, efficientnet_builder.py)
VARIANTS: Final = {
    "b0": Variant(1.0, 1.0, 224),
    "b1": Variant(1.0, 1.1, 240),
    "b2": Variant(1.1, 1.2, 260),
    "b3": Variant(1.2, 1.4, 300),
    "b4": Variant(1.4, 1.8, 380),
    "b5": Variant(1.6, 2.2, 456),
    "b6": Variant(1.8, 2.6, 528),
    "b7": Variant(2.0, 3.1, 600),
}

#: of b0 (table 1 of the paper): kernel, stride, expansion, output channels, layers
_STAGES: Final = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM, _HEAD = 32, 1280
#: squeeze-and-excitation narrows to this share of the channels that enter the block
_SQUEEZE = 0.25
#: TensorFlow's epsilon; torch's 1e-5 moves logits by more than 1
_EPSILON = 1e-3


@dataclass(frozen=True)
class BlockPlan:
    """One MBConv block: its numbers and the padding (left, right, top, bottom) of its depthwise convolution."""

    stage: int
    before: int
    after: int
    kernel: int
    stride: int
    expand: int
    pad: tuple[int, int, int, int]


@dataclass(frozen=True)
class Plan:
    """All numbers of one net: channels of stem and head, padding of the stem, the blocks in order."""

    stem: int
    stem_pad: tuple[int, int, int, int]
    blocks: tuple[BlockPlan, ...]
    head: int


@dataclass(frozen=True)
class _Names:
    """What a library calls the parts of a block with and without expansion; a dot leads into a sub-module."""

    expand: str
    expand_norm: str
    depthwise: str
    depthwise_norm: str
    reduce: str
    excite: str
    project: str
    project_norm: str


_LUKEMELAS: Final = _Names(
    "_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand", "_project_conv", "_bn2"
)
TIMM_NAMES: Final = _Names("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3")
#: timm's block of the first stage, which does not expand
_TIMM_FIRST: Final = _Names("", "", "conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2")


def plan(variant: str, *, padding: Padding, size: Size | None = None) -> Plan:
    """Work out the net of ``variant``; ``size`` is the (height, width) of the input, needed for ``same`` and unused otherwise.

    Raises ValueError for an unknown variant or padding, or when ``same`` has no size.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")
    if padding not in ("same", "0.6.3", "0.7.0", "0.7.1"):
        raise ValueError(f"padding must be same, 0.6.3, 0.7.0 or 0.7.1, not {padding!r}")
    scale = VARIANTS[variant]
    if padding == "same":
        if size is None:
            raise ValueError("padding 'same' depends on the input: give its size (height, width)")
    else:
        size = (scale.size, scale.size)
    stem = channels(_STEM, width=scale.width)
    stem_pad, size = _pad(padding, size=size, kernel=3, stride=2)
    blocks: list[BlockPlan] = []
    before = stem
    for stage, (kernel, stride, expand, out, layers) in enumerate(_STAGES):
        after = channels(out, width=scale.width)
        for layer in range(math.ceil(layers * scale.depth)):
            step = stride if layer == 0 else 1
            pad, size = _pad(padding, size=size, kernel=kernel, stride=step)
            blocks.append(BlockPlan(stage, before, after, kernel, step, expand, pad))
            before = after
    return Plan(stem, stem_pad, tuple(blocks), channels(_HEAD, width=scale.width))


def channels(count: int, *, width: float) -> int:
    """``count`` channels of b0 scaled by ``width``: the nearest multiple of 8 that loses no more than a tenth."""
    wanted = count * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _pad(padding: Padding, *, size: Size, kernel: int, stride: int) -> tuple[tuple[int, int, int, int], Size]:
    """Padding (left, right, top, bottom) of one convolution on a map of ``size``, and the size the next one reckons with."""
    after = (-(-size[0] // stride), -(-size[1] // stride))
    sides: list[int] = []
    for old, new in ((size[1], after[1]), (size[0], after[0])):
        total = max((new - 1) * stride + kernel - old, 0)
        first = total - total // 2 if padding == "0.7.0" else total // 2
        sides += [first, total - total // 2]
    left, right, top, bottom = sides
    return (left, right, top, bottom), (size if padding == "0.6.3" else after)


def same_padding(size: Size, *, kernel: int, stride: int) -> tuple[tuple[int, int, int, int], Size]:
    """TensorFlow's SAME of one convolution on a map of ``size``: padding (left, right, top, bottom), and the size of its output."""
    return _pad("same", size=size, kernel=kernel, stride=stride)


class PaddedConv2d(nn.Conv2d):
    """A convolution without bias whose four sides are padded by separate numbers: ``pad`` = left, right, top, bottom."""

    def __init__(
        self, before: int, after: int, kernel: int, *, pad: tuple[int, int, int, int], stride: int = 1, groups: int = 1
    ) -> None:
        left, right, top, bottom = pad
        even = left == right and top == bottom
        super().__init__(
            before, after, kernel, stride=stride, padding=(top, left) if even else 0, groups=groups, bias=False
        )
        self.pad = None if even else pad

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input if self.pad is None else functional.pad(input, self.pad))


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze-and-excitation: (N, before, h, w) -> (N, after, ceil(h / stride), ceil(w / stride)).

    The parts carry the names of a library; ``expansion`` makes the opening pointwise convolution where another than the usual is
    wanted (a temporal one, say). It must keep height and width.
    """

    def __init__(self, numbers: BlockPlan, *, names: _Names, expansion: Expansion) -> None:
        super().__init__()
        self.numbers, self.names = numbers, names
        inner = numbers.before * numbers.expand
        squeezed = max(1, int(numbers.before * _SQUEEZE))
        if numbers.expand != 1:
            self._put(names.expand, expansion(numbers.before, inner))
            self._put(names.expand_norm, norm(inner))
        depthwise = PaddedConv2d(inner, inner, numbers.kernel, pad=numbers.pad, stride=numbers.stride, groups=inner)
        self._put(names.depthwise, depthwise)
        self._put(names.depthwise_norm, norm(inner))
        self._put(names.reduce, nn.Conv2d(inner, squeezed, 1))
        self._put(names.excite, nn.Conv2d(squeezed, inner, 1))
        self._put(names.project, nn.Conv2d(inner, numbers.after, 1, bias=False))
        self._put(names.project_norm, norm(numbers.after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        names, inner = self.names, x
        if self.numbers.expand != 1:
            inner = functional.silu(self._run(names.expand_norm, self._run(names.expand, inner)))
        inner = functional.silu(self._run(names.depthwise_norm, self._run(names.depthwise, inner)))
        gate = self._run(names.excite, functional.silu(self._run(names.reduce, inner.mean((2, 3), keepdim=True))))
        out = self._run(names.project_norm, self._run(names.project, torch.sigmoid(gate) * inner))
        return out + x if self.numbers.stride == 1 and self.numbers.before == self.numbers.after else out

    def _put(self, name: str, part: nn.Module) -> None:
        first, _, rest = name.partition(".")
        if not rest:
            self.add_module(first, part)
            return
        if first not in self._modules:
            self.add_module(first, nn.Module())
        self.get_submodule(first).add_module(rest, part)

    def _run(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.get_submodule(name)(x))


class EfficientNet(nn.Module):
    """efficientnet_pytorch's net: (N, 3, h, w) -> logits (N, classes); names ``_conv_stem``, ``_blocks.N``, ``_conv_head``, ``_fc``.

    ``expansion`` replaces the opening pointwise convolution of every block that has one (``_expand_conv``). ``extract_features``
    alone uses all but ``_fc``, which published files hold all the same.
    """

    def __init__(
        self,
        variant: str,
        *,
        classes: int = 1000,
        padding: Padding,
        size: Size | None = None,
        expansion: Expansion | None = None,
    ) -> None:
        super().__init__()
        numbers = plan(variant, padding=padding, size=size)
        self.features = numbers.head
        self._size = size if padding == "same" else None
        self._conv_stem = PaddedConv2d(3, numbers.stem, 3, pad=numbers.stem_pad, stride=2)
        self._bn0 = norm(numbers.stem)
        blocks = [MBConv(block, names=_LUKEMELAS, expansion=expansion or pointwise) for block in numbers.blocks]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = pointwise(numbers.blocks[-1].after, numbers.head)
        self._bn1 = norm(numbers.head)
        self._fc = nn.Linear(numbers.head, classes)

    def extract_features(self, x: torch.Tensor) -> torch.Tensor:
        """The last maps, activated: (N, 3, h, w) -> (N, ``features``, about h / 32, about w / 32)."""
        _check_size(x, self._size)
        x = functional.silu(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return functional.silu(self._bn1(self._conv_head(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self._fc(self.extract_features(x).mean((2, 3))))


class TimmNet(nn.Module):
    """What timm's EfficientNets of both families do with the parts they are made of, under timm's names for these."""

    conv_stem: nn.Module
    bn1: nn.Module
    blocks: nn.Module
    conv_head: nn.Module
    bn2: nn.Module
    classifier: nn.Module | None
    _size: Size

    def extract_features(self, x: torch.Tensor) -> torch.Tensor:
        """The last maps, activated: (N, 3, h, w) -> (N, ``features``, ceil(h / 32), ceil(w / 32))."""
        _check_size(x, self._size)
        x = self.blocks(functional.silu(self.bn1(self.conv_stem(x))))
        return functional.silu(self.bn2(self.conv_head(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, or the mean features (N, ``features``) where the classifier was left out."""
        pooled = self.extract_features(x).mean((2, 3))
        return pooled if self.classifier is None else cast(torch.Tensor, self.classifier(pooled))


class TimmEfficientNet(TimmNet):
    """timm's ``tf_efficientnet_*``: (N, 3, h, w) -> logits (N, classes); names ``conv_stem``, ``blocks.I.J``, ``classifier``.

    ``size`` is the (height, width) of the input. ``classes=0`` leaves out the classifier; published files that use the features
    alone mostly hold it all the same (1000 classes).
    """

    def __init__(self, variant: str, *, size: Size, classes: int = 1000) -> None:
        super().__init__()
        numbers = plan(variant, padding="same", size=size)
        self.features = numbers.head
        self._size = size
        self.conv_stem = PaddedConv2d(3, numbers.stem, 3, pad=numbers.stem_pad, stride=2)
        self.bn1 = norm(numbers.stem)
        self.blocks = nn.Sequential(*(nn.Sequential(*stage) for stage in _timm_stages(numbers)))
        self.conv_head = pointwise(numbers.blocks[-1].after, numbers.head)
        self.bn2 = norm(numbers.head)
        self.classifier = nn.Linear(numbers.head, classes) if classes else None


class EncoderClassifier(nn.Module):
    """timm's net under ``encoder`` and one linear layer ``fc`` on its mean features: (N, 3, h, w) -> logits (N, outputs).

    The shape of Seferbekov's and Deepware's models. The encoder's own classifier is in their files and takes no part.
    """

    def __init__(self, variant: str, *, size: Size, outputs: int = 1) -> None:
        super().__init__()
        self.encoder = TimmEfficientNet(variant, size=size)
        self.fc = nn.Linear(self.encoder.features, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.fc(self.encoder.extract_features(x).mean((2, 3))))


def _timm_stages(numbers: Plan) -> Iterator[list[MBConv]]:
    for stage in range(len(_STAGES)):
        yield [
            MBConv(block, names=_TIMM_FIRST if block.expand == 1 else TIMM_NAMES, expansion=pointwise)
            for block in numbers.blocks
            if block.stage == stage
        ]


def pointwise(before: int, after: int) -> nn.Module:
    """A 1 x 1 convolution without bias: (N, before, h, w) -> (N, after, h, w)."""
    return nn.Conv2d(before, after, 1, bias=False)


def norm(count: int) -> nn.BatchNorm2d:
    """Batch normalisation with TensorFlow's epsilon."""
    return nn.BatchNorm2d(count, eps=_EPSILON)


def _check_size(x: torch.Tensor, size: Size | None) -> None:
    """Refuse maps of another (height, width) than ``size``, for which the net was built; ValueError. None accepts all."""
    # not while tracing, where sizes are tensors; compile_net runs the net eagerly first
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined]
    if size is not None and not tracing and tuple(x.shape[2:]) != size:
        raise ValueError(f"this net was built for inputs of {size[0]} x {size[1]}, not {x.shape[2]} x {x.shape[3]}")
