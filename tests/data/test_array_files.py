"""CIFAR's and MNIST's files: rows, names and digests; damaged and hostile ones are refused."""

import gzip
import hashlib
import os
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arrays import (
    NAMES,
    batch,
    idx,
    images,
    labels,
    planes,
    python2_pickle,
    write_cifar,
    write_cifar_binary,
    write_mnist,
)
from sharpeye.core.restricted_pickle import UnexpectedContent
from sharpeye.core.types import SampleSet
from sharpeye.data.array_files import read_array_file, scan_array_files
from sharpeye.data.cifar_files import read_pickled_arrays
from sharpeye.data.digest import add_digests
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.sample_image import read_image
from sharpeye.data.split import assign_splits, fractions_to_split
from sharpeye.data.split_rules import ContentRule
from sharpeye.errors import DataError, ImageReadError


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan_folder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def digests(samples: SampleSet) -> list[str]:
    return [sample.sha256 for sample in add_digests(samples, 2)]


# --- what is read --------------------------------------------------------------------------------


def test_python_batches(tmp_path: Path) -> None:
    batches = write_cifar(tmp_path)
    samples = scan_folder(tmp_path)
    assert samples.class_names == NAMES and samples.given_splits and len(samples) == 18
    first, last = samples.samples[0], samples.samples[-1]
    assert (first.path, first.row, first.split) == ("data_batch_1/00000", 0, "train")
    assert (last.path, last.row, last.split) == ("test_batch/00002", 2, "test")
    assert last.file == tmp_path / "test_batch"
    assert [s.label for s in samples.samples[6:9]] == list(NAMES)
    for sample, pixels in zip(samples, np.concatenate(batches), strict=True):
        assert (np.asarray(read_image(sample)) == pixels).all()
    assert read_image(first).mode == "RGB"


def test_the_only_sub_folder_is_scanned(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar-10-batches-py")
    samples = scan_folder(tmp_path)
    assert samples.samples[0].path == "cifar-10-batches-py/data_batch_1/00000"
    (tmp_path / "cat").mkdir()
    assert scan_array_files(tmp_path) is None  # which of the two is meant is not guessed


def test_batch_10_comes_after_batch_2(tmp_path: Path) -> None:
    write_cifar(tmp_path, counts=[3] * 10)
    names = [s.path.split("/")[0] for s in scan_folder(tmp_path).samples[::3]]
    assert names[1:3] == ["data_batch_2", "data_batch_3"] and names[9:] == [
        "data_batch_10",
        "test_batch",
    ]


def test_a_row_is_the_same_image_in_every_format(tmp_path: Path) -> None:
    write_cifar(tmp_path / "python")
    write_cifar_binary(tmp_path / "binary")
    python, binary = scan_folder(tmp_path / "python"), scan_folder(tmp_path / "binary")
    assert [s.path for s in python] == [s.path for s in binary]
    assert python.class_names == binary.class_names
    assert digests(python) == digests(binary) and len(set(digests(python))) == 18
    write_mnist(tmp_path / "packed")
    write_mnist(tmp_path / "plain", packed=False)
    packed, plain = scan_folder(tmp_path / "packed"), scan_folder(tmp_path / "plain")
    assert [s.path for s in packed] == [s.path for s in plain]
    assert digests(packed) == digests(plain)


def test_the_digest_is_of_the_shape_and_the_pixels(tmp_path: Path) -> None:
    train_images, _ = write_mnist(tmp_path)
    expected = hashlib.sha256(b"uint8[28, 28, 1]" + train_images[3].tobytes()).hexdigest()
    samples = add_digests(scan_folder(tmp_path), 2)
    (sample,) = [s for s in samples if s.path == "train-images-idx3-ubyte/00003"]
    assert sample.sha256 == expected


def test_cifar_100_takes_the_fine_labels(tmp_path: Path) -> None:
    pixels = images(6)
    coarse, fine = [0] * 6, [2, 1, 0, 2, 1, 0]
    both = {b"data": planes(pixels), b"fine_labels": fine, b"coarse_labels": coarse}
    folder = tmp_path / "python"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(python2_pickle(both))
    names = {b"fine_label_names": [n.encode() for n in NAMES], b"coarse_label_names": [b"coarse"]}
    (folder / "meta").write_bytes(python2_pickle(names))
    samples = scan_folder(folder)
    assert [s.label for s in samples.samples[:3]] == ["cat", "ship", "airplane"]
    assert {s.split for s in samples} == {"train", "test"} and len(samples) == 12
    binary = tmp_path / "binary"
    binary.mkdir()
    records = np.concatenate([np.array([coarse, fine], np.uint8).T, planes(pixels)], axis=1)
    (binary / "train.bin").write_bytes(records.tobytes())
    (binary / "test.bin").write_bytes(records.tobytes())
    (binary / "fine_label_names.txt").write_text("\n".join(NAMES))
    again = scan_folder(binary)
    assert [s.label for s in again] == [s.label for s in samples]
    assert digests(again) == digests(samples)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_python_3_pickles_is_read_too(tmp_path: Path, protocol: int) -> None:
    pixels = write_cifar(tmp_path)[0]
    texts = {"data": planes(pixels), "labels": np.array(labels(6))}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(texts, protocol=protocol))
    assert (read_array_file(tmp_path / "data_batch_1") == pixels).all()
    assert [s.label for s in scan_folder(tmp_path).samples[:3]] == list(NAMES)


