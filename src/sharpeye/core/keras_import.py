"""Import Keras with the settings that SharpEye's networks are made for."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sharpeye.errors import EnvironmentFault, one_line

# Of children that convert models. In a folder that cannot be, Keras finds no settings, nor writes
# any; the networks may be trained with JAX, which cannot write TensorFlow's formats.
CHILD_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": os.devnull,
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@contextlib.contextmanager
def settings_errors() -> Iterator[None]:
    """Translate what Keras, or TensorFlow for it, raises if it refuses its own settings."""
    try:
        yield
    except (AssertionError, ValueError) as error:
        reason = one_line(error) or "a setting is not valid"
        home = os.environ.get("KERAS_HOME") or "~/.keras"
        raise EnvironmentFault(
            f"Keras cannot start: {reason}; mend or delete {Path(home) / 'keras.json'}, and the "
            "variables of the environment that begin with KERAS_"
        ) from None


def import_keras(backend: str) -> str:
    """Import Keras; returns the name of its backend, which is another if it was imported before.

    Its settings become those of a fresh installation, as a `keras.json` of years ago may say that
    channels come first, or that numbers have 16 bits.

    Raises:
        ImportError: Keras or the backend is not installed.
        EnvironmentFault: Keras refuses its own settings.
    """
    os.environ.setdefault("KERAS_BACKEND", backend)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with settings_errors():
        import keras
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    return str(keras.backend.backend())
