"""``python -m octavo.cli``: the same as ``octavo``."""

from octavo.cli.commands import main

main()
