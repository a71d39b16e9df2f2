"""Keras for the tests of models."""

from typing import Any

import pytest

from sharpeye.learn.nets.backend import load_backend


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras on TensorFlow."""
    load_backend()
    import keras

    return keras
