"""Digests of every image; copies in several classes or splits."""

import hashlib
import os
from pathlib import Path

import pytest

from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.digest import add_digests, label_conflicts, leaks
from sharpeye.data.image_folder import scan_folder


def test_digests_are_those_of_the_bytes_and_keep_the_order(photo_folder: Path) -> None:
    scanned = scan_folder(photo_folder)
    digested = add_digests(scanned, workers=3)
    assert [s.path for s in digested] == [s.path for s in scanned]
    for sample in digested:
        assert sample.sha256 == hashlib.sha256(sample.file.read_bytes()).hexdigest()
    assert len({s.sha256 for s in digested}) == 24


def test_what_vanished_or_is_too_large_is_rejected_and_the_rest_goes_on(photo_folder: Path) -> None:
    scanned = scan_folder(photo_folder)
    gone, large = scanned.samples[3], scanned.samples[7]
    gone.file.unlink()
    os.truncate(large.file, 65 * 2**20)
    digested = add_digests(scanned, workers=2)
    assert len(digested) == 22
    assert [rejected.path for rejected in digested.rejected] == [gone.path, large.path]
    assert digested.rejected[0].reason == "cannot be opened: No such file or directory"
    assert "64 MiB" in digested.rejected[1].reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_an_image_that_became_a_fifo_does_not_hang(photo_folder: Path) -> None:
    scanned = scan_folder(photo_folder)
    file = scanned.samples[0].file
    file.unlink()
    os.mkfifo(file)
    digested = add_digests(scanned, workers=2)
    assert [rejected.path for rejected in digested.rejected] == [scanned.samples[0].path]


def test_copies_in_two_classes_or_two_splits_are_found() -> None:
    def sample(path: str, digest: str, split: Split) -> Sample:
        label = path.split("/")[0]
        return Sample(path, Path(path), label, split, digest)

    a, b = sample("cat/1", "aa", "train"), sample("dog/1", "aa", "train")
    c, d = sample("cat/2", "bb", "train"), sample("cat/3", "bb", "test")
    e, f = sample("cat/4", "cc", "train"), sample("cat/5", "cc", "train")
    everything = SampleSet(Path(), (a, b, c, d, e, f), ("cat", "dog"))
    assert label_conflicts(everything.samples) == [(a, b)]
    assert leaks(everything.samples) == [(c, d)]
