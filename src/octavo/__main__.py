"""``python -m octavo``: the same as ``octavo``."""

from octavo.cli import main

main()
