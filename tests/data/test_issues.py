"""Each kind of issue is reported where it was planted, and only there."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sharpeye.core.types import Sample, SampleSet, Split
from sharpeye.data.duplicate_issues import duplicate_issues
from sharpeye.data.issues import (
    KINDS,
    Issue,
    class_issues,
    count_by_kind,
    quality_issues,
    sort_issues,
)
from sharpeye.data.near_duplicates import NO_PAIRS
from sharpeye.data.thumbnail import THUMBNAIL, make_thumbnail
from sharpeye.data.thumbnail_comparison import ImagePairs


def sharp(seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (12, 16, 3)).astype(np.uint8)
    return Image.fromarray(blocks).resize((320, 240), Image.Resampling.NEAREST)


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("blank", Image.new("RGB", (200, 150), (90, 90, 90))),
        ("dark", sharp(1).point([v // 6 for v in range(256)] * 3)),
        ("bright", sharp(2).point([215 + v // 8 for v in range(256)] * 3)),
        ("blurred", sharp(3).filter(ImageFilter.GaussianBlur(8))),
        ("odd_aspect", sharp(4).resize((640, 60), Image.Resampling.NEAREST)),
    ],
)
def test_a_bad_image_is_found_among_good_ones(kind: str, image: Image.Image) -> None:
    images = [*(sharp(seed) for seed in range(10, 20)), image]
    thumbnails = np.concatenate([make_thumbnail(photo, photo.size) for photo in images])
    samples = [sample(f"oak/{number}.jpg", "a") for number in range(len(images))]
    issues = quality_issues(thumbnails, samples)
    assert [(issue.path, issue.kind) for issue in issues] == [("oak/10.jpg", kind)]


def test_small_images_are_not_called_blurred() -> None:
    soft = sharp().filter(ImageFilter.GaussianBlur(8)).resize((28, 28))
    assert quality_issues(make_thumbnail(soft, soft.size), [sample("oak/1.jpg", "a")]) == []


def sample(path: str, digest: str, split: Split | None = None) -> Sample:
    label = path.split("/")[-2]
    return Sample(path=path, file=Path(path), label=label, split=split, sha256=digest * 64)


def as_set(samples: list[Sample], *, given: bool = False) -> SampleSet:
    labels = tuple(sorted({s.label for s in samples}))
    return SampleSet(Path("x"), tuple(samples), labels, given_splits=given)


def issues_of(samples: SampleSet, near_pairs: list[tuple[int, int]]) -> list[Issue]:
    first: dict[str, Sample] = {}
    for member in samples:
        first.setdefault(member.sha256, member)
    thumbnail_samples = list(first.values())
    ends = np.array(near_pairs, np.int64).reshape(-1, 2)
    scores = np.linspace(0.99, 0.96, len(near_pairs), dtype=np.float32)
    pairs = ImagePairs(ends[:, 0], ends[:, 1], *[scores] * 4)
    return duplicate_issues(
        samples,
        np.zeros(len(thumbnail_samples), THUMBNAIL),
        thumbnail_samples,
        pairs=pairs,
        feature_pairs=NO_PAIRS,
    )


def test_copies_within_a_class_across_classes_and_across_splits() -> None:
    samples = as_set(
        [
            sample("test/oak/1.jpg", "a", "test"),
            sample("train/elm/2.jpg", "b", "train"),
            sample("train/oak/1.jpg", "a", "train"),
            sample("train/oak/3.jpg", "c", "train"),
            sample("train/oak/4.jpg", "c", "train"),
            sample("train/oak/5.jpg", "d", "train"),
        ],
        given=True,
    )
    issues = issues_of(samples, [(1, 3)])  # elm/2 and oak/5 are nearly the same
    assert [(i.path, i.kind, i.related) for i in issues] == [
        ("train/oak/4.jpg", "exact_duplicate", "train/oak/3.jpg"),
        ("train/oak/5.jpg", "label_conflict", "train/elm/2.jpg"),
        ("test/oak/1.jpg", "leak", "train/oak/1.jpg"),
    ]
    assert [i.serious for i in issues] == [False, True, True]


def test_a_burst_is_reported_once_an_image_with_the_most_similar_one() -> None:
    samples = as_set([sample(f"oak/{n}.jpg", d) for n, d in enumerate("abcd")])
    issues = issues_of(samples, [(0, 1), (0, 2), (1, 2), (2, 3)])
    assert [(i.path, i.related) for i in issues] == [
        ("oak/1.jpg", "oak/0.jpg"),
        ("oak/2.jpg", "oak/0.jpg"),
        ("oak/3.jpg", "oak/2.jpg"),
    ]
    assert {i.kind for i in issues} == {"near_duplicate"}


def test_small_classes() -> None:
    names = [f"oak/{n}.jpg" for n in range(12)] + ["elm/1.jpg", "elm/2.jpg"]
    names += [f"ash/{n}.jpg" for n in range(5)]
    issues = class_issues(as_set([sample(path, f"{n:x}"[-1]) for n, path in enumerate(names)]))
    assert [(i.path, i.kind, i.serious) for i in issues] == [
        ("ash", "small_class", False),
        ("elm", "small_class", True),
    ]


def test_a_class_with_far_fewer_images_than_another_is_reported() -> None:
    names = [f"oak/{n}.jpg" for n in range(200)] + [f"elm/{n}.jpg" for n in range(12)]
    names += [f"ash/{n}.jpg" for n in range(20)]
    issues = class_issues(as_set([sample(path, "a") for path in names]))
    assert [(i.path, i.kind, i.related, i.serious) for i in issues] == [
        ("elm", "small_class", "oak", False)
    ]
    assert issues[0].detail == "12 images: oak has 17 times as many"


def test_issues_are_ordered_by_gravity() -> None:
    issues = [Issue("a", "dark"), Issue("b", "leak"), Issue("c", "dark"), Issue("d", "unreadable")]
    assert [i.path for i in sort_issues(issues)] == ["d", "b", "a", "c"]
    assert count_by_kind(issues) == {"unreadable": 1, "leak": 1, "dark": 2}
    assert list(count_by_kind(issues)) == [kind for kind in KINDS if kind in count_by_kind(issues)]
