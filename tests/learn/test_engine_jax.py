"""Training on JAX. Each test runs in processes of its own: a process has one backend."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sharpeye
from runner import command, hard_photos

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed"),
]


def on(backend: str, program: list[str]) -> "subprocess.CompletedProcess[str]":
    # One core: batch norms see the statistics of their tower.
    environment = os.environ | {"KERAS_BACKEND": backend, "SHARPEYE_CORES": "1"}
    done = subprocess.run(
        program, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("lenet5", ["model.image_size=32", "net.dropout=0.3"]),
        ("resnet_cifar", ["model.image_size=32", "net.width=8"]),
    ],
)
def test_a_network_is_trained_from_end_to_end(
    model: str, settings: list[str], tmp_path: Path
) -> None:
    data, output = hard_photos(tmp_path / "data"), tmp_path / "run"
    flags = [f"--set={setting}" for setting in settings]
    arguments = command("train", data, "-o", output, "--model", model, "--epochs", "2", *flags)
    said = on("jax", arguments).stderr
    assert "epoch 2 of 2" in said
    done = sharpeye.Run(output)
    assert len(done.table("history.csv")) == 2
    assert not (output / "checkpoints").exists()
    shipped = sharpeye.load(output)
    for row in done.table("predictions.csv"):
        label, score = shipped.predict(data / row["path"]).top[0]
        assert label == row["predicted"]
        assert score == pytest.approx(float(row["score"]), abs=1e-3)


def test_a_step_is_the_one_that_tensorflow_takes(tmp_path: Path) -> None:
    probe = str(Path(__file__).parents[1] / "step_probe.py")
    ends = {}
    for backend in ("tensorflow", "jax"):
        end = tmp_path / f"{backend}.npz"
        on(backend, [sys.executable, probe, str(tmp_path), str(end)])
        with np.load(end) as arrays:
            ends[backend] = dict(arrays)
    one, other = ends["tensorflow"], ends["jax"]
    assert one.keys() == other.keys() and len(one) > 40
    for task in ("classify", "localize"):
        assert (one[f"sgd {task} tally"] > 0).sum() == (4 if task == "classify" else 5)
    for name, array in one.items():
        # Adam's steps are as long where the gradient is nothing but rounding.
        tolerance = 1e-4 if name.startswith("sgd") else 2e-3
        np.testing.assert_allclose(array, other[name], rtol=tolerance, atol=tolerance, err_msg=name)
