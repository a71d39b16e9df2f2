"""The paths in a configuration: they stay as typed, with the folder in which they were typed.

So a configuration means the same images from any current folder, and a split by path (`split.rule`)
depends on what was typed, not on where the user stands.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sharpeye.core.config import Config
from sharpeye.core.knobs import iter_knobs
from sharpeye.core.paths import user_path

_PATH_KNOBS = (
    "data.folder",
    "data.added",
    "data.add_to",
    "data.features_folder",
    "model.weights",
    "model.weights_folder",
    "train.initial_weights",
    "distill.teacher",
)
WEIGHTS_WITHOUT_FILE = ("auto", "imagenet", "none", "random")


def locate(config: Config, path: str) -> Path:
    """What a path of the configuration means from the current folder.

    It begins at the folder in which it was typed; if nothing is there, at the current one, as run
    and images may have been moved together.
    """
    typed, origin = user_path(path), config.data.relative_to
    if not origin or _is_here(origin) or typed.is_absolute():
        return typed
    return Path(origin) / typed if (Path(origin) / typed).exists() else typed


def weights_path(config: Config) -> str:
    """`model.weights` with the present path of its file."""
    weights = config.model.weights
    return weights if weights in WEIGHTS_WITHOUT_FILE else str(locate(config, weights))


def features_path(config: Config) -> Path | None:
    """The folder of the feature store; None for the cache."""
    folder = config.data.features_folder
    return locate(config, folder) if folder else None


def describe_lookup(config: Config, path: str) -> str:
    """A path that `locate` does not find, and where it looks, for messages."""
    origin = config.data.relative_to
    if not origin or _is_here(origin) or user_path(path).is_absolute():
        return path
    return f"{path}, neither in {origin}, where it was typed, nor in the current folder"


def with_typed_paths(config: Config, changes: Mapping[str, Any]) -> Config:
    """The configuration with changes that were typed in the current folder.

    Their relative paths become absolute if the others begin at another folder.
    """
    origin, typed = config.data.relative_to, dict(changes)
    if origin and not _is_here(origin):
        for key in typed.keys() & set(_PATH_KNOBS):
            value = typed[key]
            is_list = isinstance(value, list | tuple)
            typed[key] = [_absolute(path) for path in value] if is_list else _absolute(value)
    return config.replace(typed)


def on_folder(config: Config, folder: str) -> Config:
    """The same knobs for the images of a folder; a different folder extends no run."""
    known = config.data.folder
    if known and locate(config, known).resolve() == user_path(folder).resolve():
        return config
    here = with_typed_paths(config, {"data.folder": folder})
    return here.replace({"data.added": (), "data.add_to": ""})


def remember_current_folder(config: Config) -> Config:
    """The configuration with the folder at which its relative paths begin."""
    values = {key: value for key, _, value in iter_knobs(config)}
    paths = [values[key] for key in _PATH_KNOBS if isinstance(values[key], str)]
    paths += config.data.added
    relative = [
        path
        for path in paths
        if path not in ("", *WEIGHTS_WITHOUT_FILE) and not user_path(path).is_absolute()
    ]
    if config.data.relative_to or not relative:
        return config
    return config.replace({"data.relative_to": str(Path.cwd())})


def _absolute(path: Any) -> Any:
    if not isinstance(path, str) or path in ("", *WEIGHTS_WITHOUT_FILE):
        return path
    return str(user_path(path).absolute())


def _is_here(folder: str) -> bool:
    try:
        return Path(folder) == Path.cwd()
    except OSError:  # The current folder is deleted.
        return False
