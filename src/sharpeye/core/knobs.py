"""Knobs: fields of frozen dataclasses with a help text and a range, read and written as TOML.

`sharpeye.core.config` declares the knobs.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from sharpeye.core.safe_parse import parse_toml
from sharpeye.errors import ConfigError, near_match, one_line

T = TypeVar("T")

_TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: 'a list of texts, ["like", "this"]',
}


def knob(
    default: T, text: str, limits: tuple[float, float] | None = None, *, choices: Iterable[str] = ()
) -> T:
    """A dataclass field with its help text, and its smallest and largest value or its choices."""
    metadata = {"help": text, "limits": limits, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=metadata)


def parse_value(text: str) -> Any:
    """Parse a value as TOML, or take it as text if it is not valid TOML."""
    try:
        return parse_toml(f"v = {text}")["v"]
    except ValueError:
        return text.strip()


def iter_knobs(config: Any, prefix: str = "") -> list[tuple[str, dataclasses.Field[Any], Any]]:
    """Each knob as (dotted key, field, value), in the order of declaration."""
    knobs = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            knobs += iter_knobs(value, f"{prefix}{item.name}.")
        else:
            knobs.append((prefix + item.name, item, value))
    return knobs


def flatten(raw: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one table by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def with_changes(config: Any, changes: Mapping[str, Any], *, where: str) -> Any:
    """A copy of a configuration with changes by dotted key; ConfigError names `where`."""
    values = {name: value for name, _, value in iter_knobs(config)}
    for key in changes:
        if key not in values:
            short = one_line(key)
            raise ConfigError(f"unknown key {short}{where}. {near_match(short, values)}")
    sections: dict[str, dict[str, Any]] = {}
    for name, item, value in iter_knobs(config):
        if name in changes:
            section, _, key = name.rpartition(".")
            received = _converted(changes[name], value, name + where)
            check_knob(name + where, item, received)
            sections.setdefault(section, {})[key] = received
    updates = sections.pop("", {})
    for section, of_section in sections.items():
        updates[section] = dataclasses.replace(getattr(config, section), **of_section)
    return dataclasses.replace(config, **updates)


def _converted(received: Any, value: Any, name: str) -> Any:
    """`received` with the type of `value`: whole numbers become floats, lists become tuples."""
    converted = received
    if isinstance(value, float) and type(received) is int:
        converted = float(received)
    if isinstance(value, tuple) and isinstance(received, list):
        converted = tuple(received)
    is_text = not isinstance(converted, tuple) or all(isinstance(item, str) for item in converted)
    if type(converted) is not type(value) or not is_text:
        raise ConfigError(
            f"{name} must be {_TYPE_NAMES[type(value)]}. Received: {repr(received)[:200]}"
        )
    return converted


def check_knob(name: str, item: dataclasses.Field[Any], value: Any) -> None:
    """Raise ConfigError for a value outside its range or choices."""
    limits, choices = item.metadata["limits"], item.metadata["choices"]
    if any("\0" in text for text in _texts(value)):
        raise ConfigError(f"{name} must not hold a NUL character. Received: {repr(value)[:200]}")
    if choices and value not in choices:
        raise ConfigError(
            f"{name} must be one of {', '.join(choices)}. Received: {repr(value)[:200]}. "
            f"{near_match(str(value)[:200], choices)}"
        )
    if limits and not limits[0] <= value <= limits[1]:
        raise ConfigError(f"{name} must be from {limits[0]:g} to {limits[1]:g}. Received: {value}")


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()


def literal(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(literal, value))}]"
    # TOML's basic strings are JSON's with two exceptions: surrogates are forbidden, both escaped
    # pairs and lone ones (undecodable bytes of a path), and DEL must be escaped.
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_lines(config: Any) -> list[str]:
    """A configuration as lines of TOML, each with its knob's help text as a comment."""
    lines, section = [], ""
    for name, item, value in iter_knobs(config):
        parent, _, key = name.rpartition(".")
        if parent != section:
            section = parent
            lines += ["", f"[{section}]"]
        text, choices = item.metadata["help"], item.metadata["choices"]
        text += f" ({' | '.join(choices)})" if choices else ""
        lines.append(f"{key} = {literal(value)}  # {text}")
    return lines
