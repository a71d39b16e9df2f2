"""The cache that version 0.1.0 wrote is read, and has what is computed today.

A new decoder, or another version of Pillow or ONNX Runtime, makes a cache invalid by its key; the
keys are therefore made as if the versions of that time were installed.
"""

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpeye.core.inference import Backbone, available_cores
from sharpeye.core.storage import sha256_file
from sharpeye.core.types import SPLITS, InputSpec, Sample, Split
from sharpeye.data import thumbnail
from sharpeye.data.digest import add_digests
from sharpeye.data.features import extract_features
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.pixel_file import iter_pixel_sets
from sharpeye.data.pixels import load_pixels
from sharpeye.data.split import assign_splits
from sharpeye.data.split_cache import SplitCache
from sharpeye.data.split_rules import ContentRule, SplitFractions
from sharpeye.data.thumbnail import THUMBNAIL, load_thumbnails
from sharpeye.data.vector_store import iter_vector_folders

FILES = Path(__file__).parent / "0.1.0"


@pytest.fixture
def old_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cache, with the versions of Pillow and ONNX Runtime that wrote it."""
    root = tmp_path / "cache"
    shutil.copytree(FILES / "cache", root)
    ((_, key, _),) = iter_vector_folders(root)
    monkeypatch.setattr(importlib.metadata, "version", key.__getitem__)
    monkeypatch.setattr(thumbnail, "version", key.__getitem__)
    return root


def samples_of(name: str) -> tuple[Sample, ...]:
    return add_digests(scan_folder(FILES / name), available_cores()).samples


def backbone_of(root: Path) -> Backbone:
    ((_, key, _),) = iter_vector_folders(root)
    (graph,) = (root / "backbones").glob("*.onnx")
    return Backbone(key["backbone"], graph, sha256_file(graph), InputSpec.from_dict(key["input"]))


def test_features_come_from_the_old_cache(old_cache: Path, tmp_path: Path) -> None:
    samples, backbone = samples_of("images"), backbone_of(old_cache)
    stored = extract_features(samples, backbone, root=old_cache)
    assert (stored.from_store, stored.rejected) == (len(samples), ())
    computed = extract_features(samples, backbone, root=tmp_path / "new")
    assert computed.from_store == 0
    for sample in samples:
        features = stored.features[sample.sha256]
        np.testing.assert_allclose(features, computed.features[sample.sha256], rtol=1e-3, atol=1e-5)
        assert features.std() > 0.001


@pytest.mark.parametrize("name", ["images", "shapes"])
def test_thumbnails_come_from_the_old_cache(name: str, old_cache: Path, tmp_path: Path) -> None:
    samples = samples_of(name)
    stored, computed = (
        load_thumbnails(samples, root=old_cache),
        load_thumbnails(samples, root=tmp_path),
    )
    assert (stored.from_store, computed.from_store) == (len(samples), 0)
    assert stored.samples == computed.samples
    for field in THUMBNAIL.names or ():
        first, second = (t.thumbnails[field].astype(np.float64) for t in (stored, computed))
        np.testing.assert_allclose(first, second, atol=2 if field != "sharpness" else 0.05)


def test_a_pixel_set_comes_from_the_old_cache(old_cache: Path, tmp_path: Path) -> None:
    samples = samples_of("shapes")
    ((_, summary, _),) = iter_pixel_sets(old_cache)
    spec = InputSpec.from_dict(summary["input"])
    calls: list[tuple[int, int]] = []

    def progress(*call: int) -> None:
        calls.append((call[0], call[1]))

    stored = load_pixels(samples, spec, progress, root=old_cache)
    assert calls == [] and len(stored.indices) == len(samples) == summary["pictures"]
    computed = load_pixels(samples, spec, progress, root=tmp_path / "new")
    assert calls[-1] == (24, 24)
    for sample in samples:
        gap = stored.pixels[stored.indices[sample.sha256]].astype(int)
        gap -= computed.pixels[computed.indices[sample.sha256]]
        assert np.abs(gap).max() <= 2


def test_the_split_comes_from_the_old_cache(old_cache: Path) -> None:
    shares = SplitFractions(0.15, 0.15)
    remembered = SplitCache(0, shares, old_cache / "splits").read()
    assert set(remembered.values()) == set(SPLITS)
    assigned: dict[str, Split | None] = {}
    for name in ("images", "shapes"):
        samples = add_digests(scan_folder(FILES / name), available_cores())
        result = assign_splits(samples, shares, ContentRule(0, shares), earlier_splits=remembered)
        assigned |= {sample.sha256: sample.split for sample in result}
    assert assigned == remembered


def test_the_records_of_the_old_cache_name_their_contents(old_cache: Path) -> None:
    keys: dict[str, Any] = {folder.name: key for folder, key, _ in iter_vector_folders(old_cache)}
    assert {key["backbone"] for key in keys.values()} == {"mobilenet_0.25_128"}
    ((_, thumbnails, size),) = iter_vector_folders(old_cache / thumbnail.FOLDER)
    assert thumbnails["dimension"] * 4 == THUMBNAIL.itemsize and size > 72 * THUMBNAIL.itemsize
    for file in old_cache.rglob("*.json"):
        json.loads(file.read_text(encoding="utf-8"))
