"""AASIST (Jung et al., ICASSP 2022) and the back end of SSL_AASIST (Tak et al., Odyssey 2022), under the names of the published files.

Owns: the fixed filter bank, the residual encoder, graph attention and pooling over two kinds of nodes, the two networks built of them.
Promises: ``state_dict`` has the names of the authors' checkpoints, with the batch norms that their code computes and throws away
(``bn1``); the filter bank is made from its formula and is in no file. Index 1 of the two logits is *bona fide*.
May be imported by detectors and other networks, in workers only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from base_detector import Array
from detectors.nets.wav2vec2 import Wav2Vec2

#: Samples a second, and samples of one input (4.0375 s): ``nb_samp`` of the authors' configuration.
RATE, SAMPLES = 16_000, 64_600

#: Filters of the bank and their taps: the configuration says 128, even sizes are raised by one (SincConv of RawNet2).
_FILTERS, _TAPS = 70, 129

#: What the softmax over neighbours is divided by: in the graphs of one kind, and in those of both kinds (``temperatures``).
_COOL, _HOT = 2.0, 100.0

#: Numbers of a node after the graphs of both kinds (``gat_dims[1]``).
_NODE = 32


@dataclass(frozen=True)
class Size:
    """What differs between the published networks: ``filts``, ``gat_dims[0]`` and ``pool_ratios`` of their configurations."""

    channels: tuple[int, int]  # of the first two blocks, and of the other four
    graph: int
    spectral: float  # share of the nodes that a pool keeps
    temporal: float
    joint: float
    rows: int  # spectral nodes
    moments: int  # temporal nodes of one input


AASIST_SIZE = Size((32, 64), graph=64, spectral=0.5, temporal=0.7, joint=0.5, rows=23, moments=29)
AASIST_L_SIZE = Size((32, 24), graph=24, spectral=0.4, temporal=0.5, joint=0.7, rows=23, moments=29)
SSL_SIZE = Size((32, 64), graph=64, spectral=0.5, temporal=0.5, joint=0.5, rows=42, moments=67)


#: Klambauer et al., NeurIPS 2017, appendix A4: the numbers that keep mean 0 and deviation 1.
_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805


def _selu(x: torch.Tensor) -> torch.Tensor:
    """SELU, written as a scaled ELU: OpenVINO joins that with the convolution before it, and has SELU as a slow loop only."""
    return _SCALE * functional.elu(x, _ALPHA)


class _Selu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _selu(x)


def band_edges() -> Array:
    """Edges of the 70 bands in Hz, (71,) float64: equal steps in mel from 0 to 8 kHz."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    return np.asarray(700 * (10 ** (np.linspace(0, top, _FILTERS + 1) / 2595) - 1))


def band_pass() -> Array:
    """The filter bank, (70, 129) float32: differences of two low passes under a Hamming window."""
    times = np.arange(-(_TAPS - 1) / 2, (_TAPS - 1) / 2 + 1)
    edges = band_edges()[:, None]
    low_pass = 2 * edges / RATE * np.sinc(2 * edges * times / RATE)
    return ((low_pass[1:] - low_pass[:-1]) * np.hamming(_TAPS)).astype(np.float32)


class Residual(nn.Module):
    """Two convolutions over (frequency, time) and a shortcut; ``shrink`` takes every third moment after them.

    ``bn1`` is in the published files of all blocks but the first. The authors' code computes with it and then convolves its input instead.
    """

    def __init__(self, inputs: int, outputs: int, *, first: bool, shrink: bool) -> None:
        super().__init__()
        if not first:
            self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, (2, 3), padding=(0, 1))
        self.conv_downsample = nn.Conv2d(inputs, outputs, (1, 3), padding=(0, 1)) if inputs != outputs else None
        self._shrink = shrink

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(_selu(self.bn2(self.conv1(x))))
        y = y + (x if self.conv_downsample is None else self.conv_downsample(x))
        return functional.max_pool2d(y, (1, 3)) if self._shrink else y


def _encoder(channels: tuple[int, int], *, shrink: bool) -> nn.Sequential:
    """Six residual blocks, under the names ``0.0`` to ``5.0``."""
    narrow, wide = channels
    widths = [1, narrow, narrow, wide, wide, wide, wide]
    blocks = [Residual(widths[i], widths[i + 1], first=i == 0, shrink=shrink) for i in range(6)]
    return nn.Sequential(*(nn.Sequential(block) for block in blocks))


def _attention(x: torch.Tensor, projection: nn.Linear) -> torch.Tensor:
    """How two nodes go together, before it is weighed: (B, n, d) -> (B, n, n, projected)."""
    return torch.tanh(projection(x.unsqueeze(2) * x.unsqueeze(1)))


