"""The command line."""

from octavo.cli.commands import main

__all__ = ["main"]
