"""Checkpoints: everything that training needs to go on as if it had not been stopped.

A checkpoint is an `.npz` of plain arrays with a digest over all of them, and holds no code. Each
is written whole or not at all; two are kept, so that a damaged one costs one epoch and not the run.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharpeye.core.storage import atomic_open, make_folder

log = logging.getLogger(__name__)

Arrays = Sequence[npt.NDArray[Any]]

_KEPT = 2
# Writing may take this share of the time; large networks are then not written in every epoch.
_SHARE = 0.1


@dataclass(frozen=True)
class Checkpoint:
    """A moment between two epochs.

    Attributes:
        epoch: epochs that were finished.
        about: what else is known, as JSON takes it.
        state: the engine's variables.
        best: those of the best epoch so far.
    """

    epoch: int
    about: dict[str, Any]
    state: list[npt.NDArray[Any]]
    best: list[npt.NDArray[Any]]


class Checkpoints:
    """The checkpoints of one run, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready = 0.0  # when the next one may be written

    def save(self, checkpoint: Checkpoint, *, last: bool = False) -> None:
        """Write a checkpoint, unless writing has taken too much of the time.

        Args:
            last: it is written in any case.

        Raises:
            EnvironmentFault: the disk is full.
        """
        if not last and time.monotonic() < self._ready:
            return
        started = time.monotonic()
        make_folder(self._folder)
        save_arrays(
            self._folder / f"epoch-{checkpoint.epoch:06}.npz",
            {"epoch": checkpoint.epoch, "about": checkpoint.about},
            state=checkpoint.state,
            best=checkpoint.best,
        )
        for file in self._files()[:-_KEPT]:
            file.unlink(missing_ok=True)
        self._ready = time.monotonic() + (time.monotonic() - started) / _SHARE

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read; None if there is none."""
        for file in reversed(self._files()):
            try:
                about, arrays = load_arrays(file)
                return Checkpoint(
                    int(about["epoch"]), about["about"], arrays["state"], arrays["best"]
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s is damaged, the one before it is used: %s", file, error)
        return None

    def clear(self) -> None:
        """Delete those of a training that is not gone on with: they would pass for newer ones."""
        for file in self._files():
            file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("epoch-*.npz"))


def save_arrays(file: Path, about: dict[str, Any], **groups: Arrays) -> None:
    """Write lists of arrays and something in JSON into one `.npz`, whole or not at all.

    Raises:
        EnvironmentFault: the disk is full.
    """
    named: dict[str, Any] = {
        f"{group}/{i:05}": np.asarray(array)
        for group, arrays in groups.items()
        for i, array in enumerate(arrays)
    }
    content = {"about": about, "digest": _digest(about, named)}
    named["about"] = np.frombuffer(json.dumps(content).encode(), np.uint8)
    with atomic_open(file, "wb") as opened:
        np.savez(opened, **named)


def load_arrays(file: Path) -> tuple[dict[str, Any], dict[str, list[npt.NDArray[Any]]]]:
    """Read what `save_arrays` wrote.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is damaged.
    """
    # Opened here, as NumPy leaves damaged files open.
    with file.open("rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as found:
                named = {name: found[name] for name in sorted(found.files)}
            content = json.loads(named.pop("about").tobytes())
            about, digest = content["about"], content["digest"]
        except Exception as error:  # a flipped bit makes zipfile and NumPy raise nearly anything
            raise ValueError(f"it cannot be read ({type(error).__name__})") from error
    # The checksums within an archive do not cover its table of contents.
    if digest != _digest(about, named):
        raise ValueError("its digest is wrong")
    groups: dict[str, list[npt.NDArray[Any]]] = {}
    for name, array in named.items():
        groups.setdefault(name.partition("/")[0], []).append(array)
    return about, groups


def _digest(about: Mapping[str, Any], named: Mapping[str, npt.NDArray[Any]]) -> str:
    """Hexadecimal SHA-256 of arrays with their names, types and shapes, and of what is JSON."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, array in sorted(named.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
