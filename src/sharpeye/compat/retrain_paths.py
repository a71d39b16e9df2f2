"""The files and folders that retrain writes: checked before any work."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from sharpeye.artefact.export.graph_def import require_node_names
from sharpeye.compat.graph_reader import INPUT
from sharpeye.compat.retrain_flags import Flags
from sharpeye.core.paths import lies_inside, user_path
from sharpeye.errors import EnvironmentFault, UsageError
from sharpeye.runs import layout
from sharpeye.runs.run_folder import is_replaceable

_FILES = ("output_graph", "output_labels")
_FOLDERS = ("summaries_dir", "model_dir", "bottleneck_dir")
_PREFIX = "intermediate_output_graphs_dir"


def with_user_paths(flags: Flags) -> Flags:
    """The flags with `~` in paths replaced by the home folder."""
    names = ("image_dir", *_FILES, *_FOLDERS, "output")
    given = {name: getattr(flags, name) for name in names if getattr(flags, name)}
    paths: dict[str, Any] = {name: _expand(text) for name, text in given.items()}
    # As in the original, this flag is a prefix of file names, with or without a slash.
    paths[_PREFIX] = _expand(flags.intermediate_output_graphs_dir)
    if flags.weights not in ("imagenet", "random"):
        paths["weights"] = str(user_path(flags.weights))
    return replace(flags, **paths)


def _expand(text: str) -> str:
    """`user_path` as text, with the slash at the end that marks a folder."""
    return f"{user_path(text)}{'/' if text.endswith(('/', os.sep)) else ''}"


def intermediate_file(flags: Flags, step: int) -> Path:
    """The intermediate graph of a step."""
    return Path(f"{flags.intermediate_output_graphs_dir}intermediate_{step}.pb")


def check_paths(flags: Flags) -> Path:
    """Check the flags that name files, folders and nodes; returns the run directory.

    The run directory is `--output`, else it has the graph's name without its suffix. Where another
    file or folder has that name, or lies in it, `-run` is added.

    Raises:
        UsageError: a flag names the wrong kind of file, or two flags name the same one.
        EnvironmentFault: a folder cannot be written.
    """
    if not flags.image_dir:
        raise UsageError("--image_dir is required: a folder with one sub-folder of images a class")
    _check_weights(flags)
    try:
        require_node_names(INPUT, flags.final_tensor_name)
    except UsageError as error:
        raise UsageError(str(error).replace("`output_name`", "--final_tensor_name")) from None
    for name in _FILES:
        _check_file(name, getattr(flags, name))
    for name in _FOLDERS:
        if getattr(flags, name):
            _check_folder(name, Path(getattr(flags, name)))
    outputs = {name: Path(getattr(flags, name)) for name in (*_FILES, *_FOLDERS)}
    outputs = {name: path for name, path in outputs.items() if getattr(flags, name)}
    if flags.intermediate_store_frequency:
        outputs[_PREFIX] = intermediate_file(flags, 0)
        _check_folder(_PREFIX, outputs[_PREFIX].parent)
    for name, path in outputs.items():
        if lies_inside(path, Path(flags.image_dir)):
            raise UsageError(
                f"--{name} must not lie in --image_dir, to which nothing is written. "
                f"Received: {path}"
            )
    if outputs["output_graph"].resolve() == outputs["output_labels"].resolve():
        raise UsageError(
            "--output_graph and --output_labels must be two files. "
            f"Received: {flags.output_graph} twice"
        )
    return _run_folder(flags, outputs)


def _run_folder(flags: Flags, outputs: dict[str, Path]) -> Path:
    graph = outputs["output_graph"]
    folder = Path(flags.output) if flags.output else graph.with_suffix("")
    inner = [name for name, path in outputs.items() if lies_inside(path, folder)]
    is_other = not is_replaceable(folder) and not (folder / layout.BUNDLE).exists()
    if not flags.output and (inner or is_other):
        folder = graph.with_name(f"{graph.with_suffix('').name}-run")
        inner = [name for name, path in outputs.items() if lies_inside(path, folder)]
    if inner:
        raise UsageError(
            f"--{inner[0]} must not lie in the run directory {folder}, which is replaced as a "
            "whole; choose another place, or another run directory with --output"
        )
    if not is_replaceable(folder):
        raise UsageError(
            f"{folder} holds other files than those of a run, and is not replaced; move them away, "
            "or choose another run directory with --output"
        )
    if lies_inside(folder, Path(flags.image_dir)):
        raise UsageError(
            f"the run directory {folder} must not lie in --image_dir, where it would be a class; "
            "choose another place for --output_graph, or give --output"
        )
    _check_folder("output" if flags.output else "output_graph", folder.parent)
    return folder


def _check_weights(flags: Flags) -> None:
    weights = Path(flags.weights)
    if flags.weights not in ("imagenet", "random") and not weights.is_file():
        problem = "is a folder" if weights.is_dir() else "there is no such file"
        raise UsageError(
            f"--weights must be imagenet, a file of weights, or random. Received: {weights}: "
            f"{problem}"
        )


def _check_file(name: str, text: str) -> None:
    if not text or text.endswith(("/", os.sep)) or Path(text).is_dir():
        problem = "nothing" if not text else f"{text}, a folder"
        raise UsageError(f"--{name} must be the name of a file. Received: {problem}")
    _check_folder(name, Path(text).parent)


def _check_folder(name: str, folder: Path) -> None:
    """Check that a folder is there or can be created, and that files can be written into it."""
    nearest = next((f for f in (folder, *folder.parents) if f.exists()), Path())
    if not nearest.is_dir():
        raise UsageError(f"--{name} needs a folder at {nearest}, where a file is; choose another")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise EnvironmentFault(
            f"cannot write {folder} for --{name}: no permission in {nearest}; choose another place"
        )
