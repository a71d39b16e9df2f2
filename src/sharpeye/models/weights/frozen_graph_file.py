"""Read the frozen networks that TensorFlow-for-Poets started from, without TensorFlow.

A GraphDef (`.pb`) is a program for TensorFlow; here it is data, from which a network is read. It
may lie in the archive (`.tgz`) in which it was published: mobilenet_v1_1.0_224_frozen.tgz,
mobilenet_v1_1.0_224.tgz, inception-2015-12-05.tgz. Nothing is unpacked to disk.
"""

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from sharpeye.core.archive_members import ArchiveRefused, read_members
from sharpeye.errors import EnvironmentFault, MissingExtra, ModelError, one_line
from sharpeye.models.weights.graph_def_parser import parse_graph_def

# Names in the archives, the best first; quantized_graph.pb has kernels of 8 bits, and is not read.
_NAMES = ("frozen_graph.pb", "classify_image_graph_def.pb", "_frozen.pb", ".pb")
_QUANTIZED = "quantized_graph.pb"
_GZIP = b"\x1f\x8b"

_MAX_GRAPH_BYTES = 2**30
# Weights hardly shrink when they are packed.
_MAX_RATIO, _FREE_BYTES = 16, 64 * 2**20
_MAX_MEMBERS = 10_000
_CHUNK_BYTES = 2**17


def is_frozen_graph(file: Path) -> bool:
    """Whether a weights file is a GraphDef or an archive of one, by its name or first bytes."""
    if file.suffix == ".pb":
        return True
    with contextlib.suppress(OSError), file.open("rb") as stream:
        return stream.read(2) == _GZIP
    return False


def read_frozen_graph(file: Path) -> Any:
    """The GraphDef in a file.

    Raises:
        ModelError: it is too large, damaged, or holds no GraphDef.
        EnvironmentFault: the file cannot be read.
        MissingExtra: TensorBoard, which has the format, is not installed.
    """
    try:
        from tensorboard.compat.proto.graph_pb2 import GraphDef
    except ImportError:
        raise MissingExtra("tensorboard", "train", f"reading {file}") from None
    name, data = _read_graph_bytes(file)
    return parse_graph_def(data, GraphDef(), name)


def _read_graph_bytes(file: Path) -> tuple[str, bytes]:
    """The name and the content of a GraphDef."""
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > _MAX_GRAPH_BYTES:
                raise ModelError(f"{file} is larger than {_MAX_GRAPH_BYTES // 2**30} GiB")
            if stream.read(2) != _GZIP:
                stream.seek(0)
                return str(file), stream.read()
            limit = min(_MAX_GRAPH_BYTES, max(_FREE_BYTES, _MAX_RATIO * size))
            with _archive_errors(file):
                members = read_members(_rewound(stream), limit, max_members=_MAX_MEMBERS)
                name, data = _best_graph(file, members)
    except OSError as error:
        raise EnvironmentFault(f"cannot read {file}: {error.strerror or error}") from None
    return f"{name} in {file}", data


def _rewound(stream: Any) -> Any:
    stream.seek(0)
    return stream


def _best_graph(file: Path, members: Iterator[Any]) -> tuple[str, bytes]:
    """The GraphDef in an archive with the best name; only regular files are looked at."""
    best, names = (len(_NAMES), "", b""), []
    for member in members:
        name = PurePosixPath(member.name).name
        names.append(name)
        rank = next((i for i, end in enumerate(_NAMES) if name.endswith(end)), len(_NAMES))
        if rank < best[0] and name != _QUANTIZED and not (member.is_folder or member.refusal):
            content = io.BytesIO()
            shutil.copyfileobj(member.open(), content, _CHUNK_BYTES)
            best = (rank, member.name, content.getvalue())
    if not best[1]:
        has_checkpoint = any(".ckpt" in name for name in names)
        kind = "only checkpoints, which are not read" if has_checkpoint else ", ".join(names[:5])
        raise ModelError(
            f"{file} holds no frozen graph (.pb): {kind or 'nothing'}; give an archive with one, "
            "such as mobilenet_v1_1.0_224_frozen.tgz"
        )
    return best[1], best[2]


@contextlib.contextmanager
def _archive_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except ArchiveRefused as error:
        raise ModelError(f"{file} is refused: {error}") from None
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # tar and gzip raise many exceptions for damaged files
        raise ModelError(f"{file} is damaged: {one_line(error) or type(error).__name__}") from None