def test_idx_labels_are_digits_or_the_lines_of_labels_txt(tmp_path: Path) -> None:
    train_images, test_images = write_mnist(tmp_path)
    samples = scan_folder(tmp_path)
    assert samples.class_names == ("0", "1", "2")
    assert [s.split for s in samples].count("test") == len(test_images) == 6
    train = [s for s in samples if s.split == "train"]
    assert train[0].path == "train-images-idx3-ubyte/00000"
    rgb = np.asarray(read_image(train[5]))
    assert rgb.shape == (28, 28, 3) and (rgb == train_images[5]).all()
    (tmp_path / "labels.txt").write_bytes("\ufeffT-shirt/top\r\nTrouser \r\nPullover\r\n".encode())
    assert scan_folder(tmp_path).class_names == ("T-shirt/top", "Trouser", "Pullover")


def test_a_file_that_lies_there_packed_and_unpacked_is_read_once(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_mnist(tmp_path, packed=False)
    samples = scan_folder(tmp_path)
    assert len(samples) == 18 and {s.file.suffix for s in samples} == {""}


def test_names_with_a_dot_are_known(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=False)
    for file in list(tmp_path.iterdir()):
        file.rename(file.with_name(re.sub(r"-idx", ".idx", file.name)))
    assert len(scan_folder(tmp_path)) == 18


def test_a_class_without_images_is_left_out_and_one_class_is_too_few(tmp_path: Path) -> None:
    write_cifar(tmp_path, counts=[2], tested=2)
    assert scan_folder(tmp_path).class_names == NAMES[:2]
    write_cifar(tmp_path, counts=[1], tested=1)
    assert "only one class" in refusal(tmp_path)
    assert len(scan_folder(tmp_path, min_classes=1)) == 2


def test_validation_is_split_off_the_training_rows(tmp_path: Path) -> None:
    write_cifar(tmp_path, counts=[60], tested=9)
    samples = add_digests(scan_folder(tmp_path), 2)
    shares = fractions_to_split(samples, 0.2, 0.2)
    assert (shares.validation, shares.test) == (0.2, 0.0)
    splits = [s.split for s in assign_splits(samples, shares, ContentRule(0, shares))]
    assert splits[-9:] == ["test"] * 9
    assert 3 <= splits.count("validation") <= 25 and splits.count("test") == 9


def test_a_folder_of_images_is_no_array_folder(tmp_path: Path) -> None:
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    (tmp_path / "meta").write_text("notes")
    assert scan_array_files(tmp_path) is None
    assert len(scan_folder(tmp_path)) == 4
    (tmp_path / "labels.txt").write_text("a\nb\n")
    assert scan_array_files(tmp_path) is None


# --- what is refused -----------------------------------------------------------------------------


def cut(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])


