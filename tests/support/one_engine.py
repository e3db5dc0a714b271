"""Which tests run on one engine only.

Pages, commands and the chat reach the database through the data layer, whose contracts run on both engines. So each of
their tests runs on one engine: about half of a module on SQLite, the others on Postgres. `TEST_BOTH_ENGINES=1` runs
each on both.
"""

import os
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

_FOLDERS = ("web",)
# The others are about what a database does: restarts, faults, deletions, migrations, many writers, recorded usage.
_MODULES = {
    *("test_answer_content", "test_assistant_commands", "test_assistants", "test_job_commands", "test_key_commands"),
    *("test_knowledge_chat", "test_knowledge_commands", "test_money_commands", "test_offers", "test_refused"),
    *("test_telemetry", "test_thought", "test_title_jobs", "test_usage_chat"),
}
_ENGINES = ("database_url", "shared_server", "empty_database_url")


def one_engine_each(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests, without the second engine of those to which it does not matter."""
    if os.environ.get("TEST_BOTH_ENGINES"):
        return list(items)
    items = list(items)
    cases: dict[Any, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[_case(item)].append(item)
    cases.pop(None, None)
    # The same in each process, and of the cases of one test about half on each engine.
    left_out = {
        id(other)
        for case, same in cases.items()
        for at, other in enumerate(same)
        if at != zlib.crc32(repr(case).encode()) % len(same)
    }
    return [item for item in items if id(item) not in left_out]


def _case(item: pytest.Item) -> tuple[str, str] | None:
    """What the test has in common with the one on the other engine; None if it runs on both."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return None
    folder, module = item.path.parent.name, item.path.stem
    if folder not in _FOLDERS and (folder != "integration" or module not in _MODULES):
        return None
    engine = next((item.callspec.params[name] for name in _ENGINES if name in item.callspec.params), None)
    if engine not in ("sqlite", "postgres"):
        return None
    others = re.sub(rf"(?<![^-]){engine}(?![^-])", "", item.callspec.id, count=1)
    return f"{folder}/{module}::{item.cls and item.cls.__name__}::{item.originalname}", others
