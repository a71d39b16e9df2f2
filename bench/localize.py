"""A localizer on a folder of images with Pascal VOC files: whole processes, scores and time.

    python -m bench.localize DIR [TIME [MODEL ...]]

DIR has parts of its own (train/ and test/, or lists in ImageSets/Main), so that every model is
asked about the same images. TIME (10m) is the limit of networks that are learned from scratch.
MODEL is default or alexnet; both if none is named. The default is run three times with empty and
three times with warm caches, a network from scratch once, with an empty cache.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bench import arguments
from bench.measure import report, spread, time_process
from sharpeye.data.pascal_voc import scan_voc

COLD, WARM = 3, 3
SCORES = ("mean_iou", "accuracy", "accuracy_at_iou50", "accuracy_at_iou75")
# What makes each of them, and whether it is learned from scratch.
MODELS: dict[str, tuple[list[str], bool]] = {
    "default": ([], False),
    "alexnet": (["--model", "alexnet", "--set", "train.precision=float32"], True),
}


def main(data: Path, limit: str, models: list[str]) -> None:
    if not scan_voc(data).given_splits:
        raise SystemExit(f"{data} has no parts of its own: it needs train/ and test/")
    for model in models or MODELS:
        name = re.sub(r"\W+", "_", data.resolve().name)
        report(f"localize_{name}_{model}", measure(data, model, limit))


def measure(
    data: Path, model: str, limit: str, cold: int = COLD, warm: int = WARM
) -> dict[str, Any]:
    """Run one model; scores are of the first run, on the folder's own test part."""
    flags, scratch = MODELS[model]
    with tempfile.TemporaryDirectory() as place:
        cache, runs = Path(place) / "cache", Path(place) / "runs"
        train = ["train", str(data), "--task", "localize", "--quiet", *flags]
        train += ["--time-limit", limit] if scratch else []
        seconds: dict[str, list[float]] = {"cold": [], "warm": []}
        for number in range(1 if scratch else cold + warm):
            kind = "cold" if number < cold else "warm"
            if kind == "cold":
                shutil.rmtree(cache, ignore_errors=True)
            run = runs / str(number)
            seconds[kind].append(time_process([*train, "--output", str(run)], cache))
        folders = [runs / str(number) for number in range(len(list(runs.iterdir())))]
        metrics = [read_json(folder / "metrics.json") for folder in folders]
        about = read_json(folders[0] / "bundle.json")
    return {
        "set": data.resolve().name,
        "model": about["model"],
        "pictures": about["data"]["pictures"],
        "from_scratch": scratch,
        "time_limit": limit if scratch else None,
        **scores_of(metrics[0]["test"]),
        "mean_iou_of_runs": spread([one["test"]["mean_iou"] for one in metrics]),
        "stages": {name: round(value, 1) for name, value in metrics[0]["seconds"].items()},
        "seconds": {kind: spread(result) for kind, result in seconds.items() if result},
    }


def scores_of(test: dict[str, Any]) -> dict[str, Any]:
    """Each score with its interval, of `metrics.json`'s test part."""
    names = [name for score in SCORES for name in (score, f"{score}_ci95")]
    return {"count": test["count"], **{name: test[name] for name in names}}


def read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    limit = {"nargs": "?", "default": "10m"}
    models = {"nargs": "*", "type": arguments.one_of(MODELS)}
    arguments.run(main, __doc__, data={"type": arguments.folder}, limit=limit, models=models)
