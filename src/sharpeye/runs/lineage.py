"""The images that the weights of a run were trained on, by itself and by runs before it."""

from pathlib import Path

from sharpeye.core.config_paths import locate
from sharpeye.errors import DataError
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run

_TRAINING_PARTS = ("train", "validation")


def training_rows(folder: Path) -> list[dict[str, str]]:
    """Rows of `split.csv` of the images that the weights in a run directory were trained on.

    They are the training and validation images of the run, and those of the earlier runs, as far as
    they are still there, whose weights it began with. Empty if the folder is no finished run.

    Raises:
        DataError: `split.csv` or `config.toml` of the run is damaged.
    """
    rows = _own_rows(folder)
    visited, earlier = {folder.resolve()}, _earlier(folder)
    while earlier and earlier.resolve() not in visited:
        visited.add(earlier.resolve())
        try:
            rows += _own_rows(earlier)
            earlier = _earlier(earlier)
        except DataError:  # What an earlier run is now does not decide about this one.
            break
    return rows


def _own_rows(folder: Path) -> list[dict[str, str]]:
    if not all((folder / name).is_file() for name in (layout.BUNDLE, layout.SPLIT)):
        return []
    return [row for row in Run(folder).table(layout.SPLIT) if row["part"] in _TRAINING_PARTS]


def _earlier(folder: Path) -> Path | None:
    """The folder of the weights that a run began with."""
    if not all((folder / name).is_file() for name in (layout.BUNDLE, layout.CONFIG)):
        return None
    config = Run(folder).config
    if not config.train.initial_weights:
        return None
    path = locate(config, config.train.initial_weights)
    return path if path.is_dir() else path.parent
