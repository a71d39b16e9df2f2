"""The models by name. A model's module says what it is; this list says that it exists."""

from sharpeye.errors import UsageError, near_match
from sharpeye.zoo import efficientnet_lite0
from sharpeye.zoo.spec import ModelSpec

_SPECS = {spec.name: spec for spec in (efficientnet_lite0.SPEC,)}


def list_models() -> list[ModelSpec]:
    """Every model of the zoo, in natural order of the names."""
    return [_SPECS[name] for name in sorted(_SPECS)]


def get_spec(name: str) -> ModelSpec:
    """The model of that name.

    Raises:
        UsageError: no such model; the message has the nearest name.
    """
    if name not in _SPECS:
        raise UsageError(f"unknown model {name}. {near_match(name, sorted(_SPECS))}")
    return _SPECS[name]
