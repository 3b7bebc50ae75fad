"""What this process has used: CPU time and memory."""

from __future__ import annotations

import resource
from pathlib import Path


def cpu() -> float:
    """CPU seconds of this process, and of its children that have ended."""
    used = [resource.getrusage(which) for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def peak() -> float:
    """The peak of this process's memory, in MB; `getrusage` counts that of the process that started it, too."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
