"""What the README says of settings, files and commands is so."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from typer.main import get_group

from threadkeeper.cli import app as command_line
from threadkeeper.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table() -> str:
    """The table as the README must have it."""
    lines = ["| Variable | Default | Meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = field.default
        text = ", ".join(default) if isinstance(default, tuple) else "" if default is None else str(default)
        lines.append(f"| `{name.upper()}` | {f'`{text}`' if text else ''} | {field.description} |")
    return "\n".join(lines)


def test_the_settings_table_is_that_of_the_settings() -> None:
    match = re.search(r"<!-- settings:.*?-->\n(.*?)\n<!-- /settings -->", README, re.DOTALL)
    assert match is not None
    assert match.group(1) == settings_table()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:datalayer|threadkeeper|tests|docs)/[\w/.]+)`", README))))
def test_every_file_it_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_every_command_it_shows_exists() -> None:
    commands = get_group(command_line).commands
    shown = set(re.findall(r"threadkeeper (\w+)", "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))))
    assert shown <= commands.keys()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", ["ada-2026-11-21.zip", "ada-2026-11-21.zip.part"])
def test_a_takeout_beside_the_code_is_not_committed_by_mistake(name: str) -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert any(fnmatch(name, pattern) for pattern in ignored if pattern and not pattern.startswith("#"))
