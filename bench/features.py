"""Features of 1,000 pictures, decoding included, against a bare ONNX Runtime loop.

The reference is a loop over arrays that are already decoded, in the fastest form found: batches
of 1, 8 and 32 with all cores inside the graph, and one thread a core over single pictures.
"""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench.measure import report, spread
from bench.pictures import write_photos
from sharpeye.data.digest import add_digests
from sharpeye.data.image_folder import scan_folder
from sharpeye.inference import Backbone, Graph, available_cores
from sharpeye.pipeline.extract import extract, load_sample
from sharpeye.zoo.frozen import freeze

PICTURES, ROUNDS = 1000, 3


def main() -> None:
    backbone = freeze("efficientnet_lite0")
    with tempfile.TemporaryDirectory() as place:
        write_photos(Path(place) / "photos", PICTURES)
        samples = add_digests(scan_folder(Path(place) / "photos"), available_cores()).samples
        arrays = np.stack([load_sample(s, backbone.input) for s in samples[:128]])
        ours, bare = [], []
        for i in range(ROUNDS):
            bare.append(best_bare_rate(backbone, arrays))
            started = time.perf_counter()
            extract(samples, backbone, root=Path(place) / f"cache{i}")
            ours.append(PICTURES / (time.perf_counter() - started))
    ratio = sorted(a / b for a, b in zip(ours, bare, strict=True))
    report(
        "features",
        {
            "images_per_second": spread(ours),
            "bare_images_per_second": spread(bare),
            "ratio": spread(ratio),
            "goal": ">= 0.85",
        },
    )


def best_bare_rate(backbone: Backbone, arrays: "np.ndarray") -> float:
    """Images a second of the fastest bare loop over decoded arrays."""
    rates = []
    inside = Graph(backbone.graph_file, threads=available_cores())
    for batch in (1, 8, 32):
        inside.run(arrays[:batch])
        started = time.perf_counter()
        for i in range(0, len(arrays), batch):
            inside.run(arrays[i : i + batch])
        rates.append(len(arrays) / (time.perf_counter() - started))
    single = Graph(backbone.graph_file)
    with ThreadPoolExecutor(available_cores()) as pool:
        started = time.perf_counter()
        list(pool.map(lambda one: single.run(one[None]), arrays))
        rates.append(len(arrays) / (time.perf_counter() - started))
    return max(rates)


if __name__ == "__main__":
    main()
