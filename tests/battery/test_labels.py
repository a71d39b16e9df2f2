"""Labels, tables and settings from strangers: read within bounds, or refused by name."""

import contextlib
import gc
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arrays import write_cifar, write_cifar_binary, write_mnist
from battery import hostile_labels
from battery.hostile_archives import mutate
from battery.hostile_labels import XML
from battery.private_addresses import canary
from battery.tally import HangError, LossError, Tally, Tier, TracebackError
from compatibility.test_runs import FILES
from images.peak_memory import status
from sharpeye import Run
from sharpeye.collect.sources import SourcesFile
from sharpeye.collect.url_downloads import read_list
from sharpeye.core.config import Config, load_toml
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.moves import undo_moves
from sharpeye.data.pascal_voc import read_annotation
from sharpeye.errors import DataError, SharpEyeError, UsageError
from sharpeye.images.voc_xml import relative_box
from sharpeye.jobs.audit.relabel import plan_moves
from sharpeye.jobs.sweep.plan_text import read_plan
from sharpeye.learn.nets.checkpoint import Checkpoint, CheckpointFolder

MAX_SECONDS, MAX_BYTES = 1.0, 64 * 2**20
# Beyond MAX_BYTES, a file that is within its own limit may take so many times its size.
MAX_FACTOR = 8
TOUCHING = ("open", "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork")
TOUCHING += ("os.remove", "os.rename", "os.mkdir", "os.link", "os.symlink", "shutil.", "pty.")

# Python cannot take an audit hook away again: this one only listens while a case runs.
_touched: list[tuple[str, str]] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _touched is not None and event.startswith(TOUCHING) and not isinstance(arguments[0], int):
        _touched.append((event, os.path.realpath(os.fsdecode(str(arguments[0])))))


sys.addaudithook(_watch)


@dataclass(frozen=True)
class Reader:
    """A kind of file, and how it is read.

    Attributes:
        path: of the file below the folder.
        crafted: makes the hostile files, by name.
        read: reads the file in a folder.
        prepare: fills the folder with what else belongs to it, and with a good file.
    """

    name: str
    path: str
    crafted: Callable[[], dict[str, bytes]]
    read: Callable[[Path], object]
    prepare: Callable[[Path], object] = lambda folder: None


def _read_xml(folder: Path) -> None:
    for item in read_annotation("cat/1.xml", folder / "cat" / "1.xml").objects:
        xmin, ymin, xmax, ymax = relative_box(item, (64, 48), "cat/1.xml")
        assert 0 <= xmin < xmax <= 1 and 0 <= ymin < ymax <= 1


def _write_photos(folder: Path) -> None:
    for label in ("cat", "dog"):
        (folder / label).mkdir()
        for number in range(3):
            Image.new("RGB", (9, 9), (number, 9, 99)).save(folder / label / f"{number}.png")
    (folder / "cat" / "1.xml").write_bytes(XML)
    (folder / "fixes.csv").write_text("path,label,new_label\ncat/1.png,cat,dog\n")
    (folder / "undo.csv").write_text("from,to,folder\ncat/9.png,dog/9.png,x\n")


def _write_run(folder: Path) -> None:
    (folder / "split.csv").write_text(
        f"path,label,part,sha256,group\ncat/1.png,cat,train,{'0' * 64},\n"
    )
    (folder / "metrics.json").write_text('{"test": {"accuracy": 0.5, "per_class": []}}')
    (folder / "labels.txt").write_text("cat\ndog\n")
    (folder / "config.toml").write_text(Config().to_toml())
    (folder / "bundle.json").write_text("{}")
    shutil.copyfile(FILES / "0.1.0" / "sweep" / "sweep.toml", folder / "sweep.toml")
    (folder / "list.txt").write_text("http://a.example/1.jpg\tCC0\n")
    (folder / "sources.csv").write_text(
        "path,source,licence,time,sha256,status,reason\n1.jpg,http://a/,CC0,2024,00,added,\n"
    )


def _write_checkpoint(folder: Path) -> None:
    state = [np.arange(6.0).reshape(2, 3)]
    CheckpointFolder(folder).save(Checkpoint(1, {"epoch": 1}, state, state))


