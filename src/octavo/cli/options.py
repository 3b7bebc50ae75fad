"""Flags: those that many commands share, and those made of the fields of a record.

If a command has a parameter that is a record (`Inputs`, `Quantization`), the shell has one flag for each field.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from octavo.base.address import Address, address
from octavo.base.errors import OctavoError
from octavo.base.formats import named
from octavo.base.jobs import Backend
from octavo.recipe.choices import PASSES, TRACKERS, explained
from octavo.recipe.options import Inputs, Quantization, Scale, Scales, meaning

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
ForceFlag = Annotated[bool, typer.Option("--force", help="Also replace an output that Octavo did not write.")]
LogFlag = Annotated[
    str | None,
    typer.Option("--log", metavar=",".join(TRACKERS), help=f"Where to log the finished work. {explained(TRACKERS)}."),
]
DeterministicFlag = Annotated[
    bool,
    typer.Option("--deterministic", help="Train so that a seed gives the same weights on any number of cores; slower."),
]
LaunchFlag = Annotated[
    Literal["ray"] | None,
    typer.Option(
        "--launch", help="Train on a Ray cluster (RAY_ADDRESS). Other launchers are recognized by what they set."
    ),
]
KernelsFlag = Annotated[
    Literal["xnnpack", "builtin", "reference"], typer.Option("--kernels", help="LiteRT's kernel family.")
]


JobsFlag = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        help="Processes that share the images, which are then read as they are needed and not held in memory.",
    ),
]
BackendFlag = Annotated[
    Backend, typer.Option("--backend", help="The engine that runs the processes of --jobs: see docs/scaling.md.")
]
# How help shows a pair of numbers that may have an input's name before it.
PAIR = "[NAME=]LOW,HIGH"


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
        for name, (record, used) in records.items():
            given[name] = record(**{key: _flag(record, key).read(given.pop(key)) for key in used})
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
        raise OctavoError(f"`{name}` should be whole numbers separated by commas, such as 1,2, and is '{text}'.")
    return [int(item) for item in items]


def names(name: str, text: str) -> list[str]:
    """Reads a list of names that are separated by commas, such as xnnpack,builtin; see `numbers`."""
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise OctavoError(f"`{name}` should be names separated by commas, and is '{text}'.")
    return items


def trackers(text: str | None) -> list[str]:
    """Reads the names of trackers, separated by commas, and checks that they can log."""
    from octavo.reports.tracking.log import check

    found = [] if text is None else names("log", text)
    check(found)
    return found


def pairs_apart(arguments: Sequence[str], flags: Container[str]) -> list[str]:
    """Command line arguments in which a pair of numbers may be one word: ``--scale 0,255`` becomes ``--scale 0 255``.

    Args:
        arguments: The arguments, without the command's name.
        flags: The flags that take two values.

    Example:
        >>> pairs_apart(["--scale", "-1,1", "--images", "20"], {"--scale"})
        ['--scale', '-1', '1', '--images', '20']
        >>> pairs_apart(["--scale=0,255"], {"--scale"})
        ['--scale', '0', '255']
    """
    made: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if equals and flag in flags:
            made.append(flag)
        else:
            value = argument
        pair = value.replace(",", " ").split()
        made += pair if len(pair) == 2 and made and made[-1] in flags else [value]
    return made


def pairs_together(arguments: Sequence[str], flags: Container[str]) -> list[str]:
    """Command line arguments in which a pair of numbers is one word: ``--scale 0 255`` becomes ``--scale 0,255``.

    Args:
        arguments: The arguments, without the command's name.
        flags: The flags that take a pair, which may have a name before it.

    Example:
        >>> pairs_together(["--scale", "-1", "1", "--images", "20"], {"--scale"})
        ['--scale', '-1,1', '--images', '20']
        >>> pairs_together(["--scale=image=0,255"], {"--scale"})
        ['--scale', 'image=0,255']
    """
    made: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if equals and flag in flags:
            made += [flag, value]
        elif made[-2:-1] and made[-2] in flags and _is_number(argument) and _is_number(made[-1].rpartition("=")[2]):
            made[-1] += f",{argument}"
        else:
            made.append(argument)
    return made


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_out(out: Path | None, *names: str) -> None:
    """Refuses a folder that results of these names cannot be written into, before any work begins."""
    if out is not None:
        from octavo.base.files import check_results

        check_results(out, names)


def _address(text: str | None) -> Address | None:
    return None if text is None else address(text)


def start_passes(text: str) -> tuple[str, ...]:
    """Reads the tuning passes that training starts from, separated by commas, and checks that there are such."""
    found = _passes(text)
    if not set(found) <= set(PASSES):
        raise OctavoError(f"`start` should be some of {', '.join(PASSES)}, separated by commas, and is '{text}'.")
    return found


def _passes(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _precisions(given: list[str] | None) -> dict[str, str]:
    pairs = [text.rpartition("=") for text in given or []]
    for text, (name, _, _) in zip(given or [], pairs, strict=True):
        if not name:
            raise OctavoError(f"--precision {text}: expected OP=PRECISION, for example 'CONV_2D #0=float'.")
    return {name: precision for name, _, precision in pairs}


def _scales(given: list[str] | None) -> Scales | None:
    found: dict[str, Scale] = {}
    for text in given or []:
        name, _, pair = text.rpartition("=")
        ends = pair.replace(",", " ").split()
        if len(ends) != 2 or not all(map(_is_number, ends)):
            raise OctavoError(
                f"`scale`: expected two numbers, and '{text}' was given.",
                "Give the input values of pixels 0 and 255, such as 0,255; of one of several inputs, image=0,255.",
            )
        found[name] = (float(ends[0]), float(ends[1]))
    if "" in found and len(given or []) > 1:
        raise OctavoError(
            "`scale` was given for all images, and given again.", "Give one for all, or one for each input's name."
        )
    return found.get("", found or None)


@dataclass(frozen=True)
class _Flag:
    """A flag of another type than its field.

    Args:
        kind: The type of the flag.
        help: Its help text.
        default: Its default.
        metavar: The name of its value in the help; typer's own if None.
        read: Makes the field's value of the flag's.
    """

    kind: Any
    help: str
    default: Any = None
    metavar: str | None = None
    read: Callable[[Any], Any] = lambda value: value


_FLAGS = {
    "data": _Flag(str | None, meaning(Inputs, "data"), metavar="PATH", read=_address),
    "labels": _Flag(Path | None, meaning(Inputs, "labels")),
    "scale": _Flag(list[str] | None, meaning(Inputs, "scale"), metavar=PAIR, read=_scales),
    "tune": _Flag(
        str,
        f"Tuning passes to apply, in order, separated by commas; '' for none. {explained(PASSES)}.",
        default="compensate",
        read=_passes,
    ),
    "precision": _Flag(
        list[str] | None,
        f"Precision of ops: {named()}. OP is a name (see inspect --ops), a kind or a pattern such as *. Repeatable; "
        "later entries override earlier ones.",
        metavar="OP=PRECISION",
        read=_precisions,
    ),
}


def _flag(record: type[Any], name: str) -> _Flag:
    """The flag of a field: its own type, default and help text, unless `_FLAGS` has others."""
    own = _Flag(get_type_hints(record)[name], meaning(record, name), getattr(record, name, None))
    return _FLAGS.get(name, own)


def _parameter(record: type[Any], name: str, flags: Flags) -> inspect.Parameter:
    flag = _flag(record, name)
    kind, default = flag.kind, flags.default.get(name, flag.default)
    if name in flags.required:
        kind, default = next(item for item in get_args(kind) if item is not type(None)), inspect.Parameter.empty
    text = flags.help.get(name, flag.help)
    option = typer.Option(f"--{name.replace('_', '-')}", metavar=flag.metavar, help=text)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