def idx_of(count: int, rows: int, columns: int, body: bytes = b"") -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, count, rows, columns) + body


IDX_DAMAGE: dict[str, tuple[bytes, str]] = {
    "truncated": (idx_of(12, 28, 28, bytes(9000)), "408 bytes are missing|which 9,016 bytes"),
    "a short header": (idx_of(12, 28, 28)[:9], "header ends too early"),
    "empty": (b"", "starts with nothing"),
    "labels instead": (idx(np.zeros(12, np.uint8)), "00 00 08 01"),
    "floats": (b"\0\0\x0d\x03" + bytes(100), "00 00 0d 03"),
    "too long": (idx_of(1, 2, 2, bytes(5)), "longer than its header says"),
    "huge": (idx_of(2**32 - 1, 28, 28, bytes(100)), "cannot hold"),
    "huge sides": (idx_of(1, 2**31, 2**31, bytes(100)), "cannot hold"),
    "no height": (idx_of(12, 0, 28), "28 x 0 pixels"),
    "a wide one": (idx_of(1, 1, 70_000, bytes(70_000)), "70000 x 1 pixels"),
    "other numbers": (idx(images(5, shape=(28, 28, 1))[..., 0]), "5 images, "),
}


@pytest.mark.parametrize("kind", IDX_DAMAGE)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_idx_file_is_named(tmp_path: Path, kind: str, packed: bool) -> None:
    data, reason = IDX_DAMAGE[kind]
    write_mnist(tmp_path, packed=packed)
    file = tmp_path / f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    file.write_bytes(gzip.compress(data) if packed else data)
    message = refusal(tmp_path)
    assert str(file) in message and re.search(reason, message)


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for damaged in (whole[:-4], whole[: len(whole) // 2], whole[:-6] + b"\0\0" + whole[-4:]):
        file.write_bytes(damaged)
        assert str(file) in refusal(tmp_path)
    file.write_bytes(whole[:3000] + bytes(20) + whole[3020:])
    assert str(file) in refusal(tmp_path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    bomb = gzip.compress(idx_of(12, 28, 28) + bytes(64 * 2**20))
    assert len(bomb) < 2**17
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    assert "longer than its header says" in refusal(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(idx_of(2**20, 32, 32, bytes(2**20)))
    )
    assert "cannot hold" in refusal(tmp_path)


def test_idx_labels_out_of_range_or_missing_are_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    idx_labels = np.array([0, 1, 2, 47] * 3, np.uint8)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(idx_labels)))
    message = refusal(tmp_path)
    assert "the label of row 3 is 47" in message and "labels.txt" in message
    (tmp_path / "labels.txt").write_text("\n".join(f"c{number}" for number in range(47)))
    assert "47 class names, 0 to 46" in refusal(tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join(f"c{number}" for number in range(48)))
    assert scan_folder(tmp_path).class_names == ("c0", "c1", "c2", "c47")
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert "no train-labels-idx1-ubyte[.gz] beside it" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "a\na\nb\n", "a\n\nb\nc\n", "a\nb\x1b[31m\nc\n"])
def test_class_names_must_be_names(tmp_path: Path, text: str) -> None:
    write_mnist(tmp_path)
    (tmp_path / "labels.txt").write_text(text)
    assert str(tmp_path / "labels.txt") in refusal(tmp_path)


