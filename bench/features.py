"""Features of 1,000 images, decoding included, against a bare ONNX Runtime loop.

The reference is a loop over arrays that are already decoded, with all cores inside the graph, at
the fastest of batches of 1, 8 and 32. Our own way of running it, one thread a core over single
images, is measured bare too: the second ratio is what decoding costs.
"""

import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench import arguments
from bench.images import write_photos
from bench.measure import report, spread
from sharpeye.core.inference import Backbone, Graph, available_cores
from sharpeye.data.digest import add_digests
from sharpeye.data.features import extract_features
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.sample_image import load_sample
from sharpeye.models.backbone import BackboneConfig, load_backbone

IMAGES, ROUNDS = 1000, 3


def main() -> None:
    backbone = load_backbone(BackboneConfig("efficientnet_lite0"))
    for name, width in (("features", 330), ("features_large", 520)):
        measure(name, backbone, width)


def measure(name: str, backbone: Backbone, width: int) -> None:
    """Measure on JPEGs of about that width."""
    with tempfile.TemporaryDirectory() as place:
        write_photos(Path(place) / "photos", IMAGES, width=width)
        samples = add_digests(scan_folder(Path(place) / "photos"), available_cores()).samples
        arrays = np.stack([load_sample(s, backbone.input) for s in samples[:128]])
        ours, bare, pool = [], [bare_rate(backbone, arrays)], [pool_rate(backbone, arrays)]
        for i in range(ROUNDS):
            started = time.perf_counter()
            extract_features(samples, backbone, root=Path(place) / f"cache{i}")
            ours.append(IMAGES / (time.perf_counter() - started))
            bare.append(bare_rate(backbone, arrays))
            pool.append(pool_rate(backbone, arrays))
    report(
        name,
        {
            "picture_width": width,
            "images_per_second": spread(ours),
            "bare_images_per_second": spread(bare),
            "ratio": spread(ratios(ours, bare)),
            "ratio_to_pool": spread(ratios(ours, pool)),
            "goal": ">= 0.85",
        },
    )


def ratios(ours: list[float], reference: list[float]) -> list[float]:
    """Each extraction against the loops just before and just after it: such machines drift."""
    around = [(a + b) / 2 for a, b in itertools.pairwise(reference)]
    return [a / b for a, b in zip(ours, around, strict=True)]


def bare_rate(backbone: Backbone, arrays: "np.ndarray") -> float:
    """Images a second of a bare loop over decoded arrays, at its best batch size."""
    rates = []
    inside = Graph(backbone.graph_file, threads=available_cores())
    for batch in (1, 8, 32):
        inside.run(arrays[:batch])
        started = time.perf_counter()
        for i in range(0, len(arrays), batch):
            inside.run(arrays[i : i + batch])
        rates.append(len(arrays) / (time.perf_counter() - started))
    return max(rates)


def pool_rate(backbone: Backbone, arrays: "np.ndarray") -> float:
    """Images a second of one thread a core, each over single decoded arrays."""
    graph = Graph(backbone.graph_file)
    with ThreadPoolExecutor(available_cores()) as pool:
        started = time.perf_counter()
        list(pool.map(lambda one: graph.run(one[None]), arrays))
        return len(arrays) / (time.perf_counter() - started)


if __name__ == "__main__":
    arguments.run(main, __doc__)
