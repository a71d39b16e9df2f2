"""Heads that predict the object's box, from feature maps or from a feature vector. Needs Keras.

The head on maps is one level of a feature pyramid (Lin et al. 2017, arXiv:1612.03144) whose cells
each propose a box by its four distances (FCOS, Tian et al. 2019, arXiv:1904.01355). There is one
object, so a softmax over the cells weights their proposals, and the box is the weighted mean.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from sharpeye.core.config import NetConfig
from sharpeye.core.inference import Shape
from sharpeye.models.blocks import TRAINED_BN_MOMENTUM, BatchNormalization, kernel_init

# A distance is softplus(x) times this, as a share of the input: initially a quarter of it.
DISTANCE_SCALE = 0.35
# Left and top are on the negative side of the cell's centre.
EDGE_SCALES = DISTANCE_SCALE * np.array([-1, -1, 1, 1], np.float32)
# Share of the channels of the feature maps that are dropped before the head's blocks.
_DROPOUT = 0.2
_BLOCKS = 2


@keras.saving.register_keras_serializable(package="sharpeye")
class FlatMaps(layers.Layer):  # type: ignore[misc]
    """Several maps [N,H,W,C] as one vector float[N,D]; each map is stored channels first."""

    def call(self, inputs: Sequence[Any]) -> Any:
        flat = [
            ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (-1, math.prod(x.shape[1:])))
            for x in inputs
        ]
        return ops.concatenate(flat, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        return None, sum(math.prod(shape[1:]) for shape in input_shape)


@keras.saving.register_keras_serializable(package="sharpeye", name="MapOf")
class SliceMap(layers.Layer):  # type: ignore[misc]
    """One map (height, width, channels) in the output of `FlatMaps`, from offset `start`."""

    def __init__(self, start: int, shape: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.start, self.map_shape = start, tuple(shape)

    def call(self, inputs: Any) -> Any:
        """float[N,D] to float[N,H,W,C]."""
        height, width, channels = self.map_shape
        flat = inputs[:, self.start : self.start + height * width * channels]
        return ops.transpose(ops.reshape(flat, (-1, channels, height, width)), (0, 2, 3, 1))

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config(), start=self.start, shape=self.map_shape)


@keras.saving.register_keras_serializable(package="sharpeye", name="Enlarge")
class NearestResize(layers.Layer):  # type: ignore[misc]
    """Enlarges a map by nearest cells: cell i is cell floor(i * before / after) of the input."""

    def __init__(self, height: int, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.height, self.width = height, width

    def call(self, inputs: Any) -> Any:
        """float[N,h,w,C] to float[N,height,width,C]."""
        for axis, size in ((1, self.height), (2, self.width)):
            before = inputs.shape[axis]
            inputs = ops.take(inputs, np.arange(size) * before // size, axis=axis)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config(), height=self.height, width=self.width)


@keras.saving.register_keras_serializable(package="sharpeye")
class Proposals(layers.Layer):  # type: ignore[misc]
    """The proposal of each cell: a confidence and a box."""

    def call(self, inputs: Any) -> Any:
        """float[N,H,W,5] to float[N,H*W,7]: logit, edges 0..1, x and y of the cell's centre."""
        height, width = inputs.shape[1:3]
        flat = ops.reshape(inputs, (-1, height * width, 5))
        distances = ops.softplus(flat[..., 1:]) * ops.cast(EDGE_SCALES, flat.dtype)
        centres = ops.cast(cell_centres(height, width), flat.dtype)
        positions = ops.zeros_like(flat[..., :2]) + centres[:, :2]
        return ops.concatenate([flat[..., :1], distances + centres, positions], axis=-1)


@keras.saving.register_keras_serializable(package="sharpeye", name="Believed")
class WeightedBoxMean(layers.Layer):  # type: ignore[misc]
    """The mean of the proposed boxes, weighted by the softmax of their logits."""

    def call(self, inputs: Any) -> Any:
        """float[N,M,7] to float[N,4]."""
        return ops.sum(ops.softmax(inputs[..., :1], axis=1) * inputs[..., 1:5], axis=1)


