"""A finished run becomes a model in another format, proven to answer the same."""

import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.artefact.archive import CARD, SUFFIX, read_archive
from sharpeye.artefact.archive_samples import MAX_SAMPLES, check_samples, make_samples
from sharpeye.artefact.export.child import BATCHES, Answers, in_batches, write_apart
from sharpeye.artefact.export.formats import Format, get_format
from sharpeye.artefact.export.snippets import fill_snippets
from sharpeye.artefact.export.source import Source, require, write_network
from sharpeye.artefact.graph import fixed_model
from sharpeye.artefact.manifest import read_json
from sharpeye.artefact.parity import BOX_PARITY_LIMIT, PARITY_IMAGES, PARITY_LIMIT
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.storage import sha256_file, write_text
from sharpeye.core.types import Sample, Split
from sharpeye.errors import ModelError, UsageError
from sharpeye.images.resize import fit_image
from sharpeye.jobs.export.atomic_output import atomic_output
from sharpeye.jobs.export.choose_int8 import Choice, quantize_and_choose
from sharpeye.jobs.export.export_request import LABELS, MANIFEST, ExportRequest
from sharpeye.jobs.export.run_images import RunImages
from sharpeye.runs import layout, provenance
from sharpeye.runs.run_directory import Run

log = logging.getLogger(__name__)

HELD_OUT: tuple[Split, ...] = ("test", "validation")

