"""A short load test: every answer is stored, with less CPU time than a bare Chainlit that stores nothing.

The servers are compared by CPU time in the same run. `python -m benchmarks.chat_load` measures exactly.
"""

import pytest

from benchmarks import chat_load
from benchmarks.chat_report import BARE, EMBEDDED, OURS, QUESTIONS
from tests.support.postgres import Databases

pytestmark = pytest.mark.budget

USERS = 20
MOST_TIMES_BARE = {OURS: 0.65, EMBEDDED: 0.65}


async def test_concurrent_answers_are_stored_completely_and_cost_less_than_bare_chainlit(postgres: Databases) -> None:
    loads = await chat_load.measure(postgres, users=USERS, rounds=1)
    asked = USERS * len(QUESTIONS)
    assert {kind: (load.asked, load.incomplete) for kind, load in loads.items()} == dict.fromkeys(loads, (asked, 0))
    for kind in (OURS, EMBEDDED):
        assert loads[kind].stored == {"questions": asked, "answers": asked, "runs": asked}
    cpu = {kind: sum(load.cpu_ms(question) for question in QUESTIONS) for kind, load in loads.items()}
    times_bare = {kind: cpu[kind] / cpu[BARE] for kind in MOST_TIMES_BARE}
    assert {kind: times for kind, times in times_bare.items() if times > MOST_TIMES_BARE[kind]} == {}, cpu
