"""What a test shows of what has happened, passed or not: its property ``shows`` is printed at the end of the run."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "call":
                continue
            for name, text in report.user_properties:
                if name == "shows":
                    terminalreporter.section(report.nodeid, sep="-")
                    terminalreporter.write_line(text)
