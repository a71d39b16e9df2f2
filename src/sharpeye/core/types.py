"""The types that travel between rooms: Sample, SampleSet, InputSpec, Prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from sharpeye.errors import ModelError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

ResizeMode = Literal["pad", "crop", "stretch"]
RESIZE_MODES: tuple[ResizeMode, ...] = ("pad", "crop", "stretch")

# xmin, ymin, xmax, ymax, 0..1 of an image's width and height, from its upper left corner.
Box = tuple[float, float, float, float]

Filter = Literal["bicubic", "bilinear", "bilinear_asymmetric"]
FILTERS: tuple[Filter, ...] = ("bicubic", "bilinear", "bilinear_asymmetric")

MAX_BIT_DEPTH = 16  # of an image's samples


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set."""

    path: str  # relative to the data set's root, with forward slashes, printable
    file: Path  # the image's file, or the array file that holds it as a row
    label: str  # the class, as the folder spells it
    split: Split | None = None  # given by a `train/ validation/ test/` folder, or assigned later
    sha256: str = ""  # digest of the file's bytes or of the row's pixels; empty until they are read
    group: str = ""  # samples of one group stay in one split; empty until groups are known
    row: int | None = None  # index in an array file; None where the file is one image
    box: Box | None = None  # the object's box in the upright image; None without an annotation
    size: tuple[int, int] | None = None  # of the upright image in pixels; set if there is a box
    base: str = ""  # the path of an added folder, relative to the root, with which `path` begins
    bit_depth: int = MAX_BIT_DEPTH  # significant bits, if the image has more than 8 bits a sample
    is_wide: bool = False  # more than 8 bits a sample; known with the digest
    class_depth: int | None = None  # which folder of `inner` is the class's; None if none is

    @property
    def inner(self) -> str:
        """The path relative to the root, or to the added folder that holds it."""
        return self.path[len(self.base) :].lstrip("/") if self.base else self.path


@dataclass(frozen=True, slots=True)
class Rejected:
    """One file that was left out, and why (a line of `quarantine.csv`).

    `transient` says that the file may be good, as `ImageReadError.transient` does.
    """

    path: str
    reason: str
    transient: bool = False


@dataclass(frozen=True)
class SampleSet:
    """The images of a folder, and the files that were left out."""

    root: Path
    samples: tuple[Sample, ...]  # in natural order of their paths
    class_names: tuple[str, ...]  # in natural order; the index is the class index
    rejected: tuple[Rejected, ...] = ()
    ignored: dict[str, int] = field(default_factory=dict)  # files that are not images, by suffix
    given_splits: bool = False  # whether the folder has `train/`, `validation/`, `test/`
    near_duplicates: tuple[tuple[str, ...], ...] = ()  # digests, group by group, if searched
    blank: frozenset[str] = frozenset()  # digests of images of nearly one colour, if searched
    pinned: frozenset[str] = frozenset()  # paths that keep their split from an earlier run

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @property
    def bit_depth(self) -> int:
        """Significant bits of the images with more than 8 bits a sample, 16 without such images."""
        return min((sample.bit_depth for sample in self.samples), default=MAX_BIT_DEPTH)

    def count_by_class(self) -> dict[str, int]:
        """Number of samples of each class, in the order of `class_names`."""
        counts = Counter(sample.label for sample in self.samples)
        return {name: counts[name] for name in self.class_names}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How an image becomes a model's input. The bundle stores it with the model.

    The model takes uint8[N, height, width, channels], RGB or grey, 0..255; how these become
    floats (scale and offset) is inside the model.

    Attributes:
        height, width: pixels.
        fit: `pad` keeps the whole image and pads it, `crop` takes its centre, `stretch` ignores
            the aspect ratio.
        pad_value: grey level 0..255 of the padding; most networks scale 127 to zero.
        channels: 3 for RGB, 1 for grey.
        filter: `bicubic` and `bilinear` are Pillow's, with antialiasing; `bilinear_asymmetric`
            is TensorFlow 1's, without.
        bit_depth: significant bits, 8..16, of the samples of images with more than 8 bits. They
            become 0..255 before the graph, see `images/color.py`.
    """

    height: int
    width: int
    fit: ResizeMode = "pad"
    pad_value: int = 127
    channels: int = 3
    filter: Filter = "bicubic"
    bit_depth: int = MAX_BIT_DEPTH

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict. Readers before `bit_depth` refuse the key, which most models omit."""
        raw = asdict(self)
        if self.bit_depth == MAX_BIT_DEPTH:
            del raw["bit_depth"]
        return raw

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> InputSpec:
        """Read what `to_dict` wrote; ModelError if a key or a value is not allowed."""
        if unknown := set(raw) - {f.name for f in fields(cls)}:
            raise ModelError(f"unknown keys in the model's input: {', '.join(sorted(unknown))}")
        try:
            spec = cls(**raw)
        except TypeError as error:
            raise ModelError(f"the model's input is incomplete: {error}") from None
        ranges = (
            (spec.height, 1, 4096),
            (spec.width, 1, 4096),
            (spec.pad_value, 0, 255),
            (spec.bit_depth, 8, MAX_BIT_DEPTH),
            (spec.channels, 1, 3),
        )
        numbers_ok = all(type(v) is int and low <= v <= high for v, low, high in ranges)
        words_ok = spec.fit in RESIZE_MODES and spec.filter in FILTERS
        if not numbers_ok or not words_ok or spec.channels == 2:
            raise ModelError(f"the model's input is out of range: {raw}")
        return spec


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's prediction for one image.

    Attributes:
        label: the most probable class.
        score: its calibrated probability, 0..1.
        top: the best classes with their probabilities, best first.
        box: (xmin, ymin, xmax, ymax) in pixels of the original image, upright, from a localizer.
        box_score: 0..1, how well the box is expected to overlap the object (intersection over
            union); None without it.
        path: the image's file, if it came from one.
        size: width and height of the original image, upright, in pixels.
        unknown: whether the image is unlike all training images; None without a detector.
        unknown_score: 0..1, the share of known images that are more like the training images.
    """

    label: str
    score: float
    top: Sequence[tuple[str, float]]
    box: Box | None = None
    path: str | None = None
    size: tuple[int, int] | None = None
    unknown: bool | None = None
    unknown_score: float | None = None
    box_score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The line that `sharpeye predict --format jsonl` writes."""
        box_score = {} if self.box_score is None else {"box_score": round(self.box_score, 6)}
        return {
            "path": self.path,
            "label": self.label,
            "score": round(self.score, 6),
            "top": [{"label": name, "score": round(score, 6)} for name, score in self.top],
            "box": None if self.box is None else [round(v, 2) for v in self.box],
            **box_score,
            "unknown": self.unknown,
            "unknown_score": None if self.unknown_score is None else round(self.unknown_score, 6),
        }
