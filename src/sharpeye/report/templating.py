"""What the pages of runs and of sweeps have in common: how their templates are filled in."""

from typing import TYPE_CHECKING

from sharpeye.errors import MissingExtra
from sharpeye.report import wording

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> "Environment":
    """Jinja2 for the templates of this room: everything is escaped, no name may be missing.

    Raises:
        MissingExtra: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise MissingExtra("Jinja2", "train", "the report") from None
    environment = Environment(
        loader=PackageLoader("sharpeye.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        wording.percent,
        wording.interval,
        wording.decimal,
        wording.compact,
        wording.plural,
        wording.duration,
    ):
        environment.filters[function.__name__] = function
    return environment
