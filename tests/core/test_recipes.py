"""The recipes that come with the package: each can be read, resolved and built."""

from pathlib import Path

import pytest

from runner import one_line
from sharpeye.cli.app import run
from sharpeye.core.config import Config, load_toml
from sharpeye.core.recipes import find_config, list_recipes
from sharpeye.errors import ConfigError
from sharpeye.jobs.train.network_on_pixels import input_spec
from sharpeye.jobs.train.resolve import resolve
from sharpeye.models.registry import get_spec

NAMES = sorted(list_recipes())


def recipe(name: str) -> Config:
    return resolve(load_toml(find_config(Path(name))))


def parameters(name: str, classes: int) -> int:
    """Weights of a recipe's network, without those that only normalize pixels."""
    import os

    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from sharpeye.models.classifier import build_classifier

    config = recipe(name)
    spec, size = get_spec(config.model.name), input_spec(config, 8)
    ones, zeros = (1.0,) * size.channels, (0.0,) * size.channels
    model = build_classifier(spec, size, classes, net=config.net, scale=ones, offset=zeros)
    assert model.input.shape == (None, size.height, size.width, size.channels)
    assert model.output["logits"].shape == (None, classes)
    return int(model.count_params())


def test_there_are_some_and_each_says_what_it_is_for() -> None:
    assert {"catsdogs-2019", "lenet5-2020", "fashion-lenet5"} <= set(NAMES)
    for name, comment in list_recipes().items():
        assert len(comment) > 20 and comment.endswith("."), name


@pytest.mark.parametrize("name", NAMES)
def test_each_is_read_and_resolved(name: str) -> None:
    config = recipe(name)
    assert config.from_scratch
    assert config.train.learning_rate > 0
    assert config.data.folder == ""  # the images are the caller's
    assert input_spec(config, 8).height == config.model.image_size


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if "alexnet" in n else []) for n in NAMES],
)
def test_the_network_of_each_can_be_built(name: str) -> None:
    assert parameters(name, 10) > 10_000


def test_the_networks_have_as_many_weights_as_the_ones_they_repeat() -> None:
    assert parameters("catsdogs-2019", 2) == 75_521
    assert parameters("lenet5-2020", 10) == 62_006


def test_a_file_goes_before_a_recipe_and_the_suffix_may_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name = find_config(Path("lenet5-2020"))
    assert find_config(Path("lenet5-2020.toml")) == by_name
    assert by_name.is_file()
    monkeypatch.chdir(tmp_path)
    Path("lenet5-2020.toml").write_text("seed = 5\n")
    assert load_toml(find_config(Path("lenet5-2020.toml"))).seed == 5
    assert find_config(Path("lenet5-2020")) == by_name


def test_an_unknown_one_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"no file fashion-lenet.*Did you mean fashion-lenet5\?"):
        find_config(Path("fashion-lenet"))
    with pytest.raises(ConfigError, match="Allowed: alexnet-2018, catsdogs-2019, "):
        find_config(Path("xyzzy"))


def test_the_command_line_takes_them_by_name(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(photo_folder), "-o", str(tmp_path / "run"), "--quiet", "--config"]
    assert run([*arguments, "catsdog-2019"]) == 2
    assert "Did you mean catsdogs-2019?" in one_line(capsys.readouterr().err)
    # It is read: what is given besides is checked against it.
    assert run([*arguments, "lenet5-2020", "--weights", "imagenet"]) == 2
    assert "lenet5 has no pretrained weights" in one_line(capsys.readouterr().err)
