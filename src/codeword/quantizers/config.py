"""Objects to plain JSON values and back: what a saved model writes beside its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
_Class = TypeVar("_Class", bound=type)

_CLASSES: dict[str, type] = {}


@runtime_checkable
class Configured(Protocol):
    """A module that can say which arguments would build it again."""

    def arguments(self) -> dict[str, object]:
        """The constructor's arguments by name."""
        ...


def register(cls: _Class) -> _Class:
    """Make a class known to ``build`` by its name; used as a decorator."""
    _CLASSES[cls.__name__] = cls
    return cls


def describe(value: object) -> Plain:
    """Turn an object, its parts included, into JSON values.

    Raises:
        ValueError: If a part is of a class that nobody registered.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Sequence):
        return [describe(part) for part in value]
    if isinstance(value, Configured):
        return {"type": _name(value), **{k: describe(v) for k, v in value.arguments().items()}}
    if is_dataclass(value):
        return {"type": _name(value), **{f.name: describe(getattr(value, f.name)) for f in fields(value)}}
    raise ValueError(f"cannot describe {type(value).__name__}: pass plain numbers, strings, lists or codeword objects")


def _name(value: object) -> str:
    name = type(value).__name__
    if _CLASSES.get(name) is not type(value):
        raise ValueError(f"class {name} is not registered: decorate it with codeword.quantizers.config.register")
    return name


def build(value: Plain) -> object:
    """The inverse of ``describe``; lists come back as tuples.

    Raises:
        ValueError: If a type is unknown or its arguments do not fit.
    """
    if isinstance(value, list):
        return tuple(build(part) for part in value)
    if not isinstance(value, Mapping):
        return value
    name = value.get("type")
    cls = _CLASSES.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(
            f"unknown object type {name!r} in a model's configuration; known: {', '.join(sorted(_CLASSES))}"
        )
    arguments = {key: build(part) for key, part in value.items() if key != "type"}
    try:
        return cls(**arguments)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"the configuration of {name} does not fit this version of codeword: {error}") from error
