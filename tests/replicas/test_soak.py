"""The short form of the soak (`benchmarks/soak.py`): a fault of each kind while 20 people ask for three minutes."""

from pathlib import Path

import pytest

from benchmarks.soak import soak

pytestmark = [pytest.mark.replicas, pytest.mark.slow, pytest.mark.timeout(900)]


async def test_nothing_acknowledged_is_lost_whatever_fails(tmp_path: Path) -> None:
    found = await soak(tmp_path, minutes=3, people=20, has_own_processes=False)
    kinds = {one.fault.name for one in found.happened}
    print(f"{found.answered} of {len(found.asked)} questions were answered; faults: {', '.join(sorted(kinds))}")
    assert len(kinds) == 7
    assert found.problems() == []
