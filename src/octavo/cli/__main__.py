"""``python -m octavo.cli``: the same as ``octavo``."""

from octavo.cli.entry import main

main()
