"""The report of a run: one page for people, one for repositories, one for programs, from the same facts."""

from __future__ import annotations

from octavo.reports.write import write

__all__ = ["write"]
