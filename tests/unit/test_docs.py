"""The documentation names only files, links, commands, modules and variables that exist."""

import importlib.util
import os
import pkgutil
import re
import shlex
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import chainlit
import pytest
import typer
import typer.main
from opentelemetry.sdk import environment_variables

from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.cli import app as command_line
from threadkeeper.settings.settings import Settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "chainlit.md", "chainlit_zh-CN.md")),
    *(ROOT / name for name in ("datalayer/README.md", "examples/README.md", "findings/README.md")),
    ROOT / "benchmarks/dominates.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_NO_FILES = {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__", "build"}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9*…]*_[A-Z0-9_*…]*")
_EXTENSION = r"\.(py|md|toml|lock|sh|json|js|css|html|svg)"
_SHELL_END = re.compile(r"\s#.*|[|;&>].*")
# Files that an operator or a command creates, some of them in a ZIP; the repository does not contain them.
_CREATED = {"public/elements", "public/elements/*.jsx", ".data", "manifest.json", "thread.json"}
# Files of other chats' exports.
_EXPORTED = {"prod-grok-backend.json", "conversations.json"}
# Variables that are read by the Azure SDK.
_AZURE = {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST"}
# A variable that the C library reads.
_GLIBC = {"MALLOC_ARENA_MAX"}
_UVICORN = {"FORWARDED_ALLOW_IPS"}
# Options of other programs.
_FOREIGN_OPTIONS = {"--help", "--editable", "--port", "-m"}


@dataclass(frozen=True)
class Page:
    """The text of a page, its code spans, and the lines of its shell blocks."""

    text: str
    spans: tuple[str, ...]
    shell: tuple[str, ...]

    @property
    def code(self) -> tuple[str, ...]:
        return (*self.spans, *self.shell)


@cache
def read(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    shell = [line.strip() for _, kind, block in _FENCE.findall(text) if kind == "sh" for line in block.splitlines()]
    prose = _FENCE.sub("", text)
    return Page(
        prose, tuple(" ".join(span.split()) for span in _SPAN.findall(prose)), tuple(line for line in shell if line)
    )


@cache
def files() -> frozenset[str]:
    """Every file and folder of the repository, relative to its root."""
    found: set[str] = set()
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _NO_FILES and not name.endswith(".egg-info")]
        inside = Path(folder).relative_to(ROOT)
        found.update((inside / name).as_posix() for name in (*folders, *names))
    return frozenset(found)


def alternatives(path: str) -> Iterator[str]:
    """The paths that a pattern with braces stands for, as in `web/{me,usage}`."""
    if (found := re.search(r"\{([^{}]*)\}", path)) is None:
        yield path
    else:
        for choice in found.group(1).split(","):
            yield from alternatives(path[: found.start()] + choice + path[found.end() :])


def exists(path: str) -> bool:
    return path in _CREATED or any(fnmatch(name, path) for name in files())


def missing_paths(page: Page) -> list[str]:
    """The code spans and the words of shell blocks that look like a path of the repository but do not exist.

    A path begins with a name at the top of the repository. A code span is also a path if it is the name of a file, or
    contains a slash and ends as a file or a folder does.
    """
    top = {name for name in files() if "/" not in name}
    names = {name.rpartition("/")[2] for name in files()}
    missing = []
    for span in page.spans:
        for path in alternatives(span):
            if not re.fullmatch(r"[\w.*-][\w./*-]*", path) or path.startswith(".venv/"):
                continue
            if "/" not in path:
                wrong = re.fullmatch(rf"[\w-]+{_EXTENSION}", path) and path not in names | _CREATED | _EXPORTED
            else:
                wrong = (
                    path.partition("/")[0] in top or path.endswith("/") or re.search(rf"{_EXTENSION}$", path)
                ) and not exists(path.rstrip("/"))
            if wrong:
                missing.append(span)
                break
    for line in page.shell:
        paths = [word for word in words_of(line) if "/" in word and word.partition("/")[0] in top]
        missing.extend(path for path in paths if not exists(path.rstrip("/")))
    return missing


def missing_programs(page: Page) -> list[str]:
    """The programs in `.venv/bin/` that neither this project nor one of its packages installs."""
    installed = sysconfig.get_path("scripts")
    named = {name for line in page.code for name in re.findall(r"(?:^|\s)\.venv/bin/([\w.-]+)", line)}
    return sorted(name for name in named if shutil.which(name, path=installed) is None)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(path: Path) -> list[str]:
    """The relative links of a page to a file or heading that does not exist."""
    dead = []
    for link in _LINK.findall(read(path).text):
        target, _, anchor = link.partition("#")
        there = path.parent / target if target else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(link)
    return dead


@cache
def commands() -> dict[tuple[str, ...], frozenset[str]]:
    """The options of every command, by its words; groups of commands are included."""
    found = {}

    def add(path: tuple[str, ...], command: Any) -> None:
        found[path] = frozenset({"--help", *(option for parameter in command.params for option in parameter.opts)})
        if hasattr(command, "list_commands"):
            # As a call resolves them, because a command can be imported when it is first used.
            context = typer.Context(command)
            for name in command.list_commands(context):
                add((*path, name), command.resolve_command(context, [name])[1])

    add((), typer.main.get_command(command_line))
    return found


def is_group(path: tuple[str, ...]) -> bool:
    return any(longer[: len(path)] == path for longer in commands() if len(longer) > len(path))


def words_of(line: str) -> list[str]:
    """The words of a command, without comments, pipes and the brackets of optional parts."""
    line = re.sub(r"[\[\]]", " ", _SHELL_END.sub("", line.replace("|", "¦"))).replace("¦", "|")
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def wrong_command(words: Sequence[str]) -> str | None:
    """The problem of the words after `threadkeeper`; None if the command and its options exist.

    A word can contain alternatives, as in `user add|list`. A command in capitals is a placeholder.
    """
    path: tuple[str, ...] = ()
    while is_group(path):
        if len(words) == len(path) or words[len(path)].isupper() or words[len(path)] == "--help":
            return None
        choices = words[len(path)].split("|")
        for choice in choices:
            if (*path, choice) not in commands():
                return f"unknown command {choice}"
        path = (*path, choices[0])
    for word in words[len(path) :]:
        option = word.partition("=")[0]
        if option.startswith("--") and option not in commands()[path]:
            return f"unknown option {option}"
    return None


def wrong_commands(page: Page) -> list[str]:
    """The commands of threadkeeper on a page that do not exist or lack an option, and options that none has."""
    every_option = _FOREIGN_OPTIONS.union(*commands().values())
    wrong = []
    for line in page.code:
        words = words_of(line)
        if (found := re.search(r"(?:^|[\s/])threadkeeper(?= )(.*)", line)) is not None:
            problem = wrong_command(words_of(found.group(1)))
        elif len(words) > 1 and is_group((words[0],)) and "=" not in words[1]:
            problem = wrong_command(words)
        elif words and re.fullmatch(r"--[a-z-]+", words[0]) and words[0] not in every_option:
            problem = "unknown option"
        else:
            problem = None
        if problem:
            wrong.append(f"{line}: {problem}")
    return wrong


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv")
    return {name for names in re.findall(r"^([\w./ -]+):(?!=)", makefile, re.MULTILINE) for name in names.split()}


def missing_targets(page: Page) -> list[str]:
    """The targets of make on a page that the Makefile does not have."""
    named = {
        target
        for line in page.code
        for target in re.findall(r"^(?:\w+=\S+\s+)*make ([\w./-]+)", _SHELL_END.sub("", line))
    }
    return sorted(named - make_targets())


def missing_modules(page: Page) -> list[str]:
    """Modules after `python -m`, and dotted names of our packages, that cannot be found.

    The attributes of traces look like modules.
    """
    missing, of_spans = [], (ROOT / "threadkeeper/tracing/spans.py").read_text(encoding="utf-8")
    for line in page.code:
        for name in re.findall(r"python[\d.]* -m ([\w.]+)", line):
            try:
                found = importlib.util.find_spec(name)
            except ModuleNotFoundError:
                found = None
            if found is None:
                missing.append(name)
    for span in page.spans:
        name = re.sub(r"\(.*\)$", "", span)
        if re.fullmatch(r"(datalayer|threadkeeper|benchmarks|tests)(\.\w+)+", name) and not name.endswith(".py"):
            if f'"{name}"' in of_spans:
                continue
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                missing.append(name)
    return missing


@cache
def known_variables() -> frozenset[str]:
    """The settings, and the variables that Chainlit, the tests, OpenTelemetry, the Azure SDK and glibc read."""
    chainlits = "\n".join(path.read_text("utf-8") for path in Path(chainlit.__path__[0]).rglob("*.py"))
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    read_there = r"environ\w*(?:\.get)?[\[(]\s*\"([A-Z][A-Z0-9_]+)\""
    named = {*re.findall(read_there, chainlits + tests), *re.findall(r"\"(OAUTH_[A-Z0-9_]+)\"", chainlits)}
    named.update(name for name in dir(environment_variables) if name.startswith("OTEL_"))
    return frozenset(named | _AZURE | _GLIBC | _UVICORN | {name.upper() for name in Settings.model_fields})


def unknown_variables(page: Page) -> list[str]:
    """The environment variables on a page that nothing reads; `*` and `…` stand for the rest of a name."""
    named = {span.partition("=")[0] for span in page.spans if _VARIABLE.fullmatch(span.partition("=")[0])}
    for line in page.shell:
        named.update(name for name in re.findall(r"(?:^|\s)([A-Z][A-Z0-9]*_[A-Z0-9_]+)=", _SHELL_END.sub("", line)))
    # The prefix of misspelled settings, which is not a variable.
    named.discard("THREADKEEPER_")
    # Operators name these variables.
    named = {name for name in named if not name.startswith("KNOWLEDGE_HEADER_")}
    return sorted(name for name in named if not any(fnmatch(one, name.replace("…", "*")) for one in known_variables()))


def settings_table() -> str:
    """The table as docs/settings.md must contain it."""
    lines = ["| Variable | Default | Meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = field.default
        text = ", ".join(default) if isinstance(default, tuple) else "" if default is None else str(default)
        lines.append(f"| `{name.upper()}` | {f'`{text}`' if text else ''} | {field.description} |")
    return "\n".join(lines)


def test_the_settings_table_matches_the_settings() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    match = re.search(r"<!-- settings:.*?-->\n(.*?)\n<!-- /settings -->", page, re.DOTALL)
    assert match is not None
    assert match.group(1) == settings_table()


def test_the_readme_of_the_library_lists_every_public_method() -> None:
    methods = {name for name in dir(ChainlitLayer) if not name.startswith("_")}
    page = read(ROOT / "datalayer" / "README.md").text
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert methods == {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_readme_has_at_most_100_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 100


@pytest.fixture(params=PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_path_exists(page: Path) -> None:
    assert missing_paths(read(page)) == []


def test_every_program_is_installed(page: Path) -> None:
    assert missing_programs(read(page)) == []


def test_every_link_resolves(page: Path) -> None:
    assert dead_links(page) == []


def test_every_command_exists_with_its_options(page: Path) -> None:
    assert wrong_commands(read(page)) == []


def test_every_make_target_exists(page: Path) -> None:
    assert missing_targets(read(page)) == []


def test_every_module_exists(page: Path) -> None:
    assert missing_modules(read(page)) == []


def test_every_environment_variable_is_read_somewhere(page: Path) -> None:
    assert unknown_variables(read(page)) == []


def test_wrong_names_on_a_page_are_found(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "# A heading\n[here](#a-heading) [there](#no-heading) [gone](gone.md)\n"
        "`datalayer/errors.py` `datalayer/gone.py` `gone.py` `docs/` `user add NAME` `user gone` `--gone`\n"
        "`datalayer.errors.NotFound` `datalayer.errors.Gone` `PORT=80` `RETENTION_*_DAYS` `GONE_PORT`\n"
        "`gone/x.py` `web/gone.py` `gone.sh` `gone.json` `gone/` `datalayer/{files,gone}/`\n"
        "```sh\n.venv/bin/threadkeeper user add ada --generate  # --gone\nthreadkeeper user add ada --gone\n"
        "threadkeeper gone\nOPENAI_MODELS=x GONE_MODELS=y make run\nmake gone\npython -m benchmarks.run\n"
        "python -m benchmarks.gone\nsudo tests/support/gone.sh\n.venv/bin/chainlit run examples/gone/app.py\n"
        ".venv/bin/gone serve\n```\n",
        encoding="utf-8",
    )
    found = read(path)
    assert missing_paths(found) == [
        "datalayer/gone.py",
        "gone.py",
        "gone/x.py",
        "web/gone.py",
        "gone.sh",
        "gone.json",
        "gone/",
        "datalayer/{files,gone}/",
        "tests/support/gone.sh",
        "examples/gone/app.py",
    ]
    assert missing_programs(found) == ["gone"]
    assert dead_links(path) == ["#no-heading", "gone.md"]
    assert [problem.rpartition(": ")[2] for problem in wrong_commands(found)] == [
        "unknown command gone",
        "unknown option",
        "unknown option --gone",
        "unknown command gone",
    ]
    assert missing_targets(found) == ["gone"]
    assert missing_modules(found) == ["benchmarks.gone", "datalayer.errors.Gone"]
    assert unknown_variables(found) == ["GONE_MODELS", "GONE_PORT"]


@pytest.mark.parametrize("name", ["ada-2026-11-21.zip", "ada-2026-11-21.zip.part"])
def test_a_takeout_beside_the_code_is_not_committed_by_mistake(name: str) -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert any(fnmatch(name, pattern) for pattern in ignored if pattern and not pattern.startswith("#"))


def test_each_number_of_an_adr_is_a_decision_or_is_said_not_to_be_used() -> None:
    decisions = sorted((ROOT / "docs/adr").glob("*.md"))
    used = [int(page.name[:4]) for page in decisions]
    assert len(set(used)) == len(used)
    skipped = {number for number in range(1, used[-1]) if number not in used}
    not_used = (ROOT / "docs/adr/0005-not-used.md").read_text()
    assert skipped == {int(number) for number in re.findall(r"\b\d{4}\b", not_used.partition("numbers")[2])} - {5}
