"""The arguments of a small `sharpeye retrain`."""

from pathlib import Path


def retrain_arguments(photos: Path, out: Path, *more: str) -> list[str]:
    return [
        "retrain",
        f"--image_dir={photos}",
        "--architecture=mobilenet_0.25_128",
        "--weights=random",
        "--how_many_training_steps=60",
        f"--output_graph={out}/graph.pb",
        f"--output_labels={out}/labels.txt",
        f"--summaries_dir={out}/logs",
        *more,
    ]
