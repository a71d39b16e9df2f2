"""Named configurations: `sharpeye train DIR --config catsdogs-2019`."""

import itertools
from pathlib import Path

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
