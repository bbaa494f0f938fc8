"""Objects to plain JSON values and back: what a saved model writes beside its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Integral
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
_Class = TypeVar("_Class", bound=type)

_CLASSES: dict[str, type] = {}
_AGAIN = "Again"  # the type of a part that has been described before: one module in several places


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

    A module that stands in several places is described once, and referred to by its number after that: modules are
    counted as they are completed, arguments taken in alphabetical order.

    Raises:
        ValueError: If a part is of a class that nobody registered.
    """
    return _describe(value, {})


def _describe(value: object, known: dict[int, int]) -> Plain:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Sequence):
        return [_describe(part, known) for part in value]
    if isinstance(value, Configured):
        if id(value) in known:
            return {"type": _AGAIN, "part": known[id(value)]}
        arguments = value.arguments()
        plain = {name: _describe(arguments[name], known) for name in sorted(arguments)}
        known[id(value)] = len(known)
        return {"type": _name(value), **{name: plain[name] for name in arguments}}
    if is_dataclass(value):
        return {"type": _name(value), **{f.name: _describe(getattr(value, f.name), known) for f in fields(value)}}
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
    return _build(value, [])


def _build(value: Plain, made: list[object]) -> object:
    if isinstance(value, list):
        return tuple(_build(part, made) for part in value)
    if not isinstance(value, Mapping):
        return value
    name = value.get("type")
    if name == _AGAIN:
        part = value.get("part")
        if not isinstance(part, int) or not 0 <= part < len(made):
            raise ValueError(f"a model's configuration refers to part {part!r}, but has {len(made)} parts before it")
        return made[part]
    cls = _CLASSES.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(
            f"unknown object type {name!r} in a model's configuration; known: {', '.join(sorted(_CLASSES))}"
        )
    arguments = {key: _build(value[key], made) for key in sorted(value) if key != "type"}
    try:
        result = cls(**arguments)
        if isinstance(result, Configured):
            made.append(result)
        return result
    except (TypeError, AttributeError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"the configuration of {name} does not fit this version of codeword: {what}") from error
