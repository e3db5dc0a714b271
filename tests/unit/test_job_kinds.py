"""The page for operators lists every kind of job."""

import importlib
import pkgutil
import re
from pathlib import Path

import threadkeeper.jobs

PAGE = Path(__file__).parents[2] / "docs" / "operation.md"
_REGISTERED = re.compile(r"\.register_job\(\s*([A-Z]+)\b")
_ROW = re.compile(r"^\| `([a-z-]+)` \|", re.MULTILINE)


def test_the_page_for_operators_lists_every_kind_of_job() -> None:
    registered = set()
    for found in pkgutil.iter_modules(threadkeeper.jobs.__path__):
        module = importlib.import_module(f"threadkeeper.jobs.{found.name}")
        source = Path(str(module.__file__)).read_text("utf-8")
        registered |= {getattr(module, name) for name in _REGISTERED.findall(source)}
    _, _, rest = PAGE.read_text("utf-8").partition("\n## Jobs\n")
    section, _, _ = rest.partition("\n## ")
    assert len(registered) > 10
    assert sorted(_ROW.findall(section)) == sorted(registered)
