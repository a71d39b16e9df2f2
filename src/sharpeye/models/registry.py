"""The models by name. A model's module describes it; this list registers it."""

from sharpeye.errors import UsageError, near_match
from sharpeye.models import (
    alexnet,
    cnn,
    efficientnet_lite0,
    inception_v3,
    lenet5,
    mobilenet_v1,
    mobilenet_v2,
    resnet_cifar,
)
from sharpeye.models.spec import ModelSpec

_SPECS = {
    spec.name: spec
    for spec in (
        efficientnet_lite0.SPEC,
        inception_v3.SPEC,
        *mobilenet_v1.SPECS,
        *mobilenet_v2.SPECS,
        resnet_cifar.SPEC,
        lenet5.SPEC,
        cnn.SPEC,
        alexnet.SPEC,
    )
}
_SHORT_NAMES = {"mobilenet_v2": mobilenet_v2.DEFAULT} | {
    name.replace("_0.50_", "_0.5_"): name for name in _SPECS if "_0.50_" in name
}


def list_models() -> list[ModelSpec]:
    """All models, the largest of a family first."""
    return list(_SPECS.values())


def get_spec(name: str) -> ModelSpec:
    """The model of that name.

    Raises:
        UsageError: there is no such model; the message suggests the nearest name.
    """
    full_name = _SHORT_NAMES.get(name, name)
    if full_name not in _SPECS:
        raise UsageError(f"unknown model {name}. {near_match(name, [*_SPECS, *_SHORT_NAMES])}")
    return _SPECS[full_name]
