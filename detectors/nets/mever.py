"""The five networks of the MeVer service (Baxevanakis et al., MAD 2022, arXiv:2204.12816): convolutions, and heads after DETR.

Owns: the five networks by name, the transformer head, its two kinds of positional embedding.
Promises: one logit of *fake* a face; names of timm for the convolutions and of DETR (Carion et al., ECCV 2020, arXiv:2005.12872) for the
heads. The authors keep code and weights to themselves: what the paper does not say (sizes of the heads, what "multi-head" means) is our
reading, and their own files may not fit.
May be imported by detectors, in workers only, and by detectors.training. Torch is imported with this module.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import torch
from torch import nn
from torch.nn import functional

from detectors.nets.efficientnet import TimmEfficientNet
from detectors.nets.efficientnetv2 import EfficientNetV2M

#: side of the input, and of the map that the heads see (stride 32, SAME)
SIDE: Final = 300
GRID: Final = 10
#: the networks of the paper, in its order
NAMES: Final = ("m1", "m2", "m3", "m4", "m5")

#: DETR's defaults: numbers a place, heads, layers of encoder and of decoder, width of the feed-forward part, dropout
_WIDTH, _HEADS, _LAYERS, _FORWARD, _DROPOUT = 256, 8, 6, 2048, 0.1
#: DETR's table of learnt positions holds so many rows and columns
_PLACES: Final = 50
#: DETR's slowest wave of the fixed positions
_TEMPERATURE: Final = 10000.0

Position = Literal["fixed", "learned"]


def build(name: str) -> nn.Module:
    """One of the five networks, by ``NAMES``: (N, 3, 300, 300) float32, RGB with ImageNet's mean 0 and deviation 1 -> (N, 1) logit of fake.

    ``m1`` EfficientNet-b4; ``m2`` the same with a head after DETR and fixed positions; ``m3`` learned positions; ``m4`` two heads, one of
    each, on one map; ``m5`` EfficientNetV2-M. Weights are random. Raises ValueError for another name.
    """
    heads: dict[str, tuple[Position, ...]] = {"m2": ("fixed",), "m3": ("learned",), "m4": ("fixed", "learned")}
    if name == "m1":
        return TimmEfficientNet("b4", size=(SIDE, SIDE), classes=1)
    if name == "m5":
        return EfficientNetV2M(size=(SIDE, SIDE), classes=1)
    if name in heads:
        return WithHeads(*heads[name])
    raise ValueError(f"the network must be one of {', '.join(NAMES)}, not {name!r}")


class WithHeads(nn.Module):
    """EfficientNet-b4 whose last map is read by one head or more; their logits are averaged."""

    def __init__(self, *positions: Position) -> None:
        super().__init__()
        self.backbone = TimmEfficientNet("b4", size=(SIDE, SIDE), classes=0)
        self.heads = nn.ModuleList(Head(self.backbone.features, position=position) for position in positions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = self.backbone.extract_features(x)
        return torch.stack([head(places) for head in self.heads]).mean(dim=0)


class Head(nn.Module):
    """DETR on a map, with one query and one class: (N, channels, 10, 10) -> (N, 1) logit."""

    def __init__(self, channels: int, *, position: Position) -> None:
        super().__init__()
        self.input_proj = nn.Conv2d(channels, _WIDTH, 1)
        self.position_embedding = FixedPositions() if position == "fixed" else LearnedPositions()
        self.transformer = Transformer()
        self.query_embed = nn.Embedding(1, _WIDTH)
        self.class_embed = nn.Linear(_WIDTH, 1)

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        source = self.input_proj(places).flatten(2).transpose(1, 2)  # (N, 100, 256), row by row
        query = self.query_embed.weight[None].expand(places.shape[0], -1, -1)
        answer = self.transformer(source, self.position_embedding()[None], query)
        logits: torch.Tensor = self.class_embed(answer)[:, 0]
        return logits


class FixedPositions(nn.Module):
    """Sines and cosines of row and column (DETR's ``PositionEmbeddingSine``, normalised): (100, 256), nothing learnt."""

    table: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        half = _WIDTH // 2
        # places 1 to 10 as angles up to a full turn
        angle = torch.arange(1, GRID + 1, dtype=torch.float32) / (GRID + 1e-6) * 2 * math.pi
        slow = _TEMPERATURE ** (2 * (torch.arange(half) // 2) / half)
        waves = angle[:, None] / slow
        one = torch.stack([waves[:, 0::2].sin(), waves[:, 1::2].cos()], dim=2).flatten(1)
        rows, columns = one[:, None].expand(-1, GRID, -1), one[None].expand(GRID, -1, -1)
        self.register_buffer("table", torch.cat([rows, columns], dim=2).flatten(0, 1), persistent=False)

    def forward(self) -> torch.Tensor:
        return self.table


class LearnedPositions(nn.Module):
    """A vector for each column and each row (DETR's ``PositionEmbeddingLearned``): (100, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.row_embed = nn.Embedding(_PLACES, _WIDTH // 2)
        self.col_embed = nn.Embedding(_PLACES, _WIDTH // 2)
        nn.init.uniform_(self.row_embed.weight)
        nn.init.uniform_(self.col_embed.weight)

    def forward(self) -> torch.Tensor:
        columns = self.col_embed.weight[:GRID][None].expand(GRID, -1, -1)
        rows = self.row_embed.weight[:GRID][:, None].expand(-1, GRID, -1)
        return torch.cat([columns, rows], dim=2).flatten(0, 1)


class Transformer(nn.Module):
    """Six layers that compare places, six that let the queries read them: places (N, P, 256), queries (N, Q, 256) -> (N, Q, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, source: torch.Tensor, position: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.decoder(query, self.encoder(source, position), position)
        return answer


class Encoder(nn.Module):
    """Its layers one after the other: places (N, P, 256), positions (1, P, 256) -> (N, P, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(_LAYERS))

    def forward(self, source: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            source = layer(source, position)
        return source


class Decoder(nn.Module):
    """Its layers one after the other, from zeros, and a last normalisation: queries (N, Q, 256) -> (N, Q, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, query: torch.Tensor, source: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        target = torch.zeros_like(query)
        for layer in self.layers:
            target = layer(target, query, source, position)
        answer: torch.Tensor = self.norm(target)
        return answer


class Attention(nn.Module):
    """Scaled dot products of eight heads, with the names of torch's ``MultiheadAttention``: what ``query`` finds in ``value`` by ``key``.

    (N, Q, 256), (N, P, 256), (N, P, 256) -> (N, Q, 256). Torch's own module cannot be compiled for batches of any size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * _WIDTH, _WIDTH))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * _WIDTH))
        self.out_proj = nn.Linear(_WIDTH, _WIDTH)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        asked, offered, found = (
            self._heads(functional.linear(x, weight, bias))
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        dropout = _DROPOUT if self.training else 0.0
        found = functional.scaled_dot_product_attention(asked, offered, found, dropout_p=dropout)
        out: torch.Tensor = self.out_proj(found.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], _HEADS, _WIDTH // _HEADS).transpose(1, 2)


class _Layer(nn.Module):
    """What both kinds of layers have: attention of their own sequence and two dense layers, each added, then normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.linear1 = nn.Linear(_WIDTH, _FORWARD)
        self.dropout = nn.Dropout(_DROPOUT)
        self.linear2 = nn.Linear(_FORWARD, _WIDTH)

    def dense(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.dropout(functional.relu(self.linear1(x)))
        out: torch.Tensor = x + self.dropout(self.linear2(inner))
        return out

    def among(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        placed = x + position
        out: torch.Tensor = x + self.dropout(self.self_attn(placed, placed, x))
        return out


class EncoderLayer(_Layer):
    """Every place reads all places: (N, P, 256), positions (1, P, 256) -> (N, P, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)

    def forward(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        x = self.norm1(self.among(x, position))
        out: torch.Tensor = self.norm2(self.dense(x))
        return out


class DecoderLayer(_Layer):
    """Every query reads the queries, then all places: (N, Q, 256) -> (N, Q, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.multihead_attn = Attention()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(_WIDTH) for _ in range(3))

    def forward(
        self, x: torch.Tensor, query: torch.Tensor, source: torch.Tensor, position: torch.Tensor
    ) -> torch.Tensor:
        x = self.norm1(self.among(x, query))
        read = self.multihead_attn(x + query, source + position, source)
        x = self.norm2(x + self.dropout(read))
        out: torch.Tensor = self.norm3(self.dense(x))
        return out
