"""Needs Keras. Heads that say where the object is: on feature maps, or on a flat feature vector.

The head on maps is one level of a feature pyramid (Lin et al. 2017, arXiv:1612.03144) whose cells
each propose a box by its four distances (FCOS, Tian et al. 2019, arXiv:1904.01355). There is one
object, so a softmax over the cells says whose proposals to believe, and the box is their mean.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from sharpeye.core.config import NetConfig
from sharpeye.core.inference import Shape
from sharpeye.models.blocks import LEARNED_BN_MOMENTUM, BatchNormalization, kernel_init

# A distance is softplus(x) times this, in shares of the input: a quarter of it to begin with.
REACH = 0.35
# Of the feature maps, whole channels at a time, before the head's blocks.
_DROPPED = 0.2
_BLOCKS = 2
_MIDDLE = (0.25, 0.25, 0.75, 0.75)


@keras.saving.register_keras_serializable(package="sharpeye")
class FlatMaps(layers.Layer):  # type: ignore[misc]
    """Several maps [N,H,W,C] as one vector float[N,D], each with its channels first."""

    def call(self, inputs: Sequence[Any]) -> Any:
        flat = [
            ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (-1, int(np.prod(x.shape[1:]))))
            for x in inputs
        ]
        return ops.concatenate(flat, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        return None, sum(int(np.prod(shape[1:])) for shape in input_shape)


@keras.saving.register_keras_serializable(package="sharpeye", name="MapOf")
class SliceMap(layers.Layer):  # type: ignore[misc]
    """One of the maps in what `FlatMaps` gives.

    Args:
        start: where it begins in the vector.
        shape: height, width, channels.
    """

    def __init__(self, start: int, shape: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.start, self.map_shape = start, tuple(shape)

    def call(self, inputs: Any) -> Any:
        """float[N,D] to float[N,H,W,C]."""
        height, width, channels = self.map_shape
        own = inputs[:, self.start : self.start + height * width * channels]
        return ops.transpose(ops.reshape(own, (-1, channels, height, width)), (0, 2, 3, 1))

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"start": self.start, "shape": self.map_shape}


@keras.saving.register_keras_serializable(package="sharpeye", name="Enlarge")
class NearestResize(layers.Layer):  # type: ignore[misc]
    """The nearest cell's value in a larger map: cell i takes that of floor(i * before / after).

    Args:
        height, width: of the larger map.
    """

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
        config: dict[str, Any] = super().get_config()
        return config | {"height": self.height, "width": self.width}


@keras.saving.register_keras_serializable(package="sharpeye")
class Proposals(layers.Layer):  # type: ignore[misc]
    """What each cell proposes: how far it is to be believed, and a box."""

    def call(self, inputs: Any) -> Any:
        """float[N,H,W,5] to float[N,H*W,7]: logit, edges 0..1, and x and y of the cell's middle."""
        height, width = inputs.shape[1:3]
        flat = ops.reshape(inputs, (-1, height * width, 5))
        distances = ops.softplus(flat[..., 1:]) * ops.cast(DIRECTIONS, flat.dtype)
        middles = ops.cast(cell_middles(height, width), flat.dtype)
        places = ops.zeros_like(flat[..., :2]) + middles[:, :2]
        return ops.concatenate([flat[..., :1], distances + middles, places], axis=-1)


@keras.saving.register_keras_serializable(package="sharpeye", name="Believed")
class WeightedBoxMean(layers.Layer):  # type: ignore[misc]
    """The mean of the proposals, each as far as it is believed."""

    def call(self, inputs: Any) -> Any:
        """float[N,M,7] to float[N,4]."""
        return ops.sum(ops.softmax(inputs[..., :1], axis=1) * inputs[..., 1:5], axis=1)


