"""The end of a forked process, as that of an interpreter that did some work."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn


def work_and_exit(work: Callable[[], None]) -> NoReturn:
    """Ends this process as an interpreter ends after some work."""
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code)
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
