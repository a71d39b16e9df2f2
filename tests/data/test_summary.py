"""Counts by class and split, and the words for sizes and formats."""

from pathlib import Path

import numpy as np

from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.summary import counts_by_split, splits_of, summarize_dataset
from sharpeye.data.thumbnail import THUMBNAIL


def image(root: Path, name: str, split: Split | None, head: bytes) -> Sample:
    file = root / name
    file.write_bytes(head)
    return Sample(path=name, file=file, label=name[0], split=split, sha256=name)


def test_counts_sizes_and_formats(tmp_path: Path) -> None:
    jpeg, png = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"
    samples = (
        image(tmp_path, "a1", "train", jpeg),
        image(tmp_path, "a2", "test", jpeg),
        image(tmp_path, "b1", "train", png),
    )
    dataset = SampleSet(tmp_path, samples, ("a", "b"), ignored={".txt": 2}, given_splits=True)
    thumbnails = np.zeros(3, THUMBNAIL)
    thumbnails["width"], thumbnails["height"] = (10, 3000, 40), (20, 30, 40)
    assert splits_of(dataset) == ("train", "test")
    assert counts_by_split(dataset) == {"a": {"train": 1, "test": 1}, "b": {"train": 1, "test": 0}}
    assert summarize_dataset(dataset, thumbnails) == {
        "Pictures": "3 in 2 classes",
        "A class has": "1 (b) to 2 (a)",
        "Parts": "train 2, test 1",
        "Longer side": "20 to 3,000 pixels, half have 40 or more",
        "Formats": "JPEG 2, PNG 1",
        "Other files": "2 .txt",
    }
