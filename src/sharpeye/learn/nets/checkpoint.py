"""Write and read checkpoints, from which a training continues exactly.

A checkpoint is an `.npz` of plain arrays with a digest over all of them, and holds no code. It
is written atomically. During a training the last two or more are kept, so that a damaged one costs
one epoch, not the run.
"""

import hashlib
import json
import logging
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.core.storage import atomic_open, make_folder

log = logging.getLogger(__name__)

MIN_CHECKPOINTS = 2
# Largest share of the time for writing: large networks are not saved after every epoch.
_MAX_TIME_SHARE = 0.1


@dataclass(frozen=True)
class Checkpoint:
    """The state of training between two epochs.

    Attributes:
        epoch: number of finished epochs.
        metadata: other JSON-ready values.
        state, best: the engine's variables, current and after the best epoch so far; `best` is
            empty if that was the last one.
    """

    epoch: int
    metadata: dict[str, Any]
    state: list[Array]
    best: list[Array]


class CheckpointFolder:
    """The last checkpoints of one training, at most `count`, in a folder of their own."""

    def __init__(self, folder: Path, count: int = MIN_CHECKPOINTS) -> None:
        self._folder, self._count = folder, count
        self._next_save = 0.0  # by `time.monotonic`
        self._written = 0  # the epoch of the last checkpoint that was written

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, unless writing has taken too large a share of the time.

        Raises:
            EnvironmentFault: the disk is full.
        """
        started = time.monotonic()
        if started < self._next_save:
            return
        self._write(checkpoint)
        self._remove_all_but(self._count)
        self._next_save = time.monotonic() + (time.monotonic() - started) / _MAX_TIME_SHARE

    def finish(self, checkpoint: Checkpoint, count: int) -> None:
        """Write the checkpoint of the last epoch, if `save` did not, and leave the last `count`,
        at least 1; raises as `save`.
        """
        if self._written != checkpoint.epoch:
            self._write(checkpoint)
        self._remove_all_but(count)

    def latest(self) -> Checkpoint | None:
        """The newest readable checkpoint, if any."""
        for file in reversed(self._files()):
            try:
                content, arrays = load_arrays(file)
                epoch = int(content["epoch"])
                best = arrays.get("best", [])
                return Checkpoint(epoch, content["about"], arrays["state"], best)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s is damaged, the one before it is used: %s", file, error)
        return None

    def clear(self) -> None:
        """Delete the checkpoints of an earlier training, which could be mistaken for newer ones."""
        for file in self._files():
            file.unlink(missing_ok=True)

    def _write(self, checkpoint: Checkpoint) -> None:
        make_folder(self._folder)
        save_arrays(
            self._folder / f"epoch-{checkpoint.epoch:06}.npz",
            {"epoch": checkpoint.epoch, "about": checkpoint.metadata},
            state=checkpoint.state,
            best=checkpoint.best,
        )
        self._written = checkpoint.epoch

    def _remove_all_but(self, count: int) -> None:
        for file in self._files()[:-count]:
            file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("epoch-*.npz"))


def save_arrays(file: Path, metadata: dict[str, Any], **groups: Sequence[Array]) -> None:
    """Write lists of arrays and JSON-ready metadata into one `.npz`, atomically."""
    members: dict[str, Any] = {
        f"{group}/{i:05}": np.asarray(array)
        for group, arrays in groups.items()
        for i, array in enumerate(arrays)
    }
    content = {"about": metadata, "digest": _digest(metadata, members)}
    members["about"] = np.frombuffer(json.dumps(content).encode(), np.uint8)
    with atomic_open(file, "wb") as opened:
        np.savez(opened, **members)


def load_arrays(file: Path) -> tuple[dict[str, Any], dict[str, list[Array]]]:
    """The metadata and the lists of arrays that `save_arrays` wrote.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is damaged.
    """
    # The file is opened here because NumPy does not close damaged ones.
    with file.open("rb") as opened:
        try:
            _require_stored(opened)
            with np.load(opened, allow_pickle=False) as archive:
                members = {name: archive[name] for name in sorted(archive.files)}
            content = json.loads(members.pop("about").tobytes())
            metadata, digest = content["about"], content["digest"]
        except Exception as error:  # A flipped bit makes zipfile and NumPy raise nearly anything.
            raise ValueError(f"it cannot be read ({type(error).__name__})") from error
    # The checksums inside an archive do not cover its table of contents.
    if digest != _digest(metadata, members):
        raise ValueError("its digest is wrong")
    groups: dict[str, list[Array]] = {}
    for name, array in members.items():
        groups.setdefault(name.partition("/")[0], []).append(array)
    return metadata, groups


def _require_stored(file: IO[bytes]) -> None:
    """`numpy.savez` compresses nothing: a compressed member could take any amount of memory."""
    with zipfile.ZipFile(file) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("a member is compressed")
    file.seek(0)


def _digest(metadata: Mapping[str, Any], members: Mapping[str, Array]) -> str:
    """Hexadecimal SHA-256 over the metadata and the arrays' names, dtypes, shapes and values."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(members.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
