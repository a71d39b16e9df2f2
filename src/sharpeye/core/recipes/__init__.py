"""Named configurations: `sharpeye train DIR --config catsdogs-2019`."""

import itertools
from collections.abc import Iterable
from pathlib import Path

from sharpeye.core.config import Config, load_toml
from sharpeye.errors import ConfigError, near_match

_FOLDER = Path(__file__).parent


def list_recipes() -> dict[str, str]:
    """The purpose of each recipe, by name: the comment at the beginning of its file."""
    purposes = {}
    for file in sorted(_FOLDER.glob("*.toml")):
        lines = file.read_text(encoding="utf-8").splitlines()
        comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
        purposes[file.stem] = " ".join(line.removeprefix("#").strip() for line in comment)
    return purposes


def load_configs(files: Iterable[Path], base: Config) -> Config:
    """Read files and recipes over `base`, one after the other: of two values the later counts.

    Raises:
        ConfigError: one is not there, or not valid.
    """
    for file in files:
        base = load_toml(find_config(file), base)
    return base


def find_config(path: Path) -> Path:
    """The file of a configuration: the named file, or the recipe of that name; else ConfigError."""
    if path.exists():
        return path
    recipe = _FOLDER / f"{path.name.removesuffix('.toml')}.toml"
    if not recipe.is_file():
        raise ConfigError(
            f"there is no file {path}, and no recipe of that name. "
            f"{near_match(recipe.stem, list_recipes())}"
        )
    return recipe
