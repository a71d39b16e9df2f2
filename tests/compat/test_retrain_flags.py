"""The flags of `sharpeye retrain` are checked before any work; errors name them as typed."""

import os
import re
from dataclasses import fields
from pathlib import Path

import pytest
from retrain_command import retrain_arguments

from runner import one_line, tree
from sharpeye.cli.app import run
from sharpeye.compat.retrain_flags import Flags, parse_architecture, to_config
from sharpeye.errors import UsageError
from sharpeye.jobs.train.resolve import resolve
from sharpeye.jobs.train.unused_knobs import unused_knobs

# The 23 of the original.
ORIGINAL = (
    "image_dir",
    "output_graph",
    "intermediate_output_graphs_dir",
    "intermediate_store_frequency",
    "output_labels",
    "summaries_dir",
    "how_many_training_steps",
    "learning_rate",
    "testing_percentage",
    "validation_percentage",
    "eval_step_interval",
    "train_batch_size",
    "test_batch_size",
    "validation_batch_size",
    "print_misclassified_test_images",
    "model_dir",
    "bottleneck_dir",
    "final_tensor_name",
    "flip_left_right",
    "random_crop",
    "random_scale",
    "random_brightness",
    "architecture",
)


def test_all_flags_of_the_original_are_there_in_both_spellings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert set(ORIGINAL) <= {field.name for field in fields(Flags)}
    assert run(["retrain", "--help"]) == 0
    text = capsys.readouterr().out
    for name in ORIGINAL:
        assert f"--{name}" in text
    assert run(["retrain", "--bottlenech_dir=x"]) == 2
    assert "--bottleneck_dir" in capsys.readouterr().err


def test_defaults_are_those_of_the_original() -> None:
    config = to_config(Flags())
    assert config.model.name == "inception_v3"
    assert (config.sgd.steps, config.sgd.learning_rate) == (4000, 0.01)
    assert (config.sgd.batch_size, config.sgd.eval_every, config.sgd.validation_batch) == (
        100,
        10,
        100,
    )
    assert (config.split.rule, config.split.validation, config.split.test) == ("path", 0.1, 0.1)
    assert (config.model.fit, config.model.filter) == ("stretch", "bilinear_asymmetric")


@pytest.mark.parametrize(
    ("name", "model", "int8"),
    [
        ("inception_v3", "inception_v3", False),
        ("MobileNet_1.0_224", "mobilenet_1.0_224", False),
        ("mobilenet_0.25_128_quantized", "mobilenet_0.25_128", True),
        ("mobilenet_v2", "mobilenet_v2_1.0_224", False),
        ("efficientnet_lite0", "efficientnet_lite0", False),
    ],
)
def test_architectures(name: str, model: str, int8: bool) -> None:
    assert parse_architecture(name) == (model, int8)


def test_all_32_mobilenets_of_the_original_are_known() -> None:
    for width in ("1.0", "0.75", "0.50", "0.25"):
        for size in (224, 192, 160, 128):
            for ending in ("", "_quantized"):
                name = f"mobilenet_{width}_{size}"
                assert parse_architecture(name + ending) == (name, bool(ending))


@pytest.mark.parametrize("name", ["mobilenet_0.51_224", "inception_v3224", "mobilenet_1.0_224_qt"])
def test_a_wrong_architecture_gets_the_nearest_name(name: str) -> None:
    with pytest.raises(UsageError, match="Did you mean"):
        parse_architecture(name)