BATCH_DAMAGE: dict[str, tuple[Callable[[dict[bytes, Any]], Any], str]] = {
    "a short list": (lambda b: b | {b"labels": [0, 1]}, "must be 6 whole numbers"),
    "texts": (lambda b: b | {b"labels": [b"a"] * 6}, "must be 6 whole numbers"),
    "no labels": (lambda b: {b"data": b[b"data"]}, "must be 6 whole numbers"),
    "no data": (lambda b: {b"labels": b[b"labels"]}, "`data` must be uint8[N,3072]"),
    "other sizes": (lambda b: b | {b"data": b[b"data"][:, :99]}, "`data` must be uint8[N,3072]"),
    "other numbers": (lambda b: b | {b"data": b[b"data"].astype(np.int64)}, "`data` must be"),
    "floats": (lambda b: b | {b"data": b[b"data"].astype(np.float32)}, "an array of 'f4'"),
    "objects": (lambda b: b | {b"data": b[b"data"].astype(object)}, "an array of 'O8'"),
    "columns first": (
        lambda b: b | {b"data": np.asfortranarray(b[b"data"])},
        "shape, order or bytes",
    ),
    "a list": (lambda b: [b], "holds no dict"),
    "too high": (lambda b: b | {b"labels": [0, 1, 2, 3, 0, 1]}, "the label of row 3 is 3"),
    "negative": (lambda b: b | {b"labels": [0, -1, 2, 0, 0, 1]}, "6 whole numbers"),
}


@pytest.mark.parametrize("kind", BATCH_DAMAGE)
def test_a_batch_that_is_none_is_named(tmp_path: Path, kind: str) -> None:
    change, reason = BATCH_DAMAGE[kind]
    write_cifar(tmp_path)
    file = tmp_path / "data_batch_1"
    file.write_bytes(pickle.dumps(change(batch(images(6))), protocol=2))
    message = refusal(tmp_path)
    assert str(file) in message and reason in message


def test_a_batch_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    file = tmp_path / "data_batch_1"
    whole = file.read_bytes()
    random = np.random.default_rng(1)
    for length in [0, 1, 2, *random.integers(3, len(whole), 30).tolist()]:
        file.write_bytes(whole[:length])
        assert str(file) in refusal(tmp_path)


def test_flipped_bits_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    whole = python2_pickle(batch(images(2)))
    random = np.random.default_rng(2)
    start = whole.index(b"T" + struct.pack("<i", 6144))
    refused = 0
    for place in [*range(start), *random.integers(start, len(whole), 300).tolist()]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        try:
            read_pickled_arrays(bytes(damaged))
        except UnexpectedContent as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100


class _Hostile:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (np.load, "load"), (getattr, "getattr")],
)
def test_a_hostile_pickle_runs_nothing(
    tmp_path: Path, function: Callable[..., Any], name: str, protocol: int
) -> None:
    write_cifar(tmp_path)
    canary = tmp_path / "canary"
    hostile = batch(images(6)) | {b"x": _Hostile(function, f"touch {canary}")}
    for file in (tmp_path / "data_batch_1", tmp_path / "batches.meta"):
        before = file.read_bytes()
        file.write_bytes(pickle.dumps(hostile, protocol=protocol))
        message = refusal(tmp_path)
        assert str(file) in message and f".{name}; only arrays are allowed" in message
        assert not canary.exists()
        file.write_bytes(before)


HOSTILE_PICKLES = {
    "a huge memo": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a deep list": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "a new object": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "a state": b"\x80\x02cnumpy\nndarray\n}b.",
    "a call of an array": b"\x80\x02cnumpy\nndarray\n)R.",
    "an unknown name": b"\x80\x02cnumpy.core.multiarray\nfromfile\n.",
    "a type that is a list": b"\x80\x02cnumpy\ndtype\n]\x85R.",
    "an encoding that is a list": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a]\x86R.",
    "an array without an axis": b"\x80\x02}X\x04\x00\x00\x00datacnumpy._core.numeric\n_frombuffer\n"
    b"(C\x01acnumpy\ndtype\nX\x02\x00\x00\x00u1\x85R)X\x01\x00\x00\x00CtRs.",
    "protocol 0": b"(dp0\n.",
}


