"""`sharpeye retrain`, whole processes: 1,000 pictures, 4,000 steps; and Inception v3's features.

The original retrain.py needs TensorFlow 1 and is not measured here.
"""

import shutil
import tempfile
import time
from pathlib import Path

from bench.measure import report, spread, time_process
from bench.pictures import write_photos
from sharpeye.core.inference import available_cores
from sharpeye.data.digest import add_digests
from sharpeye.data.features import extract
from sharpeye.data.image_folder import scan_folder
from sharpeye.models.backbone import Source, freeze

PICTURES, COLD, WARM = 1000, 3, 5
INCEPTION_PICTURES, ROUNDS = 300, 3


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        photos, cache, out = Path(place) / "photos", Path(place) / "cache", Path(place) / "out"
        write_photos(photos, PICTURES, classes=5, width=330)
        flags = [
            "retrain",
            "--quiet",
            f"--image_dir={photos}",
            "--architecture=mobilenet_0.50_224",
            "--weights=random",
            "--how_many_training_steps=4000",
            f"--output_graph={out}/graph.pb",
            f"--output_labels={out}/labels.txt",
            f"--summaries_dir={out}/logs",
        ]
        cold = []
        for _ in range(COLD):
            shutil.rmtree(cache, ignore_errors=True)
            cold.append(time_process(flags, cache))
        warm = [time_process(flags, cache) for _ in range(WARM)]
        rates = inception(photos, Path(place))
    report("retrain_cold", {"seconds": spread(cold), "goal": "<= 15"})
    report("retrain_warm", {"seconds": spread(warm), "goal": "<= 8"})
    report("inception", {"images_per_second": spread(rates), "goal": ">= 14"})


def inception(photos: Path, place: Path) -> list[float]:
    """Images a second of Inception v3's features, decoding included."""
    source = Source("inception_v3", "random", fit="stretch", filter="bilinear_asymmetric")
    backbone = freeze(source, root=place / "inception")
    everything = add_digests(scan_folder(photos), available_cores()).samples
    rates = []
    for i in range(ROUNDS):
        started = time.perf_counter()
        extract(everything[:INCEPTION_PICTURES], backbone, root=place / f"features{i}")
        rates.append(INCEPTION_PICTURES / (time.perf_counter() - started))
    return rates


if __name__ == "__main__":
    main()
