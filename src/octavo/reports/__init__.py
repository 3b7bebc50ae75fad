"""The report of a run, as HTML, as Markdown and as JSON, all from the same facts."""

from __future__ import annotations

from octavo.reports.write import write

__all__ = ["write"]