def _normed(x: torch.Tensor, norm: nn.BatchNorm1d) -> torch.Tensor:
    """Batch norm over the numbers of nodes, (B, n, d), and SELU."""
    return _selu(norm(x.transpose(1, 2)).transpose(1, 2))


class GraphAttention(nn.Module):
    """Attention among nodes of one kind: (B, n, inputs) -> (B, n, outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.att_weight = nn.Parameter(torch.zeros(outputs, 1))
        self.att_proj = nn.Linear(inputs, outputs)
        self.proj_with_att = nn.Linear(inputs, outputs)
        self.proj_without_att = nn.Linear(inputs, outputs)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = torch.matmul(_attention(x, self.att_proj), self.att_weight).squeeze(-1) / _COOL
        seen = torch.matmul(torch.softmax(scores, dim=-1), x)
        return _normed(self.proj_with_att(seen) + self.proj_without_att(x), self.bn)


class MixedAttention(nn.Module):
    """Attention among nodes of two kinds and a master node: T (B, t, d), S (B, s, d), master (B or 1, 1, d)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.att_weight11 = nn.Parameter(torch.zeros(outputs, 1))
        self.att_weight22 = nn.Parameter(torch.zeros(outputs, 1))
        self.att_weight12 = nn.Parameter(torch.zeros(outputs, 1))
        self.att_weightM = nn.Parameter(torch.zeros(outputs, 1))
        self.proj_type1 = nn.Linear(inputs, inputs)
        self.proj_type2 = nn.Linear(inputs, inputs)
        self.att_proj = nn.Linear(inputs, outputs)
        self.att_projM = nn.Linear(inputs, outputs)
        self.proj_with_att = nn.Linear(inputs, outputs)
        self.proj_without_att = nn.Linear(inputs, outputs)
        self.proj_with_attM = nn.Linear(inputs, outputs)
        self.proj_without_attM = nn.Linear(inputs, outputs)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(
        self, temporal: torch.Tensor, spectral: torch.Tensor, master: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        count = temporal.shape[1]
        x = torch.cat([self.proj_type1(temporal), self.proj_type2(spectral)], dim=1)
        seen = torch.matmul(torch.softmax(self._scores(x, count), dim=-1), x)
        nodes = _normed(self.proj_with_att(seen) + self.proj_without_att(x), self.bn)
        return nodes[:, :count], nodes[:, count:], self._master(x, master)

    def _scores(self, x: torch.Tensor, count: int) -> torch.Tensor:
        """Of each pair, (B, n, n): one weight for two temporal nodes, one for two spectral ones, one for both mixed directions."""
        pairs = _attention(x, self.att_proj)
        within, mixed = torch.matmul(pairs, self.att_weight11), torch.matmul(pairs, self.att_weight12)
        other = torch.matmul(pairs, self.att_weight22)
        above = torch.cat([within[:, :count, :count], mixed[:, :count, count:]], dim=2)
        below = torch.cat([mixed[:, count:, :count], other[:, count:, count:]], dim=2)
        return torch.cat([above, below], dim=1).squeeze(-1) / _HOT

    def _master(self, x: torch.Tensor, master: torch.Tensor) -> torch.Tensor:
        """The master node sees the nodes as they were; neither norm nor activation follows."""
        scores = torch.matmul(torch.tanh(self.att_projM(x * master)), self.att_weightM) / _HOT
        seen = torch.matmul(torch.softmax(scores, dim=1).transpose(1, 2), x)
        return self.proj_with_attM(seen) + self.proj_without_attM(master)


class GraphPool(nn.Module):
    """Keep the ``kept`` nodes with the highest score, in descending order of it, each times its score."""

    def __init__(self, inputs: int, *, kept: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, 1)
        self._kept = kept

    def forward(self, nodes: torch.Tensor) -> torch.Tensor:
        scores = torch.sigmoid(self.proj(nodes))
        order = torch.topk(scores, self._kept, dim=1).indices
        return torch.gather(nodes * scores, 1, order.expand(-1, -1, nodes.shape[2]))


def _share(nodes: int, ratio: float) -> int:
    """How many of ``nodes`` a pool keeps."""
    return max(int(nodes * ratio), 1)


class _Graphs(nn.Module):
    """The graph part that both networks share, from spectral and temporal nodes to two logits."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        wide, graph = size.channels[1], size.graph
        self.pos_S = nn.Parameter(torch.zeros(1, size.rows, wide))
        self.master1 = nn.Parameter(torch.zeros(1, 1, graph))
        self.master2 = nn.Parameter(torch.zeros(1, 1, graph))
        self.GAT_layer_S = GraphAttention(wide, graph)
        self.GAT_layer_T = GraphAttention(wide, graph)
        for branch in (1, 2):
            setattr(self, f"HtrgGAT_layer_ST{branch}1", MixedAttention(graph, _NODE))
            setattr(self, f"HtrgGAT_layer_ST{branch}2", MixedAttention(_NODE, _NODE))
        rows, moments = _share(size.rows, size.spectral), _share(size.moments, size.temporal)
        self.pool_S, self.pool_T = GraphPool(graph, kept=rows), GraphPool(graph, kept=moments)
        for branch in (1, 2):
            setattr(self, f"pool_hS{branch}", GraphPool(_NODE, kept=_share(rows, size.joint)))
            setattr(self, f"pool_hT{branch}", GraphPool(_NODE, kept=_share(moments, size.joint)))
        self.out_layer = nn.Linear(5 * _NODE, 2)

    def _judge(self, spectral: torch.Tensor, temporal: torch.Tensor) -> torch.Tensor:
        """Nodes (B, rows, channels) and (B, moments, channels) -> logits (B, 2)."""
        spectral = self.pool_S(self.GAT_layer_S(spectral + self.pos_S))
        temporal = self.pool_T(self.GAT_layer_T(temporal))
        first = self._branch(1, temporal, spectral, self.master1)
        second = self._branch(2, temporal, spectral, self.master2)
        times, rows, master = (torch.maximum(one, other) for one, other in zip(first, second, strict=True))
        parts = [times.abs().amax(1), times.mean(1), rows.abs().amax(1), rows.mean(1), master.squeeze(1)]
        logits: torch.Tensor = self.out_layer(torch.cat(parts, dim=1))
        return logits

    def _branch(
        self, number: int, temporal: torch.Tensor, spectral: torch.Tensor, master: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        first: Callable[..., tuple[torch.Tensor, ...]] = getattr(self, f"HtrgGAT_layer_ST{number}1")
        second: Callable[..., tuple[torch.Tensor, ...]] = getattr(self, f"HtrgGAT_layer_ST{number}2")
        times, rows, master = first(temporal, spectral, master)
        times = getattr(self, f"pool_hT{number}")(times)
        rows = getattr(self, f"pool_hS{number}")(rows)
        more_times, more_rows, more_master = second(times, rows, master)
        return times + more_times, rows + more_rows, master + more_master


class AASIST(_Graphs):
    """The whole network: sound (B, 64600) float32 at 16 kHz, -1..1, its level untouched -> logits (B, 2), index 1 = bona fide."""

    band_pass: torch.Tensor

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        self.register_buffer("band_pass", torch.from_numpy(band_pass()).unsqueeze(1), persistent=False)
        self.first_bn = nn.BatchNorm2d(1)
        self.encoder = _encoder(size.channels, shrink=True)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        bands = functional.conv1d(sound.unsqueeze(1), self.band_pass)
        picture = functional.max_pool2d(bands.unsqueeze(1).abs(), 3)
        coded = self.encoder(_selu(self.first_bn(picture))).abs()
        return self._judge(coded.amax(3).transpose(1, 2), coded.amax(2).transpose(1, 2))


class _FrontEnd(nn.Module):
    """Holds the speech model under the name it has in the published files, ``ssl_model.model``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Wav2Vec2()

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model(sound)
        return features


class SSLAASIST(_Graphs):
    """SSL_AASIST: sound as of ``AASIST`` -> logits (B, 2), index 1 = bona fide. XLS-R 300M takes the place of the filter bank."""

    def __init__(self) -> None:
        super().__init__(SSL_SIZE)
        wide = SSL_SIZE.channels[1]
        self.ssl_model = _FrontEnd()
        self.LL = nn.Linear(1024, 128)
        self.first_bn = nn.BatchNorm2d(1)
        self.first_bn1 = nn.BatchNorm2d(wide)
        self.encoder = _encoder(SSL_SIZE.channels, shrink=False)
        self.attention = nn.Sequential(nn.Conv2d(wide, 128, 1), _Selu(), nn.BatchNorm2d(128), nn.Conv2d(128, wide, 1))

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        # no absolute value here, and no shrinking in the blocks: as the authors have it
        picture = functional.max_pool2d(self.LL(self.ssl_model(sound)).transpose(1, 2).unsqueeze(1), 3)
        x = self.encoder(_selu(self.first_bn(picture)))
        x = _selu(self.first_bn1(x))
        weights = self.attention(x)
        rows = (x * torch.softmax(weights, dim=3)).sum(3)
        times = (x * torch.softmax(weights, dim=2)).sum(2)
        return self._judge(rows.transpose(1, 2), times.transpose(1, 2))
