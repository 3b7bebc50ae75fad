"""The command line application, and the code that all commands share.

Slow imports wait until a command runs, so that `--help` answers at once. With `--json`, standard output holds one JSON
value and nothing else; messages go to standard error.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from octavo import __version__
from octavo.base.border import cause
from octavo.base.causes import has_too_many_files, is_interruption
from octavo.base.errors import OctavoError
from octavo.cli.options import PAIR, flags_of_records, pairs_apart, pairs_together
from octavo.cli.output import in_flags, say, talk, talking

# An environment variable: with it, an error that nothing foresaw ends in its traceback.
TRACEBACK = "OCTAVO_TRACEBACK"
UNFORESEEN = "an error that Octavo did not foresee"

app = typer.Typer(
    name="octavo",
    help="Takes an image classifier from float32 to full-integer INT8 for LiteRT, and proves the result.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        say(f"octavo {__version__}")
        raise typer.Exit


@app.callback()
def octavo(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options of the application itself. Its help text is that of `app`."""


class Command(TyperCommand):
    """A command that replaces the names of arguments by flags in messages.

    Octavo's functions write arguments in backticks, with or without a value: `images` becomes --images, and
    `distill=1` becomes --distill 1.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments. The two values of a flag may be one word, as in ``--scale 0,255``."""
        flags = {flag for option in self.params if option.nargs == 2 for flag in option.opts}
        named = {flag for option in self.params if option.metavar == PAIR for flag in option.opts}
        return super().parse_args(ctx, pairs_together(pairs_apart(args, flags), named))

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. Its warnings and errors name flags instead of arguments."""
        with warnings.catch_warnings():
            warnings.showwarning = self._show
            running = in_flags.set(self.in_flags)
            try:
                with self._last_border():
                    return super().invoke(ctx)
            except OctavoError as error:
                said = self.in_flags
                raise type(error)(said(error.problem), said(error.todo), [said(d) for d in error.details]) from error
            finally:
                in_flags.reset(running)

    @contextmanager
    def _last_border(self) -> Iterator[None]:
        """Turns what nothing before it foresaw into one message. The campaign in `scripts/fuzz.py` counts it as bad."""
        if TRACEBACK in os.environ:
            yield
            return
        try:
            yield
        except (OctavoError, OSError, typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if is_interruption(error) or has_too_many_files(error):
                raise
            raise OctavoError(
                f"`octavo {self.name}` could not work with what it was given: {UNFORESEEN} ({cause(error)}).",
                f"A file may be damaged. If all are sound, please report it, with what {TRACEBACK}=1 shows.",
            ) from error

    def in_flags(self, text: str) -> str:
        """A text in which the arguments in backticks are this command's flags."""
        flags = {str(option.name).rstrip("_"): option.opts[-1] for option in self.params if option.opts[-1][:2] == "--"}

        def flag(found: re.Match[str]) -> str:
            if found[1] not in flags:
                return found[0]
            value = (found[2] or "").strip("'\"")
            return f"{flags[found[1]]} {value}" if value else flags[found[1]]

        return re.sub("`([a-z_]+)(?:=([^`]+))?`", flag, text)

    def _show(self, message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        """Prints a warning of Octavo in one line, without source code. Those of other packages only if verbose."""
        if category.__module__.startswith("octavo") and talk.get() != "quiet":
            sys.stderr.write(f"octavo: {self.in_flags(str(message))}\n")
        elif talk.get() == "verbose":
            sys.stderr.write(f"{category.__name__}: {message}\n")


def command(example: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a command of a function. The fields of its parameters `Inputs` and `Quantization` become flags.

    Args:
        example: An example of a command line, shown at the end of the help.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        return app.command(cls=Command, epilog=f"Example: {example}")(talking(flags_of_records(function)))

    return register
