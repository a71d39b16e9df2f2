"""`sharpeye doctor`."""

import importlib.util
import os

from typer import Typer

from sharpeye.cli import console
from sharpeye.core.storage import cache_root
from sharpeye.core.version import __version__
from sharpeye.errors import EnvironmentFault
from sharpeye.models.registry import list_models
from sharpeye.runs.provenance import machine, versions

app = Typer(add_completion=False, rich_markup_mode=None)

# (module, extra that installs it, purpose)
_MODULES = (
    ("keras", "train", "networks"),
    ("tensorflow", "train", "networks"),
    ("onnx", "train", "writing models"),
    ("jinja2", "train", "the report"),
    ("tensorboard", "train", "event files"),
    ("ai_edge_litert", "export", "LiteRT models"),
    ("openvino", "export", "OpenVINO models"),
    ("sklearn", "samples", "sample digits"),
    ("skimage", "samples", "sample faces"),
    ("fastapi", "serve", "the server"),
    ("uvicorn", "serve", "the server"),
    ("python_multipart", "serve", "the server"),
    ("prometheus_client", "serve", "the server"),
    ("icrawler", "collect", "searching for images"),
    ("av", "collect", "frames of videos"),
)


@app.command()
def doctor() -> None:
    """Check this machine: versions, missing packages, weights and cache."""
    print(f"SharpEye {__version__} on {machine()}")
    print("  " + ", ".join(f"{name} {v}" for name, v in versions().items() if name != "sharpeye"))
    missing = [item for item in _MODULES if importlib.util.find_spec(item[0]) is None]
    for module, extra, purpose in missing:
        print(f"  missing: {module}, for {purpose}: pip install 'sharpeye[{extra}]'")
    local = [spec.name for spec in list_models() if spec.imagenet and spec.imagenet.find(None)]
    print(f"  ImageNet weights here: {', '.join(local) or 'none'}")
    root = cache_root()
    existing = next(path for path in (root, *root.parents) if path.exists())
    writable = os.access(existing, os.W_OK)
    print(f"  cache: {console.show(str(root))}, {'writable' if writable else 'NOT writable'}")
    if any(extra == "train" for _, extra, _ in missing):
        raise EnvironmentFault("packages are missing; run: pip install 'sharpeye[train]'")
    print("  ready to train")
