"""Triton's extensions of the Open Inference Protocol: repository index, configuration, statistics.

Source: triton-inference-server/server, docs/protocol/extension_model_repository.md,
extension_model_configuration.md and extension_statistics.md. A model cannot be loaded or unloaded.
"""

import time
from dataclasses import dataclass
from typing import Any

from sharpeye.serve.predict_request import VERSION, ServedModel

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")


@dataclass
class InferenceStatistics:
    """Counts of one model's requests; durations are in nanoseconds.

    Attributes:
        images: predictions of answered requests.
        last_time: of a request's end, in milliseconds since 1970.
    """

    images: int = 0
    success_count: int = 0
    success_ns: int = 0
    fail_count: int = 0
    fail_ns: int = 0
    last_time: int = 0

    def add(self, images: int, seconds: float, *, success: bool) -> None:
        """Count a request of which `images` were predicted."""
        nanoseconds = round(seconds * 1e9)
        self.last_time = round(time.time() * 1000)
        if success:
            self.images += images
            self.success_count += 1
            self.success_ns += nanoseconds
        else:
            self.fail_count += 1
            self.fail_ns += nanoseconds


def repository_index(served: ServedModel) -> list[dict[str, str]]:
    return [{"name": served.name, "version": VERSION, "state": "READY", "reason": ""}]


def model_config(served: ServedModel, outputs: dict[str, tuple[str, list[int]]]) -> dict[str, Any]:
    """The model's configuration; `outputs` are datatype and shape of each output by name."""
    spec = served.model.input
    image = {
        "name": "image",
        "data_type": "TYPE_UINT8",
        "format": "FORMAT_NONE",
        "dims": [-1, spec.height, spec.width, spec.channels],
    }
    return {
        "name": served.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [int(VERSION)]}},
        "max_batch_size": 0,  # the shapes include the number of images
        "input": [image],
        "output": [
            {"name": name, "data_type": f"TYPE_{_config_type(datatype)}", "dims": shape}
            for name, (datatype, shape) in outputs.items()
        ],
        "default_model_filename": "model.onnx",
    }


def _config_type(datatype: str) -> str:
    return "STRING" if datatype == "BYTES" else datatype


def model_statistics(served: ServedModel, statistics: InferenceStatistics) -> dict[str, Any]:
    def duration(count: int, nanoseconds: int) -> dict[str, int]:
        return {"count": count, "ns": nanoseconds}

    success = duration(statistics.success_count, statistics.success_ns)
    empty = duration(0, 0)  # not measured separately
    return {
        "model_stats": [
            {
                "name": served.name,
                "version": VERSION,
                "last_inference": statistics.last_time,
                "inference_count": statistics.images,
                "execution_count": statistics.images,  # images are not stacked into batches
                "inference_stats": {
                    "success": success,
                    "fail": duration(statistics.fail_count, statistics.fail_ns),
                    "queue": empty,
                    "compute_input": empty,
                    "compute_infer": success,
                    "compute_output": empty,
                    "cache_hit": empty,
                    "cache_miss": empty,
                },
                "batch_stats": [],
            }
        ]
    }
