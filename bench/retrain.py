"""`sharpeye retrain`, whole processes: 1,000 images, 4,000 steps; and Inception v3's features.

The original retrain.py needs TensorFlow 1 and is not measured here.
"""

import shutil
import tempfile
import time
from pathlib import Path

from bench import arguments
from bench.images import write_photos
from bench.measure import report, spread, time_process
from sharpeye.core.inference import available_cores
from sharpeye.data.digest import add_digests
from sharpeye.data.features import extract_features
from sharpeye.data.image_folder import scan_folder
from sharpeye.models.backbone import BackboneConfig, load_backbone

IMAGES, COLD, WARM = 1000, 5, 5
INCEPTION_IMAGES, ROUNDS = 300, 3


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        photos, cache, out = Path(place) / "photos", Path(place) / "cache", Path(place) / "out"
        write_photos(photos, IMAGES, classes=5, width=330)
        flags = retrain_flags(photos, out)
        cold = []
        for _ in range(COLD):
            shutil.rmtree(cache, ignore_errors=True)
            cold.append(time_process(flags, cache))
        warm = [time_process(flags, cache) for _ in range(WARM)]
        rates = inception(photos, Path(place))
    report("retrain_cold", {"seconds": spread(cold), "goal": "<= 11"})
    report("retrain_warm", {"seconds": spread(warm), "goal": "<= 3.5"})
    report("inception", {"images_per_second": spread(rates), "goal": ">= 14"})


def retrain_flags(photos: Path, out: Path) -> list[str]:
    """The command line: 4,000 steps on MobileNet 0.50."""
    return [
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


def inception(photos: Path, place: Path) -> list[float]:
    """Images a second of Inception v3's features, decoding included."""
    source = BackboneConfig("inception_v3", "random", fit="stretch", filter="bilinear_asymmetric")
    backbone = load_backbone(source, root=place / "inception")
    everything = add_digests(scan_folder(photos), available_cores()).samples
    rates = []
    for i in range(ROUNDS):
        started = time.perf_counter()
        extract_features(everything[:INCEPTION_IMAGES], backbone, root=place / f"features{i}")
        rates.append(INCEPTION_IMAGES / (time.perf_counter() - started))
    return rates


if __name__ == "__main__":
    arguments.run(main, __doc__)
