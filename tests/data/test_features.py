"""Images to features: computed once, stored at once, never wrong, whatever happens."""

import errno
import logging
import mmap
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from sharpeye.core import arrays
from sharpeye.core.inference import Backbone, Graph
from sharpeye.core.types import Sample
from sharpeye.data.digest import add_digests
from sharpeye.data.features import (
    ExtractedFeatures,
    ObjectViews,
    ViewPolicy,
    _VectorLayout,
    draw_sample_view,
    extract_features,
    store_key,
    vector_key,
)
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.sample_image import load_sample
from sharpeye.data.vector_store import VectorStore
from sharpeye.images.resize import load_image
from sharpeye.images.views import Distortion


def samples_of(folder: Path) -> tuple[Sample, ...]:
    return add_digests(scan_folder(folder), workers=2).samples


def the_segment(backbone: Backbone, root: Path) -> Path:
    width = Graph(backbone.graph_file).output_width()
    (segment,) = VectorStore(store_key(backbone, 0), width, root).folder.glob("*.seg")
    return segment


def test_features_are_the_graphs_own_and_come_from_the_store_the_second_time(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    samples, progress_calls = samples_of(photo_folder), []
    first = extract_features(
        samples,
        tiny_backbone,
        progress=lambda done, all_: progress_calls.append((done, all_)),
        root=tmp_path,
    )
    assert first.from_store == 0 and first.rejected == ()
    assert progress_calls == [(number, 24) for number in range(1, 25)]
    assert set(first.features) == {s.sha256 for s in samples}
    graph = Graph(tiny_backbone.graph_file)
    for sample in samples[:3]:
        pixels = load_image(sample.file, sample.path, tiny_backbone.input)
        expected = graph.run(pixels[None])["features"][0]
        assert (first.features[sample.sha256] == expected).all() and expected.std() > 0
    progress_calls.clear()
    second = extract_features(
        samples,
        tiny_backbone,
        progress=lambda done, all_: progress_calls.append((done, all_)),
        root=tmp_path,
    )
    assert second.from_store == 24 and progress_calls == []
    for digest, features in first.features.items():
        assert features.tobytes() == second.features[digest].tobytes()


@pytest.mark.parametrize("writable", [True, False])
def test_features_of_many_lie_in_a_file_and_are_the_same(
    photo_folder: Path,
    tiny_backbone: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    writable: bool,
) -> None:
    samples = samples_of(photo_folder)
    plain = extract_features(samples, tiny_backbone, root=tmp_path).features
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", 1000)
    if not writable:
        monkeypatch.setattr(tempfile, "TemporaryFile", _full)
    for _ in range(2):
        result = extract_features(samples, tiny_backbone, root=tmp_path / "other").features
        assert {name: vector.tobytes() for name, vector in result.items()} == {
            name: vector.tobytes() for name, vector in plain.items()
        }
        assert _lies_in_a_file(next(iter(result.values()))) == writable
    assert ("features are held in memory: " in caplog.text) != writable


def _full(**_: object) -> object:
    raise OSError(errno.ENOSPC, "No space left on device")


def _lies_in_a_file(array: object) -> bool:
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return isinstance(array, mmap.mmap)


def test_only_what_is_missing_is_computed(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    samples = samples_of(photo_folder)
    extract_features(samples[:5], tiny_backbone, root=tmp_path)
    progress_calls: list[int] = []
    result = extract_features(
        samples, tiny_backbone, progress=lambda _, all_: progress_calls.append(all_), root=tmp_path
    )
    assert result.from_store == 5 and progress_calls == [19] * 19 and len(result.features) == 24


def test_stopped_work_is_not_lost(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    samples = samples_of(photo_folder)

    def stop(done: int, _: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(samples, tiny_backbone, progress=stop, root=tmp_path)
    assert extract_features(samples, tiny_backbone, root=tmp_path).from_store >= 4


def test_copies_are_computed_once(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    original = next(iter((photo_folder / "apple").iterdir()))
    for number in range(3):
        (photo_folder / "leaf" / f"copy{number}.jpg").write_bytes(original.read_bytes())
    samples = samples_of(photo_folder)
    assert len(samples) == 27
    progress_calls: list[int] = []
    result = extract_features(
        samples, tiny_backbone, progress=lambda done, _: progress_calls.append(done), root=tmp_path
    )
    assert len(progress_calls) == 24 and len(result.features) == 24


def test_views_differ_and_have_separate_stores(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    samples = samples_of(photo_folder)[:3]
    views = [extract_features(samples, tiny_backbone, view, root=tmp_path) for view in range(3)]
    assert [view.from_store for view in views] == [0, 0, 0]
    vectors = [view.features[samples[0].sha256] for view in views]
    assert not (vectors[0] == vectors[1]).all() and not (vectors[1] == vectors[2]).all()
    pixels = [
        load_sample(samples[0], tiny_backbone.input, draw_sample_view(v, samples[0]))
        for v in (0, 1)
    ]
    assert (pixels[1] == pixels[0][:, ::-1]).all()


def test_what_cannot_be_read_is_rejected_and_the_rest_is_bit_identical(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    clean = extract_features(samples_of(photo_folder), tiny_backbone, root=tmp_path / "clean")
    (photo_folder / "sky" / "page.jpg").write_text("<!DOCTYPE html><html></html>")
    torn = next((photo_folder / "sky").glob("*.png")).read_bytes()
    (photo_folder / "sky" / "torn.png").write_bytes(torn[: len(torn) // 2])
    result = extract_features(samples_of(photo_folder), tiny_backbone, root=tmp_path / "other")
    reasons = {rejected.path: rejected.reason for rejected in result.rejected}
    assert set(reasons) == {"sky/page.jpg", "sky/torn.png"}
    assert "HTML" in reasons["sky/page.jpg"]
    assert reasons["sky/torn.png"].startswith("damaged PNG")
    assert set(result.features) == set(clean.features)
    for digest, features in clean.features.items():
        assert features.tobytes() == result.features[digest].tobytes()


def test_a_file_that_changes_after_its_digest_was_taken_is_rejected(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    samples = samples_of(photo_folder)
    changed, gone = samples[0], samples[1]
    before = changed.file.stat()
    data = bytearray(changed.file.read_bytes())
    data[-1] ^= 1  # same size, and the same time of change
    changed.file.write_bytes(data)
    os.utime(changed.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    gone.file.unlink()
    result = extract_features(samples, tiny_backbone, root=tmp_path)
    reasons = {rejected.path: rejected.reason for rejected in result.rejected}
    assert set(reasons) == {changed.path, gone.path}
    assert "changed while it was being read" in reasons[changed.path]
    assert "cannot be opened" in reasons[gone.path]
    assert changed.sha256 not in result.features
    assert extract_features(samples, tiny_backbone, root=tmp_path).from_store == 22


def test_new_bytes_never_get_old_features(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    extract_features(samples_of(photo_folder), tiny_backbone, root=tmp_path)
    apple, sky = (next((photo_folder / name).glob("*.png")) for name in ("apple", "sky"))
    apple.write_bytes(sky.read_bytes())
    samples = samples_of(photo_folder)
    result = extract_features(samples, tiny_backbone, root=tmp_path)
    assert result.from_store == 23
    digests = {s.path: s.sha256 for s in samples}
    assert digests[f"apple/{apple.name}"] == digests[f"sky/{sky.name}"]


def test_a_damaged_record_is_computed_again_and_equal(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = samples_of(photo_folder)
    first = extract_features(samples, tiny_backbone, root=tmp_path)
    segment = the_segment(tiny_backbone, tmp_path)
    data = bytearray(segment.read_bytes())
    data[64 + 32 + 100] ^= 0x10
    segment.write_bytes(data)
    second = extract_features(samples, tiny_backbone, root=tmp_path)
    assert second.from_store == 23
    assert "1 damaged cache records" in caplog.text
    for digest, features in first.features.items():
        assert features.tobytes() == second.features[digest].tobytes()
    assert extract_features(samples, tiny_backbone, root=tmp_path).from_store == 24


def test_a_store_that_cannot_be_made_costs_a_warning(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        result = extract_features(
            samples_of(photo_folder)[:4], tiny_backbone, root=tmp_path / "file"
        )
    assert len(result.features) == 4
    assert caplog.text.count("features are not cached") == 1


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
from sharpeye.data.digest import add_digests
from sharpeye.data.image_folder import scan_folder
from sharpeye.core.inference import Backbone, Graph
from sharpeye.data.features import extract_features
from sharpeye.core.types import InputSpec

photos, graph, root = (Path(argument) for argument in sys.argv[1:4])
logging.basicConfig(level=logging.WARNING, format="%(message)s")
samples = add_digests(scan_folder(photos), 2).samples
backbone = Backbone("tiny", graph, sys.argv[4], InputSpec(64, 64))
record = 32 + 4 * Graph(graph).output_width() + 16
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (64 + 2 * record + 1000, hard))
found = extract_features(samples[:8], backbone, root=root)
print(len(found.features), len(found.rejected))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
print(extract_features(samples[:8], backbone, root=root).from_store)
print(extract_features(samples[:8], backbone, root=root).from_store)
"""


@pytest.mark.skipif(os.name == "nt", reason="no limits on file sizes here")
def test_a_disk_that_runs_full_costs_a_warning(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    arguments = [
        photo_folder,
        tiny_backbone.graph_file,
        tmp_path / "cache",
        tiny_backbone.graph_sha256,
    ]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8", "0", "2", "8"]
    assert done.stderr.count("features are not cached from here on") == 1
    assert "free some room" in done.stderr


def test_the_key_names_everything_that_a_feature_depends_on(tiny_backbone: Backbone) -> None:
    key = store_key(tiny_backbone, 0)
    assert key["graph"] == tiny_backbone.graph_sha256 and len(key["graph"]) == 64
    assert key["input"]["height"] == 64 and key["input"]["fit"] == "pad"
    assert {"decoder", "pillow", "onnxruntime", "view"} < set(key)
    assert "views" in store_key(tiny_backbone, 2)


def test_the_keys_of_undistorted_features_never_change(tiny_backbone: Backbone) -> None:
    names = {"backbone", "graph", "input", "decoder", "pillow", "onnxruntime", "view"}
    assert set(store_key(tiny_backbone, 0)) == set(store_key(tiny_backbone, 1)) == names
    assert set(store_key(tiny_backbone, 2)) == names | {"views"}
    distortion = Distortion(True, 10, 20, 30)
    assert store_key(tiny_backbone, 0, distortion) == store_key(tiny_backbone, 0)
    key = store_key(tiny_backbone, 1, distortion)
    assert set(key) == names | {"views", "distortion"}
    assert key["distortion"] == {
        "flip_left_right": True,
        "crop": 10,
        "scale": 20,
        "brightness": 30,
    }


def test_features_of_different_distortions_never_mix(
    photo_folder: Path, tiny_backbone: Backbone, tmp_path: Path
) -> None:
    samples = samples_of(photo_folder)[:2]
    plain = extract_features(samples, tiny_backbone, root=tmp_path)
    extract_features(samples, tiny_backbone, 1, root=tmp_path)
    vectors = []
    for distortion in (Distortion(crop=60), Distortion(scale=60), Distortion(brightness=60)):
        # The image itself is the same under any distortion, and comes from the store.
        undistorted = extract_features(
            samples, tiny_backbone, 0, root=tmp_path, view_policy=distortion
        )
        assert undistorted.from_store == 2
        first = extract_features(samples, tiny_backbone, 1, root=tmp_path, view_policy=distortion)
        again = extract_features(samples, tiny_backbone, 1, root=tmp_path, view_policy=distortion)
        assert (first.from_store, again.from_store) == (0, 2)
        assert (
            extract_features(
                samples, tiny_backbone, 2, root=tmp_path, view_policy=distortion
            ).from_store
            == 0
        )
        vectors.append(first.features[samples[0].sha256])
        assert vectors[-1].tobytes() == again.features[samples[0].sha256].tobytes()
    vectors.append(plain.features[samples[0].sha256])
    assert len({vector.tobytes() for vector in vectors}) == 4


def test_a_distorted_sample_is_the_view_that_the_distortion_draws(
    photo_folder: Path, tiny_backbone: Backbone
) -> None:
    sample, spec = samples_of(photo_folder)[0], tiny_backbone.input
    distortion = Distortion(True, 10, 20, 30)
    for index in (0, 1, 5):
        view = distortion.draw(index, sample.sha256)
        expected = load_image(sample.file, sample.path, spec, view=view)
        assert (
            load_sample(sample, spec, draw_sample_view(index, sample, distortion)) == expected
        ).all()
    whole = load_sample(sample, spec, draw_sample_view(3, sample))
    assert not (load_sample(sample, spec, draw_sample_view(3, sample, distortion)) == whole).all()
    undistorted = load_sample(sample, spec, draw_sample_view(3, sample, Distortion()))
    assert (undistorted == load_sample(sample, spec)).all()


# --- maps ----------------------------------------------------------------------------------------


Output = Literal["features", "maps"]


def extract_and_count(
    samples: tuple[Sample, ...],
    backbone: Backbone,
    root: Path,
    output: Output = "features",
    *,
    view: int = 0,
    policy: ViewPolicy | None = None,
) -> tuple[ExtractedFeatures, int]:
    """Extract features, and count the images that had to be computed for it."""
    calls: list[int] = []

    def progress(done: int, _: int) -> None:
        calls.append(done)

    result = extract_features(
        samples, backbone, view, progress=progress, root=root, view_policy=policy, output=output
    )
    return result, len(calls)


def test_features_and_maps_are_computed_together_and_stored_at_once(
    photo_folder: Path, tiny_maps_backbone: Backbone, tmp_path: Path
) -> None:
    samples = samples_of(photo_folder)[:6]
    features, computed = extract_and_count(samples, tiny_maps_backbone, tmp_path)
    assert computed == 6
    maps, computed = extract_and_count(samples, tiny_maps_backbone, tmp_path, "maps")
    assert computed == 0 and maps.from_store == 6
    other = tmp_path / "other"
    first, computed = extract_and_count(samples, tiny_maps_backbone, other, "maps")
    assert computed == 6
    again, computed = extract_and_count(samples, tiny_maps_backbone, other)
    assert computed == 0
    graph = Graph(tiny_maps_backbone.graph_file)
    for sample in samples:
        name = vector_key(0, sample)
        expected = graph.run(load_sample(sample, tiny_maps_backbone.input)[None])
        assert maps.features[name].tobytes() == first.features[name].tobytes()
        assert features.features[name].tobytes() == again.features[name].tobytes()
        np.testing.assert_array_equal(again.features[name], expected["features"][0])
        assert maps.features[name].dtype == np.float16
        # 11 bits: half of the last one is 1/2048 of the value.
        rounded = maps.features[name].astype(np.float32)
        np.testing.assert_allclose(rounded, expected["maps"][0], rtol=1 / 2048, atol=1e-7)
        assert np.abs(rounded).max() > 0.1


def test_an_odd_number_of_values_and_values_beyond_float16_are_stored_too() -> None:
    layout = _VectorLayout(3, ((3, 1, 1), (1, 1, 2)))
    assert layout.length == 3 + 3
    maps = np.array([[1e-3, -70000, 70000, 0.5, -2]], np.float32)
    packed = layout.pack({"features": np.array([[1, 2, 3]], np.float32), "maps": maps})
    assert packed.shape == (6,) and packed.dtype == np.float32
    np.testing.assert_array_equal(layout.unpack("features", packed[:3]), [1, 2, 3])
    result = layout.unpack("maps", packed[layout.columns("maps")])
    np.testing.assert_allclose(result, [1e-3, -65504, 65504, 0.5, -2], rtol=1e-3)


def test_views_that_show_the_object_are_stored_by_image_and_box(
    photo_folder: Path, tiny_maps_backbone: Backbone, tmp_path: Path
) -> None:
    sample = samples_of(photo_folder)[0]
    boxes = ((0.1, 0.1, 0.4, 0.5), (0.5, 0.4, 1.0, 0.9))
    first, second = (replace(sample, box=box) for box in boxes)
    policy = ObjectViews()

    def extract_maps(view: int, *samples: Sample) -> tuple[ExtractedFeatures, int]:
        return extract_and_count(
            samples, tiny_maps_backbone, tmp_path, "maps", view=view, policy=policy
        )

    for view in (0, 1):  # the image and its mirror image do not depend on the box
        assert extract_maps(view, first)[1] == 1
        assert extract_maps(view, second, first)[1] == 0
    # The other views do: two boxes of one image have each their own.
    result, computed = extract_maps(2, first, second)
    assert computed == 2 and len(result.features) == 2
    again, computed = extract_maps(2, second)
    assert computed == 0
    graph = Graph(tiny_maps_backbone.graph_file)
    for sample in (first, second):
        maps = result.features[vector_key(2, sample, policy)]
        view = draw_sample_view(2, sample, policy)
        pixels = load_sample(sample, tiny_maps_backbone.input, view)
        np.testing.assert_allclose(maps, graph.run(pixels[None])["maps"][0], rtol=1e-3, atol=1e-6)
    name = vector_key(2, second, policy)
    assert again.features[name].tobytes() == result.features[name].tobytes()
    # Views that are drawn in other ways have stores of their own.
    assert extract_and_count((first,), tiny_maps_backbone, tmp_path, view=2)[1] == 1


def test_the_backbone_tells_the_colours_apart(
    photo_folder: Path, backbone: Backbone, tmp_path: Path
) -> None:
    """What every test with this folder rests on."""
    samples = samples_of(photo_folder)
    result = extract_features(samples, backbone, root=tmp_path).features
    matrix = np.sqrt(np.stack([result[s.sha256] for s in samples]))
    labels = np.array([s.label for s in samples])
    gaps = np.linalg.norm(matrix[:, None] - matrix[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert (labels[gaps.argmin(axis=1)] == labels).mean() > 0.9
