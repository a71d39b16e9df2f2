"""Images to feature vectors: from the store where they are, else decoded and computed."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sharpeye.core.inference import Backbone, Graph, Shape
from sharpeye.core.memmap import allocate_array
from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import cache_root
from sharpeye.core.types import InputSpec, Rejected, Sample
from sharpeye.data.feature_store import FeatureStore
from sharpeye.data.read_image import read_image
from sharpeye.errors import EnvironmentFault, ImageReadError
from sharpeye.images.decode import DECODER_VERSION
from sharpeye.images.resize import fit_image
from sharpeye.images.views import (
    PLAIN,
    VIEWS_VERSION,
    Distortion,
    View,
    draw_box_view,
    draw_view,
)

log = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]  # (done, total)

_MAX_HALF = 65504.0  # the largest float16


@dataclass(frozen=True)
class ExtractedFeatures:
    """Features by what `stored_as` says, what could not be read, and how many were stored.

    The features are rows of one array, which of very many images lies in a file.
    """

    features: dict[str, npt.NDArray[Any]]
    rejected: tuple[Rejected, ...]
    from_store: int

    def require_all(self) -> None:
        """Where every image could be read before: nothing may have gone since.

        Raises:
            ImageReadError: the first that cannot be read any more.
        """
        if self.rejected:
            gone = self.rejected[0]
            raise ImageReadError(gone.path, gone.reason)


@dataclass(frozen=True)
class BoxViews:
    """Views that have the whole object in sight, of samples with boxes; see `draw_box_view`."""


Ways = Distortion | BoxViews


def store_key(backbone: Backbone, view: int, ways: Ways | None = None) -> dict[str, Any]:
    """Everything that a feature depends on besides the image's bytes.

    View 0 is the image itself whatever the distortion, and so has one key.
    """
    from importlib.metadata import version

    key = {
        "backbone": backbone.name,
        "graph": backbone.graph_sha256,
        "input": backbone.input.to_dict(),
        "decoder": DECODER_VERSION,
        "pillow": version("pillow"),
        "onnxruntime": version("onnxruntime"),
        "view": view,
    }
    if isinstance(ways, BoxViews) and view > 1:
        return key | {"views": VIEWS_VERSION, "boxes": True}
    if isinstance(ways, Distortion) and view > 0:
        return key | {"views": VIEWS_VERSION, "distortion": asdict(ways)}
    return key | {"views": VIEWS_VERSION} if view > 1 else key


def draw_view_of(view: int, sample: Sample, ways: Ways | None = None) -> View:
    """A view of a sample; 0 is the image itself."""
    if isinstance(ways, BoxViews):
        return draw_box_view(view, sample.sha256, sample.box or (0.0, 0.0, 1.0, 1.0))
    if ways is not None:
        return ways.draw(view, sample.sha256)
    return draw_view(view, sample.sha256)


def feature_key(view: int, sample: Sample, ways: Ways | None = None) -> str:
    """The image's digest; where its box takes part in drawing the view, a digest of both."""
    if isinstance(ways, BoxViews) and view > 1:
        return hashlib.sha256(f"{sample.sha256}:{sample.box}".encode()).hexdigest()
    return sample.sha256