@keras.saving.register_keras_serializable(package="sharpeye")
class Corners(layers.Layer):  # type: ignore[misc]
    """A box from two opposite corners in any order."""

    def call(self, inputs: Any) -> Any:
        """float[N,4] to float[N,4], xmin <= xmax and ymin <= ymax."""
        first, second = inputs[:, :2], inputs[:, 2:]
        return ops.concatenate([ops.minimum(first, second), ops.maximum(first, second)], axis=-1)


@keras.saving.register_keras_serializable(package="sharpeye", name="InTheMiddle")
class CenterBoxInit(keras.initializers.Initializer):  # type: ignore[misc]
    """Initializes a box in the centre of the image, with half of its width and height."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        edges = np.array([0.25, 0.25, 0.75, 0.75], np.float32).reshape(shape)
        return ops.cast(edges, dtype or "float32")


def cell_centres(height: int, width: int) -> npt.NDArray[np.float32]:
    """float32[height*width,4]: x, y, x, y of each cell's centre, as shares of the map."""
    y, x = np.mgrid[:height, :width]
    centres = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=-1).reshape(-1, 2)
    return np.concatenate([centres, centres], axis=-1).astype(np.float32)


def _batch_norm(x: Any, name: str) -> Any:
    return BatchNormalization(momentum=TRAINED_BN_MOMENTUM, name=name)(x)


def box_from_maps(maps: Sequence[Any], width: int) -> dict[str, Any]:
    """Apply the head, of `width` channels, on feature maps float[N,H,W,C], from fine to coarse.

    Returns:
        `box` float32[N,4], and `proposals` float32[N,M,7], which only training uses.
    """
    fine, *coarse = [
        layers.Conv2D(width, 1, use_bias=False, name=f"box_map{i}")(_batch_norm(x, f"box_norm{i}"))
        for i, x in enumerate(maps)
    ]
    x = fine
    for i, level in enumerate(coarse, 1):
        resized = NearestResize(*fine.shape[1:3], name=f"box_enlarge{i}")(level)
        x = layers.Add(name=f"box_join{i}")([x, resized])
    x = layers.ReLU(name="box_relu")(_batch_norm(x, "box_joined"))
    x = layers.SpatialDropout2D(_DROPOUT, name="box_dropout")(x)
    for i in range(_BLOCKS):
        y = layers.DepthwiseConv2D(5, padding="same", use_bias=False, name=f"box_wide{i}")(x)
        y = layers.Conv2D(width, 1, use_bias=False, name=f"box_mix{i}")(y)
        y = layers.ReLU(name=f"box_relu{i}")(_batch_norm(y, f"box_mixed{i}"))
        x = layers.Add(name=f"box_add{i}")([x, y])
    cells = layers.Conv2D(5, 1, name="box_cells", dtype="float32")(x)
    proposals = Proposals(dtype="float32", name="proposals")(cells)
    return {"box": WeightedBoxMean(dtype="float32", name="box")(proposals), "proposals": proposals}


def box_from_features(features: Any, net: NetConfig) -> dict[str, Any]:
    """`box` float32[N,4] from features float[N,D], by one dense layer.

    A network that is trained from scratch keeps positions in its features. Unless `init_stddev` is
    set, the kernel starts at 0 and the box in the centre, for any features: a random kernel puts
    boxes outside the image, where the loss has little gradient.
    """
    start = {"kernel_initializer": kernel_init(net, "zeros"), "bias_initializer": CenterBoxInit()}
    corners = layers.Dense(4, **start, dtype="float32", name="box_corners")(features)
    return {"box": Corners(dtype="float32", name="box")(corners)}


def slice_maps(flat: Any, shapes: Sequence[Shape]) -> list[Any]:
    """The maps float[N,H,W,C] in a vector float[N,D] of `FlatMaps`."""
    maps, start = [], 0
    for i, shape in enumerate(shapes):
        maps.append(SliceMap(start, shape, dtype="float32", name=f"map{i}")(flat))
        start += math.prod(shape)
    return maps


def build_map_head(shapes: Sequence[Shape], width: int) -> keras.Model:
    """The head as a model on precomputed maps: `maps` float32[N,D], the output of `FlatMaps`."""
    flat = keras.Input((sum(map(math.prod, shapes)),), name="maps")
    return keras.Model(flat, box_from_maps(slice_maps(flat, shapes), width), name="box_head")