def _read_checkpoint(folder: Path) -> None:
    if CheckpointFolder(folder).latest() is None:  # of a damaged one there is only a warning
        raise DataError("epoch-000001.npz is damaged")


def _read_rows(folder: Path) -> None:
    """The images, too, whose number comes from the labels."""
    from sharpeye.data.sample_image import read_image

    for sample in [*scan_folder(folder)][:3]:
        read_image(sample)


READERS = (
    Reader("annotation", "cat/1.xml", dict, _read_xml, _write_photos),
    Reader(
        "table of fixes",
        "fixes.csv",
        hostile_labels.csv_files,
        lambda folder: plan_moves(folder / "fixes.csv", folder),
        _write_photos,
    ),
    Reader(
        "table of moves",
        "undo.csv",
        hostile_labels.csv_files,
        lambda folder: undo_moves(folder / "undo.csv", folder),
        _write_photos,
    ),
    Reader(
        "split of a run",
        "split.csv",
        hostile_labels.csv_files,
        lambda folder: Run(folder).table("split.csv"),
        _write_run,
    ),
    Reader(
        "sources of images",
        "sources.csv",
        hostile_labels.csv_files,
        lambda folder: [*SourcesFile(folder).new_records()],
        _write_run,
    ),
    Reader(
        "scores",
        "metrics.json",
        hostile_labels.json_files,
        lambda folder: Run(folder).metrics,
        _write_run,
    ),
    Reader(
        "class names",
        "labels.txt",
        hostile_labels.text_files,
        lambda folder: Run(folder).labels,
        _write_run,
    ),
    Reader(
        "list of URLs",
        "list.txt",
        hostile_labels.text_files,
        lambda folder: read_list(folder / "list.txt"),
        _write_run,
    ),
    Reader(
        "configuration",
        "config.toml",
        hostile_labels.toml_files,
        lambda folder: load_toml(folder / "config.toml"),
        _write_run,
    ),
    Reader(
        "plan of a sweep",
        "sweep.toml",
        hostile_labels.toml_files,
        lambda folder: read_plan(folder / "sweep.toml"),
        _write_run,
    ),
    Reader(
        "IDX images",
        "train-images-idx3-ubyte.gz",
        hostile_labels.idx_files,
        _read_rows,
        write_mnist,
    ),
    Reader(
        "IDX labels",
        "train-labels-idx1-ubyte.gz",
        hostile_labels.idx_files,
        _read_rows,
        write_mnist,
    ),
    Reader("CIFAR batch", "data_batch_1", hostile_labels.pickle_files, _read_rows, write_cifar),
    Reader("CIFAR names", "batches.meta", hostile_labels.pickle_files, _read_rows, write_cifar),
    Reader(
        "binary CIFAR names",
        "batches.meta.txt",
        hostile_labels.text_files,
        _read_rows,
        write_cifar_binary,
    ),
    Reader(
        "checkpoint",
        "epoch-000001.npz",
        hostile_labels.npz_files,
        _read_checkpoint,
        _write_checkpoint,
    ),
)


# Patterns of the files that nobody refuses: what is odd about them is never used, or is harmless.
READABLE = {
    "annotation": (
        *("the file name *", "the path *", "the edge -1", "the width "),
        *("an inclusion", "a style sheet", "100,000 attributes", "a name of 900 kB"),
    ),
    "table of fixes": ("empty lines", "the label '-rf'", "the label '$HOME'"),
    "table of moves": ("an undo of '[!./c]*",),
    "sources of images": ("*",),  # a journal, whose damaged lines are skipped
    "scores": ("a lone surrogate",),
    "class names": ("NUL", "escapes", "nothing", "300,000 lines"),
    "list of URLs": ("UTF-16", "a line of 20 MB", "300,000 lines"),
    "configuration": ("20,000 tables", "a path"),
}


def is_readable(reader: Reader, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in READABLE.get(reader.name, ()))


@dataclass
class Measured:
    """The largest of all cases."""

    seconds: float = 0.0
    grown_bytes: int = 0

    def figures(self) -> dict[str, str]:
        grown = f"{self.grown_bytes / 2**20:.0f} MiB"
        return {"slowest": f"{self.seconds:.2f} s", "largest growth of memory": grown}


