"""Digests of every image; copies in several classes or parts."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.digest import add_digests, label_conflicts, leaks
from sharpeye.data.image_folder import scan_folder


def test_digests_are_those_of_the_bytes_and_keep_the_order(photo_folder: Path) -> None:
    scanned = scan_folder(photo_folder)
    found = add_digests(scanned, workers=3)
    assert [s.path for s in found] == [s.path for s in scanned]
    for sample in found:
        assert sample.sha256 == hashlib.sha256(sample.file.read_bytes()).hexdigest()
    assert len({s.sha256 for s in found}) == 24


def test_what_vanished_or_is_too_large_is_rejected_and_the_rest_goes_on(photo_folder: Path) -> None:
    scanned = scan_folder(photo_folder)
    gone, large = scanned.samples[3], scanned.samples[7]
    gone.file.unlink()
    os.truncate(large.file, 65 * 2**20)
    found = add_digests(scanned, workers=2)
    assert len(found) == 22
    assert [each.path for each in found.rejected] == [gone.path, large.path]
    assert found.rejected[0].reason == "cannot be opened: No such file or directory"
    assert "64 MiB" in found.rejected[1].reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_an_image_that_became_a_fifo_does_not_hang(photo_folder: Path) -> None:
    scanned = scan_folder(photo_folder)
    file = scanned.samples[0].file
    file.unlink()
    os.mkfifo(file)
    found = add_digests(scanned, workers=2)
    assert [each.path for each in found.rejected] == [scanned.samples[0].path]


def test_copies_in_two_classes_or_two_parts_are_found() -> None:
    def sample(path: str, digest: str, part: str) -> Sample:
        label = path.split("/")[0]
        made = Sample(path, Path(path), label, sha256=digest)
        return replace(made, split=part)  # type: ignore[arg-type]

    a, b = sample("cat/1", "aa", "train"), sample("dog/1", "aa", "train")
    c, d = sample("cat/2", "bb", "train"), sample("cat/3", "bb", "test")
    e, f = sample("cat/4", "cc", "train"), sample("cat/5", "cc", "train")
    everything = SampleSet(Path(), (a, b, c, d, e, f), ("cat", "dog"))
    assert label_conflicts(everything.samples) == [(a, b)]
    assert leaks(everything.samples) == [(c, d)]
