"""What `smoke_release.py` runs in each environment: every command of the command line, for real.

The commands run in a folder with `given/` (a run, a bundle and images that an earlier version
wrote), `served/` (an archive, images and a list of their URLs on a server of this machine) and
`fixes.csv`. A new command needs a step: without one the smoke run and its test fail.
"""

import shlex
from dataclasses import dataclass, field

_TINY = "--model cnn --set net.conv_layers=1 --set net.layer_size=4 --epochs 1"
# A film of eight frames that differ, as a GIF: PyAV reads it as a video.
_FILM = (
    "from PIL import Image;"
    "f = [Image.effect_noise((64, 48), 90).convert('RGB') for _ in range(8)];"
    "f[0].save('film.gif', save_all=True, append_images=f[1:], duration=500)"
)
_DOOR = (
    "import sharpeye, sys; assert sharpeye.__file__.startswith(sys.prefix);"
    "print(sharpeye.load('given/run_network').predict('given/images/0/digit-0001.png').label)"
)


@dataclass(frozen=True)
class Step:
    """A command line, and what it must do.

    Attributes:
        line: `sharpeye ...` or `python ...`, split like a shell's.
        exit_code: which it must end with; a server is ended by SIGTERM.
        output: a text that it must print.
        request: of a server: the path of a page, or `POST PATH FILE`.
    """

    line: str
    exit_code: int = 0
    output: str = ""
    request: str = ""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line)


@dataclass(frozen=True)
class Environment:
    """A virtual environment that grows: each stage adds extras to the wheel, and has steps."""

    name: str
    stages: tuple[tuple[str, tuple[Step, ...]], ...] = field(default=())


_BASE = (
    Step("sharpeye --version"),
    Step("sharpeye --help"),
    Step(f"python -P -c {shlex.quote(_DOOR)}"),
    Step("sharpeye models", output="efficientnet_lite0"),
    Step("sharpeye doctor", exit_code=5, output="sharpeye[train]"),
    Step("sharpeye predict given/run_network given/images"),
    Step("sharpeye predict given/model.sharpeye given/images --format jsonl"),
    Step("sharpeye evaluate given/run_network given/images --json", output='"accuracy"'),
    Step("sharpeye label-image --graph given/run_network given/images/0/digit-0001.png"),
    Step("sharpeye sample shapes shapes"),
    Step("sharpeye check shapes --quick"),
    Step("sharpeye augment given/images augmented"),
    Step("sharpeye collect import given/images photos --classes"),
    Step("sharpeye relabel given/images --apply fixes.csv", output="moved"),
    Step("sharpeye relabel given/images --undo fixes.undo.csv", output="put back"),
    Step("sharpeye cache info"),
    Step("sharpeye cache clear"),
    Step("sharpeye train given/images", exit_code=5, output="sharpeye[train]"),
    Step("sharpeye serve given/run_network", exit_code=5, output="sharpeye[serve]"),
)
_SERVE = (
    Step(
        "sharpeye serve given/run_network --port 0",
        request="POST /v1/predict given/images/0/digit-0001.png",
        output='"label"',
    ),
)
_COLLECT = (
    Step(f"python -P -c {shlex.quote(_FILM)}"),
    Step("sharpeye collect urls served/urls.txt web/zero --allow-private", output="added"),
    Step("sharpeye collect frames film.gif web/film", output="added"),
    # Without a key it ends after it has loaded icrawler, and before it asks a search engine.
    Step("sharpeye collect search rose web/rose --engine flickr", exit_code=2, output="a key"),
)
_TRAIN = (
    Step("sharpeye doctor", output="ready to train"),
    Step("sharpeye sample digits digits"),
    Step("sharpeye sample faces faces"),
    Step("sharpeye train faces --output runs/faces"),
    Step("sharpeye predict runs/faces faces/face --explain heat --format csv"),
    Step(f"sharpeye train given/images {_TINY} --output runs/cnn"),
    Step("sharpeye sample shapes shapes"),
    Step(f"sharpeye train shapes --task localize {_TINY} --output runs/shapes"),
    Step("sharpeye train more --add runs/cnn --output runs/more"),
    Step("sharpeye evaluate runs/faces faces"),
    Step(f"sharpeye train given/images {_TINY} --weights runs/cnn --output runs/cnn2"),
    Step("sharpeye compare runs/cnn runs/cnn2 --output compared", output="common test images"),
    Step("sharpeye check faces --labels runs/faces --write-fixes faces.csv --output checked"),
    Step(f"sharpeye sweep given/images {_TINY} --grid net.layer_size=4,8 --output runs/sweep"),
    Step(
        "sharpeye retrain --image_dir given/images --architecture mobilenet_0.25_128 --weights "
        "random --how_many_training_steps 20 --output_graph graph.pb --output_labels labels.txt "
        "--summaries_dir logs"
    ),
    Step("sharpeye label-image --graph graph.pb --labels labels.txt --image given/images/1"),
    Step("sharpeye fetch {server}/served/photos.zip fetched"),
)
_EXPORT = tuple(
    Step(f"sharpeye export runs/cnn --format {name} --output exported-{name}{suffix}")
    for name, suffix in (
        ("onnx", ".onnx"),
        ("bundle", ".sharpeye"),
        ("saved_model", ""),
        ("keras", ".keras"),
        ("litert", ".tflite"),
        ("openvino", ""),
        ("frozen_graph", ".pb"),
    )
)
_STUDIO = (
    Step("sharpeye studio faces --port 0", request="/", output="SharpEye"),
    Step("sharpeye label shapes --port 0", request="/", output="SharpEye"),
)

# What trains brings much along, which must not hide what the small extras lack: two environments.
ENVIRONMENTS = (
    Environment("small", (("", _BASE), ("serve", _SERVE), ("collect", _COLLECT))),
    Environment(
        "training", (("train,samples,formats", _TRAIN), ("export", _EXPORT), ("studio", _STUDIO))
    ),
)


def missing_commands(commands: list[str]) -> list[str]:
    """Those commands of the command line, such as `collect urls`, that no step runs."""
    lines = [
        step.line
        for environment in ENVIRONMENTS
        for _, steps in environment.stages
        for step in steps
    ]
    return [
        name
        for name in commands
        if not any(f"{line} ".startswith(f"sharpeye {name} ") for line in lines)
    ]
