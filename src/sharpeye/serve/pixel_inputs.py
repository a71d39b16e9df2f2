"""Arrays of pixels in requests: the parameters that describe them, and their images.

`value_range` and `data_format` are those of `Model.predict`, and the rules are those of
`images.array_image`: an image has one meaning in Python and in every protocol.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.core.types import InputSpec
from sharpeye.errors import UsageError
from sharpeye.images.array_image import array_to_image
from sharpeye.images.formats import sniff
from sharpeye.serve.limits import RequestRefused
from sharpeye.serve.predict_request import ImageInput, ServedModel

_EXAMINED_BYTES = 2**16  # a multiple of all sizes of numbers

PIXEL_PARAMETERS = ("value_range", "data_format")


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """What a request says of its pixels; see `images.array_image.array_to_image`."""

    value_range: Any = None
    data_format: Any = "channels_last"

    @classmethod
    def from_parameters(cls, *holders: Mapping[str, Any]) -> "PixelFormat":
        """From JSON objects that may hold the parameters; a later one takes precedence."""
        values = {
            key: holder[key]
            for holder in holders
            for key in PIXEL_PARAMETERS
            if holder.get(key) is not None
        }
        return cls(**values)

    def to_input(self, array: Array, name: str, *, served: ServedModel) -> ImageInput:
        """An array of one image as an image of the request.

        Raises:
            RequestRefused: not an image, or the request does not say what its values mean.
        """
        bit_depth = served.model.input.bit_depth
        try:
            image = array_to_image(
                array,
                data_format=self.data_format,
                value_range=self.value_range,
                bit_depth=bit_depth,
            )
        except UsageError as error:
            raise RequestRefused(400, f"{name}: {error}") from None
        return ImageInput(name, image)

    def check_unused(self, name: str) -> None:
        """Refuse the parameters with an image that is not given as pixels."""
        if self != PixelFormat():
            parameters = " and ".join(PIXEL_PARAMETERS)
            raise RequestRefused(
                400, f"{parameters} describe pixels, but {name} is a file, which says them itself"
            )


def describe_raw_pixels(data: bytes, spec: InputSpec) -> str | None:
    """What bytes probably are that are no image's file, but pixels without one."""
    if sniff(data[:32]) is not None:
        return None
    count = spec.height * spec.width
    advice = "send the file's bytes, or the pixels as numbers with their shape"
    if len(data) in (count, 3 * count):
        return f"it has as many bytes as pixels of {spec.width} x {spec.height}; {advice}"
    for dtype in ("<f4", "<f8"):
        if len(data) < 64 or len(data) % np.dtype(dtype).itemsize:
            continue
        values = np.frombuffer(data[:_EXAMINED_BYTES], dtype)
        sizes = np.abs(values[values != 0])  # random bytes have any exponent
        if np.isfinite(values).all() and ((sizes > 1e-6) & (sizes <= 65535)).all():
            return f"it seems to be floats, not a file; {advice}"
    return None
