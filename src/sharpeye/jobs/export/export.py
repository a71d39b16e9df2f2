"""Write a finished run's model in another format, and verify that its outputs are equal."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sharpeye.artefact.archive import CARD_FILE, LABELS_FILE, SUFFIX, read_archive
from sharpeye.artefact.archive_samples import MAX_SAMPLES, check_samples, make_samples
from sharpeye.artefact.cut_model import fixed_model, write_network
from sharpeye.artefact.export.export_formats import ExportSource, get_format
from sharpeye.artefact.export.export_process import export_in_process
from sharpeye.artefact.export.snippets import fill_snippets
from sharpeye.artefact.manifest import MODEL_FILE, labels_text, read_json_file
from sharpeye.artefact.parity import (
    BATCH_SIZES,
    PARITY_IMAGES,
    PARITY_LIMIT,
    PredictFunction,
    check_limit,
    compare_outputs,
    max_difference,
    predict_in_batches,
)
from sharpeye.artefact.quantize import quantize_model
from sharpeye.artefact.session import OpenModel, open_model
from sharpeye.core.arrays import Floats, Pixels
from sharpeye.core.atomic_folder import atomic_files, atomic_folder
from sharpeye.core.formatting import plain_percent
from sharpeye.core.paths import user_path
from sharpeye.core.storage import scratch_folder, sha256_file, write_text
from sharpeye.core.types import Sample
from sharpeye.errors import UsageError
from sharpeye.images.resize import fit_image
from sharpeye.jobs.export.choose_int8 import Int8Choice, choose, measure
from sharpeye.jobs.export.export_request import EXPORT_MANIFEST, ExportRequest
from sharpeye.jobs.export.run_images import RunImages
from sharpeye.runs import layout, provenance
from sharpeye.runs.run_directory import Run

log = logging.getLogger(__name__)

# Names of distributions that differ from those of their packages.
_DISTRIBUTIONS = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "ai_edge_litert": ("ai-edge-litert",),
}


@dataclass(frozen=True)
class ExportResult:
    """All written files, and the manifest as stored with the model."""

    path: Path  # the model, or the folder that holds it
    files: tuple[Path, ...]
    manifest: dict[str, Any]


def export(
    run: str | Path,
    format_name: str,
    output: str | Path,
    *,
    fixed: bool = False,
    quantize: str | None = None,
    max_drop: float = 0.01,
    force: bool = False,
    data: str | Path | None = None,
    parity: bool = True,
    samples: int = MAX_SAMPLES,
) -> ExportResult:
    """Write a finished run's model in another format.

    Args:
        run: the run directory.
        format_name: a key of `FORMATS`.
        output: a file with the format's suffix, or a folder; it must not exist yet.
        fixed: whether the model accepts only its own size; in most formats it does anyway.
        quantize: `int8` to choose 8-bit weights if they cost no more than `max_drop` of accuracy
            and are faster here, or with `force`.
        data: the folder of the run's images; by default that of its configuration.
        parity: compare the outputs for held-out images.
        samples: how many of the run's images, 0 to 5, a bundle contains.

    Raises:
        UsageError: an unknown format, an output that exists, options that contradict each other.
        DataError: not a finished run, or its images are missing.
        ModelError: the format cannot express the model, or its outputs differ; its files are
            removed.
        MissingExtra: a package is missing.
        EnvironmentFault: the output cannot be written.
    """
    request = ExportRequest(
        get_format(format_name),
        user_path(output),
        fixed=fixed,
        quantize=quantize or "",
        max_drop=max_drop,
        force=force,
        data=None if data is None else user_path(data),
        parity=parity,
        samples=samples,
    )
    request.check()
    model = open_model(run)
    if not model.path.is_dir():
        raise UsageError(f"give the run directory, not a model file. Received: {run}")
    request.format.require_packages()
    with scratch_folder() as scratch:
        return _Exporter(request, model, scratch).export()


def verify_bundle(file: str | Path) -> dict[str, Any]:
    """Check a bundle completely: open it, and compare its outputs; see `check_samples`.

    Raises:
        UsageError: it is not a `.sharpeye` file.
        ModelError: it is damaged or changed, or its outputs differ.
    """
    if Path(file).suffix != SUFFIX:
        raise UsageError(f"--verify takes a {SUFFIX} file. Received: {file}")
    return check_samples(open_model(file), read_archive(Path(file)).members)


class _Exporter:
    """One export, step by step; `scratch` is a folder for temporary files."""

    def __init__(self, request: ExportRequest, model: OpenModel, scratch: Path) -> None:
        self._request, self._model, self._scratch = request, model, scratch
        self._run = Run(model.path)
        self._model_file = model.path / MODEL_FILE
        self._choice: Int8Choice | None = None
        self._images: list[tuple[Sample, Image.Image]] = []

    def export(self) -> ExportResult:
        request, run_images = self._request, RunImages(self._run, self._request.data)
        if request.parity or (request.is_bundle and request.samples > 0):
            self._images = run_images.images(("test", "validation"), PARITY_IMAGES)
        if request.quantize:
            int8_file = self._scratch / "int8.onnx"
            quantize_model(self._model_file, run_images.in_split("train"), int8_file)
            numbers = measure(self._model_file, int8_file, run_images.in_split("validation"))
            self._choice = choose(numbers, max_drop=request.max_drop, force=request.force)
            if self._choice.int8:
                self._model_file, self._model = int8_file, open_model(int8_file)
        if request.is_file:
            names = request.companion_names
            with atomic_files(
                request.output,
                first=names.get(EXPORT_MANIFEST, ""),
                replaceable=list(names.values()) if request.was_interrupted else (),
            ) as folder:
                return self._write_into(folder)
        with atomic_folder(request.output) as folder:
            return self._write_into(folder)

    def _write_into(self, folder: Path) -> ExportResult:
        request = self._request
        main = folder / (request.output.name if request.is_file else request.format.main)
        source = self._source()
        snippets = self._snippets(source, main.name)
        if request.is_bundle:
            source = self._bundle_source(source, snippets)
        details, parity = self._write_model(source, main)
        manifest = self._export_manifest(source, details, parity) | {
            "files": {
                file.relative_to(folder).as_posix(): sha256_file(file)
                for file in _files_below(folder)
            }
        }
        if request.companions:
            companions = {
                LABELS_FILE: labels_text(source.manifest.labels),
                EXPORT_MANIFEST: json.dumps(manifest, indent=2, ensure_ascii=False) + "\n",
                **snippets,
            }
            for plain, text in companions.items():
                write_text(folder / request.companion_name(plain), text)
        parent = request.output.parent if request.is_file else request.output
        files = tuple(parent / file.relative_to(folder) for file in _files_below(folder))
        return ExportResult(request.output, files, manifest)

    @property
    def _takes_any_size(self) -> bool:
        request = self._request
        return request.format.any_size and not request.fixed and self._model.takes_any_size

    def _source(self) -> ExportSource:
        network, card = self._model_file, self._run.path / layout.CARD
        heading = card.read_text(encoding="utf-8").split("\n", 1)[0] if card.is_file() else ""
        title = heading.removeprefix("# ").strip() or self._run.path.resolve().name
        if not self._takes_any_size:
            network = self._scratch / "fixed.onnx"
            fixed_model(self._model_file, network)
        source = ExportSource(network, self._model.manifest, Path(title).name or "pictures")
        if self._request.format.any_size:
            return source
        write_network(network, source.outputs, self._scratch / "network.onnx")
        return replace(source, network=self._scratch / "network.onnx")

    def _snippets(self, source: ExportSource, model_name: str) -> dict[str, str]:
        request = self._request
        names = {name: request.companion_name(name) for name in request.format.snippets}
        names |= {"model": model_name, "labels": request.companion_name(LABELS_FILE)}
        if request.is_bundle:  # its members have their plain names
            names |= {"model": MODEL_FILE} | {name: name for name in request.format.snippets}
        return fill_snippets(request.format, source, names, fixed=not self._takes_any_size)

    def _bundle_source(self, source: ExportSource, snippets: dict[str, str]) -> ExportSource:
        members = {plain: text.encode() for plain, text in snippets.items()}
        card = self._run.path / layout.CARD
        if card.is_file():
            members[CARD_FILE] = card.read_bytes()
        members |= make_samples(self._model, self._images[: self._request.samples])
        record = dict(read_json_file(self._run.path / layout.BUNDLE))
        if self._choice is not None:
            record["quantization"] = self._choice.to_dict()
        return replace(source, members=members, record=record)

    def _export_manifest(
        self, source: ExportSource, details: dict[str, Any], parity: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The manifest without the digests of the files."""
        export_format, manifest = self._request.format, source.manifest
        if self._takes_any_size:
            details = details | {"input": "image uint8[N,H,W,3] RGB, of any size"}
        elif export_format.any_size:
            details = details | {"input": source.describe_input()}
        distributions = [
            name
            for package, _ in export_format.packages
            for name in _DISTRIBUTIONS.get(package, (package,))
        ]
        return {
            "format": export_format.name,
            **details,
            "fit": manifest.input.to_dict(),
            "task": manifest.task,
            "labels": list(manifest.labels),
            "made_from": {"model": manifest.model, "model_sha256": sha256_file(self._model_file)},
            "weights_license": manifest.weights_license,
            "created": provenance.now(),
            "versions": provenance.versions(("numpy", "onnxruntime", *distributions)),
            "machine": provenance.machine(),
            "parity": parity,
            "quantization": None if self._choice is None else self._choice.to_dict(),
        }

    def _write_model(
        self, source: ExportSource, main: Path
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Write the model, open it again, and compare; returns details and parity results."""
        request, spec = self._request, source.manifest.input
        pixels: Pixels = np.zeros((0, spec.height, spec.width, spec.channels), np.uint8)
        if request.parity:
            pixels = np.stack([fit_image(image, spec) for _, image in self._images])
        inputs = self._model.as_input(pixels) if self._takes_any_size else pixels
        predict: PredictFunction | None = None
        if request.format.own_process:
            details, outputs = export_in_process(
                request.format.name, source, inputs, scratch=self._scratch, file=main
            )
        else:
            write, open_exported = request.format.functions()
            details, predict = write(source, main), open_exported(main)
            outputs = predict_in_batches(predict, inputs) if request.parity else {}
        if request.is_bundle:
            check_samples(open_model(main), read_archive(main).members)
        if not request.parity:
            log.warning("without a proof: the answers of %s were not compared", request.format.name)
            return details, None
        if len(pixels) < max(BATCH_SIZES):
            log.warning("only %d held-out images: the larger batch holds no more", len(pixels))
        runs = [self._model.run(image[None], source.outputs) for image in pixels]
        expected = {name: np.concatenate([run[name] for run in runs]) for name in source.outputs}
        failure = (
            f"nothing was written: the {request.format.name} model answers otherwise than "
            f"{MODEL_FILE}"
        )
        proof = {"pictures": len(pixels), "batches": list(BATCH_SIZES)}
        proof |= compare_outputs(outputs, expected, failure)
        if request.format.name == "openvino":
            proof["by_default"] = _compare_by_default(main, inputs, expected)
        if predict is not None and self._takes_any_size:
            proof["any_size_max_difference"] = self._compare_any_size(predict, failure)
        return details, proof

    def _compare_any_size(self, predict: PredictFunction, failure: str) -> float:
        """The largest difference of a probability for full-size images, which both models fit."""
        differences = [0.0]
        for _, image in self._images:
            pixels = np.asarray(image)[None]
            probs, expected = predict(pixels)["probs"], self._model.graph.run(pixels)["probs"]
            differences.append(max_difference([probs], expected))
            check_limit(PARITY_LIMIT, differences[-1], f"{failure}: a probability differs")
        return max(differences)


def _compare_by_default(
    file: Path, pixels: Pixels, expected: Mapping[str, Floats]
) -> dict[str, Any]:
    """How an OpenVINO model answers where no precision is asked for, which no limit holds."""
    from sharpeye.artefact.export.onnx_formats import open_openvino_by_default

    predict, precision = open_openvino_by_default(file)
    outputs = predict(pixels)
    equal = outputs["probs"].argmax(axis=1) == expected["probs"].argmax(axis=1)
    result = {
        "precision": precision,
        "max_difference": max_difference([outputs["probs"]], expected["probs"]),
        "top1_agreement": float(equal.mean()),
    }
    if "box" in expected:
        result["max_box_difference"] = max_difference([outputs["box"]], expected["box"])
    if precision != "f32":
        log.info(
            "by default OpenVINO computes in %s on this processor: a probability then differs by "
            "up to %.2g, and %s of the first answers are the same; predict.py asks for f32",
            precision,
            result["max_difference"],
            plain_percent(result["top1_agreement"]),
        )
    return result


def _files_below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]
