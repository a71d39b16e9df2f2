"""Change training images by a function of the user's own code."""

from collections.abc import Callable

import numpy as np

from sharpeye.core.arrays import Array
from sharpeye.core.own_code import code_error
from sharpeye.errors import UsageError

OwnFunction = Callable[[Array, np.random.Generator], Array]


def apply_own_function(
    function: OwnFunction, name: str, images: Array, *, random: np.random.Generator
) -> Array:
    """Call `function(images, random)` with the images of each step.

    The function gets uint8[B,H,W,C] and a generator of NumPy, from which all of its random numbers
    must come, and returns an array of the same shape and type. It runs before all other changes, on
    the host. Messages name it `name`.

    Args:
        images: uint8[K,B,H,W,C].

    Raises:
        UsageError: it raised an exception, or returned something else.
    """
    steps = []
    for batch in images:
        try:
            changed = function(batch.copy(), random)
        except Exception as error:
            raise code_error(name, error) from None
        if getattr(changed, "shape", None) != batch.shape or changed.dtype != batch.dtype:
            raise UsageError(
                f"{name} must return an array of the shape and the type that it gets, "
                f"{batch.dtype}{list(batch.shape)}. Received: "
                f"{getattr(changed, 'dtype', type(changed).__name__)}"
                f"{list(getattr(changed, 'shape', ()))}"
            )
        steps.append(changed)
    return np.stack(steps)
