"""Every figure that README and docs quote: what measures it, and the code that it depends on.

`bench/results/NAME.json` holds the figure, with commit, machine, and the digest of its files at
that commit. `make check` fails when the digest is no longer that of the code (`bench.stale`). The
files are found by following imports (`bench.dependencies`), so that none can be forgotten.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.code_digest import ROOT, digest_of
from bench.dependencies import files_of

# What a training of a last layer loads, and does not run.
_NETWORKS = ("src/sharpeye/learn/nets", "src/sharpeye/models/classifier.py")
# What does not change a share of right answers.
_PAGES = ("src/sharpeye/report", "src/sharpeye/cli")


@dataclass(frozen=True)
class Figure:
    """What measures a figure, and what it depends on.

    Attributes:
        command: the module of `bench`, and its arguments; what is in capitals the user gives.
        runs: commands of SharpEye that are started as processes, or by name.
        folders: further code that it depends on.
        without: files and folders that are imported, and do not move the figure.
        title: its row in the table of README; empty for figures that have a table of their own.
        value: the key of the spread in the result.
        unit: of the value, for example " s".
        is_ratio: `make bench-ratios` measures it. Both sides are measured in one run, so that the
            speed of the machine matters little.
    """

    command: str
    runs: tuple[str, ...] = ()
    title: str = ""
    value: str = "seconds"
    unit: str = ""
    is_ratio: bool = False
    folders: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        return self.command.split()[0]

    def files(self, root: Path = ROOT) -> frozenset[Path]:
        """Every file that the figure depends on, relative to the checkout `root`."""
        return _files(self, root)

    def digest(self, root: Path = ROOT) -> str:
        return digest_of(self.files(root), root)


@cache
def _files(figure: Figure, root: Path) -> frozenset[Path]:
    commands = [f"sharpeye.cli.{name.replace('-', '_')}" for name in figure.runs]
    modules = [f"bench.{figure.module}", *(["sharpeye.__main__", *commands] if commands else [])]
    return frozenset(files_of(root, modules, figure.folders, figure.without))


def _seconds(command: str, runs: tuple[str, ...], title: str, **options: Any) -> Figure:
    return Figure(command, runs, title, unit=" s", **options)


def _ratio(command: str, runs: tuple[str, ...], title: str, **options: Any) -> Figure:
    return Figure(command, runs, title, value="ratio", is_ratio=True, **options)


def _option(title: str) -> Figure:
    return Figure("scratch_options", title=title, value="ratio")


# The order is that of the rows.
FIGURES: dict[str, Figure] = {
    "train_cold": _seconds(
        *("whole", ("train",), "`train` on 141 images, whole process, empty caches"),
        without=_NETWORKS,
    ),
    "train_warm": _seconds("whole", ("train",), "the same with warm caches", without=_NETWORKS),
    "train_digits": _seconds(
        *("whole", ("sample", "train"), "`train` on 1,797 digits, whole process, empty caches"),
        without=_NETWORKS,
    ),
    "predict_one": _seconds("whole", ("predict",), "`predict` of one image, whole process"),
    "retrain_cold": _seconds(
        *("retrain", ("retrain",), "`retrain`, 1,000 images, MobileNet 0.50, 4,000 steps, cold"),
        without=_NETWORKS,
    ),
    "retrain_warm": _seconds(
        "retrain", ("retrain",), "the same with warm caches", without=_NETWORKS
    ),
    "inception": Figure(
        *("retrain", (), "Inception v3's features, images a second"),
        value="images_per_second",
    ),
    "ood_share_retrain": _ratio(
        "ood_share",
        ("retrain",),
        "out-of-distribution statistics, share of `retrain` of 1,000 images, warm caches",
        without=_NETWORKS,
    ),
    "ood_share_train": _ratio(
        *("ood_share", ("train",), "the same of `train` on 141 images"), without=_NETWORKS
    ),
    "ood_share_1000": _ratio(
        *("ood_share", ("train",), "the same of `train` on 1,000 images of 10 classes"),
        without=_NETWORKS,
    ),
    "head_over_sklearn": _ratio(
        "head", (), "the head's fit, L2 search and calibration, in times one fit of scikit-learn's"
    ),
    "features": _ratio(
        "features",
        (),
        "features of 1,000 JPEGs of 330 x 250: images a second over a bare loop's",
    ),
    "features_large": _ratio("features", (), "the same, JPEGs of 520 x 390"),
    "scratch_lenet5_over_keras": _ratio(
        "from_scratch", (), "LeNet-5, 32 px, batch 32: images a second over Keras' `fit`"
    ),
    "scratch_lenet5_over_torch": _ratio(
        "from_scratch", (), "the same over a PyTorch loop (channels last, fused Adam)"
    ),
    "scratch_cnn_over_keras": _ratio(
        "from_scratch", (), "CNN of 3 x 64, 50 px grey, batch 32, over Keras' `fit`"
    ),
    "scratch_cnn_over_torch": _ratio("from_scratch", (), "the same over a PyTorch loop"),
    "scratch_mobilenet_v2_1.0_96_over_keras": _ratio(
        "from_scratch", (), "MobileNetV2, 96 px, batch 32, over Keras' `fit`"
    ),
    "scratch_lenet5_ema": _option("LeNet-5 with an average of its weights over without"),
    "scratch_mobilenet_v2_1.0_96_ema": _option("MobileNetV2, 96 px, the same"),
    "scratch_lenet5_mixed": _option("LeNet-5 in 16 bits (bfloat16) over 32 bits"),
    "scratch_cnn_mixed": _option("CNN of 3 x 64, 50 px grey, the same"),
    "serve_latency": _ratio(
        *("serve", ("serve",)),
        "one image over HTTP, in times the bare model and decoding, median latency",
    ),
    "serve_throughput": _ratio(
        *("serve", ("serve",)),
        "16 clients over HTTP over a bare runtime loop, images a second",
    ),
    "fashion_lenet5": Figure("fashion DIR", ("train",), without=_PAGES),
    "fashion_10min": Figure("fashion DIR", ("train",), without=_PAGES),
    "fashion_45min": Figure("fashion DIR", ("train",), without=_PAGES),
    "fashion_10min_pairs": Figure("fashion DIR", ("train",), without=_PAGES),
    "fashion_45min_pairs": Figure("fashion DIR", ("train",), without=_PAGES),
    "grid_of_27": Figure("grid DIR", ("sweep",), without=_PAGES),
    "localize_scenes4_default": Figure("localize DIR 10m", ("train",), without=_PAGES),
    "localize_scenes4_alexnet": Figure("localize DIR 10m", ("train",), without=_PAGES),
    "accuracy_things8": Figure("accuracy DIR 30", ("train",), without=(*_PAGES, *_NETWORKS)),
    "unknown": Figure("unknown DIR"),
    "explain_scenes4": Figure("explain DIR", ("train", "predict"), without=(*_PAGES, *_NETWORKS)),
    "same_answers": Figure(
        *("same_answers DIR", ("train", "predict", "serve", "export")),
        folders=("src/sharpeye/artefact/export",),
        without=_NETWORKS,
    ),
    "faults": Figure("faults DIR", ("train", "check"), without=_NETWORKS),
    "labels": Figure("labels", ("sample", "train", "check"), without=_NETWORKS),
    "check": Figure("check", ("check",), without=_NETWORKS),
    # Its small tier runs with the tests, so that changes of the source ask for no other figure.
    "battery": Figure("battery battery", folders=("tests/battery",), without=("src/sharpeye",)),
}