def extract_features(
    samples: Sequence[Sample],
    backbone: Backbone,
    view: int = 0,
    progress: Progress | None = None,
    root: Path | None = None,
    ways: Ways | None = None,
    part: Literal["features", "maps"] = "features",
) -> ExtractedFeatures:
    """The features of one view of each sample.

    Equal files are computed once. Each vector is stored as soon as it is computed, so that a run
    that is stopped goes on where it was. A store that cannot be written costs a warning. Of a
    backbone with maps both parts are stored: whichever is asked for first, it runs once.

    Args:
        samples: with digests.
        view: 0 for the image itself, else the index of a view.
        progress: called with (done, total) after each image that had to be computed.
        root: the cache; by default `cache_root()`.
        ways: how views are drawn; by default `draw_view` does.
        part: float32 features, or float16 maps.
    """
    names = {feature_key(view, sample, ways): sample for sample in samples}
    graph = Graph(backbone.graph_file)
    layout = _Layout(graph.output_width(), backbone.maps)
    store = FeatureStore(store_key(backbone, view, ways), layout.length, root)
    columns = layout.columns(part)
    width = len(range(*columns.indices(layout.length)))
    rows = allocate_array((len(names), width), np.float32, root or cache_root(), "features")
    features: dict[str, npt.NDArray[Any]] = {}

    def keep(name: str, own: Features) -> None:
        row = rows[len(features)]
        row[:] = own
        features[name] = layout.read(part, row)

    for stored_name, own in store.stored(names, columns):
        keep(stored_name, own)
    missing = [sample for name, sample in names.items() if name not in features]
    from_store = len(features)
    failed: dict[str, str] = {}

    def work(sample: Sample) -> Features | ImageReadError:
        try:
            pixels = load_sample(sample, backbone.input, draw_view_of(view, sample, ways))
        except ImageReadError as error:
            return error
        return layout.pack(graph.run(pixels[None]))

    def name(sample: Sample) -> str:
        return feature_key(view, sample, ways)

    if missing:
        results = stored(store, parallel_map(work, missing), name)
        for done, (sample, result) in enumerate(results, start=1):
            if isinstance(result, ImageReadError):
                failed[sample.sha256] = result.reason
            else:
                keep(name(sample), result[columns])
            if progress:
                progress(done, len(missing))
        store.merge()
    rejected = tuple(Rejected(s.path, failed[s.sha256]) for s in samples if s.sha256 in failed)
    return ExtractedFeatures(features, rejected, from_store)


@dataclass(frozen=True)
class _Layout:
    """A stored vector: the features, then the maps, two of their float16 in each float32.

    Attributes:
        features: number of features.
        maps: shapes of the maps.
    """

    features: int
    maps: tuple[Shape, ...]

    @property
    def length(self) -> int:
        return self.features + (self._values + 1) // 2

    @property
    def _values(self) -> int:
        return sum(math.prod(shape) for shape in self.maps)

    def columns(self, part: str) -> slice:
        return slice(self.features, None) if part == "maps" else slice(0, self.features)

    def pack(self, outputs: Mapping[str, npt.NDArray[np.float32]]) -> Features:
        """float32[length] of the outputs for one image."""
        if not self.maps:
            features: Features = outputs["features"][0]
            return features
        half = np.zeros(2 * (self.length - self.features), np.float16)
        half[: self._values] = np.clip(outputs["maps"][0], -_MAX_HALF, _MAX_HALF)
        return np.concatenate([outputs["features"][0], half.view(np.float32)])

    def read(self, part: str, columns: Features) -> npt.NDArray[Any]:
        return columns.view(np.float16)[: self._values] if part == "maps" else columns


def load_sample(sample: Sample, spec: InputSpec, view: View = PLAIN) -> npt.NDArray[np.uint8]:
    """Read, check, decode and fit one sample.

    Returns:
        uint8[spec.height, spec.width, spec.channels], 0..255.

    Raises:
        ImageReadError: it cannot be read, or is not what its digest was taken of any more.
    """
    return fit_image(read_image(sample), spec, view)


def stored(
    store: FeatureStore,
    results: Iterator[tuple[Sample, Features | ImageReadError]],
    name: Callable[[Sample], str],
) -> Iterator[tuple[Sample, Features | ImageReadError]]:
    """Pass results on, each written to the store first, for as long as it can be written."""
    try:
        writer = store.writer().__enter__()
    except EnvironmentFault as error:
        log.warning("features are not cached: %s", error)
        yield from results
        return
    broken = False
    try:
        for sample, result in results:
            if not broken and not isinstance(result, ImageReadError):
                try:
                    writer.append(name(sample), result)
                except EnvironmentFault as error:
                    broken = True
                    log.warning("features are not cached from here on: %s", error)
            yield sample, result
    finally:
        writer.__exit__(None, None, None)
