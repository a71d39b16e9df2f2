"""Writes small array files as CIFAR's and MNIST's authors wrote theirs."""

import gzip
import io
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
NAMES = ("airplane", "ship", "cat")  # not in alphabetical order


class _Python2(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes bytes as Python 2 wrote its texts, as CIFAR's own batches have them."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, text: bytes) -> None:
        if len(text) < 256:
            self.write(b"U" + bytes([len(text)]) + text)
        else:
            self.write(b"T" + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = save_bytes


def python2_pickle(value: Any) -> bytes:
    out = io.BytesIO()
    _Python2(out, 2, fix_imports=True).dump(value)
    return out.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def images(count: int, seed: int = 0, shape: tuple[int, int, int] = (32, 32, 3)) -> Pixels:
    """uint8[count,*shape]: noise, brighter from class to class (row % 3)."""
    random = np.random.default_rng(seed)
    level = 60 + 60 * (np.arange(count) % 3)
    noise = random.normal(0, 30, (count, *shape))
    return np.clip(level[:, None, None, None] + noise, 0, 255).astype(np.uint8)


def labels(count: int) -> list[int]:
    return [row % 3 for row in range(count)]


def planes(pixels: Pixels) -> Pixels:
    """uint8[N,32,32,3] to uint8[N,3072] as CIFAR has it."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), -1)


def batch(pixels: Pixels, own: Sequence[int] | None = None) -> dict[bytes, Any]:
    return {
        b"batch_label": b"training batch 1 of 1",
        b"labels": labels(len(pixels)) if own is None else list(own),
        b"data": planes(pixels),
        b"filenames": [b"picture_s_%06d.png" % row for row in range(len(pixels))],
    }


def write_cifar(folder: Path, counts: Sequence[int] = (6, 9), tested: int = 3) -> list[Pixels]:
    """CIFAR-10's Python batches; returns the images of each batch, the tested ones last."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [images(count, seed) for seed, count in enumerate((*counts, tested))]
    names = [*(f"data_batch_{number}" for number in range(1, len(counts) + 1)), "test_batch"]
    for name, pixels in zip(names, made, strict=True):
        (folder / name).write_bytes(python2_pickle(batch(pixels)))
    meta = {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))
    return made


def write_cifar_binary(folder: Path, counts: Sequence[int] = (6, 9), tested: int = 3) -> None:
    """The same images as `write_cifar`, as binary batches."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{number}" for number in range(1, len(counts) + 1)), "test_batch"]
    for seed, (name, count) in enumerate(zip(names, (*counts, tested), strict=True)):
        own = np.array(labels(count), np.uint8)[:, None]
        records = np.concatenate([own, planes(images(count, seed))], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")


def idx(values: npt.NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + (
        values.tobytes()
    )


def write_mnist(
    folder: Path, count: int = 12, tested: int = 6, side: int = 28, *, packed: bool = True
) -> list[Pixels]:
    """IDX files; returns the images for training and for the test, uint8[N,side,side,1]."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix, pack = (".gz", gzip.compress) if packed else ("", bytes)
    made = []
    for seed, (part, number) in enumerate((("train", count), ("t10k", tested))):
        pixels = images(number, seed, (side, side, 1))
        own = np.array(labels(number), np.uint8)
        (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(pixels[..., 0])))
        (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(own)))
        made.append(pixels)
    return made
