"""A small residual network behind fixed filters; it scores one face and says where it looks pasted.

Owns: the architecture of our own detector (card: detectors/selfblend).
Promises: about 0.6 million learnt numbers; the front's filters are constants and learn nothing; a file's names and shapes are those of
``state_dict``.
May be imported by detectors and by detectors.training. Torch is imported with this module.

The front keeps what a blend disturbs and drops what a face shows: Laplacian and KV kernel (Fridrich and Kodovsky, IEEE TIFS 2012,
doi:10.1109/TIFS.2012.2190402), first and second order differences along rows and columns. Strong compression leaves little of that;
differences of Gaussians (Marr and Hildreth, Proc. R. Soc. B 207, 1980) of the picture at half and quarter size let wider steps of tone
through as well.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: Side of the input picture; the input is luma, 0..255, and the maps have an eighth of its side.
SIDE = 80
#: Side of the second, finer picture of large faces.
FINE_SIDE = 160
#: Channels of the four stages, each half as fine as the one before.
WIDTHS = (16, 32, 64, 128)
#: Residuals are divided by this many grey levels and cut off at _CUT: an edge of the face must not drown a trace.
_LEVELS, _CUT = 6.0, 3.0
#: Times by which the picture is made smaller before differences of Gaussians are taken, and what divides those.
_COARSER, _STEP_LEVELS = (2, 4), 4.0
#: Pictures the front makes of one: six residuals, two differences of Gaussians.
CHANNELS = 8

_KV = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
_LAPLACE = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
_FIRST, _SECOND = [[0, -1, 1]], [[1, -2, 1]]


def _filters() -> torch.Tensor:
    """(6, 1, 5, 5): Laplacian / 2, KV / 4, first order along x and y, second order along x and y."""
    kernels = torch.zeros(6, 1, 5, 5)
    kernels[0, 0, 1:4, 1:4] = torch.tensor(_LAPLACE) / 2
    kernels[1, 0] = torch.tensor(_KV) / 4
    kernels[2, 0, 2:3, 1:4] = torch.tensor(_FIRST).float()
    kernels[3, 0, 1:4, 2:3] = torch.tensor(_FIRST).float().T
    kernels[4, 0, 2:3, 1:4] = torch.tensor(_SECOND).float()
    kernels[5, 0, 1:4, 2:3] = torch.tensor(_SECOND).float().T
    return kernels


def _band() -> torch.Tensor:
    """(1, 1, 5, 5): binomial blur of three taps less that of five, a difference of Gaussians."""
    narrow, wide = torch.tensor([0.0, 1, 2, 1, 0]) / 4, torch.tensor([1.0, 4, 6, 4, 1]) / 16
    return (torch.outer(narrow, narrow) - torch.outer(wide, wide)).view(1, 1, 5, 5)


class Front(nn.Module):
    """(N, 1, H, W) luma 0..255 -> (N, CHANNELS, H, W) in -_CUT.._CUT; the border is repeated, so it makes no edge."""

    kernels: torch.Tensor
    band: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", _filters() / _LEVELS, persistent=False)
        self.register_buffer("band", _band() / _STEP_LEVELS, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [_filtered(x, self.kernels)]
        for times in _COARSER:
            steps = _filtered(functional.avg_pool2d(x, times), self.band)
            maps.append(functional.interpolate(steps, scale_factor=times, mode="nearest"))
        return torch.cat(maps, dim=1)


def _filtered(x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Cut off at once, not when all maps are joined: OpenVINO does it in the convolution then, a tenth of the network's time less."""
    return functional.conv2d(functional.pad(x, (2, 2, 2, 2), mode="replicate"), kernels).clamp(-_CUT, _CUT)


def _step(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions added to their input (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _step(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.second(self.first(x)))


class SelfBlendNet(nn.Module):
    """(N, 1, S, S) luma 0..255 -> logit of *fake* (N,), map logits (N, 2, S/8, S/8): pasted region, its boundary.

    ``side`` is S. Faces are at the same place in every picture, so the maps are learnt with a term for each place.
    """

    def __init__(self, *, side: int = SIDE, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c, d = widths
        self.front = Front()
        self.fine = nn.Sequential(_step(CHANNELS, a, stride=2), Residual(a))
        self.middle = nn.Sequential(_step(a, b, stride=2), Residual(b))
        self.coarse = _step(b, c, stride=2)
        self.place = nn.Parameter(torch.zeros(1, c, side // 8, side // 8))
        self.region = nn.Sequential(Residual(c), Residual(c))
        self.map = nn.Conv2d(c, 2, 1)
        self.whole = nn.Sequential(_step(c, d, stride=2), Residual(d))
        self.score = nn.Linear(2 * d + 2 * c, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.middle(self.fine(self.front(x)))
        x = self.region(self.coarse(x) + self.place)
        maps = self.map(x)
        y = self.whole(x)
        pooled = torch.cat([part for z in (x, y) for part in (z.mean((2, 3)), z.amax((2, 3)))], dim=1)
        return self.score(pooled).squeeze(1), maps


class SelfBlendJudge(nn.Module):
    """The net as the detector runs it, on each face and its mirror image: two views of the same evidence.

    (N, 1, S, S) -> calibrated probability of *fake* (N,), pasted region (N, S/8, S/8) in 0..1.
    """

    def __init__(self, net: SelfBlendNet, *, slope: float, offset: float) -> None:
        super().__init__()
        self.net, self.slope, self.offset = net, slope, offset

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, maps = mirrored(self.net, x)
        return torch.sigmoid(self.slope * logits + self.offset), torch.sigmoid(maps[:, 0])


def mirrored(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``net`` answers for ``x`` and its mirror image on average: logits (N,), map logits (N, 2, S/8, S/8)."""
    straight, straight_maps = net(x)
    turned, turned_maps = net(x.flip(3))
    return (straight + turned) / 2, (straight_maps + turned_maps.flip(3)) / 2
