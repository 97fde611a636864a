"""wav2vec 2.0 of the size of XLS-R 300M (Babu et al., Interspeech 2022) under fairseq's names: features of speech.

Owns: the convolutions over samples, the position convolution, the transformer. Promises: ``state_dict`` has the names that fairseq's
``Wav2Vec2Model`` has, without the parts that only serve pre-training (``PRETRAINING``); norms come before each layer
(``layer_norm_first``), and the last one after all. The level of the sound is left as it is.
May be imported by detectors, in workers only.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: Beginnings of names in published checkpoints that nothing of inference uses.
PRETRAINING = ("quantizer.", "project_q.", "final_proj.")

#: Kernel and stride of the seven convolutions over samples (table 1 of wav2vec 2.0): 400 samples see one feature, one each 320.
_CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
_CHANNELS, _WIDTH, _INNER, _HEADS, _LAYERS = 512, 1024, 4096, 16, 24
#: Taps and groups of the position convolution.
_REACH, _GROUPS = 128, 16


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, channels, time)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class _Convolutions(nn.Module):
    """Samples (B, n) -> (B, 512, T)."""

    def __init__(self) -> None:
        super().__init__()
        layers = []
        for number, (kernel, stride) in enumerate(_CONVOLUTIONS):
            convolution = nn.Conv1d(_CHANNELS if number else 1, _CHANNELS, kernel, stride)
            # fairseq: convolution, dropout, (transpose, norm, transpose), GELU
            norm = nn.Sequential(nn.Identity(), _ChannelNorm(_CHANNELS))
            layers.append(nn.Sequential(convolution, nn.Identity(), norm, nn.GELU()))
        self.conv_layers = nn.Sequential(*layers)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.conv_layers(sound.unsqueeze(1))
        return features


class _Positions(nn.Module):
    """A grouped convolution over time whose weights have a length (``weight_g``, of each tap) and a direction (``weight_v``)."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(_WIDTH))
        self.weight_g = nn.Parameter(torch.zeros(1, 1, _REACH))
        self.weight_v = nn.Parameter(torch.zeros(_WIDTH, _WIDTH // _GROUPS, _REACH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = self.weight_v.square().sum((0, 1), keepdim=True).sqrt()
        weight = self.weight_v * (self.weight_g / length)
        # an even kernel gives one moment too many
        return functional.conv1d(x, weight, self.bias, padding=_REACH // 2, groups=_GROUPS)[..., :-1]


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.k_proj = nn.Linear(_WIDTH, _WIDTH)
        self.v_proj = nn.Linear(_WIDTH, _WIDTH)
        self.q_proj = nn.Linear(_WIDTH, _WIDTH)
        self.out_proj = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            projection(x).unflatten(2, (_HEADS, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen: torch.Tensor = self.out_proj(
            functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        )
        return seen


class _Layer(nn.Module):
    """One layer of the transformer, norms first."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = _SelfAttention()
        self.self_attn_layer_norm = nn.LayerNorm(_WIDTH)
        self.fc1 = nn.Linear(_WIDTH, _INNER)
        self.fc2 = nn.Linear(_INNER, _WIDTH)
        self.final_layer_norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        inner: torch.Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x + inner


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(_Positions())
        self.layers = nn.Sequential(*(_Layer() for _ in range(_LAYERS)))
        self.layer_norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + functional.gelu(self.pos_conv(x.transpose(1, 2))).transpose(1, 2)
        features: torch.Tensor = self.layer_norm(self.layers(x))
        return features


class Wav2Vec2(nn.Module):
    """Sound (B, n) float32 at 16 kHz -> features (B, T, 1024); 64,600 samples give T = 201."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_emb = nn.Parameter(torch.zeros(_WIDTH))  # in the file, used in training only
        self.feature_extractor = _Convolutions()
        self.layer_norm = nn.LayerNorm(_CHANNELS)
        self.post_extract_proj = nn.Linear(_CHANNELS, _WIDTH)
        self.encoder = _Encoder()

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        projected = self.post_extract_proj(self.layer_norm(self.feature_extractor(sound).transpose(1, 2)))
        features: torch.Tensor = self.encoder(projected)
        return features
