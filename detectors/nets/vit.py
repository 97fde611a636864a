"""Vision transformers (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929): CLIP's tower for pictures, ViT-L/14, and timm's ViT-S/16.

Owns: the network, the three published layouts of CLIP's tensors, and the preparation of pictures that its users share.
Promises: outputs of the published codes for their weights (tests/parity/test_commfor.py, test_gend.py, test_effort.py, test_univfd.py,
test_rine.py). A file that is not complete, or holds more than is known, is refused with every name that differs. Inference only.
May be imported by detectors, in workers only. Torch is imported with this module; the preparation is in ``detectors.nets.pictures``.

Names here are timm's (``blocks.3.attn.qkv.weight``). ``tower_of`` reads CLIP's tensors (Radford et al., ICML 2021, arXiv:2103.00020) as
OpenAI and open_clip name them (``visual.transformer.resblocks.3.attn.in_proj_weight``) or as Hugging Face does
(``vision_model.encoder.layers.3.self_attn.q_proj.weight``): the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import nn
from torch.nn import functional

from detectors.nets.checkpoint import CheckpointError, check_names


@dataclass(frozen=True)
class Plan:
    """The numbers of one network.

    ``side`` of the input and of a ``patch`` in pixels; ``clip``: OpenAI's variant, with a normalisation before the blocks, no bias in
    the first convolution, and x * sigmoid(1.702 x) where the others have the exact GELU.
    """

    side: int
    patch: int
    width: int
    layers: int
    heads: int
    epsilon: float
    clip: bool = False

    @property
    def tokens(self) -> int:
        """Patches, and the class token before them."""
        return (self.side // self.patch) ** 2 + 1


#: OpenAI's ViT-L/14 (clip/model.py), and the width of the space it shares with texts
CLIP_L14: Final = Plan(side=224, patch=14, width=1024, layers=24, heads=16, epsilon=1e-5, clip=True)
CLIP_SPACE: Final = 768

#: What is in a CLIP file besides the tower for pictures: two projections, the tower for texts, and tables of numbers 0, 1, 2 ...
_UNUSED: Final = re.compile(
    r"visual\.proj|visual_projection\.weight|text_model\..*|text_projection(\.weight)?|logit_scale|.*\.position_ids"
    r"|transformer\..*|token_embedding\.weight|positional_embedding|ln_final\..*|input_resolution|context_length|vocab_size"
)

#: Our names of a block's parts -> Hugging Face's, and OpenAI's
_HUGGING_FACE: Final = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_OPENAI: Final = {
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attn.proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def small16(side: int) -> Plan:
    """timm's ``vit_small_patch16`` for pictures of ``side`` pixels."""
    return Plan(side=side, patch=16, width=384, layers=12, heads=6, epsilon=1e-6)


