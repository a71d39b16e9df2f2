"""The range of brightness of 12- and 16-bit images: one for a data set, in all that reads it."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpeye.core.inference import Backbone
from sharpeye.core.types import InputSpec, SampleSet
from sharpeye.data import digest, sample_image, sample_range
from sharpeye.data.digest import add_digests
from sharpeye.data.features import extract_features
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.pixels import load_pixels
from sharpeye.data.sample_image import load_sample, read_image
from sharpeye.data.thumbnail import cached_thumbnails, load_thumbnails
from sharpeye.errors import ImageReadError
from wide_images import png, tiff

SPEC = InputSpec(20, 24)


def values(seed: int) -> np.ndarray:
    """uint16[30,40], of 12 bits."""
    return np.random.default_rng(seed).integers(0, 2**12, (30, 40)).astype(np.uint16)


def write_set(folder: Path, encode: Callable[[np.ndarray], bytes], suffix: str) -> SampleSet:
    for number in range(6):
        file = folder / "ab"[number % 2] / f"{number}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(values(number)))
    return add_digests(scan_folder(folder), 2)


def narrow_png(samples: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((samples >> 4).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


ENCODERS = {
    "png": png,
    "colour png": lambda samples: png(np.dstack([samples] * 3)),
    "tiff": lambda samples: tiff(samples, ">"),
    "12-bit tiff": lambda samples: tiff(samples, bits=12),
    "float tiff": lambda samples: tiff(samples, bits=32, sample_format=3),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_features_pixels_and_thumbnails_are_those_of_the_upper_8_of_12_bits(
    kind: str, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    wide = write_set(tmp_path / "wide", ENCODERS[kind], ".png" if "png" in kind else ".tif")
    narrow = write_set(tmp_path / "narrow", narrow_png, ".png")
    assert (wide.bit_depth, narrow.bit_depth) == (12, 16)
    assert {sample.bit_depth for sample in wide} == {12}
    spec = replace(SPEC, bit_depth=wide.bit_depth)
    backbone = tiny_backbone.with_bit_depth(wide.bit_depth)
    pixels = [load_pixels(s.samples, x).pixels for s, x in ((wide, spec), (narrow, SPEC))]
    assert (pixels[0] == pixels[1]).all()
    looks = [load_thumbnails(s.samples).thumbnails for s in (wide, narrow)]
    assert looks[0].tobytes() == looks[1].tobytes()
    features = extract_features(wide.samples, backbone).features
    expected = extract_features(narrow.samples, tiny_backbone).features
    for first, second in zip(wide, narrow, strict=True):
        assert (read_image(first).tobytes()) == read_image(second).tobytes()
        assert (load_sample(first, spec) == load_sample(second, SPEC)).all()
        assert (features[first.sha256] == expected[second.sha256]).all()
    # The cache keeps vectors of another range apart.
    unscaled = extract_features(wide.samples, tiny_backbone)
    assert unscaled.from_store == 0
    first = wide.samples[0].sha256
    assert kind == "12-bit tiff" or not (unscaled.features[first] == features[first]).all()


def test_a_set_has_the_range_of_its_largest_image_and_8_bits_stay(tmp_path: Path) -> None:
    for name, data in {
        "a/10.png": png(values(0) >> 2),
        "a/8.png": narrow_png(values(1)),
        "b/12.png": png(values(2)),
        "b/dark.tif": tiff(values(3) >> 6),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    samples = add_digests(scan_folder(tmp_path, min_classes=1), 2)
    assert samples.bit_depth == 12
    depths = {sample.path: sample.bit_depth for sample in samples}
    assert depths == {"a/8.png": 16, "a/10.png": 12, "b/12.png": 12, "b/dark.tif": 12}


def test_each_wide_image_is_decoded_once_and_other_sets_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "wide", png, ".png")

    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(sample_range, "_compute", fail)
    assert add_digests(scan_folder(tmp_path / "wide"), 2).bit_depth == 12
    monkeypatch.setattr(digest, "choose_bit_depth", fail)
    assert write_set(tmp_path / "narrow", narrow_png, ".png").bit_depth == 16


def test_a_mixed_set_does_not_use_what_an_earlier_rule_of_its_range_cached(
    tmp_path: Path, tiny_backbone: Backbone
) -> None:
    """A TIFF of 12 bits beside one of 16: the bit depth of the set is 16, as it was before."""
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
    (tmp_path / "set" / "a" / "12.tif").write_bytes(tiff(values(1), bits=12))
    (tmp_path / "set" / "a" / "16.tif").write_bytes(tiff(values(2) << 4))
    (tmp_path / "set" / "b" / "8.png").write_bytes(narrow_png(values(3)))
    mixed = add_digests(scan_folder(tmp_path / "set"), 2).samples
    assert [(s.path, s.bit_depth, s.is_wide) for s in mixed] == [
        ("a/12.tif", 16, True),
        ("a/16.tif", 16, True),
        ("b/8.png", 16, False),
    ]
    earlier = tuple(replace(sample, is_wide=False) for sample in mixed)
    root = tmp_path / "cache"
    for load in (
        lambda samples: load_thumbnails(samples, root=root).from_store,
        lambda samples: extract_features(samples, tiny_backbone, root=root).from_store,
    ):
        assert [load(earlier), load(earlier), load(mixed), load(mixed)] == [0, 3, 0, 3]
        assert load(mixed[2:]) == 1  # The ordinary image keeps what was cached.
    pixels = load_pixels(earlier, SPEC, root=root).pixels
    assert load_pixels(mixed, SPEC, root=root).pixels.base is not pixels.base
    assert len(list((root / "pixels").glob("*.npy"))) == 2
    assert set(cached_thumbnails([s.sha256 for s in mixed], root=root)) == {s.sha256 for s in mixed}


def test_unreadable_wide_images_do_not_count(tmp_path: Path) -> None:
    for name, data in {"a/1.png": png(values(0)), "b/2.png": png(values(1) << 4)[:200]}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert add_digests(scan_folder(tmp_path), 2).bit_depth == 12


def test_a_file_that_is_being_written_is_read_again_before_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = write_set(tmp_path / "set", narrow_png, ".png").samples[0]
    reads: list[bytes] = []
    whole = sample.file.read_bytes()

    def read(*_: object) -> bytes:
        reads.append(whole[:50] if not reads else whole)
        return reads[-1]

    monkeypatch.setattr(sample_image, "read_file", read)
    assert read_image(sample).size == (40, 30)
    assert len(reads) == 2
    monkeypatch.undo()
    sample.file.write_bytes(whole + b"x")
    with pytest.raises(ImageReadError, match="changed while it was being read") as caught:
        read_image(sample)
    assert caught.value.transient
