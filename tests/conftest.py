"""Fixtures for all tests: databases on both engines, a data layer, servers and the running application."""

import asyncio
import contextlib
import gc
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import hypothesis
import pytest
from _pytest.nodeid import coerce_node_id

import datalayer
from datalayer.background import answer_follower, search_indexer
from datalayer.writes import queue
from tests import chainlit_root
from tests.support import missing
from tests.support.aws_sdk import described_once
from tests.support.azurite import AzuriteServer, azurite, install
from tests.support.cheap_calibration import calibrate_cheaply
from tests.support.compiled_statements import shared_compiled_statements
from tests.support.forks import OBJECTS_BETWEEN_COLLECTIONS
from tests.support.in_memory import folder_in_memory
from tests.support.migrated import migrate
from tests.support.model_server import ModelServer
from tests.support.npm import NpmMissing
from tests.support.one_engine import one_engine_each
from tests.support.patience import PATIENCE_SECONDS
from tests.support.pgbouncer import pgbouncer
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.s3_server import S3Server, s3_server
from tests.support.server import AppServer, forks, server_forks
from tests.support.shared_server import Chat, SharedServer, model_settings
from tests.support.shared_worker import shared_worker

if TYPE_CHECKING:
    from datalayer.chainlit_layer import ChainlitLayer
    from threadkeeper.chat.model import Model

