"""Copies of which much was cut off are found by the features of a network."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sharpeye.core import arrays
from sharpeye.core.types import Sample
from sharpeye.data import thumbnail
from sharpeye.data.feature_duplicates import feature_duplicate_pairs
from sharpeye.data.near_duplicates import NO_PAIRS, find_near_duplicates
from sharpeye.data.thumbnail import THUMBNAIL, Thumbnails, load_thumbnails
from sharpeye.data.vector_store import VectorStore

COUNT = 12


def scene(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    low = random.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    image = Image.fromarray(low).resize((300, 240), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = random.integers(0, 300), random.integers(0, 240)
        colour = tuple(int(v) for v in random.integers(0, 256, 3))
        draw.ellipse((x, y, x + 60, y + 50), fill=colour)
    return Image.blend(image, image.convert("L").convert("RGB"), 0.7)  # pale, as most images are


def save_sample(image: Image.Image, file: Path) -> Sample:
    image.save(file, quality=92)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Sample(path=file.name, file=file, label="x", sha256=digest)


@pytest.fixture
def images(tmp_path: Path) -> Thumbnails:
    """Scenes, then the same with 10 % cut off on every side."""
    whole = [scene(seed) for seed in range(COUNT)]
    cut = [image.crop((30, 24, 270, 216)) for image in whole]
    return load_thumbnails(
        [save_sample(image, tmp_path / f"{n}.jpg") for n, image in enumerate([*whole, *cut])]
    )


def features_of(images: Thumbnails) -> dict[str, np.ndarray]:
    """Nearly the same features for a scene and for what was cut out of it."""
    random = np.random.default_rng(0)
    scenes = random.uniform(0, 4, (COUNT, 400)) ** 2
    vectors = np.concatenate([scenes, scenes * random.uniform(0.7, 1.3, scenes.shape)])
    pairs = zip(images.samples, vectors.astype(np.float32), strict=True)
    return {sample.sha256: vector for sample, vector in pairs}


def rows(pairs: object) -> list[tuple[int, int]]:
    first, second = pairs.first, pairs.second  # type: ignore[attr-defined]
    return list(zip(first.tolist(), second.tolist(), strict=True))


def test_deep_crops_are_found_with_features_only(images: Thumbnails) -> None:
    known = find_near_duplicates(images.thumbnails)
    assert len(known) <= COUNT // 2
    pairs = feature_duplicate_pairs(images, known, features_of(images))
    planted = {(row, row + COUNT) for row in range(COUNT)}
    assert set(rows(pairs)) <= planted - set(rows(known))
    assert len(pairs) + len(known) >= COUNT - 3
    assert pairs.similarity.min() > 0.8


def test_images_that_look_different_are_not_the_same_whatever_their_features(
    images: Thumbnails,
) -> None:
    features = features_of(images)
    names = [sample.sha256 for sample in images.samples]
    others = [*names[:COUNT], *names[COUNT + 1 :], names[COUNT]]
    turned = {name: features[other] for name, other in zip(names, others, strict=True)}
    assert len(feature_duplicate_pairs(images, NO_PAIRS, turned)) == 0


def test_features_come_from_the_cache_if_it_has_nearly_all(images: Thumbnails) -> None:
    assert len(feature_duplicate_pairs(images, NO_PAIRS)) == 0
    features = features_of(images)
    plain = VectorStore({"backbone": "b", "view": 0}, 400)
    few = VectorStore({"backbone": "other", "view": 0}, 400)
    with few.writer() as out:
        for name in list(features)[:5]:
            out.append(name, features[name])
    assert len(feature_duplicate_pairs(images, NO_PAIRS)) == 0
    with plain.writer() as out:
        for name, vector in features.items():
            out.append(name, vector)
    assert rows(feature_duplicate_pairs(images, NO_PAIRS)) == rows(
        feature_duplicate_pairs(images, NO_PAIRS, features)
    )


def test_thumbnails_of_many_images_lie_in_a_file_and_are_the_same(
    images: Thumbnails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = save_sample(scene(99), tmp_path / "bad.jpg")
    bad.file.write_bytes(b"not an image")
    bad = replace(bad, sha256=hashlib.sha256(b"not an image").hexdigest())
    samples = [*images.samples[:3], bad, *images.samples[3:]]
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", 5 * THUMBNAIL.itemsize)
    monkeypatch.setattr(thumbnail, "_CHUNK", 4)
    reloaded = load_thumbnails(samples, root=tmp_path / "another")
    assert isinstance(reloaded.thumbnails.base, np.ndarray)
    assert reloaded.thumbnails.tobytes() == images.thumbnails.tobytes()
    assert [rejected.path for rejected in reloaded.rejected] == ["bad.jpg"]
    assert [s.path for s in reloaded.samples] == [s.path for s in images.samples]