@keras.saving.register_keras_serializable(package="sharpeye")
class Corners(layers.Layer):  # type: ignore[misc]
    """Two opposite corners, in whichever order they come, as a box."""

    def call(self, inputs: Any) -> Any:
        """float[N,4] to float[N,4], xmin <= xmax and ymin <= ymax."""
        first, second = inputs[:, :2], inputs[:, 2:]
        return ops.concatenate([ops.minimum(first, second), ops.maximum(first, second)], axis=-1)


@keras.saving.register_keras_serializable(package="sharpeye", name="InTheMiddle")
class CenterBoxInit(keras.initializers.Initializer):  # type: ignore[misc]
    """The four edges of a box in the middle, half as wide and as high as the image."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.cast(np.array(_MIDDLE, np.float32).reshape(shape), dtype or "float32")


DIRECTIONS = np.array([-REACH, -REACH, REACH, REACH], np.float32)


def cell_middles(height: int, width: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """float32[height*width,4]: x, y, x, y of each cell's middle, as shares of the map."""
    y, x = np.mgrid[:height, :width]
    middles = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=-1).reshape(-1, 2)
    return np.concatenate([middles, middles], axis=-1).astype(np.float32)


def _batch_norm(x: Any, name: str) -> Any:
    return BatchNormalization(momentum=LEARNED_BN_MOMENTUM, name=name)(x)


def box_on_maps(maps: Sequence[Any], width: int) -> dict[str, Any]:
    """The head on feature maps.

    Args:
        maps: float[N,H,W,C], from fine to coarse.
        width: channels of the head.

    Returns:
        `box` float32[N,4], and `proposals` float32[N,M,7], which only training looks at.
    """
    fine, *coarse = [
        layers.Conv2D(width, 1, use_bias=False, name=f"box_map{i}")(_batch_norm(x, f"box_norm{i}"))
        for i, x in enumerate(maps)
    ]
    x = fine
    for i, level in enumerate(coarse, 1):
        larger = NearestResize(*fine.shape[1:3], name=f"box_enlarge{i}")(level)
        x = layers.Add(name=f"box_join{i}")([x, larger])
    x = layers.ReLU(name="box_relu")(_batch_norm(x, "box_joined"))
    x = layers.SpatialDropout2D(_DROPPED, name="box_dropout")(x)
    for i in range(_BLOCKS):
        y = layers.DepthwiseConv2D(5, padding="same", use_bias=False, name=f"box_wide{i}")(x)
        y = layers.Conv2D(width, 1, use_bias=False, name=f"box_mix{i}")(y)
        y = layers.ReLU(name=f"box_relu{i}")(_batch_norm(y, f"box_mixed{i}"))
        x = layers.Add(name=f"box_add{i}")([x, y])
    cells = layers.Conv2D(5, 1, name="box_cells", dtype="float32")(x)
    proposals = Proposals(dtype="float32", name="proposals")(cells)
    return {"box": WeightedBoxMean(dtype="float32", name="box")(proposals), "proposals": proposals}


def box_on_features(features: Any, net: NetConfig) -> dict[str, Any]:
    """One dense layer: where a network from scratch keeps places in its features.

    Unless `init_stddev` is set it begins with the middle, whatever the features are: a random
    kernel throws boxes out of the image, where little of the loss tells the way back.

    Args:
        features: float[N,D].

    Returns:
        `box` float32[N,4].
    """
    corners = layers.Dense(
        4,
        kernel_initializer=kernel_init(net, "zeros"),
        bias_initializer=CenterBoxInit(),
        dtype="float32",
        name="box_corners",
    )(features)
    return {"box": Corners(dtype="float32", name="box")(corners)}


def build_map_head(shapes: Sequence[Shape], width: int) -> keras.Model:
    """The head on maps that were computed before: `maps` float32[N,D], as `FlatMaps` gives them."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    flat = keras.Input((sum(sizes),), name="maps")
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    maps = [
        SliceMap(start, shape, dtype="float32", name=f"map{i}")(flat)
        for i, (start, shape) in enumerate(zip(starts, shapes, strict=True))
    ]
    return keras.Model(flat, box_on_maps(maps, width), name="box_head")
