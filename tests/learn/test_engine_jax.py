"""Training on JAX. The tests run in processes of their own, as a process has one backend."""

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


def run_with(backend: str, program: list[str]) -> "subprocess.CompletedProcess[str]":
    # With one core there is one replica: batch norms use the statistics of their replica.
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
        ("resnet_cifar", ["model.image_size=32", "net.width=8", "net.flip_tta=true"]),
        pytest.param(
            "lenet5", ["model.image_size=32", "train.precision=mixed"], marks=pytest.mark.slow
        ),
        pytest.param(
            "cnn",
            ["model.image_size=32", "train.accumulate=2", "train.ema=0.9", "train.batch_size=8"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_network_trains_on_jax(model: str, settings: list[str], tmp_path: Path) -> None:
    data, output = hard_photos(tmp_path / "data"), tmp_path / "run"
    flags = [f"--set={setting}" for setting in settings]
    arguments = command("train", data, "-o", output, "--model", model, "--epochs", "2", *flags)
    assert "epoch 2 of 2" in run_with("jax", arguments).stderr
    run = sharpeye.Run(output)
    assert len(run.table("history.csv")) == 2
    assert not (output / "checkpoints").exists()
    model = sharpeye.load(output)
    for row in run.table("predictions.csv"):
        label, score = model.predict(data / row["path"]).top[0]
        assert label == row["predicted"]
        assert score == pytest.approx(float(row["score"]), abs=1e-3)


def test_a_step_equals_tensorflows(tmp_path: Path) -> None:
    probe = str(Path(__file__).parents[1] / "step_probe.py")
    results = {}
    for backend in ("tensorflow", "jax"):
        file = tmp_path / f"{backend}.npz"
        run_with(backend, [sys.executable, probe, str(tmp_path), str(file)])
        with np.load(file) as arrays:
            results[backend] = dict(arrays)
    expected, result = results["tensorflow"], results["jax"]
    assert expected.keys() == result.keys() and len(expected) > 40
    for task in ("classify", "localize"):
        assert (expected[f"sgd {task} totals"] > 0).sum() == (4 if task == "classify" else 5)
    for name, array in expected.items():
        # Adam's steps have full length even if the gradient is nothing but rounding.
        limit = 1e-4 if name.startswith("sgd") else 2e-3
        np.testing.assert_allclose(result[name], array, rtol=limit, atol=limit, err_msg=name)
