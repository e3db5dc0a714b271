"""What a machine lacks: told in one loud line and skipped at a desk, a failure in CI."""

import os
from typing import NoReturn

import pytest

LACKING = "not on this machine: "


def tell(line: str) -> NoReturn:
    """Skip the test at hand, or fail it where CI is set."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(f"{line} (and CI is set)", pytrace=False)
    pytest.skip(f"{LACKING}{line}")


def told(reports: list[pytest.TestReport]) -> list[str]:
    """The lines among the reports of skipped tests, each once."""
    reasons = [report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]
    return sorted({reason.partition(LACKING)[2] for reason in reasons if LACKING in reason})
