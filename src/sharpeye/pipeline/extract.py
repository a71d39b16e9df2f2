"""Pictures to feature vectors: from the store where they are, else decoded and computed."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.data.reading import read_picture
from sharpeye.errors import EnvironmentFault, ImageReadError
from sharpeye.imaging.decode import DECODER_VERSION
from sharpeye.imaging.geometry import fit_image
from sharpeye.imaging.views import VIEWS_VERSION, Distortion, draw_view
from sharpeye.inference import Backbone, Graph
from sharpeye.pipeline.feature_store import FeatureStore
from sharpeye.pipeline.stream import stream
from sharpeye.types import InputSpec, Rejected, Sample

log = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True)
class Extracted:
    """Features by picture digest, what could not be read, and how many came from the store."""

    features: dict[str, Features]
    rejected: tuple[Rejected, ...]
    from_store: int


def store_key(
    backbone: Backbone, view: int, distortion: Distortion | None = None
) -> dict[str, Any]:
    """Everything that a feature depends on besides the picture's bytes.

    View 0 is the picture itself whatever the distortion, and so has one key.
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
    if distortion is not None and view > 0:
        return key | {"views": VIEWS_VERSION, "distortion": asdict(distortion)}
    return key | {"views": VIEWS_VERSION} if view > 1 else key


def extract(
    samples: Sequence[Sample],
    backbone: Backbone,
    view: int = 0,
    progress: Progress | None = None,
    root: Path | None = None,
    distortion: Distortion | None = None,
) -> Extracted:
    """The features of one view of each sample.

    Equal files are computed once. Each vector is stored as soon as it is computed, so that a run
    that is stopped goes on where it was. A store that cannot be written costs a warning.

    Args:
        samples: with digests.
        view: 0 for the picture itself, else the index of a view.
        progress: called with (done, total) after each picture that had to be computed.
        root: the cache; by default `cache_root()`.
        distortion: draws the views; by default `draw_view` does.
    """
    by_digest = {sample.sha256: sample for sample in samples}
    graph = Graph(backbone.graph_file)
    store = FeatureStore(store_key(backbone, view, distortion), graph.output_width(), root)
    features = store.load(list(by_digest))
    missing = [sample for digest, sample in by_digest.items() if digest not in features]
    from_store = len(features)
    failed: dict[str, str] = {}

    def work(sample: Sample) -> Features | ImageReadError:
        try:
            pixels = load_sample(sample, backbone.input, view, distortion)
        except ImageReadError as error:
            return error
        features: Features = graph.run(pixels[None])["features"][0]
        return features

    if missing:
        for done, (sample, result) in enumerate(_stored(store, stream(work, missing)), start=1):
            if isinstance(result, ImageReadError):
                failed[sample.sha256] = result.reason
            else:
                features[sample.sha256] = result
            if progress:
                progress(done, len(missing))
        store.merge()
    rejected = tuple(Rejected(s.path, failed[s.sha256]) for s in samples if s.sha256 in failed)
    return Extracted(features, rejected, from_store)


def load_sample(
    sample: Sample, spec: InputSpec, view: int = 0, distortion: Distortion | None = None
) -> npt.NDArray[np.uint8]:
    """Read, check, decode and fit one sample.

    Args:
        view, distortion: as in `extract`.

    Returns:
        uint8[spec.height, spec.width, spec.channels], 0..255.

    Raises:
        ImageReadError: it cannot be read, or is not what its digest was taken of any more.
    """
    image = read_picture(sample, spec)
    draw = distortion.draw if distortion is not None else draw_view
    return fit_image(image, spec, draw(view, sample.sha256))


def _stored(
    store: FeatureStore, results: Iterator[tuple[Sample, Features | ImageReadError]]
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
                    writer.append(sample.sha256, result)
                except EnvironmentFault as error:
                    broken = True
                    log.warning("features are not cached from here on: %s", error)
            yield sample, result
    finally:
        writer.__exit__(None, None, None)
