"""The files that make the containers: what can be tested of them without a container."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import create_engine, inspect
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.support import missing
from tests.support.kept_process import free_port
from tests.support.patience import until
from tests.support.s3_server import S3Server
from tests.support.server import ROOT
from threadkeeper.cli import KEEP_ALIVE_SECONDS
from threadkeeper.settings.report import inspect_settings

INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text())).splitlines()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
REPLICAS = ("replica1", "replica2")
NOT_OURS = {"PATH", "HOME", "PYTHONDONTWRITEBYTECODE"}
OF_UVICORN = "FORWARDED_ALLOW_IPS"


def arguments(name: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def build(root: Path) -> None:
    """Copy what the Dockerfile copies out of the checkout, as it does."""
    for *sources, target in arguments("COPY"):
        if sources[0].startswith("--from"):
            continue
        for source in sources:
            copied = [*ROOT.glob(source)]
            assert copied, f"the Dockerfile copies {source}"
            for found in copied:
                if found.is_dir():
                    shutil.copytree(found, root / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(found, root / target)


def contents(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_the_settings_of_the_containers_exist() -> None:
    known = {report.variable for report in inspect_settings()[0]}
    for name in (*REPLICAS, "bucket"):
        given = COMPOSE["services"][name]["environment"]
        assert given.keys() - {OF_UVICORN} <= known
    of_image = dict(part.split("=", 1) for parts in arguments("ENV") for part in parts)
    assert of_image.keys() - NOT_OURS <= known
    assert of_image.keys() >= NOT_OURS
    # A .env that was written for a server outside of containers overrides the image, and not this.
    for name in ("HOST", "PORT", "DATA_DIR"):
        assert COMPOSE["services"]["replica1"]["environment"][name] == of_image[name]


@pytest.mark.parametrize("forwarded", [["8.8.8.8"], ["6.6.6.6", "8.8.8.8"], ["6.6.6.6, 8.8.8.8", "172.18.0.1"]])
@pytest.mark.parametrize("proxy", ["172.18.0.5", "192.168.16.5", "10.89.0.5"], ids=["docker", "docker-later", "podman"])
async def test_a_replica_believes_the_proxy_about_the_client_and_not_the_client(
    forwarded: list[str], proxy: str
) -> None:
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["client"][0])

    behind = ProxyHeadersMiddleware(app, COMPOSE["services"]["replica1"]["environment"][OF_UVICORN])
    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    scope: Any = {"type": "http", "client": (proxy, 1), "headers": headers}
    await behind(scope, None, None)  # type: ignore[arg-type]
    assert seen == ["8.8.8.8"]
    assert all("ports" not in COMPOSE["services"][name] for name in REPLICAS)


def test_the_replicas_are_alike_and_write_nothing_but_data_and_tmp() -> None:
    first, second = (COMPOSE["services"][name] for name in REPLICAS)
    assert {**first, "volumes": None} == {**second, "volumes": None}
    assert first["volumes"] != second["volumes"]
    assert (first["read_only"], first["tmpfs"], first["cap_drop"]) == (True, ["/tmp"], ["ALL"])
    for name, service in COMPOSE["services"].items():
        assert ":" in service["image"] or service["image"] == "threadkeeper", f"{name}: which version?"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], name
    assert arguments("USER") == [["10001:10001"]]
    assert ["/data"] in arguments("VOLUME")
    # Processes in the exec form get the signals.
    for instruction in ("ENTRYPOINT", "CMD"):
        assert all(words[0].startswith("[") for words in arguments(instruction))


def test_haproxy_accepts_its_file_and_knows_the_replicas() -> None:
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        missing.skip_or_fail("HAPROXY: the check of its file was skipped; install the package haproxy")
    file = ROOT / "deploy" / "haproxy.cfg"
    done = subprocess.run([program, "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    servers = re.findall(r"^    server (\S+) (\S+):8000 cookie (\S+)$", file.read_text(), re.MULTILINE)
    assert servers == [(name, name, name) for name in REPLICAS]


def test_no_idle_connection_is_closed_before_its_client_closes_it() -> None:
    (seconds,) = re.findall(
        r"^ +timeout http-keep-alive (\d+)s$", (ROOT / "deploy/haproxy.cfg").read_text(), re.MULTILINE
    )
    longest_of_clients = 90
    assert longest_of_clients < int(seconds) < KEEP_ALIVE_SECONDS


@pytest.mark.slow
async def test_what_the_dockerfile_copies_is_enough_to_serve(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    build(app)
    for parts in arguments("RUN"):
        if "-r" in parts:
            assert parts[parts.index("-r") + 1] == "requirements.lock"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "threadkeeper").write_text(f'#!/bin/sh\nexec {sys.executable} -m threadkeeper.cli "$@"\n')
    (programs / "threadkeeper").chmod(0o755)
    written = {part.split("=", 1)[0]: part.split("=", 1)[1] for parts in arguments("ENV") for part in parts}
    environment = {
        **written,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(app),
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "DATA_DIR": str(tmp_path / "data"),
        "CHAINLIT_APP_ROOT": str(tmp_path / "chainlit"),
        "SAMPLE_ASSISTANT": "false",
    }
    before = contents(app)
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [app / "deploy" / "entrypoint.sh", "serve"], cwd=app, env=environment, stdout=log, stderr=log
        )
    try:
        healthy = [sys.executable, str(app / "deploy" / "healthy.py")]

        async def is_healthy() -> bool:
            assert server.poll() is None, (tmp_path / "log").read_text()
            return subprocess.run(healthy, env=environment, check=False).returncode == 0

        await until(is_healthy)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, (tmp_path / "log").read_text()
        assert subprocess.run(healthy, env=environment, check=False).returncode == 1
    finally:
        server.kill()
        server.wait()
    assert contents(app) == before, "the root file system can be read-only"
    assert "steps" in inspect(create_engine(f"sqlite:///{tmp_path}/data/threadkeeper.db")).get_table_names()


@pytest.mark.slow
def test_the_bucket_is_made_once(s3_service: S3Server) -> None:
    environment = {
        **os.environ,
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{s3_service.port}",
        "AWS_ACCESS_KEY_ID": s3_service.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_service.secret_access_key,
    }
    own_region = COMPOSE["services"]["bucket"]["environment"]["AWS_REGION"]
    for bucket, region in (("of-compose", own_region), ("of-compose", own_region), ("elsewhere", "eu-central-1")):
        environment |= {"BLOB_URL": f"s3://{bucket}", "AWS_REGION": region}
        done = subprocess.run([sys.executable, ROOT / "deploy" / "make_bucket.py"], env=environment, check=False)
        assert done.returncode == 0
