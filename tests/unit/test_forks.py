"""The process that forks the programs of the tests: what it refuses, returns and ends."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.forks import Fork, Forks, ForksBroken
from tests.support.server import ROOT, AppServer, server_forks

_SERVER = ("http.server", ["0", "--bind", "127.0.0.1"])


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Forks]:
    """Imports nothing but what a test has put into the folder, so that it starts fast."""
    forks = Forks({"PYTHONPATH": str(tmp_path)}, libraries=(), packages=())
    yield forks
    forks.close()


def started(forks: Forks, folder: Path) -> Fork:
    """A server that listens."""
    with (folder / "log").open("wb") as log:
        server = forks.start(*_SERVER, directory=folder, environment={"PYTHONUNBUFFERED": "1"}, log=log)
    end = time.monotonic() + 30
    while b"Serving HTTP" not in (folder / "log").read_bytes():
        assert time.monotonic() < end, "the server does not listen"
        assert server.returncode is None
        time.sleep(0.01)
    return server


def test_a_server_ends_with_the_process_that_forked_it(forks: Forks, tmp_path: Path) -> None:
    server = started(forks, tmp_path)
    os.kill(server.pid, 0)
    forks.close()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    with pytest.raises(ForksBroken, match="has ended"):
        server.wait_blocking()


def test_a_killed_server_ends_without_the_others(forks: Forks, tmp_path: Path) -> None:
    first = started(forks, tmp_path)
    second = started(forks, tmp_path)
    first.kill()
    assert first.wait_blocking() == first.returncode == -signal.SIGKILL
    assert second.returncode is None
    second.send_signal(signal.SIGTERM)
    assert second.wait_blocking() == -signal.SIGTERM


def test_a_command_has_its_input_its_directory_its_environment_and_its_exit_code(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import os, sys\n"
        "print(sys.argv[1:], os.getcwd(), os.environ['WORD'], sys.stdin.read())\n"
        "print('wrong', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    done = forks.run("program", ["a", "b"], directory=folder, environment={"WORD": "你好"}, given="given")
    assert (done.returncode, done.stdout, done.stderr) == (3, f"['a', 'b'] {folder} 你好 given\n", "wrong\n")


def test_a_program_ends_as_a_new_process_does(forks: Forks, tmp_path: Path) -> None:
    """With its threads, what it registered, and its output; and with the same exit code."""
    (tmp_path / "program.py").write_text(
        "import atexit, sys, threading\n"
        "atexit.register(print, 'registered')\n"
        "threading.Thread(target=lambda: (threading.main_thread().join(), print('thread'))).start()\n"
        "print('main')\n"
        "exec(sys.argv[1])\n"
    )

    def ended(how: str) -> tuple[int, str, str]:
        done = forks.run("program", [how], directory=tmp_path, environment={}, given="")
        return done.returncode, done.stdout, done.stderr

    said = "main\nthread\nregistered\n"
    assert ended("pass") == ended("sys.exit()") == (0, said, "")
    assert ended("sys.exit(True)") == (1, said, "")
    assert ended("sys.exit('a sentence')") == (1, said, "a sentence\n")
    code, output, errors = ended("raise ValueError('broken')")
    assert (code, output) == (1, said)
    assert errors.startswith("Traceback")
    assert errors.endswith("ValueError: broken\n")


def test_a_library_that_starts_a_thread_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    forks = Forks({"PYTHONPATH": str(tmp_path)}, libraries=["threaded"], packages=[])
    with pytest.raises(ForksBroken, match="its error is in the output of pytest"):
        forks.run("json.tool", [], directory=tmp_path, environment={}, given="[]")
    forks.close()
    assert "a library started a thread" in capfd.readouterr().err


@pytest.mark.slow
def test_chainlit_is_imported_ahead_only_where_it_would_read_the_same(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".chainlit", tmp_path / "root" / ".chainlit")
    config, variables = (
        tmp_path / "root" / ".chainlit" / "config.toml",
        AppServer(tmp_path, "sqlite:///a.db").settings(),
    )

    def is_ahead(**others: str) -> bool:
        return server_forks.would_import_the_same(tmp_path, {**variables, **others})

    assert is_ahead()
    assert is_ahead(OPENAI_BASE_URL="http://127.0.0.1:9/v1", LOG_JSON="true", CHAINLIT_AUTH_SECRET="of this server")
    for name in ("CHAINLIT_ROOT_PATH", "CHAINLIT_COOKIE_SAMESITE", "OAUTH_GITHUB_CLIENT_ID", "LITERAL_API_KEY", "ui"):
        assert not is_ahead(**{name: "x"}), name
    assert not is_ahead(CHAINLIT_APP_ROOT=str(tmp_path / "elsewhere"))
    (tmp_path / ".env").touch()
    assert not is_ahead()
    (tmp_path / ".env").unlink()
    config.write_text(f"{config.read_text()}\n# changed\n")
    assert not is_ahead()


@pytest.mark.xdist_group("a-group")
def test_the_tests_of_a_group_are_run_by_one_worker(request: pytest.FixtureRequest) -> None:
    """`--dist loadgroup` reads the group behind the id. Without it, each worker starts each shared server."""
    grouped = request.config.getoption("loadgroup", default=False)
    assert request.node.nodeid.endswith("@a-group") == grouped