@pytest.mark.parametrize("kind", HOSTILE_PICKLES)
def test_hostile_pickles_are_refused(tmp_path: Path, kind: str) -> None:
    write_cifar(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(HOSTILE_PICKLES[kind])
    message = refusal(tmp_path)
    assert str(tmp_path / "data_batch_1") in message
    assert "not a batch of CIFAR" in message or "`data` must be" in message


def test_a_binary_batch_of_another_length_is_named(tmp_path: Path) -> None:
    write_cifar_binary(tmp_path)
    file = tmp_path / "data_batch_2.bin"
    cut(file, 3073 * 9 - 1)
    assert str(file) in refusal(tmp_path) and "records of 3073 bytes" in refusal(tmp_path)
    cut(file, 0)
    assert str(file) in refusal(tmp_path)
    file.write_bytes(bytes([9]) + bytes(3072))
    assert "the label of row 0 is 9, but there are 3" in refusal(tmp_path)


def test_missing_names_and_two_formats_at_once_are_refused(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    write_cifar_binary(tmp_path)
    assert "keep one of them" in refusal(tmp_path)
    for file in tmp_path.glob("*.bin"):
        file.unlink()
    (tmp_path / "batches.meta").unlink()
    assert f"{tmp_path / 'batches.meta'} is missing" in refusal(tmp_path)


def test_a_link_out_of_the_folder_is_followed_only_if_asked(tmp_path: Path) -> None:
    write_cifar(tmp_path / "data")
    file = tmp_path / "data" / "data_batch_1"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert "--follow-links" in refusal(tmp_path / "data")
    assert len(scan_folder(tmp_path / "data", follow_links=True)) == 18


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_in_place_of_a_batch_does_not_hang(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    samples = scan_folder(tmp_path)
    (tmp_path / "data_batch_1").unlink()
    os.mkfifo(tmp_path / "data_batch_1")
    assert len(scan_folder(tmp_path)) == 12  # no file of images any more
    assert "not a regular file" in add_digests(samples, 2).rejected[0].reason


# --- reading -------------------------------------------------------------------------------------


def test_a_file_that_vanishes_or_shrinks_costs_its_rows_only(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    samples = scan_folder(tmp_path)
    (tmp_path / "data_batch_1").unlink()
    (tmp_path / "data_batch_2").write_bytes(python2_pickle(batch(images(7, seed=1))))
    digested = add_digests(samples, 2)
    assert len(digested) == 18 - 6 - 2
    reasons = {rejected.path: rejected.reason for rejected in digested.rejected}
    assert reasons["data_batch_1/00005"] == "cannot be opened: No such file or directory"
    assert "shorter" in reasons["data_batch_2/00008"]


def test_a_row_that_changes_after_its_digest_was_taken_is_not_read(tmp_path: Path) -> None:
    batches = write_cifar(tmp_path)
    samples = add_digests(scan_folder(tmp_path), 2).samples
    changed = batches[0].copy()
    changed[4] += 1
    (tmp_path / "data_batch_1").write_bytes(python2_pickle(batch(changed)))
    read_image(samples[3])
    with pytest.raises(ImageReadError, match=r"data_batch_1/00004: the file changed"):
        read_image(samples[4])
    assert read_image(replace(samples[4], sha256="")).size == (32, 32)
    (tmp_path / "data_batch_1").write_bytes(python2_pickle(batch(batches[0][:3])))
    with pytest.raises(ImageReadError, match="the file changed"):
        read_image(replace(samples[4], sha256=""))


def test_arrays_are_read_only(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    write_cifar_binary(tmp_path / "binary")
    write_mnist(tmp_path / "mnist")
    for name in ("data_batch_1", "binary/data_batch_1.bin", "mnist/train-images-idx3-ubyte.gz"):
        with pytest.raises(ValueError, match="read-only"):
            read_array_file(tmp_path / name)[0] = 0


def test_image_files_are_read_by_the_same_function(photo_folder: Path) -> None:
    sample = add_digests(scan_folder(photo_folder), 2).samples[0]
    assert read_image(sample).size == (56, 48)
    assert read_image(sample, display_size=(8, 8)).size == (28, 24)  # a JPEG, at half its size
    sample.file.write_bytes(sample.file.read_bytes() + b"x")
    with pytest.raises(ImageReadError, match="the file changed"):
        read_image(sample)
    assert read_image(replace(sample, sha256="")).mode == "RGB"
