"""Import Keras with the settings that SharpEye's networks are made for."""

import os

from sharpeye.errors import EnvironmentFault, one_line

# Of children that convert models. In a folder that cannot be, Keras finds no settings, nor writes
# any; the networks may be trained with JAX, which cannot write TensorFlow's formats.
CHILD_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": os.devnull,
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


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
    try:
        import keras
    except ValueError as error:
        raise EnvironmentFault(
            f"Keras cannot start: {one_line(error)} Mend or delete its settings: keras.json in "
            f"{os.environ.get('KERAS_HOME') or '~/.keras'}, and the variables KERAS_..."
        ) from None
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    return str(keras.backend.backend())
