"""Import Keras with the settings that SharpEye's networks are made for."""

import contextlib
import os
import sys
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


# At its first operation TensorFlow reads this variable, and ends the process if it does not know a
# flag in it; the flags compile networks in another manner, with other numbers.
_XLA_VARIABLE = "TF_XLA_FLAGS"


@contextlib.contextmanager
def default_settings() -> Iterator[None]:
    """Import Keras or TensorFlow inside, without the `keras.json` of the user.

    Both read it on their import, each in its own manner, and fail if it is no JSON object, or is of
    another version; SharpEye's networks need the default settings. The folder in which Keras keeps
    its downloads is the user's again afterwards. `TF_XLA_FLAGS` is removed from the environment.

    Raises:
        EnvironmentFault: Keras refuses a variable of the environment.
    """
    os.environ.pop(_XLA_VARIABLE, None)
    home = os.environ.get("KERAS_HOME")
    is_first = "keras" not in sys.modules
    os.environ["KERAS_HOME"] = os.devnull
    try:
        yield
    except (AssertionError, ValueError) as error:
        reason = one_line(error) or "a setting is not valid"
        raise EnvironmentFault(
            f"Keras cannot start: {reason}; mend the variables of the environment that begin with "
            "KERAS_"
        ) from None
    finally:
        if home is None:
            del os.environ["KERAS_HOME"]
        else:
            os.environ["KERAS_HOME"] = home
        if is_first and "keras.src.backend.config" in sys.modules:
            folder = home or str(Path("~/.keras").expanduser())
            vars(sys.modules["keras.src.backend.config"])["_KERAS_DIR"] = folder


def import_keras(backend: str) -> str:
    """Import Keras; returns the name of its backend, which is another if it was imported before.

    Its settings become those of a fresh installation, also if another program has imported it: a
    `keras.json` of years ago may say that channels come first, or that numbers have 16 bits.

    Raises:
        ImportError: Keras or the backend is not installed.
        EnvironmentFault: see `default_settings`.
    """
    os.environ.setdefault("KERAS_BACKEND", backend)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with default_settings():
        import keras
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    return str(keras.backend.backend())
