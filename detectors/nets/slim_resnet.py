"""ResNet-50 of TensorFlow's "slim" models, built from plain TensorFlow operations over the variables of a checkpoint.

Owns: the names and shapes of its variables, the graph and the reader of the checkpoint.
Promises: no Python of the checkpoint is run; every missing, extra or misshapen variable is named. Imported by detectors, in workers
only, and there alone where TensorFlow is: it is imported on the first call.

It differs from torchvision's ResNet-50 (``detectors.nets.resnet``): blocks 1 to 3 halve the picture in their *last* unit, by the 3x3
convolution and a subsampled shortcut; the first pool is padded at the right and bottom only ("SAME"); convolutions with a stride pad as
without one. Every unit but the first of a block keeps its input as the shortcut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from base_detector import Array, WorkerFailure
from detectors.nets.checkpoint import WeightsUnusable, check_names

SCOPE = "resnet_v1_50"
SIDE = 224
#: units, inner channels and stride of the last unit of each block (He et al., 2016, table 1; the place of the stride is slim's)
BLOCKS = ((3, 64, 2), (4, 128, 2), (6, 256, 2), (3, 512, 1))
#: ImageNet's mean in the order blue, green, red, on 0..255; the published graph subtracts it itself
MEAN_BGR = (103.939, 116.779, 123.68)
#: slim's batch normalisation (``resnet_arg_scope``)
_EPSILON = 1e-5
#: what a checkpoint of a training run holds beside the network: counters, and the slots of an optimiser behind a variable's name
_COUNTERS = ("global_step", "beta1_power", "beta2_power")
_SLOTS = ("Adam", "Adam_1", "Momentum", "RMSProp", "RMSProp_1")


def import_tensorflow() -> ModuleType:
    """TensorFlow; WorkerFailure ``needs_tensorflow`` where it is not installed (it is in the detector's image only)."""
    try:
        import tensorflow
    except ImportError:
        raise WorkerFailure("needs_tensorflow") from None
    return tensorflow


def variables() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every variable of the network, two classes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, kernel in _convolutions():
        shapes[f"{name}/weights"] = kernel
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{name}/BatchNorm/{part}"] = kernel[-1:]
    shapes[f"{SCOPE}/logits/weights"] = (1, 1, 2048, 2)
    shapes[f"{SCOPE}/logits/biases"] = (2,)
    return shapes


def _convolutions() -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    yield f"{SCOPE}/conv1", (7, 7, 3, 64)
    channels = 64
    for block, (units, width, _) in enumerate(BLOCKS, 1):
        for unit in range(1, units + 1):
            name = f"{SCOPE}/block{block}/unit_{unit}/bottleneck_v1"
            if unit == 1:
                yield f"{name}/shortcut", (1, 1, channels, 4 * width)
            yield f"{name}/conv1", (1, 1, channels, width)
            yield f"{name}/conv2", (3, 3, width, width)
            yield f"{name}/conv3", (1, 1, width, 4 * width)
            channels = 4 * width


def read_checkpoint(prefix: Path) -> dict[str, Array]:
    """The network's variables from a TensorFlow checkpoint, ``prefix``.index and ``prefix``.data-00000-of-00001; float32.

    Counters and optimiser slots of a training run are passed over. Raises CheckpointError naming all that differs,
    WeightsUnusable ``weights_mismatch`` for files that are damaged or no checkpoint.
    """
    tf = import_tensorflow()
    wanted = variables()
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        found = {name: shape for name, shape in shapes.items() if not _of_training(name, wanted)}
        check_names(found, wanted=wanted, net=SCOPE)
        return {name: np.asarray(reader.get_tensor(name), np.float32) for name in wanted}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise WeightsUnusable("weights_mismatch", f"{prefix} is not a readable checkpoint: {error}") from None


def _of_training(name: str, wanted: Mapping[str, tuple[int, ...]]) -> bool:
    variable, _, slot = name.rpartition("/")
    return name in _COUNTERS or (slot in _SLOTS and variable in wanted)


class SlimResNet:
    """The network over ``values``, all of ``variables()``; batch normalisation is folded into the convolutions in float64."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        tf = self._tf = import_tensorflow()
        self._layers = {name: self._folded(values, name) for name, _ in _convolutions()}
        kernel, bias = values[f"{SCOPE}/logits/weights"], values[f"{SCOPE}/logits/biases"]
        self._head = tf.constant(kernel[0, 0]), tf.constant(bias)
        self._logits = tf.function(self._traced, input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32)])

    def __call__(self, images: Array) -> Array:
        """(N, 224, 224, 3) float32 BGR 0..255 -> logits (N, 2) float32, index 0 = fake."""
        return np.asarray(self._logits(self._tf.constant(np.ascontiguousarray(images, np.float32))))

    def stages(self, images: Any) -> list[Any]:
        """What the first convolution, the first pool and the four blocks give, NHWC; ``images`` as above."""
        tf = self._tf
        x = images - tf.constant(MEAN_BGR, tf.float32)
        outputs = [tf.nn.relu(self._convolved("conv1", x, stride=2))]
        outputs.append(tf.nn.max_pool2d(outputs[-1], 3, 2, "SAME"))
        for block, (units, _, stride) in enumerate(BLOCKS, 1):
            x = outputs[-1]
            for unit in range(1, units + 1):
                x = self._unit(f"block{block}/unit_{unit}/bottleneck_v1", x, stride=stride if unit == units else 1)
            outputs.append(x)
        return outputs

    def _traced(self, images: Any) -> Any:
        kernel, bias = self._head
        return self._tf.linalg.matmul(self._tf.reduce_mean(self.stages(images)[-1], [1, 2]), kernel) + bias

    def _unit(self, name: str, x: Any, *, stride: int) -> Any:
        relu = self._tf.nn.relu
        projected = f"{SCOPE}/{name}/shortcut" in self._layers
        shortcut = self._convolved(f"{name}/shortcut", x, stride=stride) if projected else x[:, ::stride, ::stride]
        y = relu(self._convolved(f"{name}/conv1", x))
        y = relu(self._convolved(f"{name}/conv2", y, stride=stride))
        return relu(shortcut + self._convolved(f"{name}/conv3", y))

    def _convolved(self, name: str, x: Any, *, stride: int = 1) -> Any:
        kernel, bias = self._layers[f"{SCOPE}/{name}"]
        # padded on all sides whatever the stride; TensorFlow's own "SAME" would shift strided ones by a pixel
        reach = kernel.shape[0] // 2
        return self._tf.nn.conv2d(x, kernel, stride, [[0, 0], [reach, reach], [reach, reach], [0, 0]]) + bias

    def _folded(self, values: Mapping[str, Array], name: str) -> tuple[Any, Any]:
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (values[f"{name}/BatchNorm/{part}"].astype(np.float64) for part in parts)
        factor = gamma / np.sqrt(variance + _EPSILON)
        kernel = values[f"{name}/weights"].astype(np.float64) * factor
        constant = self._tf.constant
        return constant(kernel.astype(np.float32)), constant((beta - mean * factor).astype(np.float32))
