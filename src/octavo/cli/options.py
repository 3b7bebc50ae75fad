"""Flags: those that many commands share, and those made of the fields of a record.

If a command has a parameter that is a record (`Inputs`, `Quantization`), the shell has one flag for each field.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from octavo.base.errors import OctavoError
from octavo.base.formats import named
from octavo.recipe.choices import PASSES, explained
from octavo.recipe.options import Inputs, Quantization, meaning

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
KernelsFlag = Annotated[
    Literal["xnnpack", "builtin", "reference"], typer.Option("--kernels", help="LiteRT's kernel family.")
]


@dataclass(frozen=True)
class Flags:
    """How a command shows the flags of a record.

    Args:
        help: Help texts that replace those of the record, by field.
        required: Fields that must be given.
        without: Fields without a flag, since the command does not use them.
        default: Defaults that replace those of the record, by field.
    """

    help: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    default: Mapping[str, Any] = field(default_factory=dict)


def images(data: str = "", required: tuple[str, ...] = ("data",), **more: str) -> Flags:
    """The flags of `Inputs`. By default, `data` must be given.

    Args:
        data: A help text for --data that replaces that of the record.
        required: Fields that must be given.
        more: Help texts that replace those of the record, by field.
    """
    return Flags({**({"data": data} if data else {}), **more}, required)


def flags_of_records(function: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command in a function with one keyword argument for each field of its records.

    Args:
        function: A command. A parameter of type ``Inputs`` or ``Annotated[Quantization, Flags(...)]`` is replaced by
            one keyword argument for each field. The record is made of them when the command runs.
    """
    hints = get_type_hints(function, include_extras=True)
    shown: list[inspect.Parameter] = []
    records: dict[str, tuple[type[Any], list[str]]] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        record = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if record not in (Inputs, Quantization):
            shown.append(parameter.replace(annotation=hint))
            continue
        flags = next((item for item in get_args(hint)[1:] if isinstance(item, Flags)), Flags())
        made = [_parameter(record, item.name, flags) for item in fields(record) if item.name not in flags.without]
        records[parameter.name] = (record, [item.name for item in made])
        shown += made

    @functools.wraps(function)
    def command(**given: Any) -> None:
        for name, (record, names) in records.items():
            values = {field: _READ.get(field, lambda value: value)(given.pop(field)) for field in names}
            given[name] = record(**values)
        function(**given)

    signature = inspect.Signature([item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in shown])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in shown}
    return command


def numbers(name: str, text: str) -> list[int]:
    """Reads a list of whole numbers that are separated by commas, such as 1,2.

    Args:
        name: The name of the argument in the error message.
        text: The text of the flag.

    Raises:
        OctavoError: The text is not such a list.
    """
    items = names(name, text)
    if not all(item.isdigit() for item in items):
        raise OctavoError(f"`{name}` should be numbers from 1 up with commas, as in 1,2, and is '{text}'.")
    return [int(item) for item in items]


def names(name: str, text: str) -> list[str]:
    """Reads a list of names that are separated by commas, such as xnnpack,builtin; see `numbers`."""
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise OctavoError(f"`{name}` should be a list with commas, and is '{text}'.")
    return items


def check_out(out: Path | None) -> None:
    """Refuses a folder that results cannot be written into, before any work begins."""
    if out is not None:
        from octavo.base.files import check_folder

        check_folder(out)


def _passes(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _precisions(given: list[str] | None) -> dict[str, str]:
    pairs = [text.rpartition("=") for text in given or []]
    for text, (name, _, _) in zip(given or [], pairs, strict=True):
        if not name:
            raise OctavoError(f"--precision {text}: expected OP=PRECISION, for example 'CONV_2D #0=float'.")
    return {name: precision for name, _, precision in pairs}


# Fields whose flag has another type than the field. `_READ` converts the value of the flag; `_SHELL` holds the type,
# default, metavar and help text of the flag.
_READ: dict[str, Callable[[Any], Any]] = {"tune": _passes, "precision": _precisions}
_SHELL: dict[str, tuple[Any, Any, str | None, str]] = {
    "data": (Path | None, None, None, meaning(Inputs, "data")),
    "tune": (
        *(str, "compensate", None),
        f"Tuning passes in their order, separated by commas; '' for none. {explained(PASSES)}.",
    ),
    "precision": (
        *(list[str] | None, None, "OP=PRECISION"),
        f"{named()} for ops by name (see inspect --ops), kind or a pattern such as *. Repeatable; later entries "
        "override earlier ones.",
    ),
}


def _parameter(record: type[Any], name: str, flags: Flags) -> inspect.Parameter:
    hint = get_type_hints(record)[name]
    default, metavar, help_ = getattr(record, name, None), None, meaning(record, name)
    if name in _SHELL:
        hint, default, metavar, help_ = _SHELL[name]
    if name in flags.required:
        hint, default = next(kind for kind in get_args(hint) if kind is not type(None)), inspect.Parameter.empty
    option = typer.Option(f"--{name.replace('_', '-')}", metavar=metavar, help=flags.help.get(name, help_))
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=flags.default.get(name, default),
        annotation=Annotated[hint, option],
    )
