"""Compute the feature vectors of images, or of augmented views of them, with a backbone.

The cache keeps each vector. View 0 is the image itself; `draw_view` or a view policy draws the
others.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sharpeye.core.arrays import Array, Floats, allocate_array
from sharpeye.core.inference import Backbone, Graph, Shape
from sharpeye.core.progress import Progress
from sharpeye.core.storage import cache_root
from sharpeye.core.types import Rejected, Sample
from sharpeye.data.cached_vectors import load_or_compute
from sharpeye.data.sample_image import load_sample, wide_key
from sharpeye.data.vector_store import VectorStore
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import DECODER_VERSION
from sharpeye.images.views import VIEWS_VERSION, Distortion, View, draw_box_view, draw_view

_MAX_FLOAT16 = 65504.0


@dataclass(frozen=True)
class ObjectViews:
    """The policy of views that show the whole object of a sample; see `draw_box_view`."""


ViewPolicy = Distortion | ObjectViews


def draw_sample_view(view: int, sample: Sample, policy: ViewPolicy | None = None) -> View:
    """A view of a sample by its index."""
    if isinstance(policy, ObjectViews):
        return draw_box_view(view, sample.sha256, sample.box or (0.0, 0.0, 1.0, 1.0))
    if policy is not None:
        return policy.draw(view, sample.sha256)
    return draw_view(view, sample.sha256)


def vector_key(view: int, sample: Sample, policy: ViewPolicy | None = None) -> str:
    """The key of a stored vector: a digest of the image, or of image and box for `ObjectViews`."""
    if isinstance(policy, ObjectViews) and view > 1:
        return hashlib.sha256(f"{sample.sha256}:{sample.box}".encode()).hexdigest()
    return sample.sha256


@dataclass(frozen=True)
class ExtractedFeatures:
    """The features of some images.

    Attributes:
        features: by `vector_key`; rows of one array, which lies in a file if there are very many.
        rejected: images that could not be read.
        from_store: how many were in the cache.
    """

    features: dict[str, Array]
    rejected: tuple[Rejected, ...]
    from_store: int

    def require_all(self) -> None:
        """Raise ImageReadError if an image that was readable before is missing."""
        if self.rejected:
            raise ImageReadError(self.rejected[0].path, self.rejected[0].reason)


def extract_features(
    samples: Sequence[Sample],
    backbone: Backbone,
    view: int = 0,
    *,
    progress: Progress | None = None,
    root: Path | None = None,
    view_policy: ViewPolicy | None = None,
    output: Literal["features", "maps"] = "features",
) -> ExtractedFeatures:
    """The features of one view of each sample, from the cache if they are there.

    Equal files are computed once. Features and maps of one backbone are stored together, so that it
    runs only once, whichever is requested first.

    Args:
        samples: with digests.
        progress: called after each image that had to be computed.
        output: float32 features, or float16 maps.
    """
    graph = Graph(backbone.graph_file)
    layout = _VectorLayout(graph.output_width(), backbone.maps)
    columns = layout.columns(output)
    width = len(range(*columns.indices(layout.length)))
    samples_by_key = {vector_key(view, sample, view_policy): sample for sample in samples}
    shape = (len(samples_by_key), width)
    rows = allocate_array(shape, np.float32, root or cache_root(), description="features")
    features: dict[str, Array] = {}

    def compute(sample: Sample) -> Floats:
        pixels = load_sample(sample, backbone.input, draw_sample_view(view, sample, view_policy))
        return layout.pack(graph.run(pixels[None]))

    def receive(key: str, vector: Floats) -> None:
        row = rows[len(features)]
        row[:] = vector
        features[key] = layout.unpack(output, row)

    store_name = store_key(backbone, view, view_policy) | wide_key(samples)
    store = VectorStore(store_name, layout.length, root)
    result = load_or_compute(
        store, samples_by_key, compute, receive=receive, columns=columns, progress=progress
    )
    return ExtractedFeatures(features, result.rejected(samples), result.from_store)


def store_key(backbone: Backbone, view: int, policy: ViewPolicy | None = None) -> dict[str, Any]:
    """Everything that a feature depends on besides the samples, for which see `wide_key`.

    View 0 has the same key under each policy: it is always the image itself.
    """
    from importlib.metadata import version

    key: dict[str, Any] = {
        "backbone": backbone.name,
        "graph": backbone.graph_sha256,
        "input": backbone.input.to_dict(),
        "decoder": DECODER_VERSION,
        "pillow": version("pillow"),
        "onnxruntime": version("onnxruntime"),
        "view": view,
    }
    if isinstance(policy, Distortion) and view > 0:
        return key | {"views": VIEWS_VERSION, "distortion": asdict(policy)}
    if view > 1:
        key["views"] = VIEWS_VERSION
        if isinstance(policy, ObjectViews):
            key["boxes"] = True
    return key


@dataclass(frozen=True)
class _VectorLayout:
    """A stored vector: the features, then the maps, two of their float16 in each float32."""

    features: int
    maps: tuple[Shape, ...]

    @property
    def length(self) -> int:
        return self.features + (self._map_values + 1) // 2

    @property
    def _map_values(self) -> int:
        return sum(math.prod(shape) for shape in self.maps)

    def columns(self, output: str) -> slice:
        return slice(self.features, None) if output == "maps" else slice(0, self.features)

    def pack(self, outputs: Mapping[str, Floats]) -> Floats:
        """float32[length] of the outputs for one image."""
        features: Floats = outputs["features"][0]
        if not self.maps:
            return features
        halves = np.zeros(2 * (self.length - self.features), np.float16)
        halves[: self._map_values] = np.clip(outputs["maps"][0], -_MAX_FLOAT16, _MAX_FLOAT16)
        return np.concatenate([features, halves.view(np.float32)])

    def unpack(self, output: str, columns: Floats) -> Array:
        return columns.view(np.float16)[: self._map_values] if output == "maps" else columns
