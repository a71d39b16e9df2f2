"""Training from scratch: images a second beside plain Keras `fit` and a plain PyTorch loop.

Each is a process of its own on both cores; rounds alternate, so that a slow minute of the machine
hits all. All learn from the same random images, batch 32, Adam, no augmentation, in 32 bits: the
same work. PyTorch is left out where it is not installed.

    python -m bench.from_scratch [NET]
"""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import arguments
from bench.measure import report, spread

BATCH, ROUNDS, EPOCHS = 32, 3, 3
# network: side, channels, classes, images an epoch, goals over Keras and over PyTorch
NETS: dict[str, tuple[int, int, int, int, float, float | None]] = {
    "lenet5": (32, 3, 10, 16_000, 1.5, 1.05),
    "cnn": (50, 1, 2, 1_200, 1.15, 1.4),
    "mobilenet_v2_1.0_96": (96, 3, 10, 256, 1.0, None),
}


def main(net: str | None = None, who: str | None = None) -> None:
    if net and who:
        print(PROGRAMS[who](net))
        return
    for name in [net] if net else NETS:
        measure(name)


def measure(net: str) -> None:
    """Take turns, and report the ratios of one network."""
    torch_is_here = importlib.util.find_spec("torch") is not None
    *_, over_keras, over_torch = NETS[net]
    whom = ["sharpeye", "keras"] + ["torch"] * (torch_is_here and over_torch is not None)
    visited: dict[str, list[float]] = {who: [] for who in whom}
    for _ in range(ROUNDS):
        for who in whom:
            visited[who].append(images_per_second(who, net))
    goals = {"keras": over_keras, "torch": over_torch}
    for other in whom[1:]:
        ratios = [a / b for a, b in zip(visited["sharpeye"], visited[other], strict=True)]
        result = {
            "ratio": spread(ratios),
            "goal": f">= {goals[other]:g}",
            "images_per_second": {who: spread(visited[who]) for who in ("sharpeye", other)},
        }
        report(f"scratch_{net}_over_{other}", result)


def images_per_second(who: str, net: str) -> float:
    """Of one training, in a process of its own."""
    command = [sys.executable, "-m", "bench.from_scratch", net, "--who", who]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{who} {net}: exit code {done.returncode}\n{done.stderr}")
    return float(done.stdout.split()[-1])


def _images(net: str) -> tuple[Any, Any, int]:
    side, channels, classes, count, *_ = NETS[net]
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count + BATCH, side, side, channels), dtype=np.uint8)
    return pixels, random.integers(0, classes, count + BATCH), classes


def _best_epoch(epoch: Callable[[], None], count: int) -> float:
    """Images a second of the fastest epoch after the first, in which graphs are made."""
    epoch()
    seconds = []
    for _ in range(EPOCHS):
        started = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - started)
    return count / min(seconds)


def _sharpeye(net: str, **changes: Any) -> float:
    """With changes of the configuration, by dotted key."""
    from sharpeye.core.config import Config
    from sharpeye.core.types import InputSpec
    from sharpeye.learn.nets.from_scratch import fit_from_scratch
    from sharpeye.learn.nets.training_arrays import TrainingArrays
    from sharpeye.models.registry import get_spec

    pixels, targets, classes = _images(net)
    side, channels, count = pixels.shape[1], pixels.shape[3], len(pixels) - BATCH
    rows = {"train": np.arange(count), "validation": np.arange(count, count + BATCH)}
    arrays = TrainingArrays(
        pixels=pixels,
        indices=rows,
        targets={part: targets[own] for part, own in rows.items()},
        class_names=tuple(map(str, range(classes))),
        input=InputSpec(side, side, channels=channels),
    )
    config = Config().replace(
        {
            "data.balance": "none",
            "net.color": "grey" if channels == 1 else "rgb",
            "net.scaling": "unit",
            "train.epochs": EPOCHS + 1,
            "train.batch_size": BATCH,
            "train.optimizer": "adam",
            "train.learning_rate": 1e-3,
            "train.schedule": "constant",
            "train.label_smoothing": 0.0,
            "train.precision": "float32",
            "augment.flip": False,
            "augment.shift": 0,
        }
        | changes
    )
    fitted = fit_from_scratch(get_spec(net), config, arrays)
    return count / min(row["seconds"] for row in fitted.history[1:])


def _keras(net: str) -> float:
    import keras
    from keras import layers

    pixels, targets, classes = _images(net)
    count = len(pixels) - BATCH
    if net.startswith("mobilenet"):
        image = keras.Input(pixels.shape[1:])
        scaled = layers.Rescaling(1 / 127.5, -1.0)(image)
        body = keras.applications.MobileNetV2(
            input_tensor=scaled, weights=None, include_top=False, pooling="avg"
        )
        model = keras.Model(image, layers.Dense(classes)(body.output))
    else:
        stack: list[Any] = [keras.Input(pixels.shape[1:]), layers.Rescaling(1 / 255)]
        for filters, kernel in {"lenet5": [(6, 5), (16, 5)], "cnn": [(64, 3)] * 3}[net]:
            stack += [layers.Conv2D(filters, kernel, activation="relu"), layers.MaxPooling2D()]
        stack += [layers.Flatten()]
        if net == "lenet5":
            stack += [layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu")]
        model = keras.Sequential([*stack, layers.Dense(1 if net == "cnn" else classes)])
    losses = keras.losses
    loss: Any = losses.SparseCategoricalCrossentropy(from_logits=True)
    if net == "cnn":
        loss = losses.BinaryCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])

    def epoch() -> None:
        model.fit(pixels[:count], targets[:count], batch_size=BATCH, verbose=0)

    return _best_epoch(epoch, count)


def _torch(net: str) -> float:
    import torch
    from torch import nn
    from torch.nn import functional

    pixels, targets, classes = _images(net)
    count = len(pixels) - BATCH
    images = torch.from_numpy(pixels[:count].transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(targets[:count])
    side, channels = pixels.shape[1], pixels.shape[3]
    parts: list[Any] = []
    for filters, kernel in {"lenet5": [(6, 5), (16, 5)], "cnn": [(64, 3)] * 3}[net]:
        parts += [nn.Conv2d(channels, filters, kernel), nn.ReLU(), nn.MaxPool2d(2)]
        side, channels = (side - kernel + 1) // 2, filters
    parts += [nn.Flatten()]
    width = side * side * channels
    if net == "lenet5":
        parts += [nn.Linear(width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()]
        width = 84
    parts += [nn.Linear(width, classes)]
    model = nn.Sequential(*parts).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def epoch() -> None:
        order = torch.randperm(count)
        for start in range(0, count, BATCH):
            own = order[start : start + BATCH]
            batch = (images[own].float() / 255).to(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(batch), labels[own]).backward()
            optimizer.step()

    return _best_epoch(epoch, count)


PROGRAMS: dict[str, Callable[[str], float]] = {
    "sharpeye": _sharpeye,
    "keras": _keras,
    "torch": _torch,
    "ema": lambda net: _sharpeye(net, **{"train.ema": 0.999}),
    "mixed": lambda net: _sharpeye(net, **{"train.precision": "mixed"}),
}

if __name__ == "__main__":
    net = {"type": arguments.one_of(NETS), "nargs": "?"}
    who = {"choices": PROGRAMS, "help": "one process of it: prints images a second"}
    arguments.run(main, __doc__, net=net, **{"--who": who})
