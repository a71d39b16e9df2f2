"""All images as one array: decoded once, right whatever is in the cache, never a failure."""

import contextlib
import errno
import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from arrays import write_cifar, write_mnist
from sharpeye.cli.app import run
from sharpeye.core.storage import TEMPORARY_PREFIX, FileLock
from sharpeye.core.temporaries import remove_stale_temporaries
from sharpeye.core.types import InputSpec, Sample
from sharpeye.data import pixel_file, pixels
from sharpeye.data.digest import add_digests
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.pixels import DecodedImages, load_pixels
from sharpeye.data.sample_image import load_sample
from sharpeye.errors import ImageReadError

SPEC = InputSpec(24, 20)


def samples_of(folder: Path) -> tuple[Sample, ...]:
    return add_digests(scan_folder(folder), workers=2).samples


def is_right(decoded: DecodedImages, samples: tuple[Sample, ...], spec: InputSpec) -> bool:
    """Whether each sample's row holds what `load_sample` makes of it."""
    assert decoded.pixels.shape[1:] == (spec.height, spec.width, spec.channels)
    assert decoded.pixels.dtype == np.uint8 and len(decoded.pixels) == len(decoded.indices)
    gone = {rejected.path for rejected in decoded.rejected}
    return all(
        (decoded.pixels[decoded.indices[s.sha256]] == load_sample(s, spec)).all()
        for s in samples
        if s.path not in gone
    )


def the_set(root: Path) -> tuple[Path, Path]:
    (file,) = (root / "pixels").glob("*.npy")
    return file, file.with_suffix(".json")


