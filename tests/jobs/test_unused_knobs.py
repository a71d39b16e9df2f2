"""A changed knob that has no effect is said, with what would use it."""

from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest

from sharpeye.core.config import Config, load_toml
from sharpeye.core.recipes import find_config, list_recipes
from sharpeye.errors import UsageError
from sharpeye.jobs.train import box_head, finetune
from sharpeye.jobs.train.context import TrainContext
from sharpeye.jobs.train.resolve import resolve
from sharpeye.jobs.train.unused_knobs import explain_unused, unused_knobs
from sharpeye.learn.nets import from_scratch
from sharpeye.learn.nets.backend import _make_optimizer, load_backend
from sharpeye.learn.nets.settings import FitSettings, learning_rates
from sharpeye.models.registry import get_spec, list_models

CNN = {"model.name": "cnn"}
SCRATCH = {"model.name": "mobilenet_v2_0.35_96", "model.weights": "none"}


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
        (CNN | {"task": "localize"}, {"localize.channels": 8}, "from its features"),
        (CNN, {"distill.weight": 0.5, "distill.temperature": 3.0}, "--teacher RUN"),
        (CNN, {"augment.policy_magnitude": 5, "augment.policy_operations": 3}, "policy=rand"),
        (CNN | {"augment.policy": "trivial"}, {"augment.policy_magnitude": 5}, "policy=rand"),
        ({"finetune.epochs": 2}, {"augment.policy_magnitude": 5}, "policy=rand"),
        ({"finetune.epochs": 2}, {"distill.teacher": "run", "distill.views": 4}, "--weights none"),
        ({"finetune.epochs": 2}, {"net.init_stddev": 0.1, "net.color": "grey"}, "pretrained"),
        ({"task": "localize"}, {"localize.class_weight": 3.0}, "--fine-tune N"),
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
        CNN | {"task": "localize", "localize.box_loss": "l1", "localize.class_weight": 3.0},
        SCRATCH | {"task": "localize", "localize.channels": 8},
        {"task": "localize", "localize.channels": 8, "localize.box_weight": 3.0},
        {"task": "localize", "finetune.epochs": 2, "localize.class_weight": 3.0},
        CNN | {"distill.teacher": "run", "distill.weight": 0.5, "distill.views": 2},
        CNN | {"augment.policy": "rand", "augment.policy_magnitude": 5},
    ],
)
def test_used_knobs_are_not_named(changes: dict[str, Any]) -> None:
    assert unused(changes) == []


# Other values of the knobs of [train] than the default.
OTHER: dict[str, Any] = {
    "epochs": 7,
    "batch_size": 5,
    "learning_rate": 0.07,
    "momentum": 0.5,
    "epsilon": 1e-3,
    "weight_decay": 0.3,
    "accumulate": 2,
    "ema": 0.9,
    "focal_gamma": 2.0,
    "clip_norm": 1.0,
    "warmup": 0.5,
    "decay": 0.5,
    "decay_steps": 5,
    "label_smoothing": 0.3,
    "patience": 2,
    "time_limit": 60.0,
    "keep_checkpoints": 3,
    "precision": "mixed",
    "optimizer": "sgd",
    "schedule": "cosine",
}
READ = ("epochs", "batch_size", "ema", "patience", "time_limit", "keep_checkpoints", "precision")


class _Settings(Exception):
    """Ends a training with the settings that it would have."""


def settings_of(config: Config, monkeypatch: pytest.MonkeyPatch) -> list[FitSettings]:
    """The settings of all trainings of a resolved configuration, from the functions that train."""

    def stop(_: Any, __: Any, settings: FitSettings, **___: Any) -> None:
        raise _Settings(settings)

    calls: list[Callable[[], object]] = []
    nothing: Any = MagicMock()
    if config.from_scratch:
        spec = get_spec(config.model.name)
        calls.append(lambda: from_scratch.fit_from_scratch(spec, config, nothing))
    else:
        context = TrainContext(config, nothing)
        if config.task == "localize":
            calls.append(lambda: box_head.fit_box_head(config, nothing, nothing))
        if config.finetune.epochs:
            calls.append(lambda: finetune.fine_tune(context, nothing, nothing))
    result = []
    with monkeypatch.context() as patch:
        for name in ("ProgressLog", "load_pixels", "build_arrays", "weight_loader", "replace"):
            patch.setattr(finetune, name, nothing)
        for module in (from_scratch, box_head, finetune):
            patch.setattr(module, "fit_network", stop)
        for call in calls:
            with pytest.raises(_Settings) as raised:
                call()
            result.append(raised.value.args[0])
    return result


def effect(settings: FitSettings) -> list[Any]:
    """What the settings of `[train]` make of the optimizer, the learning rates and the loop."""
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = _make_optimizer(model, settings).get_config() | {"name": ""}
    rates = learning_rates(settings, range(2000), 2000).tolist()
    values = [getattr(settings, name) for name in READ]
    if settings.stage != "box":  # The box head has no loss of classes.
        values += [settings.label_smoothing, settings.focal_gamma]
    return [optimizer, rates, *values]


@pytest.mark.parametrize(
    "mode",
    [
        *(CNN | {"train.optimizer": name} for name in ("adamw", "adam", "sgd", "lion")),
        *(CNN | {"train.schedule": name} for name in ("cosine", "exponential", "constant")),
        {"task": "localize"},
        {"finetune.epochs": 2},
        {"finetune.epochs": 2, "task": "localize"},
        {},
    ],
)
def test_each_knob_of_training_is_unused_where_it_changes_nothing(
    mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_backend()
    assert {*OTHER, "initial_weights"} == {*vars(Config().train)}
    begun = resolve(Config().replace(mode))
    before = [effect(settings) for settings in settings_of(begun, monkeypatch)]
    for name, value in OTHER.items():
        if f"train.{name}" in mode:
            continue
        changed = resolve(Config().replace(mode | {f"train.{name}": value}))
        after = [effect(settings) for settings in settings_of(changed, monkeypatch)]
        sentences = explain_unused(changed, [f"train.{name}"])
        assert (before == after) == bool(sentences), (name, sentences)


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
