"""SharpEye: turn a folder of images into an image classifier that you can trust and ship.

    import sharpeye

    run = sharpeye.train("photos/")
    run.metrics["test"]["accuracy"]

    model = sharpeye.load("runs/photos-efficientnet_lite0")
    model.predict("rose.jpg").label

Importing this package loads nothing heavy: each name below is fetched when it is first used. It
loads nothing of Python's library either: `python -m sharpeye` imports it before `__main__` can take
the current folder off the path.
"""

from sharpeye.core.version import __version__

_DOOR = {
    "train": "sharpeye.jobs.train.train",
    "evaluate": "sharpeye.jobs.evaluate",
    "compare": "sharpeye.jobs.compare",
    "load": "sharpeye.predict.predictor",
    "Model": "sharpeye.predict.predictor",
    "Run": "sharpeye.runs.run_directory",
    "Config": "sharpeye.core.config",
    "Explanation": "sharpeye.predict.explain",
    "InputSpec": "sharpeye.core.types",
    "Prediction": "sharpeye.core.types",
    "SharpEyeError": "sharpeye.errors",
    "list_models": "sharpeye.models.registry",
}
__all__ = ["__version__", *sorted(_DOOR)]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sharpeye.core.config import Config as Config
    from sharpeye.core.types import InputSpec as InputSpec
    from sharpeye.core.types import Prediction as Prediction
    from sharpeye.errors import SharpEyeError as SharpEyeError
    from sharpeye.jobs.compare import compare as compare
    from sharpeye.jobs.evaluate import evaluate as evaluate
    from sharpeye.jobs.train.train import train as train
    from sharpeye.models.registry import list_models as list_models
    from sharpeye.predict.explain import Explanation as Explanation
    from sharpeye.predict.predictor import Model as Model
    from sharpeye.predict.predictor import load as load
    from sharpeye.runs.run_directory import Run as Run


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _DOOR:
        raise AttributeError(f"module 'sharpeye' has no attribute {name!r}")
    return getattr(import_module(_DOOR[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