hypothesis.settings.register_profile("dev", deadline=None, max_examples=25)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("nightly", deadline=None, max_examples=100, print_blob=True)
# Behind a pooler, what counts is how a statement is sent, and that is the same in each example.
hypothesis.settings.register_profile("pooler", deadline=None, max_examples=5, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


# The mode of PgBouncer (transaction or session) through which all tests reach Postgres; only these tests are run.
_POOLER = os.environ.get("TEST_POOLER", "")
_OF_STATEMENTS = {
    *("test_concurrent_writers", "test_lone_writes", "test_method_budgets", "test_pooler", "test_single_writes"),
}
# In transaction mode clients are to share connections; in session mode each client needs one.
_POOL_SIZES = {"transaction": 4, "session": 60}

# Enough for a large file in each store and for the folders of failed tests.
_ROOM_BYTES = 8 * 1024**3
_ENGINES = ("database_url", "empty_database_url", "shared_server")
_PLACES = ("any_place", "place")


def pytest_configure() -> None:
    if folder := folder_in_memory(room_bytes=_ROOM_BYTES):
        # pytest reads this variable before it creates its first temporary folder.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave the modules and tests, about a million objects, out of every later garbage collection.

    Half of the CPU time of the collection of tests was garbage collection, and a sixth of that of the tests. What the
    tests make is looked through less often than by default, which took another twentieth.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
        gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """Two workers on each core, because tests often wait for a server to start or for a timeout."""
    return 2 * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: run the tests that share a server on one worker, and start slow tests first."""
    items[:] = one_engine_each(item for item in items if not _repeats_a_store(item))
    for item in items:
        if isinstance(item, pytest.Function) and "shared_server" in item.fixturenames:
            engine = item.callspec.params["shared_server"]
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}-{engine}"))
        if isinstance(item, pytest.Function) and (store := _store_process(item)):
            item.add_marker(pytest.mark.slow)
            # To start such a server takes several seconds of CPU time.
            item.add_marker(pytest.mark.xdist_group(store))
        if isinstance(item, pytest.Function) and "pgvector_server" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("pgvector"))
    if _POOLER:
        items[:] = _first_cases([item for item in items if _can_differ_behind_a_pooler(item)])
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if config.getoption("loadgroup", default=False):
        _name_groups(items)


def _name_groups(items: list[pytest.Item]) -> None:
    """Put the group of each test behind its id, which `--dist loadgroup` reads.

    pytest-xdist 3.8 sets an attribute for this that pytest 9.2 does not read, so that it groups nothing and says so
    nowhere.
    """
    for item in items:
        group = item.get_closest_marker("xdist_group")
        if group is not None and not item.nodeid.endswith(f"@{group.args[0]}"):
            item._id = coerce_node_id(f"{item.nodeid}@{group.args[0]}")


def _can_differ_behind_a_pooler(item: pytest.Item) -> bool:
    """Whether the test uses the server of `postgres`. One store is enough, because it is not reached through a pooler.

    A test with the marker `without_pooler` reaches the server itself.
    """
    if not isinstance(item, pytest.Function) or item.get_closest_marker("without_pooler"):
        return False
    params = _params(item)
    if not {params.get(name) for name in _PLACES} <= {None, "folder"}:
        return False
    return "postgres" in [params.get(name) for name in _ENGINES] or "postgres" in item.fixturenames


def _first_cases(items: list[pytest.Item]) -> list[pytest.Item]:
    """One case of each test, and each case of the tests of how statements are sent.

    What differs behind a pooler is how a statement is sent, not with which values, as in the examples of Hypothesis.
    """
    first: dict[object, pytest.Item] = {}
    for item in items:
        case = item.nodeid if item.path.stem in _OF_STATEMENTS else item.nodeid.partition("[")[0]
        first.setdefault(case, item)
    return list(first.values())


def _params(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


def _repeats_a_store(item: pytest.Item) -> bool:
    """Whether the test combines SQLite with a store in the network.

    A store does not know the database, nor the database the store: such a store is tested with Postgres, as in
    production, and both engines with the folder.
    """
    params = _params(item)
    places = {params.get(name) for name in _PLACES}
    return params.get("database_url") == "sqlite" and not places <= {None, "folder"}


def _store_process(item: pytest.Function) -> str | None:
    """The fixture of the server that the test stores files on: `any_place` asks for it by the name of the store."""
    for store, place in (("azurite_server", "azure-blob"), ("s3_service", "s3")):
        if store in item.fixturenames or place in [_params(item).get(name) for name in _PLACES]:
            return store
    return None


def pytest_unconfigure() -> None:
    server_forks.close()
    forks.close()
    shared_worker.end()
    chainlit_root.cleanup()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in missing.skipped_lines(terminalreporter.getreports("skipped")):
        terminalreporter.write_line(line, red=True, bold=True)


@pytest.fixture(scope="session", autouse=True)
def compiled_statements() -> Iterator[None]:
    """Compile each statement once a process instead of once a test."""
    with shared_compiled_statements():
        yield


@pytest.fixture(scope="session", autouse=True)
def patient_reads() -> Iterator[None]:
    """Reads wait for earlier writes as long as it takes: on a busy machine, five seconds can be too few."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (queue, answer_follower, search_indexer):
            patch.setattr(module, "WAIT_SECONDS", PATIENCE_SECONDS)
        yield


@pytest.fixture(scope="session", autouse=True)
def cheap_calibration() -> None:
    """Train with few questions to find the threshold."""
    calibrate_cheaply()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """A Postgres server. Without one, the test is skipped, or fails if CI is set."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        with _databases(url) as databases:
            yield databases
        return
    binaries = find_binaries()
    if binaries is None:
        missing.skip_or_fail(
            "POSTGRES: none found, so its half of the tests was skipped; "
            "install the package postgresql or set TEST_DATABASE_URL"
        )
    with Cluster(binaries) as cluster, _databases(cluster.url, cluster.log) as databases:
        yield databases


@contextlib.contextmanager
def _databases(url: str, log: Path | None = None) -> Iterator[Databases]:
    """The databases of the server, through PgBouncer if TEST_POOLER names a mode of it."""
    with contextlib.ExitStack() as started:
        port = started.enter_context(pgbouncer(url, _POOLER, pool_size=_POOL_SIZES[_POOLER])) if _POOLER else None
        databases = Databases(url, pooler_port=port, log=log)
        started.callback(databases.close)
        yield databases


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Databases) -> Iterator[str]:
    """The URL of the migrated database, which is the template for the databases of the tests."""
    url = postgres.create()
    # A pooler would keep a connection to it, and a database in use cannot be copied.
    migrate(postgres.direct(url))
    yield url
    postgres.drop(url)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The migrated file, which is the template for the databases of the tests."""
    path = tmp_path_factory.mktemp("template") / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty, migrated database, on each engine."""
    if request.param == "sqlite":
        copy = tmp_path / "threadkeeper.db"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), copy)
        yield f"sqlite:///{copy}"
        return
    databases: Databases = request.getfixturevalue("postgres")
    url = databases.create(request.getfixturevalue("migrated_postgres"))
    yield url
    databases.drop(url)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, on each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    databases: Databases = request.getfixturevalue("postgres")
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The engine of this test's database: sqlite or postgres."""
    url: str = request.getfixturevalue(
        "database_url" if "database_url" in request.fixturenames else "empty_database_url"
    )
    return "sqlite" if url.startswith("sqlite") else "postgres"


@pytest.fixture
async def layer(database_url: str, tmp_path: Path) -> "AsyncIterator[ChainlitLayer]":
    """A data layer with files in a folder. The test fails if it leaves a connection in use."""
    layer = datalayer.create_data_layer(database_url, f"file://{tmp_path / 'blobs'}")
    yield layer
    await layer.search_indexer.stop()
    await layer.answer_follower.stop()
    await layer.file_deleter.stop()
    # A query that was just cancelled gives its connection back in a task of its own.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while layer.database.in_use:
                await asyncio.sleep(0.005)
    in_use = layer.database.in_use
    await layer.close()
    assert in_use == 0, f"{in_use} connections were not given back to the pool"


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteServer]:
    """Azure Blob Storage. Without it, the test is skipped, or fails if CI is set."""
    try:
        install()
    except NpmMissing as error:
        missing.skip_or_fail(f"AZURITE: the tests of Azure Blob Storage were skipped: {error}")
    with azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """S3."""
    with described_once(), s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