LoadedSample = tuple[Sample, Image.Image]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the model, or the folder that holds it.
        files: all that was written, the model first.
        manifest: as it lies beside the model: files, parity, quantization.
    """

    path: Path
    files: tuple[Path, ...]
    manifest: dict[str, Any]


def export(
    run: str | Path,
    form: str,
    output: str | Path,
    *,
    fixed: bool = False,
    quantize: str | None = None,
    max_drop: float = 0.01,
    force: bool = False,
    data: str | Path | None = None,
    parity: bool = True,
    samples: int = MAX_SAMPLES,
) -> Exported:
    """Write a finished run's model in another format.

    Args:
        run: the run directory.
        form: a name of `FORMATS`.
        output: a file with the format's suffix, or a folder; nothing may be there.
        fixed: let the model take images of its own size only; most formats do anyway.
        quantize: `int8` to take 8-bit weights if they cost no more than `max_drop` of accuracy
            and are faster here, or with `force`.
        data: where the run's images are, if not where its configuration says.
        parity: compare answers for held-out images; without, nothing is proven.
        samples: how many of the run's images, 0 to 5, a bundle carries.

    Raises:
        UsageError: an unknown format, an output that exists, options that do not go together.
        DataError: no finished run, or its images are gone.
        ModelError: the model cannot be written so, or answers otherwise; nothing is left then.
        MissingExtra: a package is missing.
        EnvironmentFault: the output cannot be written.
    """
    wish = ExportRequest(
        get_format(form),
        Path(output),
        fixed=fixed,
        quantize=quantize or "",
        max_drop=max_drop,
        force=force,
        data=None if data is None else Path(data),
        parity=parity,
        samples=samples,
    )
    wish.check()
    opened = open_model(run)
    if not opened.path.is_dir():
        raise UsageError(f"give the run directory, not a model file. Received: {run}")
    for package, extra in wish.form.needs:
        require(package, extra, f"exporting to {form}")
    with tempfile.TemporaryDirectory(prefix="sharpeye-") as scratch:
        return _Export(wish, opened, Run(opened.path), Path(scratch)).write()


def verify(file: str | Path) -> dict[str, Any]:
    """Check a bundle from end to end: it is opened, and answers for its own images.

    Returns:
        how many images there are, and the largest difference.

    Raises:
        UsageError: it is no `.sharpeye` file.
        ModelError: damaged, changed, or it answers otherwise.
    """
    if Path(file).suffix != SUFFIX:
        raise UsageError(f"--verify takes a {SUFFIX} file. Received: {file}")
    model = open_model(file)
    return check_samples(model, read_archive(Path(file)).members)


class _Export:
    """One export, step by step, in folders that are gone when it fails."""

    def __init__(self, wish: ExportRequest, model: OpenModel, run: Run, scratch: Path) -> None:
        self._wish, self._run, self._scratch = wish, run, scratch
        self._file, self._model = run.path / layout.MODEL, model
        self._choice: Choice | None = None
        self._images: list[LoadedSample] = []
        if wish.parity or wish.quantize or (wish.form.name == "bundle" and wish.samples):
            self._recalled = RunImages(run, wish.data)

    def write(self) -> Exported:
        wish = self._wish
        if wish.parity or (wish.form.name == "bundle" and wish.samples):
            self._images = self._recalled.images(HELD_OUT, PARITY_IMAGES)
        if wish.quantize:
            self._quantize()
        with atomic_output(wish.output, alone=wish.alone) as folder:
            return self._write_into(folder)

    def _quantize(self) -> None:
        wish, file = self._wish, self._scratch / "int8.onnx"
        self._choice = quantize_and_choose(
            self._file,
            file,
            self._recalled.of_part("train"),
            self._recalled.of_part("validation"),
            max_drop=wish.max_drop,
            force=wish.force,
        )
        if self._choice.int8:
            self._file, self._model = file, open_model(file)

    def _write_into(self, folder: Path) -> Exported:
        wish = self._wish
        main = folder / (wish.output.name if wish.alone else wish.form.main)
        names = {plain: wish.name(plain) for plain in wish.form.snippets}
        names |= {"labels": wish.name(LABELS), "model": main.name}
        if wish.form.name == "bundle":
            names |= {"model": layout.MODEL} | {plain: plain for plain in wish.form.snippets}
        source = self._source()
        texts = fill_snippets(wish.form, source, names, fixed=not self._takes_any_size())
        if wish.form.name == "bundle":
            source = self._bundle_source(source, texts)
        facts, parity = self._written(source, main)
        manifest = self._manifest(facts, parity, folder)
        if wish.companions:
            write_text(folder / wish.name(LABELS), source.labels_text())
            for plain, text in texts.items():
                write_text(folder / wish.name(plain), text)
            text = json.dumps(manifest, indent=2, ensure_ascii=False)
            write_text(folder / wish.name(MANIFEST), f"{text}\n")
        files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
        top = wish.output.parent if wish.alone else wish.output
        path = wish.output
        return Exported(path, tuple(top / file for file in files), manifest)

    def _takes_any_size(self) -> bool:
        return self._wish.any_size and self._model.takes_any_size

    def _source(self) -> Source:
        manifest = self._model.manifest
        title = Path(self._title()).name or "pictures"
        network = self._file
        if not self._takes_any_size():
            network = self._scratch / "fixed.onnx"
            fixed_model(self._file, network)
        source = Source(network, manifest, title)
        if self._wish.form.any_size:
            return source
        write_network(network, source.outputs, self._scratch)
        return Source(self._scratch / "network.onnx", manifest, title)

    def _title(self) -> str:
        card = self._run.path / layout.CARD
        first = card.read_text(encoding="utf-8").split("\n", 1)[0] if card.is_file() else ""
        return first.removeprefix("# ").strip() or self._run.path.resolve().name

    def _bundle_source(self, source: Source, texts: dict[str, str]) -> Source:
        members = {plain: text.encode() for plain, text in texts.items()}
        card = self._run.path / layout.CARD
        if card.is_file():
            members[CARD] = card.read_bytes()
        members |= make_samples(self._model, self._images[: self._wish.samples])
        record = dict(read_json(self._run.path / layout.BUNDLE))
        if self._choice is not None:
            record["quantization"] = self._choice.to_dict()
        return Source(source.network, source.manifest, source.title, members, record)

    def _written(self, source: Source, main: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Write the model, open it again, and compare."""
        wish, spec = self._wish, self._model.manifest.input
        shape = (0, spec.height, spec.width, spec.channels)
        pixels = np.zeros(shape, np.uint8)
        if wish.parity:
            pixels = np.stack([fit_image(image, spec) for _, image in self._images])
        taken = self._model.as_input(pixels) if self._takes_any_size() else pixels
        module = wish.form.module()
        if wish.form.apart:
            facts, answers = write_apart(wish.form.name, source, taken, self._scratch, main)
            answer = None
        else:
            facts = module.write(source, main)
            answer = module.open_written(main)
            answers = in_batches(answer, taken) if wish.parity else {}
        if wish.form.name == "bundle":
            check_samples(open_model(main), read_archive(main).members)
        if not wish.parity:
            log.warning("without a proof: the answers of %s were not compared", wish.form.name)
            return facts, None
        proof = self._prove(pixels, answers)
        if answer is not None and self._takes_any_size():
            proof["any_size_max_difference"] = self._prove_any_size(answer)
        return facts, proof

    def _prove(self, pixels: Any, answers: Answers) -> dict[str, Any]:
        """Compare answers with those of `model.onnx`."""
        outputs = ("probs", "box") if self._model.manifest.task == "localize" else ("probs",)
        alone = [self._model.run(one[None], outputs) for one in pixels]
        truth = {name: np.concatenate([each[name] for each in alone]) for name in outputs}
        proof: dict[str, Any] = {"pictures": len(pixels), "batches": list(BATCHES)}
        if len(pixels) < max(BATCHES):
            log.warning("only %d held-out pictures: the larger batch holds no more", len(pixels))
        gaps: dict[str, float] = {}
        for found in answers.values():
            for name in set(found) & set(truth):
                gap = _gap(found[name], truth[name])
                gaps[name] = max(gaps.get(name, 0.0), gap)
        same = [
            np.mean(found["probs"].argmax(1) == truth["probs"].argmax(1))
            for found in answers.values()
        ]
        proof |= {"max_difference": gaps["probs"], "top1_agreement": float(min(same))}
        _require(gaps["probs"], PARITY_LIMIT, "a probability", self._wish.form)
        if "box" in gaps:
            proof["max_box_difference"] = gaps["box"]
            _require(gaps["box"], BOX_PARITY_LIMIT, "an edge of a box", self._wish.form)
        return proof

    def _prove_any_size(self, answer: Callable[[Any], dict[str, Floats]]) -> float:
        """The same for whole images, which the model fits itself; the largest difference."""
        largest = 0.0
        for _, image in self._images:
            pixels = np.asarray(image)[None]
            found, truth = answer(pixels), self._model.graph.run(pixels)
            largest = max(largest, _gap(found["probs"], truth["probs"]))
        _require(largest, PARITY_LIMIT, "a probability", self._wish.form)
        return largest

    def _manifest(
        self, facts: dict[str, Any], parity: dict[str, Any] | None, folder: Path
    ) -> dict[str, Any]:
        about = self._model.manifest
        if self._takes_any_size():
            facts = facts | {"input": "image uint8[N,H,W,3] RGB, of any size"}
        elif self._wish.form.any_size:
            size = about.input
            facts = facts | {"input": f"image uint8[N,{size.height},{size.width},{size.channels}]"}
        files = {
            path.relative_to(folder).as_posix(): sha256_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return {
            "format": self._wish.form.name,
            **facts,
            "fit": about.input.to_dict(),
            "task": about.task,
            "labels": list(about.labels),
            "made_from": {"model": about.model, "model_sha256": sha256_file(self._file)},
            "weights_license": about.weights_license,
            "created": provenance.now(),
            "versions": provenance.versions(("numpy", "onnxruntime", *_packages(self._wish.form))),
            "machine": provenance.machine(),
            "parity": parity,
            "quantization": None if self._choice is None else self._choice.to_dict(),
            "files": files,
        }


def _packages(form: Format) -> list[str]:
    """Names under which the packages of a format are installed."""
    names = {"tensorflow": ["tensorflow", "tensorflow-cpu"], "ai_edge_litert": ["ai-edge-litert"]}
    return [name for package, _ in form.needs for name in names.get(package, [package])]


def _gap(found: Floats, truth: Floats) -> float:
    """The largest difference; infinite where shapes differ."""
    if found.shape != truth.shape:
        return float("inf")
    return float(np.abs(found - truth).max())


def _require(gap: float, limit: float, what: str, form: Format) -> None:
    if not gap <= limit:
        raise ModelError(
            f"the {form.name} model answers otherwise than {layout.MODEL}: {what} differs by "
            f"{gap:.2g}, more than {limit:g}; nothing was written"
        )