@pytest.fixture
def decoded_paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths of the samples that are decoded."""
    paths: list[str] = []

    def note(sample: Sample, spec: InputSpec) -> Any:
        paths.append(sample.path)
        return load_sample(sample, spec)

    monkeypatch.setattr(pixels, "load_sample", note)
    yield paths


def test_every_image_is_decoded_once_and_mapped(
    photo_folder: Path, tmp_path: Path, decoded_paths: list[str]
) -> None:
    samples, progress_calls = samples_of(photo_folder), []
    decoded = load_pixels(samples, SPEC, lambda *step: progress_calls.append(step), root=tmp_path)
    assert (
        is_right(decoded, samples, SPEC) and len(decoded.indices) == 24 and decoded.rejected == ()
    )
    assert progress_calls[-1] == (24, 24) and sorted(decoded_paths) == sorted(
        s.path for s in samples
    )
    assert isinstance(decoded.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        decoded.pixels[0] = 0
    decoded_paths.clear()
    progress_calls.clear()
    again = load_pixels(
        samples[::-1], SPEC, lambda *step: progress_calls.append(step), root=tmp_path
    )
    assert is_right(again, samples, SPEC) and progress_calls == []
    assert again.indices == decoded.indices
    file, _ = the_set(tmp_path)
    assert (np.load(file, mmap_mode="r") == decoded.pixels).all()


def test_other_images_another_input_or_another_decoder_are_another_set(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(photo_folder)
    specs = [SPEC, InputSpec(24, 20, fit="crop"), InputSpec(24, 20, channels=1)]
    for spec in specs:
        assert is_right(load_pixels(samples, spec, root=tmp_path), samples, spec)
    assert is_right(load_pixels(samples[:-1], SPEC, root=tmp_path), samples[:-1], SPEC)
    monkeypatch.setattr(pixels, "DECODER_VERSION", 99)
    load_pixels(samples, SPEC, root=tmp_path)
    assert len(list((tmp_path / "pixels").glob("*.npy"))) == 5


def test_copies_share_a_row(photo_folder: Path, tmp_path: Path) -> None:
    original = next(iter((photo_folder / "apple").iterdir()))
    shutil.copy(original, photo_folder / "sky" / "copy.jpg")
    samples = samples_of(photo_folder)
    decoded = load_pixels(samples, SPEC, root=tmp_path)
    assert len(samples) == 25 and len(decoded.indices) == 24 == len(decoded.pixels)
    assert is_right(decoded, samples, SPEC)


# --- rows of array files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(28, 28, channels=1),
        InputSpec(28, 28),
        InputSpec(32, 32, channels=1),
        InputSpec(20, 40, fit="crop"),
        InputSpec(28, 28, filter="bilinear_asymmetric"),
        InputSpec(28, 28, channels=1, filter="bilinear_asymmetric"),
    ],
)
def test_grey_rows(tmp_path: Path, spec: InputSpec) -> None:
    write_mnist(tmp_path / "mnist", count=40)
    samples = samples_of(tmp_path / "mnist")
    assert is_right(load_pixels(samples, spec, root=tmp_path), samples, spec)


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(32, 32),
        InputSpec(32, 32, channels=1),
        InputSpec(48, 32),
        InputSpec(32, 32, filter="bilinear_asymmetric"),
        InputSpec(32, 32, channels=1, filter="bilinear_asymmetric"),
    ],
)
def test_colour_rows(tmp_path: Path, spec: InputSpec) -> None:
    write_cifar(tmp_path / "cifar")
    samples = samples_of(tmp_path / "cifar")
    decoded = load_pixels(samples, spec, root=tmp_path)
    assert is_right(decoded, samples, spec) and len(decoded.indices) == 18


def test_rows_of_the_right_size_never_meet_pillow(
    tmp_path: Path, decoded_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "mnist", count=3000)
    samples = samples_of(tmp_path / "mnist")
    monkeypatch.setattr(pixels, "fit_image", None)
    progress_calls: list[tuple[int, int]] = []
    decoded = load_pixels(
        samples,
        InputSpec(28, 28, channels=1),
        lambda *step: progress_calls.append(step),
        root=tmp_path,
    )
    assert decoded_paths == [] and len(decoded.indices) == 3006
    assert 3 <= len(progress_calls) <= 10 and progress_calls[-1] == (3006, 3006)


def test_a_row_that_changed_is_rejected_alone(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", packed=False)
    samples = samples_of(tmp_path / "mnist")
    file = tmp_path / "mnist" / "train-images-idx3-ubyte"
    data = bytearray(file.read_bytes())
    data[16 + 784 * 5] ^= 1
    file.write_bytes(bytes(data))
    spec = InputSpec(28, 28, channels=1)
    decoded = load_pixels(samples, spec, root=tmp_path)
    assert [rejected.path for rejected in decoded.rejected] == ["train-images-idx3-ubyte/00005"]
    assert "changed" in decoded.rejected[0].reason and len(decoded.indices) == 17
    data[16 + 784 * 5] ^= 1
    file.write_bytes(bytes(data))
    decoded = load_pixels(samples, spec, root=tmp_path)
    assert decoded.rejected == () and is_right(decoded, samples, spec)


# --- what cannot be decoded ----------------------------------------------------------------------


def test_what_cannot_be_decoded_is_rejected_each_time(photo_folder: Path, tmp_path: Path) -> None:
    for name in ("apple/a.jpg", "sky/b.jpg"):
        (photo_folder / name).write_text("<!DOCTYPE html><html></html>")
    torn = next((photo_folder / "leaf").glob("*.png"))
    torn.write_bytes(torn.read_bytes()[:900])
    samples = samples_of(photo_folder)
    for _ in range(2):
        decoded = load_pixels(samples, SPEC, root=tmp_path)
        reasons = {rejected.path: rejected.reason for rejected in decoded.rejected}
        assert set(reasons) == {"apple/a.jpg", "sky/b.jpg", f"leaf/{torn.name}"}
        assert "HTML" in reasons["sky/b.jpg"] and "damaged PNG" in reasons[f"leaf/{torn.name}"]
        assert is_right(decoded, samples, SPEC) and len(decoded.pixels) == 23


def test_an_image_that_could_not_be_decoded_is_tried_again(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(photo_folder)
    with monkeypatch.context() as patch:

        def late(sample: Sample, spec: InputSpec) -> Any:
            if sample is samples[7]:
                raise ImageReadError(sample.path, "decoding took more than 10 s")
            return load_sample(sample, spec)

        patch.setattr(pixels, "load_sample", late)
        assert len(load_pixels(samples, SPEC, root=tmp_path).rejected) == 1
    decoded = load_pixels(samples, SPEC, root=tmp_path)
    assert decoded.rejected == () and is_right(decoded, samples, SPEC)


def test_nothing_that_can_be_decoded_is_an_empty_array(photo_folder: Path, tmp_path: Path) -> None:
    for file in photo_folder.glob("*/*"):
        file.write_text(f"<html>{file.name}</html>")
    samples = samples_of(photo_folder)
    for _ in range(2):
        decoded = load_pixels(samples, SPEC, root=tmp_path)
        assert decoded.pixels.shape == (0, 24, 20, 3) and len(decoded.rejected) == 24
    assert load_pixels((), SPEC, root=tmp_path).pixels.shape == (0, 24, 20, 3)


# --- the cache -----------------------------------------------------------------------------------


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(bytes(data))


def test_flipped_bits_are_noticed(
    photo_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = samples_of(photo_folder)[:6]
    first = load_pixels(samples, SPEC, root=tmp_path)
    expected = first.pixels.copy()
    file, record_file = the_set(tmp_path)
    size = file.stat().st_size
    random = np.random.default_rng(0)
    for place in [0, 9, 40, 127, 128, size - 1, *random.integers(128, size, 10).tolist()]:
        flip(file, place)
        caplog.clear()
        decoded = load_pixels(samples, SPEC, root=tmp_path)
        assert (decoded.pixels == expected).all() and "made again" in caplog.text
    length = record_file.stat().st_size
    start = record_file.read_bytes().index(b'"checks"')
    for place in random.integers(start, length - 1, 20).tolist():
        flip(record_file, place)
        decoded = load_pixels(samples, SPEC, root=tmp_path)
        assert is_right(decoded, samples, SPEC) and (decoded.pixels == expected).all()


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "null", "[" * 100_000, "\xff"),
        '{"digests": 5, "checks": []}',
        '{"digests": ["a"], "checks": [[1e999, 0]]}',
        '{"digests": [], "checks": [[1]]}',
    ],
)
def test_a_torn_record_is_written_again(photo_folder: Path, tmp_path: Path, text: str) -> None:
    samples = samples_of(photo_folder)[:4]
    load_pixels(samples, SPEC, root=tmp_path)
    _, record_file = the_set(tmp_path)
    record_file.write_text(text, encoding="latin-1")
    assert is_right(load_pixels(samples, SPEC, root=tmp_path), samples, SPEC)
    assert len(json.loads(record_file.read_text())["digests"]) == 4


def test_what_is_cut_off_or_gone_is_made_again(photo_folder: Path, tmp_path: Path) -> None:
    samples = samples_of(photo_folder)[:4]
    decoded = load_pixels(samples, SPEC, root=tmp_path)
    file, record_file = the_set(tmp_path)
    for damage in (
        lambda: os.truncate(file, 500),
        lambda: os.truncate(file, 0),
        file.unlink,
        record_file.unlink,
        lambda: shutil.rmtree(tmp_path / "pixels"),
    ):
        del decoded  # what is mapped is not cut off
        damage()
        decoded = load_pixels(samples, SPEC, root=tmp_path)
        assert is_right(decoded, samples, SPEC) and isinstance(decoded.pixels, np.memmap)


def test_stopped_work_leaves_nothing_and_stale_leftovers_go(
    photo_folder: Path, tmp_path: Path
) -> None:
    samples = samples_of(photo_folder)

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_pixels(samples, SPEC, stop, root=tmp_path)
    folder = tmp_path / "pixels"
    assert {file.suffix for file in folder.iterdir()} == {".lock"}
    left, young = (folder / f"{TEMPORARY_PREFIX}1-0000000{n}.npy" for n in (1, 2))
    left.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(left, (time.time() - 3 * 24 * 3600,) * 2)
    remove_stale_temporaries.cache_clear()  # as in a later process
    load_pixels(samples, SPEC, root=tmp_path)
    assert not left.exists() and young.exists()


def test_the_least_recently_used_sets_make_room(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(photo_folder)
    size = 128 + 4 * 24 * 20 * 3
    monkeypatch.setattr(pixel_file, "_MAX_CACHE_BYTES", 3 * size)
    for number in range(3):
        load_pixels(samples[number : number + 4], SPEC, root=tmp_path)
        for record_file in (tmp_path / "pixels").glob("*.json"):
            os.utime(record_file, (record_file.stat().st_mtime - 100,) * 2)
    files = set((tmp_path / "pixels").glob("*.npy"))
    load_pixels(samples[:4], SPEC, root=tmp_path)  # is now the last one that was used
    load_pixels(samples[10:14], SPEC, root=tmp_path)
    gone = files - set((tmp_path / "pixels").glob("*.npy"))
    assert len(gone) == 1
    progress_calls: list[int] = []
    load_pixels(samples[:4], SPEC, lambda done, _: progress_calls.append(done), root=tmp_path)
    load_pixels(samples[2:6], SPEC, lambda done, _: progress_calls.append(done), root=tmp_path)
    assert progress_calls == []
    load_pixels(samples[1:5], SPEC, lambda done, _: progress_calls.append(done), root=tmp_path)
    assert progress_calls == [4]


class _FullDisk:
    """A file on a disk with little room."""

    def __init__(self, file: IO[bytes], room: int, code: int) -> None:
        self._file, self._room, self._code = file, room, code

    def write(self, data: Any) -> int:
        if self._file.tell() + memoryview(data).nbytes > self._room:
            raise OSError(self._code, os.strerror(self._code))
        return self._file.write(data)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written_costs_a_warning(
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    (photo_folder / "apple" / "a.jpg").write_text("<!DOCTYPE html><html></html>")
    samples = samples_of(photo_folder)
    real = pixel_file.atomic_open

    @contextlib.contextmanager
    def full_after_two_chunks(path: Path, mode: str) -> Iterator[Any]:
        with real(path, mode) as file:
            yield _FullDisk(file, 128 + 10 * 24 * 20 * 3, code)

    monkeypatch.setattr(pixels, "_CHUNK_ROWS", 5)
    monkeypatch.setattr(pixel_file, "atomic_open", full_after_two_chunks)
    decoded = load_pixels(samples, SPEC, root=tmp_path)
    assert is_right(decoded, samples, SPEC) and len(decoded.indices) == 24
    assert not isinstance(decoded.pixels, np.memmap) and not decoded.pixels.flags.writeable
    assert [rejected.path for rejected in decoded.rejected] == ["apple/a.jpg"]
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "decoded images are not cached" in record.message
    assert {file.suffix for file in (tmp_path / "pixels").iterdir()} == {".lock"}


def test_a_nearly_full_disk_is_not_filled(
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    samples = samples_of(photo_folder)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(pixel_file.shutil, "disk_usage", lambda _: usage)
    assert is_right(load_pixels(samples, SPEC, root=tmp_path), samples, SPEC)
    assert "MiB are free" in caplog.text


def test_a_file_where_the_cache_should_be(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("x")
    samples = samples_of(photo_folder)
    assert is_right(load_pixels(samples, SPEC, root=tmp_path / "cache"), samples, SPEC)


def test_two_processes_decode_once(photo_folder: Path, tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from sharpeye.data.digest import add_digests
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.pixels import load_pixels
from sharpeye.core.types import InputSpec
samples = add_digests(scan_folder(Path(sys.argv[1])), 2).samples
progress_calls = []
def progress(done, total):
    progress_calls.append(done)
    time.sleep(0.3)
decoded = load_pixels(samples, InputSpec(24, 20), progress=progress, root=Path(sys.argv[2]))
print(len(progress_calls) > 0, len(decoded.pixels), int(decoded.pixels.sum()))
"""
    command = [sys.executable, "-c", program, str(photo_folder), str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    out = sorted(process.communicate(timeout=60)[0].split() for process in both)
    assert [words[0] for words in out] == ["False", "True"]
    assert out[0][1:] == out[1][1:] and out[0][1] == "24"


def test_a_process_that_waits_says_so(
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    samples = samples_of(photo_folder)
    real, waits = FileLock.try_acquire, []

    def busy(lock: FileLock, *, wait_seconds: float = 0) -> bool:
        waits.append(wait_seconds)
        return wait_seconds > 0 and real(lock, wait_seconds=wait_seconds)

    monkeypatch.setattr(FileLock, "try_acquire", busy)
    caplog.set_level(logging.INFO)
    assert is_right(load_pixels(samples, SPEC, root=tmp_path), samples, SPEC)
    assert waits == [0, math.inf] and "waiting" in caplog.text


def test_the_command_line_lists_the_sets(
    photo_folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_pixels(samples_of(photo_folder), SPEC)
    (cache / "pixels" / "torn.npy").write_bytes(b"x")
    assert run(["cache", "info"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"pixels +0\.0 MiB  24 images, 20 x 24 px", out)
    assert "? images" in out
    assert run(["cache", "clear"]) == 0
    assert not (cache / "pixels").exists()


def test_large_photographs_are_reduced_as_for_features(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        noise = np.random.default_rng(ord(label)).integers(0, 256, (300, 400, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "data" / label / "1.jpg")
    samples = samples_of(tmp_path / "data")
    for spec in (
        InputSpec(32, 32),
        InputSpec(32, 32, channels=1),
        InputSpec(40, 30, fit="stretch"),
    ):
        assert is_right(load_pixels(samples, spec, root=tmp_path), samples, spec)
