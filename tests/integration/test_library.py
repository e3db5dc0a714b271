"""The library in another Chainlit app: the examples of its README, with only its own requirements installed."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Runs first: blocks imports of packages that are not requirements of the library.
REFUSE = """
import sys
from importlib.abc import MetaPathFinder

REFUSED = set({refused!r})

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])

sys.meta_path.insert(0, Refuse())
"""

USE = """
import asyncio, uuid
from chainlit.config import config
from chainlit.data import get_data_layer

async def use():
    await config.code.on_app_startup()
    store, thread_id = get_data_layer(), str(uuid.uuid4())
    step = {"id": str(uuid.uuid4()), "threadId": thread_id, "name": "ada", "type": "user_message", "output": "hello"}
    await store.create_step(step)
    await store.create_element(cl.Text(name="note", content="a file", thread_id=thread_id, for_id=step["id"]))
    found = await store.get_thread(thread_id)
    _, opened = await store.open_element(thread_id, found["elements"][0]["id"])
    content = b"".join([chunk async for chunk in opened])
    await store.close()
    print(found["steps"][0]["output"], content.decode())

asyncio.run(use())
try:
    datalayer.create_data_layer("postgresql://user@127.0.0.1/name")
except datalayer.ConfigurationError as error:
    print(error)
"""


SHOW = """
import asyncio, os, uuid
import httpx
from chainlit.auth import create_jwt
from chainlit.config import config

os.environ["CHAINLIT_AUTH_SECRET"] = "a secret for the tests, long enough to sign with"

@cl.password_auth_callback
def log_in(name: str, password: str): ...

async def show():
    await config.code.on_app_startup()
    thread_id = str(uuid.uuid4())
    ada = await layer.create_user(cl.User("ada"))
    await layer.create_user(cl.User("eve"))
    await layer.update_thread(thread_id, name="hers", user_id=ada.id)
    element = cl.File(
        name="né.html", content=b"<b>hi", mime="text/html", thread_id=thread_id, for_id=str(uuid.uuid4())
    )
    await layer.create_element(element)
    (found,) = (await layer.get_thread(thread_id))["elements"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for name in ("ada", "eve", None):
            headers = {"Authorization": f"Bearer {create_jwt(cl.User(name))}"} if name else {}
            answer = await client.get(found["url"], headers=headers)
            print(name, answer.status_code, answer.text if name == "ada" else "")
            if name == "ada":
                for header in ("Content-Type", "Content-Disposition", "X-Content-Type-Options"):
                    print(answer.headers[header])
    await layer.close()

asyncio.run(show())
"""


def brought(requirements: list[str]) -> set[str]:
    """The distributions that these requirements install, including indirect ones."""
    found: set[tuple[str, str]] = set()
    waiting = [(Requirement(line), "") for line in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in requirement.extras | {""}:
            key = (str(canonicalize_name(requirement.name)), wanted)
            if key not in found:
                found.add(key)
                try:
                    waiting += [(Requirement(line), wanted) for line in requires(key[0]) or []]
                except PackageNotFoundError:
                    # A requirement of another platform.
                    continue
    return {name for name, _ in found}


def refused() -> list[str]:
    """All installed modules that are not part of the library's requirements."""
    allowed = brought(PROJECT["dependencies"])
    return sorted(
        module
        for module, distributions in packages_distributions().items()
        if not allowed & {str(canonicalize_name(name)) for name in distributions} and module != "datalayer"
    )


@pytest.mark.slow
def test_the_three_lines_of_the_readme_work_with_the_librarys_requirements_only(tmp_path: Path) -> None:
    blocked = refused()
    assert {"asyncpg", "openai", "typer", "argon2", "rich", "threadkeeper"} <= set(blocked)
    readme = (ROOT / "datalayer" / "README.md").read_text(encoding="utf-8")
    match = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert match is not None
    shown = match[1]
    assert len([line for line in shown.splitlines() if line and not line.startswith("import ")]) == 3
    result = run(shown + USE, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == [
        "hello a file",
        "Postgres needs the package asyncpg: install `threadkeeper[postgres]`",
    ]


@pytest.mark.slow
def test_the_example_of_the_readme_serves_a_file_to_its_owner_only(tmp_path: Path) -> None:
    readme = (ROOT / "datalayer" / "README.md").read_text(encoding="utf-8")
    match = re.search(r"## Showing files.*?```python\n(.*?)```", readme, re.DOTALL)
    assert match is not None
    result = run(match[1] + SHOW, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-6:] == [
        "ada 200 <b>hi",
        "text/html; charset=utf-8",
        "attachment; filename=\"ne.html\"; filename*=UTF-8''n%C3%A9.html",
        "nosniff",
        "eve 404 ",
        "None 401 ",
    ]


def run(program: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run another app with only the library's requirements."""
    program = REFUSE.format(refused=refused()) + program.replace("/srv/chat-files", str(tmp_path / "files"))
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**inherited, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "CHAINLIT_APP_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_the_distribution_contains_py_typed() -> None:
    assert (ROOT / "datalayer" / "py.typed").is_file()
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert whole["tool"]["setuptools"]["package-data"]["datalayer"] == ["py.typed"]