async def model_server() -> AsyncIterator[ModelServer]:
    """A scripted model server, in the event loop of the test."""
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def model(model_server: ModelServer) -> "AsyncIterator[Model]":
    """The scripted model server as the application calls it, without retries."""
    # Imported when it is used, like the data layer: most tests need neither.
    from threadkeeper.chat.providers import create_model  # noqa: PLC0415

    connected = create_model(base_url=model_server.base_url, timeout_seconds=60, max_retries=0)
    yield connected
    await connected.close()


class StartServer(Protocol):
    async def __call__(self, program: Sequence[str] | None = None, **environment: str) -> AppServer: ...


@pytest.fixture
async def start_server(database_url: str, tmp_path: Path, model_server: ModelServer) -> AsyncIterator[StartServer]:
    """Starts the application on a migrated database without rows, on each engine, and the scripted model server."""
    async with servers(database_url, tmp_path, model_server) as start:
        yield start


@asynccontextmanager
async def servers(database_url: str, folder: Path, model_server: ModelServer) -> AsyncIterator[StartServer]:
    """Starts any number of servers, which end with the block."""
    async with contextlib.AsyncExitStack() as started:

        async def start(program: Sequence[str] | None = None, **environment: str) -> AppServer:
            settings = {**model_settings(model_server), **environment}
            directory = folder / f"server-{len(list(folder.iterdir()))}"
            return await started.enter_async_context(AppServer(directory, database_url, settings, program))

        yield start


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServer]:
    """One server for all tests of the module, on each engine, with the SETTINGS of the module."""
    engine: str = request.param
    folder, made = tmp_path_factory.mktemp("shared"), list[str]()

    def new_database_url() -> str:
        template = request.getfixturevalue(f"migrated_{engine}")
        if engine == "sqlite":
            return f"sqlite:///{shutil.copyfile(template, folder / f'{secrets.token_hex(4)}.db')}"
        made.append(request.getfixturevalue("postgres").create(template))
        return made[-1]

    with SharedServer(folder, engine, new_database_url, request.module.SETTINGS).running() as server:
        yield server
    for url in made:
        request.getfixturevalue("postgres").drop(url)


@pytest.fixture
def chat(shared_server: SharedServer) -> Iterator[Chat]:
    """The module's server, for a test that uses only its own users and does not stop or reconfigure the server."""
    chat = shared_server.chat()
    yield chat
    # pytest shows this if the test fails.
    print(f"--- log of the shared server since the test began\n{chat.log}\n---")
