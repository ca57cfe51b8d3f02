"""Frozen dataclass configs, read from plain dicts and from key=value words."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from crossrec.errors import CrossrecError, nearest

C = TypeVar("C")


def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
    """Builds a config dataclass from a dict; strings are read as the field's type.

    A class attribute `PRESETS` (name -> values) lets the key "preset", or the one that `PRESET_KEY` names, set several
    fields, which other keys override.

    Raises:
        CrossrecError: a key or preset is unknown (the nearest is named), a value is not of its field's type, or the
            config itself refuses its numbers.
    """
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values = dict(values)
    presets: Mapping[str, Mapping[str, Any]] = getattr(cls, "PRESETS", {})
    key = getattr(cls, "PRESET_KEY", "preset")
    preset = values.get(key)
    if preset is not None and key in names:
        if preset not in presets:
            raise CrossrecError(f"There is no {key} {preset!r} of {cls.__name__}.{nearest(str(preset), presets)}")
        values = {**presets[preset], **values}
    for key in values:
        if key not in names:
            raise CrossrecError(f"{cls.__name__} has no setting {key!r}.{nearest(key, names)}")
    try:
        return cls(**{key: _read(value, hints[key], key) for key, value in values.items()})
    except ValueError as error:
        raise CrossrecError(f"{error}.") from error


def _read(value: Any, hint: Any, key: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options and value in (None, "none", ""):
        return None
    kind = next(o for o in options if o is not type(None))
    try:
        if kind is bool and isinstance(value, str):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        if kind is int and isinstance(value, float) and value != int(value):
            raise ValueError
        read = kind(value) if kind in (int, float, str, bool) else value
        if kind is float and not math.isfinite(read):
            raise ValueError
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        finite = "a finite " if kind is float else ""
        raise CrossrecError(f"{key} wants {finite}{kind.__name__}, and {value!r} is not one.") from error
    return read


def part(cls: type[C], config: Any) -> C:
    """What a config that inherits from the config dataclass `cls` says of its fields."""
    return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})  # type: ignore[arg-type]


def pairs(words: list[str]) -> dict[str, str]:
    """Reads ["dim=64", "norm=pre"] as a dict.

    Raises:
        CrossrecError: a word has no "=".
    """
    out = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise CrossrecError(f"A setting is written key=value, and {word!r} is not.")
        out[key.strip().replace("-", "_")] = value.strip()
    return out


def require(condition: bool, message: str) -> None:
    """Raises ValueError with the message unless the condition holds; for configs that check their numbers."""
    if not condition:
        raise ValueError(message)
