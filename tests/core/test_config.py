"""Every knob: read, changed, refused and written so that it can be read again."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sharpeye.core.config import Config, describe, full_key, load_toml, parse_settings
from sharpeye.core.knobs import parse_value
from sharpeye.core.recipes import find_config, load_configs
from sharpeye.errors import ConfigError

KEYS = [key for key, _, _ in describe()]


def refusal(changes: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        Config().replace(changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


CHANGED: dict[str, Any] = {
    "seed": 7,
    "data.strict": True,
    "split.test": 0.25,
    "model.fit": "crop",
    "head.views": 4,
    "report.max_pictures": 0,
}


def test_toml_and_back_is_the_same(tmp_path: Path) -> None:
    for config in (Config(), Config().replace(CHANGED)):
        file = tmp_path / "config.toml"
        file.write_text(config.to_toml(), encoding="utf-8")
        assert load_toml(file) == config


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = Config(seed=3).to_toml()
    assert text.splitlines()[1] == "# format: 1"
    file.write_text(text.replace("# format: 1\n", ""), encoding="utf-8")  # as 0.1.0 wrote it
    assert load_toml(file).seed == 3
    file.write_text(text.replace("# format: 1", "# format: 2"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config.toml was written in format 2, .* up to 1"):
        load_toml(file)


@pytest.mark.parametrize(
    "folder",
    [
        "C:\\photos\\new",
        'a "quoted" one',
        "tab\tnew\nline",
        "\x7f\x01",
        "Кошки/猫",
        "photos/🌹",
        "#",
    ],
)
def test_any_text_survives_the_way_to_toml_and_back(tmp_path: Path, folder: str) -> None:
    config = Config().replace({"data.folder": folder})
    file = tmp_path / "config.toml"
    file.write_text(config.to_toml(), encoding="utf-8")
    assert load_toml(file).data.folder == folder


def test_a_folder_whose_name_is_no_utf_8_still_gives_toml() -> None:
    config = Config().replace({"data.folder": "caf\udce9"})
    assert tomllib.loads(config.to_toml())["data"]["folder"] == r"caf\udce9"


def test_the_written_file_explains_every_knob() -> None:
    text = Config().to_toml()
    for key, _, meaning in describe():
        assert f"\n{key.split('.')[-1]} = " in text
        assert f"# {meaning}" in text
    assert "(auto | pad | crop | stretch)" in text


def test_every_knob_is_described_with_its_default() -> None:
    table = {key: (default, meaning) for key, default, meaning in describe()}
    assert table["seed"][0] == "0"
    assert table["model.fit"][0] == '"auto"'
    assert table["data.strict"][0] == "false"
    assert all(meaning and "\n" not in meaning for _, meaning in table.values())


def test_a_file_lies_over_the_defaults_or_over_what_is_given(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[split]\ntest = 0.3\n")
    assert load_toml(file) == Config().replace({"split.test": 0.3})
    base = Config().replace({"seed": 5, "split.test": 0.1})
    assert load_toml(file, base) == Config().replace({"seed": 5, "split.test": 0.3})


def test_replacing_leaves_the_original_alone() -> None:
    config = Config()
    assert config.replace({"seed": 3}).seed == 3
    assert config == Config() and config.replace({}) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "meant"),
    [("sead", "seed"), ("split.tset", "split.test"), ("data.strickt", "data.strict")],
)
def test_an_unknown_key_is_refused_with_what_was_meant(key: str, meant: str) -> None:
    assert refusal({key: 1}) == f"unknown key {key}. Did you mean {meant}?"


def test_an_unknown_key_like_nothing_known_lists_all() -> None:
    message = refusal({"xyzzy": 1})
    assert message.startswith("unknown key xyzzy. Allowed: ")
    assert all(key in message for key in KEYS)


@pytest.mark.parametrize("key", ["split", "data", "model.", "split.test.more"])
def test_a_section_is_no_key(key: str) -> None:
    assert refusal({key: 1}).startswith(f"unknown key {key}. ")


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[splitt]\ntest = 0.3\n")
    with pytest.raises(ConfigError) as caught:
        load_toml(file)
    assert str(caught.value) == f"unknown key splitt.test in {file}. Did you mean split.test?"


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("seed", "7", "a whole number"),
        ("seed", 1.0, "a whole number"),
        ("seed", True, "a whole number"),
        ("data.strict", 1, "true or false"),
        ("data.folder", 2024, "text"),
        ("split.test", "0.2", "a number"),
        ("split.test", True, "a number"),
        ("split.test", [0.2], "a number"),
    ],
)
def test_a_wrong_type_is_refused(key: str, value: Any, kind: str) -> None:
    assert refusal({key: value}) == f"{key} must be {kind}. Received: {value!r}"


def test_a_whole_number_is_a_number() -> None:
    config = Config().replace({"split.test": 0.5})
    assert config.split.test == 0.5
    assert "from 0.01 to 0.9. Received: 1.0" in refusal({"split.test": 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("seed", 2**31),
        ("split.test", 0.0),
        ("split.validation", 0.95),
        ("split.test", float("nan")),
        ("split.test", float("inf")),
        ("head.views", 0),
        ("model.image_size", -1),
        ("report.max_pictures", 10**9),
    ],
)
def test_a_value_out_of_range_is_refused(key: str, value: Any) -> None:
    message = refusal({key: value})
    assert message.startswith(f"{key} must be from ") and f"Received: {value}" in message


def test_the_ends_of_a_range_are_allowed() -> None:
    assert Config().replace({"seed": 2**31 - 1, "head.views": 32}).head.views == 32


def test_something_must_be_left_to_train_on() -> None:
    message = refusal({"split.test": 0.5, "split.validation": 0.5})
    assert "must be at most 0.9" in message and "Received: 0.5 + 0.5" in message


def test_a_choice_is_one_of_those_listed() -> None:
    message = refusal({"model.fit": "padd"})
    assert message == (
        "model.fit must be one of auto, pad, crop, stretch. Received: 'padd'. Did you mean pad?"
    )


@pytest.mark.parametrize("text", ["= 3", "[split\n", "seed = 1\nseed = 2", "a" * 50])
def test_what_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="is not TOML"):
        load_toml(file)


def test_a_file_that_is_not_utf_8_or_not_there_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"seed = 1 # caf\xe9")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_toml(file)
    for missing in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot read the configuration"):
            load_toml(missing)


# --- --set -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("seed=7", 7),
        ("split.test=0.2", 0.2),
        ("split.test = 0.2 ", 0.2),
        ("data.strict=true", True),
        ("model.fit=crop", "crop"),
        ('model.fit="crop"', "crop"),
        ("data.folder=a=b", "a=b"),
        ("data.folder=", ""),
        ("data.folder=/a b/c", "/a b/c"),
    ],
)
def test_a_setting_is_toml_or_else_text(setting: str, value: Any) -> None:
    (key,) = parsed = parse_settings([setting])
    assert parsed[key] == value and type(parsed[key]) is type(value)
    assert key == key.strip() and key in KEYS
    Config().replace(parsed)


def test_the_last_setting_counts() -> None:
    assert parse_settings(["seed=1", "split.test=0.2", "seed=2"]) == {"seed": 2, "split.test": 0.2}


@pytest.mark.parametrize("setting", ["seed", "", "=3", " =3"])
def test_a_setting_needs_key_and_value(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value, such as split\.test=0\.2"):
        parse_settings([setting])


def test_a_setting_of_the_wrong_type_is_refused_in_words() -> None:
    assert "must be a whole number" in refusal(parse_settings(["seed=many"]))
    assert "must be a number" in refusal(parse_settings(["split.test={a = 1}"]))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("seed", "seed"),
        ("image_size", "model.image_size"),
        ("optimizer", "train.optimizer"),
        ("conv_layers", "net.conv_layers"),
        ("balance", "data.balance"),
        # Several sections have these: training from scratch is meant.
        ("epochs", "train.epochs"),
        ("learning_rate", "train.learning_rate"),
        ("batch_size", "train.batch_size"),
        ("finetune.epochs", "finetune.epochs"),
        ("sgd.learning_rate", "sgd.learning_rate"),
        # Unknown names stay, to be refused with what was meant.
        ("epoch", "epoch"),
        ("train.epoch", "train.epoch"),
    ],
)
def test_a_name_alone_is_the_key_that_is_meant(name: str, key: str) -> None:
    assert full_key(name) == key
    assert list(parse_settings([f"{name}=1"])) == [key]


@pytest.mark.parametrize("name", ["flip", "views", "brightness"])
def test_a_name_that_several_sections_have_is_not_clear(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not clear: write one of ") as caught:
        full_key(name)
    choices = str(caught.value).partition("one of ")[2].split(", ")
    assert len(choices) >= 2 and set(choices) <= set(KEYS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("1e-3", 1e-3),
        ("-2.5", -2.5),
        ("true", True),
        ("True", "True"),
        ('"7"', "7"),
        ("[1, 2]", [1, 2]),
        (" adam ", "adam"),
        ("", ""),
        ("07", "07"),
        ("1 # one", 1),
    ],
)
def test_a_value_is_what_toml_makes_of_it(text: str, value: Any) -> None:
    result = parse_value(text)
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("train.epochs", 1, 100_000),
        ("train.batch_size", 1, 65_536),
        ("train.learning_rate", 0.0, 100.0),
        ("train.warmup", 0.0, 0.9),
        ("train.label_smoothing", 0.0, 0.9),
        ("net.conv_layers", 1, 8),
        ("net.dropout", 0.0, 0.95),
        ("augment.shift", 0, 50),
        ("augment.mixup", 0.0, 10.0),
        ("finetune.learning_rate", 1e-9, 1.0),
    ],
)
def test_the_knobs_of_training_have_their_ranges(key: str, low: Any, high: Any) -> None:
    for value in (low, high):
        Config().replace({key: value})
    step = 1 if isinstance(low, int) else 1e-9
    for value in (low - step, high + 1):
        assert f"{key} must be from {low:g} to {high:g}. Received: " in refusal({key: value})


@pytest.mark.parametrize(
    "key", ["train.optimizer", "train.schedule", "net.scaling", "net.color", "data.balance"]
)
def test_the_choices_of_training_are_listed(key: str) -> None:
    assert f"{key} must be one of " in refusal({key: "nothing"})


def test_every_knob_that_is_a_number_of_training_has_a_range() -> None:
    from sharpeye.core.knobs import iter_knobs

    for name, item, value in iter_knobs(Config()):
        if type(value) in (int, float):
            low, high = item.metadata["limits"]
            assert low <= value <= high, name


def test_images_are_not_mixed_where_boxes_are_learned() -> None:
    with pytest.raises(ConfigError, match=r"mixup must be 0 with task = localize.*mixup = 0.2"):
        Config().replace({"task": "localize", "augment.mixup": 0.2})
    assert Config().replace({"augment.mixup": 0.2}).augment.mixup == 0.2


# --- several files -------------------------------------------------------------------------------


def test_of_several_files_the_later_ones_change_the_earlier_ones(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("seed = 4\n[train]\nepochs = 7\n")
    merged = load_configs([Path("lenet5-2020"), mine], Config())
    recipe = load_toml(find_config(Path("lenet5-2020")))
    assert merged == recipe.replace({"seed": 4, "train.epochs": 7})
    other_order = load_configs([mine, Path("lenet5-2020")], Config())
    assert (other_order.seed, other_order.train.epochs) == (4, recipe.train.epochs)
    with pytest.raises(ConfigError, match=r"there is no file nowhere\.toml"):
        load_configs([mine, Path("nowhere.toml")], Config())
