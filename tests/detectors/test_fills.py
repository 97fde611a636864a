"""Compiling does not hang on the numbers in a network: other fills of the research data's recipe are taken, and answer as float64 does.

With white noise in place of a face, one fill in a few drives a deep EfficientNet to logits of hundreds, where float32 is off by percents
and two right compilers differ; such a fill was refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from base_detector import load_detector  # noqa: E402
from detectors import probes, runtime  # noqa: E402
from tests.parity.recipe import fill  # noqa: E402

#: a network and how it is compiled
Case = tuple[nn.Module, dict[str, Any]]


def prepared(detector: str, side: int) -> dict[str, Any]:
    """Compiled as the detector does it: with the face through its own preprocessing."""
    probe = load_detector(f"detectors.{detector}").preproc(probes.face(side))[None]
    return {"example": probe, "probe": probe}


def pictures(*shape: int) -> dict[str, Any]:
    """Compiled with the probe of its shape."""
    return {"example": np.zeros(shape, np.float32)}


def boken(variant: str) -> Case:
    from detectors.nets.efficientnet import EfficientNet

    return EfficientNet(variant, classes=2, padding="0.7.0"), prepared("boken", 224)


def b7() -> Case:
    from detectors.nets.efficientnet import EncoderClassifier

    return EncoderClassifier("b7", size=(380, 380)), pictures(1, 3, 380, 380)


def sequence() -> Case:
    from detectors.nets.sequence_b7 import sequence_b7

    return sequence_b7(), pictures(7, 3, 224, 192)


def frame() -> Case:
    from detectors.nets.sequence_b7 import frame_b7

    return frame_b7(), pictures(1, 3, 224, 192)


def mever(name: str) -> Case:
    from detectors.nets.mever import build

    return build(name), pictures(1, 3, 300, 300)


def wm() -> Case:
    from detectors.nets.wsdan import Trio, WsDan
    from detectors.nets.xception import Xception
    from detectors.wm.detector import MEAN, STD

    nets = Xception(), WsDan("xception"), WsDan("b3")
    return Trio(nets, mean=MEAN.tolist(), std=STD.tolist()), prepared("wm", 320)


def xception() -> Case:
    from detectors.nets.xception import Wrapped

    return Wrapped(), prepared("xception", 299)


def resnet50() -> Case:
    from detectors.nets.resnet import ResNet

    return ResNet(50, classes=1), pictures(1, 3, 224, 224)


def spatial_pyramid() -> Case:
    from detectors.dsp_fwa.detector import prepared as heads
    from detectors.nets.spp_resnet import SppResNet

    probe = heads(probes.face(224)[None])
    return SppResNet(), {"example": probe, "probe": probe}


def mesonet(name: str) -> Case:
    from detectors.nets import meso

    return getattr(meso, name)(), prepared("mesonet", 256)


def sbi() -> Case:
    from detectors.nets.efficientnet import EfficientNet

    return EfficientNet("b4", classes=2, padding="0.7.1"), prepared("sbi", 380)


def community_forensics(side: int) -> Case:
    from detectors.nets.vit import Classifier, small16

    plan = small16(side)
    return Classifier(plan, nn.Linear(plan.width, 1)), pictures(1, 3, side, side)


def clip() -> Case:
    from detectors.nets.vit import CLIP_L14, VisionTransformer

    return VisionTransformer(CLIP_L14), pictures(1, 3, 224, 224)


def classnseg(name: str) -> Case:
    from detectors.nets import classnseg as nets

    parts = [nets.Encoder(), nets.Decoder()]
    return getattr(nets, name)(*parts[: 2 if name == "Segmenter" else 1]), pictures(1, 3, 256, 256)


def capsule() -> Case:
    from detectors.nets import capsule as nets
    from detectors.nets.vgg import ThreeStages

    return nets.Classifier(ThreeStages(), nets.CapsuleNet()), pictures(1, 3, 300, 300)


def eighteen(kind: str) -> Case:
    from detectors.eighteen import detector

    network = next(item for item in detector.NETWORKS if item.kind == kind)
    return detector.build(kind), detector._compilation(network)


def local_dependencies(width: str) -> Case:
    from detectors.nets import ferretnet

    return ferretnet.FerretNet(getattr(ferretnet, width)), pictures(1, 3, 256, 256)


def finder(name: str) -> Case:
    """The published face finders that thorough modes use, compiled as ``eighteen``, ``wm`` and ``ntech`` do it."""
    from detectors.nets import dsfd, dsfd_boxes, retinaface, retinaface_boxes

    if name == "dsfd":
        net, probe = dsfd.Dsfd(), dsfd_boxes.prepare_crop(probes.face(128), factor=1.0)
    else:
        net, probe = getattr(retinaface, name)(), retinaface_boxes.prepare(probes.face(96, 128))
    return net, {"example": probe, "probe": probe, "input_shapes": [(1, 3, None, None)]}


def medics(kind: str) -> Case:
    from detectors.medics import detector

    frames = detector.example_frames(kind, 100)
    return detector.build(kind, frames=frames), detector.compilation(kind, frames=frames)


#: Networks of the published detectors. Not here: selfblend, MTCNN, the networks an operator trains, medics mc3_224 (mc3_112 on larger
#: pictures), the small heads of univfd and rine, and those of voices: ssl_aasist has 300 million numbers, and AASIST keeps the nodes with
#: the highest score of each graph, which a fill may drive to exactly 1 all alike; which of them are kept is then the library's choice.
NETS: dict[str, Callable[[], Case]] = {
    **{f"boken {variant}": lambda variant=variant: boken(variant) for variant in ("b0", "b1", "b2")},
    "selim and deepware": b7,
    "ntech sequence": sequence,
    "ntech frame": frame,
    **{f"mever {name}": lambda name=name: mever(name) for name in ("m1", "m2", "m3", "m4", "m5")},
    "wm": wm,
    "xception": xception,
    "cnndetection": resnet50,
    "dsp_fwa": spatial_pyramid,
    "sbi": sbi,
    **{f"commfor {side}": lambda side=side: community_forensics(side) for side in (384, 224)},
    "gend, effort, univfd and rine": clip,
    **{f"mesonet {name}": lambda name=name: mesonet(name) for name in ("Meso4", "MesoInception4")},
    **{f"classnseg {name}": lambda name=name: classnseg(name) for name in ("Classifier", "Segmenter")},
    "capsule": capsule,
    **{
        f"eighteen {kind}": lambda kind=kind: eighteen(kind)
        for kind in ("slowfast", "xception", "b3", "resnet34", "b1", "b0")
    },
    **{f"ferretnet {width}": lambda width=width: local_dependencies(width) for width in ("S", "B")},
    **{f"finder {name}": lambda name=name: finder(name) for name in ("mobilenet025", "resnet50", "dsfd")},
    **{f"medics {kind}": lambda kind=kind: medics(kind) for kind in ("i3d", "res34", "mc3_112", "r2p1_112", "2d")},
}

#: The two whose fills differ most: the deep one that was refused, and one whose numbers have no batch norm behind them.
OFTEN = ("boken b1", "classnseg Classifier")


#: DSFD multiplies what these layers give; without a batch norm behind them the products of a fill lie millions apart, and no float32 holds
#: the small ones beside the large. They get powers of two of their own, as batch norms do.
_MULTIPLIED = ("latlayer", "smooth")


def filled(net: nn.Module, inputs: np.ndarray, *, salt: str) -> nn.Module:
    """``net`` with the recipe's numbers under its own names; each batch norm's variance times the power of two of what reaches it."""
    for name, tensor in net.eval().state_dict().items():
        if tensor.dtype.is_floating_point and name not in ("mean", "std"):
            tensor.copy_(torch.from_numpy(fill(name, tuple(tensor.shape), salted=salt)))

    def power(maps: torch.Tensor) -> float:
        variance = float(maps.transpose(0, 1).flatten(1).var(1, unbiased=False).mean())
        return 2.0 ** round(np.log2(max(variance, 1e-30)))

    def scale(norm: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        norm.running_var.mul_(power(given[0]))

    def shrink(layer: nn.Module, _: object, maps: torch.Tensor) -> torch.Tensor:
        factor = 2.0 ** round(-np.log2(power(maps)) / 2)
        layer.weight.mul_(factor)
        layer.bias.mul_(factor)
        return maps * factor

    norms = [part for part in net.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_pre_hook(scale) for norm in norms]
    hooks += [part.register_forward_hook(shrink) for name, part in net.named_children() if name.startswith(_MULTIPLIED)]
    with torch.inference_mode():
        net(torch.from_numpy(inputs))
    for hook in hooks:
        hook.remove()
    return net


def distance(case: Callable[[], Case], *, salt: str) -> float:
    """How far the compiled network is from float64, relative where the answer is above 1."""
    net, how = case()
    (inputs,) = runtime._probes((how["example"],), how.get("probe"))
    filled(net, inputs, salt=salt)
    found = runtime.compile_net(net, device="cpu", **how)(inputs)
    return runtime._error(found, runtime._eager(net.double(), (inputs.astype(np.float64),)))


@pytest.mark.parametrize("salt", ["c", "d"])
@pytest.mark.parametrize("name", OFTEN)
def test_another_fill_is_taken_and_answers_as_float64(name: str, salt: str):
    assert distance(NETS[name], salt=salt) < 1e-4


@pytest.mark.slow
@pytest.mark.timeout(3600)  # torch's depthwise convolutions in float64 take minutes on a busy machine
@pytest.mark.parametrize("salt", ["a", "c", "d", "e"])
@pytest.mark.parametrize("name", list(NETS))
def test_every_network_is_taken_with_every_fill(name: str, salt: str):
    assert distance(NETS[name], salt=salt) < 1e-4
