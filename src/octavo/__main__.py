"""``python -m octavo``: the same as ``octavo``."""

import sys

if not sys.flags.safe_path:
    # `python -m` looks into the current folder first, where a stranger's model may lie beside modules of his.
    del sys.path[0]

from octavo.cli import main

main()
