"""``python -m octavo.cli.part``: the command line as one process of several that train together.

`octavo.cli.launch` starts it. It ends with the process that started it, and at once, without waiting for the others.
"""

from __future__ import annotations

import os
import sys
import threading

from octavo.base.errors import LostError


def _main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if "OCTAVO_TRACEBACK" not in os.environ:
        _apart()
    from octavo.cli.entry import main

    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    # Python's own end would wait for processes that may be gone.
    os._exit(code if isinstance(code, int) else 0)


def _end_with_parent() -> None:
    """Waits until standard input ends, which the process holds open that started this one."""
    while os.read(0, 1):
        pass
    os._exit(LostError.code)


def _apart() -> None:
    """Keeps what Python writes, and discards what native code does: JAX prints a stack when another process ends."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        kept = os.dup(number)
        setattr(sys, name, open(kept, "w", buffering=1, encoding="utf-8", errors="backslashreplace"))  # noqa: PTH123, SIM115
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


if __name__ == "__main__":
    _main()