@contextlib.contextmanager
def bounded(folder: Path, size: int, measured: Measured) -> Iterator[None]:
    """Fail if the block touches anything outside a folder, or takes too much time or memory."""
    global _touched
    before = _reset_peak()
    _touched, start = [], time.process_time()
    try:
        yield
    finally:
        seconds, touched, _touched = time.process_time() - start, _touched, None
        grown = status("VmHWM") - before if before else 0
    roots = tuple(map(os.path.realpath, (folder, sys.prefix, sys.base_prefix, "src", "tests")))
    outside = [each for each in touched if not each[1].startswith(roots)]
    if outside:
        raise LossError(f"it touched {outside[:5]}")
    if seconds > MAX_SECONDS:
        raise HangError(f"it took {seconds:.1f} s")
    assert grown <= MAX_BYTES + MAX_FACTOR * size, f"memory grew by {grown / 2**20:.0f} MiB"
    if size < 2**20:
        measured.grown_bytes = max(measured.grown_bytes, grown)
    measured.seconds = max(measured.seconds, seconds)


def _reset_peak() -> int:
    """The resident size, from which the peak is counted; 0 where the system has no such count."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return status("VmRSS")


def read_hostile(reader: Reader, folder: Path, data: bytes, measured: Measured) -> bool:
    """Read a file; returns whether it was refused."""
    file = folder / reader.path
    file.write_bytes(data)
    with bounded(folder, len(data), measured):
        try:
            reader.read(folder)
        except (DataError, UsageError) as error:
            message = str(error)
            assert len(message.splitlines()) == 1 and len(message) < 3000, message[:500]
            assert file.name in message or file.parent.name in message, message[:500]
            return True
        except SharpEyeError as error:
            raise AssertionError(f"exit code {error.exit_code}: {error}") from None
        except Exception as error:
            raise TracebackError(f"{type(error).__name__}: {error}"[:500]) from error
    return False


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A folder with a good file for each reader; the reader has read it once."""
    made = {}
    gc.collect()
    gc.freeze()  # Objects of earlier tests would make every later collection take half a second.
    for reader in READERS:
        folder = tmp_path_factory.mktemp("labels") / "root"
        folder.mkdir()
        reader.prepare(folder)
        reader.read(folder)
        made[reader.name] = folder
    yield made
    gc.unfreeze()


def test_hostile_annotations(tally: Tally, tier: Tier, folders: dict[str, Path]) -> None:
    """XML with entities, remote parts, depth, size, other encodings, paths and impossible boxes."""
    measured, reader = Measured(), READERS[0]
    with canary() as listener:
        cases = hostile_labels.xml_files(listener.port)
        if tier.name == "small":
            cases = {name: data for name, data in cases.items() if len(data) < 10**6}
        for name, data in cases.items():
            with tally.case(name):
                is_refused = read_hostile(reader, folders[reader.name], data, measured)
                assert not listener.connections
                assert is_refused is not is_readable(reader, name)
    tally.figures |= measured.figures()


@pytest.mark.parametrize("kind", ["csv", "json", "toml", "text", "idx", "pickle", "npz"])
def test_hostile_files(
    kind: str, tally: Tally, tier: Tier, folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Hostile tables, scores, settings, lists, array files and checkpoints"""
    tally.title += f": {kind}"
    measured = Measured()
    make = getattr(hostile_labels, f"{kind}_files")
    cases = make()
    for reader in READERS:
        if reader.crafted is make:
            for name, data in cases.items():
                if tier.name != "small" or len(data) < 10**6:
                    with tally.case(f"{reader.name}: {name}"):
                        is_refused = read_hostile(reader, folders[reader.name], data, measured)
                        assert is_refused is not is_readable(reader, name)
    tally.figures |= measured.figures()


def test_damaged_files(
    tally: Tally, tier: Tier, seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Good labels, tables, settings, array files and checkpoints with changed bytes."""
    random, measured, refused = np.random.default_rng(seed), Measured(), 0
    for number, reader in enumerate(READERS):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        reader.prepare(folder)
        good = (folder / reader.path).read_bytes()
        reader.read(folder)
        for index in range(tier.count(small=6, battery=250, full=4000)):
            with tally.case(f"{reader.name} {index}"):
                refused += read_hostile(reader, folder, mutate(good, random), measured)
    tally.figures |= {"refused": str(refused), **measured.figures()}
