"""Tests that need software which this machine lacks: skipped with a line in the summary, or failed if CI is set."""

import os
from typing import NoReturn

import pytest

LACKING = "not on this machine: "


def skip_or_fail(line: str) -> NoReturn:
    """Skip the current test, or fail it if CI is set."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(f"{line} (and CI is set)", pytrace=False)
    pytest.skip(f"{LACKING}{line}")


def skipped_lines(reports: list[pytest.TestReport]) -> list[str]:
    """The distinct lines in the reports of skipped tests."""
    reasons = [report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]
    return sorted({reason.partition(LACKING)[2] for reason in reasons if LACKING in reason})