@pytest.mark.parametrize(
    "wrong",
    [
        "--testing_percentage=0",
        "--validation_percentage=95",
        "--testing_percentage=50 --validation_percentage=45",
        "--test_batch_size=0",
        "--test_batch_size -2",
        "--validation_batch_size=-2",
        "--validation_batch_size=9999999",
        "--train_batch_size=0",
        "--eval_step_interval=0",
        "--how_many_training_steps=0",
        "--learning_rate=-1",
        "--learning_rate=nan",
        "--intermediate_store_frequency=-1",
        "--random_crop=-1",
        "--random_scale=901",
        "--random_brightness=101",
        "--distortion_views=0",
        "--seed=-1",
        "--final_tensor_name=a_b c",
        "--final_tensor_name=",
        "--final_tensor_name=input",
        "--final_tensor_name=features",
        "--weights=nothing.h5",
        "--weights=none",
        "--weights=auto",
        "--weights={photos}",
        "--architecture=vgg16",
        "--image_dir=",
        "--output_graph=",
        "--output_graph={tmp}",
        "--output_graph={tmp}/new/",
        "--output_graph={tmp}/file/graph.pb",
        "--output_graph={tmp}/labels.txt",
        "--output_graph={photos}/graph.pb",
        "--output_labels={tmp}",
        "--output_labels={tmp}/file/labels.txt",
        "--output={photos}",
        "--output={photos}/run",
        "--output={tmp} --output_graph={tmp}/graph.pb",
        "--output_labels={tmp}/run/labels.txt --output={tmp}/run",
        "--summaries_dir={tmp}/file",
        "--summaries_dir={tmp}/run/logs --output={tmp}/run",
        "--model_dir={tmp}/file",
        "--bottleneck_dir={tmp}/file",
        "--intermediate_output_graphs_dir={tmp}/file/ --intermediate_store_frequency=5",
        "--summaries_dir={photos}/logs",
        "--bottleneck_dir={photos}",
        "--model_dir={photos}/x/y",
        "--output_labels={photos}/labels.txt",
        "--intermediate_output_graphs_dir={photos}/a --intermediate_store_frequency=5",
        "--flip_left_right=perhaps",
    ],
)
def test_wrong_values_end_with_2_before_any_work_and_name_the_flag(
    photos: Path, tmp_path: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    before = tree(tmp_path), tree(photos)
    typed = [a.format(tmp=tmp_path, photos=photos) for a in re.split(r" (?=-)", wrong)]
    assert run(retrain_arguments(photos, tmp_path, *typed)) == 2
    line = one_line(capsys.readouterr().err)  # nothing was logged before it
    assert line.startswith("error: ")
    assert re.split("[= ]", typed[0])[0] in line
    assert "`output_name`" not in line
    assert not re.search(
        r"\b(sgd|split|model|distort|data|head)\.[a-z]", line.replace("model.onnx", "")
    )
    assert (tree(tmp_path), tree(photos)) == before


@pytest.mark.parametrize("more", [{}, {"distortion_views": 3}, {"random_crop": 5}])
def test_no_knob_that_a_flag_sets_is_without_effect(more: dict[str, int]) -> None:
    assert (
        unused_knobs(resolve(to_config(Flags(image_dir="photos", weights="random", **more)))) == []
    )


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_ends_it_before_any_work(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert run(retrain_arguments(photos, tmp_path, f"--output_graph={locked}/new/graph.pb")) == 5
    assert "for --output_graph: no permission in" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--flip_left_right", True),
        ("--flip-left-right", True),
        ("--flip_left_right=true", True),
        ("--flip_left_right=False", False),
        ("--noflip_left_right", False),
        ("--no-flip-left-right", False),
        ("--flip_left_right --noflip_left_right", False),
        ("--flip_left_right=0 --flip", True),
        ("--random_crop 7", 7),
        ("--random_crop=7", 7),
        ("--random-crop=5 --random_c=7", 7),
        ("--test_batch_size -1", -1),
        ("--test_batch=-1", -1),
        ("--how_many 12", 12),
        ("--output_graph=a=b.pb", "a=b.pb"),
        ("-o there", "there"),
    ],
)
def test_flags_may_be_typed_as_for_argparse_and_absl(
    typed: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[Flags] = []

    def stop(flags: Flags, _: object) -> None:
        received.append(flags)
        raise UsageError("stopped here")

    monkeypatch.setattr("sharpeye.compat.retrain.retrain", stop)
    assert run(["retrain", "--image_dir=x", *typed.split()]) == 2
    full = {
        "-o": "output",
        "--how_many": "how_many_training_steps",
        "--test_batch": "test_batch_size",
    }
    name = re.split("[= ]", typed)[0]
    name = full.get(name, name.lstrip("-").replace("-", "_").removeprefix("no").lstrip("_"))
    assert getattr(received[0], name) == expected


@pytest.mark.parametrize("typed", ["--random=3", "--out=x", "--noimage_dir", "--norandom_crop=3"])
def test_a_shortened_flag_must_be_clear(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["retrain", typed]) == 2
    assert "o such option" in one_line(capsys.readouterr().err)
