"""Say by which command a stopped training goes on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.own_code import is_own_code
from sharpeye.core.paths import command_line
from sharpeye.runs import layout
from sharpeye.runs.run_directory import RunWriter


def resume_command(folder: Path, config: Config) -> str:
    """The command that continues the run in a folder; it names own code, which would not run else.

    Args:
        config: of the run.
    """
    words: list[str | Path] = ["sharpeye", "train", "--resume", "--output", folder]
    if is_own_code(config.model.name):
        words += ["--model", config.model.name]
    if config.augment.function:
        words += ["--augment", config.augment.function]
    return command_line(*words)


@contextlib.contextmanager
def resume_advice(run_dir: RunWriter, config: Config) -> Iterator[None]:
    """Around the block that writes a run: an exception, also of a signal, gets the command that
    continues the run as a note, if the run has left a checkpoint.
    """
    try:
        yield
    except BaseException as error:
        folder = run_dir.path  # A run may lie elsewhere after its end than while it is written.
        is_finished = (folder / layout.BUNDLE).exists()
        if not is_finished and any((folder / layout.CHECKPOINTS).rglob("*.npz")):
            command = resume_command(folder, config)
            error.add_note(f"its checkpoint is kept; go on with: {command}")
        raise
