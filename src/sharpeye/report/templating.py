"""Fill in the templates of the pages."""

from typing import Any

from sharpeye.core.formatting import duration, percent
from sharpeye.core.terminal import show
from sharpeye.errors import MissingExtra
from sharpeye.report import wording


def render(template: str, **context: Any) -> str:
    """A page as HTML: all text is escaped, and `context` must define every name.

    Control characters and invisible marks are shown as on a terminal: a file's name has them.

    MissingExtra if Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise MissingExtra("Jinja2", "train", "the report") from None
    environment = Environment(
        loader=PackageLoader("sharpeye.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_show_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    texts = (wording.interval, wording.decimal, wording.compact, wording.plural)
    environment.filters |= {function.__name__: function for function in (duration, percent, *texts)}
    return environment.get_template(template).render(context)


def _show_text(value: Any) -> Any:
    """A text without control characters; markup and numbers as they are."""
    return show(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