class Attention(nn.Module):
    """Self-attention of ``plan.heads`` heads: (N, tokens, width) -> the same shape."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self.qkv = nn.Linear(plan.width, 3 * plan.width)
        self.proj = nn.Linear(plan.width, plan.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plan = self._plan
        parts = self.qkv(x).reshape(-1, plan.tokens, 3, plan.heads, plan.width // plan.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        return cast(torch.Tensor, self.proj(seen.transpose(1, 2).reshape(-1, plan.tokens, plan.width)))


class Mlp(nn.Module):
    """Two linear layers, four times as wide between them: (N, tokens, width) -> the same shape."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._clip = plan.clip
        self.fc1 = nn.Linear(plan.width, 4 * plan.width)
        self.fc2 = nn.Linear(4 * plan.width, plan.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.fc1(x)
        inner = inner * torch.sigmoid(1.702 * inner) if self._clip else functional.gelu(inner)
        return cast(torch.Tensor, self.fc2(inner))


class Block(nn.Module):
    """One layer. Gives (its output, what its second normalisation gave), both (N, tokens, width)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(plan.width, eps=plan.epsilon)
        self.attn = Attention(plan)
        self.norm2 = nn.LayerNorm(plan.width, eps=plan.epsilon)
        self.mlp = Mlp(plan)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x + self.attn(self.norm1(x))
        inner = self.norm2(x)
        return x + self.mlp(inner), inner


class PatchEmbedding(nn.Module):
    """Patches to tokens: (N, 3, side, side) -> (N, tokens - 1, width)."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, plan.width, plan.patch, stride=plan.patch, bias=not plan.clip)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.proj(x)).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """(N, 3, side, side) -> the class token after the last normalisation, (N, width); ``inner_tokens`` gives those of all layers."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.patch_embed = PatchEmbedding(plan)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, plan.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, plan.tokens, plan.width))
        self.norm_pre = nn.LayerNorm(plan.width, eps=plan.epsilon) if plan.clip else nn.Identity()
        self.blocks = nn.ModuleList(Block(plan) for _ in range(plan.layers))
        self.norm = nn.LayerNorm(plan.width, eps=plan.epsilon)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._embed(x)
        for block in self.blocks:
            x, _ = block(x)
        return cast(torch.Tensor, self.norm(x[:, 0]))

    def inner_tokens(self, x: torch.Tensor) -> torch.Tensor:
        """The class token after the second normalisation of each block, where RINE looks: (N, layers, width)."""
        x, found = self._embed(x), []
        for block in self.blocks:
            x, inner = block(x)
            found.append(inner[:, 0])
        return torch.stack(found, dim=1)

    def _embed(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed(x)
        first = self.cls_token.expand(patches.shape[0], -1, -1)
        return cast(torch.Tensor, self.norm_pre(torch.cat([first, patches], dim=1) + self.pos_embed))


class Classifier(nn.Module):
    """A tower and a head on its class token: (N, 3, side, side) -> logits (N, outputs of the head)."""

    def __init__(self, plan: Plan, head: nn.Module) -> None:
        super().__init__()
        self.tower = VisionTransformer(plan)
        self.head = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.head(self.tower(x)))


def tower_of(state: Mapping[str, torch.Tensor], *, plan: Plan = CLIP_L14) -> dict[str, torch.Tensor]:
    """The tensors of CLIP's tower in ``state``, float32 under our names.

    CheckpointError names all that is missing, has another shape, or belongs neither to the tower nor to a known part of CLIP.
    """
    openai = any(name.startswith("visual.") for name in state)
    sources = _openai_names(plan) if openai else _hugging_face_names(plan)
    with torch.device("meta"):
        ours = {name: tuple(item.shape) for name, item in VisionTransformer(plan).state_dict().items()}
    # published without the dimensions of size 1 that stand first
    ours |= {"cls_token": (plan.width,), "pos_embed": (plan.tokens, plan.width)}
    wanted = {
        name: (ours[target][0] // len(names), *ours[target][1:]) for target, names in sources.items() for name in names
    }
    found = {name: tuple(item.shape) for name, item in state.items() if name in wanted or not _UNUSED.fullmatch(name)}
    check_names(found, wanted=wanted, net="CLIP's ViT-L/14")
    tower = {target: torch.cat([state[name].float() for name in names]) for target, names in sources.items()}
    return tower | {"cls_token": tower["cls_token"][None, None], "pos_embed": tower["pos_embed"][None]}


def projection_of(state: Mapping[str, torch.Tensor], *, plan: Plan = CLIP_L14) -> torch.Tensor:
    """The matrix that takes a class token into the space shared with texts, as a linear layer's weight: (768, width) float32."""
    right = (CLIP_SPACE, plan.width)
    if "visual.proj" in state:
        found = state["visual.proj"].float().t().contiguous()
    elif "visual_projection.weight" in state:
        found = state["visual_projection.weight"].float()
    else:
        raise CheckpointError("the weights do not fit CLIP's ViT-L/14: missing visual_projection.weight (visual.proj)")
    if tuple(found.shape) != right:
        raise CheckpointError(
            f"the weights do not fit CLIP's ViT-L/14: its projection has shape {tuple(found.shape)}, not {right}"
        )
    return found


def _openai_names(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Our name -> the tensors it is made of, as OpenAI and open_clip name them."""
    names: dict[str, tuple[str, ...]] = {
        "cls_token": ("visual.class_embedding",),
        "pos_embed": ("visual.positional_embedding",),
        "patch_embed.proj.weight": ("visual.conv1.weight",),
    }
    for kind in ("weight", "bias"):
        names |= {f"norm_pre.{kind}": (f"visual.ln_pre.{kind}",), f"norm.{kind}": (f"visual.ln_post.{kind}",)}
        for layer in range(plan.layers):
            ours, theirs = f"blocks.{layer}", f"visual.transformer.resblocks.{layer}"
            names[f"{ours}.attn.qkv.{kind}"] = (f"{theirs}.attn.in_proj_{kind}",)
            names |= {f"{ours}.{part}.{kind}": (f"{theirs}.{name}.{kind}",) for part, name in _OPENAI.items()}
    return names


def _hugging_face_names(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Our name -> the tensors it is made of, as Hugging Face names them (``pre_layrnorm`` is its spelling)."""
    top = "vision_model"
    names: dict[str, tuple[str, ...]] = {
        "cls_token": (f"{top}.embeddings.class_embedding",),
        "pos_embed": (f"{top}.embeddings.position_embedding.weight",),
        "patch_embed.proj.weight": (f"{top}.embeddings.patch_embedding.weight",),
    }
    for kind in ("weight", "bias"):
        names |= {
            f"norm_pre.{kind}": (f"{top}.pre_layrnorm.{kind}",),
            f"norm.{kind}": (f"{top}.post_layernorm.{kind}",),
        }
        for layer in range(plan.layers):
            ours, theirs = f"blocks.{layer}", f"{top}.encoder.layers.{layer}"
            names[f"{ours}.attn.qkv.{kind}"] = tuple(f"{theirs}.self_attn.{part}_proj.{kind}" for part in "qkv")
            names |= {f"{ours}.{part}.{kind}": (f"{theirs}.{name}.{kind}",) for part, name in _HUGGING_FACE.items()}
    return names
