"""What a machine lacks: told in one loud line and skipped at a desk, a failure of the whole run in CI."""

import os
from typing import NoReturn

import pytest

told: list[str] = []


def tell(line: str) -> NoReturn:
    """Skip the test at hand, or end the run where CI is set."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.exit(f"{line} (and CI is set)", returncode=1)
    if line not in told:
        told.append(line)
    pytest.skip(line)
