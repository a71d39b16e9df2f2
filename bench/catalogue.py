"""Every figure that README and docs quote: what measures it, and the code that it depends on.

`bench/results/NAME.json` holds the figure, with commit, machine, and the digest of `paths` at that
commit. `make check` fails when the digest is no longer that of the code (`bench.stale`).
"""

from dataclasses import dataclass

_SOURCE = "src/sharpeye/"


def _rooms(*names: str) -> tuple[str, ...]:
    return tuple(_SOURCE + name for name in names)


# What a process passes through from a folder to features, to a head, and to a run directory.
_FEATURES = _rooms("core", "images", "data", "models", "artefact/verify")
_HEAD = _rooms("learn/heads")
_RUN = _rooms(
    *("learn/heads", "learn/ood", "artefact", "runs", "report", "predict", "jobs/train"),
    *("cli/app.py", "cli/train.py", "cli/options.py", "__init__.py", "__main__.py"),
)
_NETWORKS = _rooms("learn/nets", "models")
_BENCH = ("bench/images.py",)


@dataclass(frozen=True)
class Figure:
    """What measures a figure, and what it depends on.

    Attributes:
        command: the module of `bench`, and its arguments; what is in capitals the user gives.
        paths: files and folders that the figure depends on, besides the module.
        title: its row in the table of README; empty for figures that have a table of their own.
        value: the key of the spread in the result.
        unit: of the value, for example " s".
        is_ratio: `make bench-ratios` measures it. Both sides are measured in one run, so that the
            speed of the machine matters little.
    """

    command: str
    paths: tuple[str, ...]
    title: str = ""
    value: str = "seconds"
    unit: str = ""
    is_ratio: bool = False

    @property
    def module(self) -> str:
        return self.command.split()[0]

    @property
    def all_paths(self) -> tuple[str, ...]:
        """Everything that the digest covers."""
        return (f"bench/{self.module}.py", *self.paths)


def _ratio(command: str, paths: tuple[str, ...], title: str) -> Figure:
    return Figure(command, paths, title, value="ratio", is_ratio=True)


_SCRATCH = "from_scratch", _NETWORKS
_RETRAIN = _FEATURES + _RUN + _rooms("compat", "cli/retrain.py") + _BENCH

# The order is that of the rows.
FIGURES: dict[str, Figure] = {
    "train_cold": Figure(
        "whole",
        _FEATURES + _RUN + _BENCH,
        "`train` on 141 images, whole process, empty caches",
        unit=" s",
    ),
    "train_warm": Figure(
        "whole", _FEATURES + _RUN + _BENCH, "the same with warm caches", unit=" s"
    ),
    "train_digits": Figure(
        "whole",
        _FEATURES + _RUN + _BENCH,
        "`train` on 1,797 digits, whole process, empty caches",
        unit=" s",
    ),
    "predict_one": Figure(
        "whole",
        _rooms("core", "images", "artefact", "predict", "cli/predict.py", "cli/app.py"),
        "`predict` of one image, whole process",
        unit=" s",
    ),
    "retrain_cold": Figure(
        "retrain",
        _RETRAIN,
        "`retrain`, 1,000 images, MobileNet 0.50, 4,000 steps, cold",
        unit=" s",
    ),
    "retrain_warm": Figure("retrain", _RETRAIN, "the same with warm caches", unit=" s"),
    "inception": Figure(
        "retrain",
        _FEATURES + _BENCH,
        "Inception v3's features, images a second",
        value="images_per_second",
    ),
    "ood_share_retrain": _ratio(
        "ood_share",
        ("bench/retrain.py", *_RETRAIN),
        "out-of-distribution statistics, share of `retrain` of 1,000 images, warm caches",
    ),
    "ood_share_train": _ratio(
        "ood_share", _FEATURES + _RUN + _BENCH, "the same of `train` on 141 images"
    ),
    "ood_share_1000": _ratio(
        "ood_share", _FEATURES + _RUN + _BENCH, "the same of `train` on 1,000 images of 10 classes"
    ),
    "head_over_sklearn": _ratio(
        "head",
        _HEAD + _rooms("core/blas_threads.py", "core/numerics.py"),
        "the head's fit, L2 search and calibration over one fit of scikit-learn's",
    ),
    "features": _ratio(
        "features",
        _FEATURES + _BENCH,
        "features of 1,000 JPEGs of 330 x 250 over a bare runtime loop",
    ),
    "features_large": _ratio("features", _FEATURES + _BENCH, "the same, JPEGs of 520 x 390"),
    "scratch_lenet5_over_keras": _ratio(
        *_SCRATCH, "LeNet-5, 32 px, batch 32: images a second over Keras' `fit`"
    ),
    "scratch_lenet5_over_torch": _ratio(
        *_SCRATCH, "the same over a PyTorch loop (channels last, fused Adam)"
    ),
    "scratch_cnn_over_keras": _ratio(
        *_SCRATCH, "CNN of 3 x 64, 50 px grey, batch 32, over Keras' `fit`"
    ),
    "scratch_cnn_over_torch": _ratio(*_SCRATCH, "the same over a PyTorch loop"),
    "scratch_mobilenet_v2_1.0_96_over_keras": _ratio(
        *_SCRATCH, "MobileNetV2, 96 px, batch 32, over Keras' `fit`"
    ),
    "serve_latency": _ratio(
        "serve",
        _rooms("core", "images", "artefact", "predict", "serve") + _BENCH,
        "one image over HTTP over the bare model and decoding, median latency",
    ),
    "serve_throughput": _ratio(
        "serve",
        _rooms("core", "images", "artefact", "predict", "serve") + _BENCH,
        "16 clients over HTTP over a bare runtime loop, images a second",
    ),
    "fashion_lenet5": Figure("fashion DIR", _NETWORKS + _rooms("core/recipes", "jobs/train")),
    "fashion_10min": Figure("fashion DIR", _NETWORKS + _rooms("core/recipes", "jobs/train")),
    "fashion_45min": Figure("fashion DIR", _NETWORKS + _rooms("core/recipes", "jobs/train")),
    "grid_of_27": Figure("grid DIR", _NETWORKS + _rooms("core/recipes", "jobs/sweep")),
    "localize_scenes4_default": Figure(
        "localize DIR 10m",
        _FEATURES + _rooms("jobs/train/box_head.py", "learn/nets", "learn/heads"),
    ),
    "localize_scenes4_alexnet": Figure(
        "localize DIR 10m", _NETWORKS + _rooms("images/boxes.py", "images/voc_xml.py")
    ),
    "accuracy_things8": Figure("accuracy DIR 30", _FEATURES + _HEAD),
    "unknown": Figure("unknown DIR", _FEATURES + _HEAD + _rooms("learn/ood")),
    "explain_scenes4": Figure(
        "explain DIR", _FEATURES + _HEAD + _rooms("artefact/heat_nodes.py", "predict/explain.py")
    ),
    "same_answers": Figure(
        "same_answers DIR", _rooms("images", "artefact", "predict", "serve", "core/inference.py")
    ),
    "faults": Figure("faults DIR", _FEATURES + _HEAD + _rooms("jobs/audit")),
    "labels": Figure("labels", _FEATURES + _HEAD + _rooms("jobs/audit", "collect/samples.py")),
    "check": Figure("check", _rooms("core", "images", "data", "jobs/audit")),
    # Its small tier runs with the tests, so that changes of the source ask for no other figure.
    "battery": Figure("battery battery", ("tests/battery",)),
}
