"""The rules of ADR 0020 that the import linter cannot check."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import datalayer
import threadkeeper

LIBRARY = Path(datalayer.__file__).parent
FILES = sorted(LIBRARY.rglob("*.py"))
SCHEMA = "datalayer.schema."
STATEMENTS = ("select", "insert", "update", "delete")
MOST_LINES = 400
LONGER = {"settings/settings.py"}  # A list of settings, which is read from top to bottom.


def imports(file: Path) -> Iterator[tuple[str, str, str]]:
    """The module, the name there and the name here of each `from … import …`."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                yield node.module, alias.name, alias.asname or alias.name


def test_the_module_with_the_name_of_its_folder_has_no_sql() -> None:
    found = [file for file in FILES if file.stem == file.parent.name]
    assert {file.stem for file in found} == {
        *(
            "accounts",
            "assistants",
            "backup",
            "billing",
            "chat_models",
            "files",
            "imports",
            "installation",
            "jobs",
            "keys",
            "knowledge",
            "organizing",
            "prompts",
            "turns",
            "usage",
        ),
    }
    for file in found:
        assert not [
            (module, name)
            for module, name, _ in imports(file)
            if module.startswith(SCHEMA) or (module == "sqlalchemy" and name in STATEMENTS)
        ], file


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(LIBRARY)))
def test_no_table_is_renamed_and_no_module_has_the_name_of_a_table_in_the_same_file(file: Path) -> None:
    tables, modules = set(), set()
    for module, name, here in imports(file):
        if module.startswith(SCHEMA):
            assert name == here, f"{module}.{name} is imported as {here}"
            tables.add(here)
        elif (LIBRARY.parent / module.replace(".", "/") / f"{name}.py").exists():
            modules.add(here)
    assert not tables & modules


@pytest.mark.parametrize("package", [LIBRARY, Path(threadkeeper.__file__).parent], ids=lambda package: package.name)
def test_no_file_is_longer_than_400_lines(package: Path) -> None:
    lengths = {
        file.relative_to(package).as_posix(): len(file.read_text("utf-8").splitlines())
        for file in package.rglob("*.py")
    }
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES and name not in LONGER}
