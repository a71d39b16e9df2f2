"""The registry of models by name. Each model's module describes it."""

from sharpeye.core.own_code import is_own_code
from sharpeye.errors import UsageError, near_match
from sharpeye.models.efficientnet_lite0 import EFFICIENTNET_LITE0
from sharpeye.models.from_scratch_networks import NETWORKS
from sharpeye.models.keras_applications import INCEPTION_V3, MOBILENETS_V1, MOBILENETS_V2
from sharpeye.models.own_network import own_network
from sharpeye.models.resnet import RESNETS
from sharpeye.models.spec import ModelSpec

_SPECS = {
    spec.name: spec
    for spec in (
        *(EFFICIENTNET_LITE0, INCEPTION_V3, *MOBILENETS_V1, *MOBILENETS_V2),
        *(*RESNETS, *NETWORKS),
    )
}
_SHORT_NAMES = {"mobilenet_v2": "mobilenet_v2_1.0_224"} | {
    name.replace("_0.50_", "_0.5_"): name for name in _SPECS if "_0.50_" in name
}


def list_models() -> list[ModelSpec]:
    """All models, the largest of a family first."""
    return list(_SPECS.values())


def get_spec(name: str) -> ModelSpec:
    """The model of that name, or of the user's own code: FILE.py:FUNCTION or MODULE:FUNCTION.

    Raises:
        UsageError: there is no such model; the message suggests the nearest name.
    """
    if is_own_code(name):
        return own_network(name)[0]
    full_name = _SHORT_NAMES.get(name, name)
    if full_name not in _SPECS:
        raise UsageError(f"unknown model {name}. {near_match(name, [*_SPECS, *_SHORT_NAMES])}")
    return _SPECS[full_name]
