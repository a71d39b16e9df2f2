"""A changed knob that has no effect is said, with what would use it."""

from typing import Any

import pytest

from sharpeye.core.config import Config, load_toml
from sharpeye.core.recipes import find_config, list_recipes
from sharpeye.errors import UsageError
from sharpeye.jobs.train.resolve import resolve
from sharpeye.jobs.train.unused_knobs import unused_knobs
from sharpeye.models.registry import list_models

CNN = {"model.name": "cnn"}


def unused(changes: dict[str, Any]) -> list[str]:
    """The keys that are said to be unused."""
    sentences = unused_knobs(resolve(Config().replace(changes)))
    return [name for text in sentences for name in text.partition(" not used: ")[0].split(", ")]


@pytest.mark.parametrize(
    ("mode", "knobs", "hint"),
    [
        ({}, {"train.epochs": 50, "train.learning_rate": 0.1, "augment.rotate": 30}, "--fine-tune"),
        ({}, {"train.time_limit": 60.0}, "--fine-tune N"),
        ({}, {"net.width": 8, "net.color": "grey"}, "--weights none"),
        ({}, {"finetune.learning_rate": 1e-3, "finetune.batch_size": 4}, "--fine-tune N"),
        ({}, {"sgd.steps": 10, "sgd.learning_rate": 1.0}, "head.solver=sgd"),
        ({"head.solver": "sgd"}, {"head.views": 4, "head.refit": False}, "sgd.*"),
        ({"head.solver": "sgd"}, {"distort.views": 4}, "distort.flip"),
        ({}, {"localize.epochs": 3, "localize.box_loss": "l1"}, "--task localize"),
        ({}, {"data.box_choice": "single-only"}, "Pascal VOC"),
        ({"finetune.epochs": 2}, {"train.epochs": 5, "train.optimizer": "sgd"}, "finetune.*"),
        ({"finetune.epochs": 2}, {"train.momentum": 0.5}, "adamw"),
        (CNN, {"head.views": 4, "sgd.steps": 3, "finetune.batch_size": 3}, "from scratch"),
        (CNN, {"train.momentum": 0.5}, "no momentum"),
        (CNN | {"train.optimizer": "sgd"}, {"train.epsilon": 1e-3}, "no epsilon"),
        (CNN | {"train.optimizer": "adam"}, {"train.weight_decay": 0.1}, "adamw"),
        (CNN, {"train.decay": 0.5, "train.decay_steps": 5}, "onecycle"),
        (CNN | {"train.schedule": "constant"}, {"train.warmup": 0.1}, "no warmup"),
        (CNN | {"task": "localize"}, {"localize.epochs": 3, "localize.box_views": 2}, "scratch"),
    ],
)
def test_every_unused_knob_is_named_once(
    mode: dict[str, Any], knobs: dict[str, Any], hint: str
) -> None:
    named = unused(mode | knobs)
    assert sorted(name.split()[0] for name in named) == sorted(knobs)
    text = " ".join(unused_knobs(resolve(Config().replace(mode | knobs))))
    assert hint in text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head.views": 4, "unknown.coverage": 0.5, "split.test": 0.2, "seed": 3},
        {"head.solver": "sgd", "sgd.steps": 5, "distort.flip": True, "distort.views": 3},
        {"finetune.epochs": 2, "finetune.batch_size": 4, "augment.rotate": 3, "net.dropout": 0.1},
        {"finetune.epochs": 2, "train.patience": 3, "train.time_limit": 9.0},
        {"task": "localize", "localize.epochs": 3, "data.box_choice": "single-only"},
        {"data.label_from": "xml", "data.box_choice": "single-only"},
        CNN | {"net.layer_size": 8, "train.epochs": 3, "augment.cutout": 4, "train.warmup": 0.1},
        CNN | {"train.optimizer": "sgd", "train.momentum": 0.5, "train.weight_decay": 0.1},
        CNN | {"train.schedule": "exponential", "train.decay": 0.5, "train.decay_steps": 3},
        CNN | {"task": "localize", "localize.box_loss": "l1", "localize.channels": 8},
    ],
)
def test_used_knobs_are_not_named(changes: dict[str, Any]) -> None:
    assert unused(changes) == []


@pytest.mark.parametrize("name", list_recipes())
def test_no_recipe_has_unused_knobs(name: str) -> None:
    from pathlib import Path

    assert unused_knobs(resolve(load_toml(find_config(Path(name))))) == []


def test_an_option_is_named_as_it_is_typed() -> None:
    (sentence,) = unused_knobs(resolve(Config().replace({"train.epochs": 50})))
    assert sentence.startswith("train.epochs (--epochs) is not used: efficientnet_lite0 keeps its")


@pytest.mark.parametrize(
    ("model", "knobs", "known"),
    [
        ("lenet5", ["net.conv_layers", "net.layer_size"], "net.dropout, net.color, net.scaling"),
        ("cnn", ["net.width"], "net.conv_layers, net.layer_size, net.dense_layers"),
        ("resnet_cifar", ["net.dense_layers"], "net.width, net.batch_norm_momentum"),
        ("alexnet", ["net.batch_norm_momentum"], "net.dropout"),
        ("mobilenet_v2_0.35_96", ["net.width"], "net.batch_norm_momentum, net.dropout"),
        ("mobilenet_0.25_128", ["net.flip_tta"], "net.batch_norm_momentum, net.dropout"),
    ],
)
def test_a_knob_that_a_network_lacks_is_an_error_that_lists_its_knobs(
    model: str, knobs: list[str], known: str
) -> None:
    values: dict[str, Any] = {"net.batch_norm_momentum": 0.5, "net.flip_tta": True}
    changes = {key: values.get(key, 8) for key in knobs}
    with pytest.raises(UsageError) as raised:
        resolve(Config().replace({"model.name": model, "model.weights": "none"} | changes))
    message = str(raised.value)
    assert message.startswith(f"{model} has the knobs net.")
    assert known in message and message.endswith(f"Received: {', '.join(knobs)}")


def test_every_knob_of_a_network_is_one_of_the_configuration() -> None:
    knobs = {spec.name: set(spec.net_knobs) for spec in list_models()}
    assert set().union(*knobs.values()) == {*vars(Config().net)}
