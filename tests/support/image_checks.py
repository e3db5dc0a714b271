"""What a container of the image does. `container_image.sh` builds it and runs this file; no other run collects it.

`TEST_PODMAN` is the podman command with its options, `TEST_PODMAN_RUN` what this machine needs for `run`. Containers
have the limits of compose.yaml, and the network of this machine, on which the tests' Postgres, model and S3 are.
"""

import asyncio
import json
import os
import re
import shlex
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chat_client import ChatClient
from tests.support.kept_process import free_port
from tests.support.model_server import API_KEY, ModelServer
from tests.support.patience import until
from tests.support.s3_server import S3Server
from tests.support.server import ROOT
from tests.support.topology import proxy

PODMAN, OPTIONS = (shlex.split(os.environ.get(name, "")) for name in ("TEST_PODMAN", "TEST_PODMAN_RUN"))
IMAGE = os.environ.get("TEST_IMAGE", "threadkeeper")
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
REPLICA = SERVICES["replica1"]
SECRET = "a secret that both replicas have, of 32 characters"
FIRST_PASSWORD = re.compile(r"Sign in as admin with the password (\S+)")
SLOW = "slow:5000:0.05"


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*PODMAN, *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"podman {shlex.join(arguments)}: {done.stderr}"
    return done


def limits() -> list[str]:
    """The options of podman for what compose.yaml says of a replica."""
    capabilities = [f"--cap-drop={one}" for one in REPLICA["cap_drop"]]
    security = [f"--security-opt={one.replace(':true', '')}" for one in REPLICA["security_opt"]]
    places = [f"--tmpfs={one}" for one in REPLICA["tmpfs"]]
    assert REPLICA["read_only"]
    assert REPLICA["init"]
    return ["--read-only", "--init", *capabilities, *security, *places]


@dataclass
class Container:
    name: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        done = podman("logs", self.name)
        return done.stdout + done.stderr

    def runs(self) -> bool:
        return podman("inspect", "--format", "{{.State.Running}}", self.name).stdout.strip() == "true"

    async def until_healthy(self) -> None:
        """Wait until the health check of the image says so."""

        async def is_healthy() -> bool:
            assert await asyncio.to_thread(self.runs), self.log
            return (await asyncio.to_thread(podman, "healthcheck", "run", self.name, check=False)).returncode == 0

        await until(is_healthy, what="a green health check")

    async def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run this in the container. It can call the model server, which is in the event loop of the test."""
        return await asyncio.to_thread(podman, "exec", self.name, "sh", "-c", command, check=False)

    async def stop(self) -> int:
        """SIGTERM, and what the container ends with."""
        await asyncio.to_thread(podman, "stop", "--time", str(30), self.name)
        return int(podman("inspect", "--format", "{{.State.ExitCode}}", self.name).stdout)


@asynccontextmanager
async def container(model_server: ModelServer, **settings: str) -> AsyncIterator[Container]:
    name, port = f"image-{uuid.uuid4().hex[:8]}", free_port()
    given = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "OPENAI_BASE_URL": model_server.base_url,
        "OPENAI_API_KEY": API_KEY,
        "OPENAI_MODELS": f"echo,{SLOW}",
        "SAMPLE_ASSISTANT": "false",
        **settings,
    }
    environment = [f"--env={key}={value}" for key, value in given.items()]
    data = f"--volume={name}:/data"
    command = ["run", "--detach", f"--name={name}", "--network=host", data, *limits(), *OPTIONS, *environment, IMAGE]
    await asyncio.to_thread(podman, *command)
    started = Container(name, port)
    try:
        await started.until_healthy()
        yield started
        assert "Traceback" not in started.log
    finally:
        print(started.log)
        podman("rm", "--force", "--volumes", name, check=False)
        podman("volume", "rm", "--force", name, check=False)


@pytest.fixture
def database(database_url: str) -> dict[str, str]:
    """The setting: none, which is SQLite in the volume, and a Postgres."""
    return {} if database_url.startswith("sqlite") else {"DATABASE_URL": database_url}


async def test_the_first_login_an_answer_and_its_end_by_sigterm(
    database: dict[str, str], model_server: ModelServer
) -> None:
    async with container(model_server, **database) as server:
        (password,) = FIRST_PASSWORD.findall(server.log)
        assert (await server.shell("id -u; id -g")).stdout.split() == ["10001", "10001"]
        for path in ("/app", "/venv", "/etc", "/"):
            assert "Read-only file system" in (await server.shell(f"touch {path}/x")).stderr
        assert (await server.shell("find /data ! -user threadkeeper -o ! -group threadkeeper")).stdout == ""
        checked = await server.shell("threadkeeper check")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        async with ChatClient(server.url, "admin", password) as page:
            assert await page.ask("Hello", modes={"model": "echo"}) == "You said: Hello"
            await page.send("Count", modes={"model": SLOW})
            await page.until(lambda: "word-20 " in page.answer, what="the beginning of the answer")
            assert await server.stop() == 0, server.log
            shown, thread_id = page.answer, page.thread_id
        podman("start", server.name)
        await server.until_healthy()
        async with ChatClient(server.url, "admin", password, thread_id=thread_id) as page:
            steps = (await page.stored())["steps"]
            said = [step["output"] for step in steps if step["type"] in ("user_message", "assistant_message")]
            assert said[:3] == ["Hello", "You said: Hello", "Count"]
            assert said[3].startswith(shown.rstrip())
            assert [step["streaming"] for step in steps if step["output"] == said[3]] == [False]


def test_the_image_has_what_it_needs_and_nothing_else() -> None:
    about = json.loads(podman("image", "inspect", IMAGE).stdout)[0]
    config = about["Config"]
    assert (config["User"], config["StopSignal"]) == ("10001:10001", "SIGTERM")
    assert about["Healthcheck"]["Test"] == ["CMD", "python", "/app/deploy/healthy.py"]
    # What the machine that builds it says to pip must not be in it.
    assert not re.search(r"pip|index|proxy", " ".join(config["Env"]), re.IGNORECASE)

    def found(command: str) -> list[str]:
        done = podman(
            "run", "--rm", "--network=none", *OPTIONS, "--user=0", "--entrypoint=/bin/sh", IMAGE, "-c", command
        )
        return done.stdout.split()

    names = " -o ".join(
        f"-name {shlex.quote(name)}" for name in (".git", ".env*", ".data", "tests", "pip", "*.map", "*.whl")
    )
    assert found(f"find /app /venv /data /root/.cache /tmp \\( {names} \\) 2>/dev/null || true") == []
    assert found("find /app /venv ! -user root") == []
    assert found("find /app /venv -perm -o+w ! -type l") == []
    assert (
        found("find /etc/pip.conf /etc/xdg/pip /root/.config/pip /root/.pip -type f -size +0 2>/dev/null || true") == []
    )
    top = {".chainlit", "__pycache__", "app.py", "datalayer", "deploy", "docs", "public", "threadkeeper"}
    of_packages = {"LICENSE", "README.md", "pyproject.toml", "requirements.lock", "threadkeeper.egg-info"}
    texts = {path.name for path in ROOT.glob("chainlit*.md")}
    assert {*found("ls -A /app")} == top | of_packages | texts


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_two_replicas_behind_haproxy(
    database_url: str, model_server: ModelServer, s3_service: S3Server, tmp_path: Path
) -> None:
    store = {
        "BLOB_URL": "s3://of-the-image",
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{s3_service.port}",
        "AWS_REGION": SERVICES["bucket"]["environment"]["AWS_REGION"],
        "AWS_ACCESS_KEY_ID": s3_service.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_service.secret_access_key,
    }
    program, *arguments = SERVICES["bucket"]["entrypoint"]
    environment = [f"--env={key}={value}" for key, value in store.items()]
    podman("run", "--rm", "--network=host", *OPTIONS, *environment, f"--entrypoint={program}", IMAGE, *arguments)
    both = {"DATABASE_URL": database_url, "CHAINLIT_AUTH_SECRET": SECRET, **store}
    async with (
        container(model_server, **both) as first,
        container(model_server, **both) as second,
        proxy("/usr/sbin/haproxy", tmp_path, {"replica1": first.port, "replica2": second.port}) as port,
    ):
        (password,) = FIRST_PASSWORD.findall(first.log)
        page = ChatClient(f"http://127.0.0.1:{port}", "admin", password)
        page.http.cookies.set("REPLICA", "replica1", domain="127.0.0.1", path="/")
        async with page:
            file_id = await page.upload("hours.txt", b"open from 9 to 5", "text/plain")
            await page.send("When?", files=[file_id], modes={"model": "echo"})
            await page.until(lambda: "When?" in page.answer)
            await page.send("Count", modes={"model": SLOW})
            await page.until(lambda: "word-20 " in page.answer, what="the beginning of the answer")
            await asyncio.to_thread(podman, "kill", first.name)
            await page.until(lambda: not page.connected, what="the end of the connection")
            again = page.successor()

            async def is_there() -> bool:
                answer = await again.http.get("/project/translations")
                return answer.is_success and again.http.cookies.get("REPLICA") == "replica2"

            await until(is_there, what="the other replica")
            async with again:
                thread = await again.stored()
                (element,) = thread["elements"]
                assert (await again.http.get(element["url"])).content == b"open from 9 to 5"
                said = [step["output"] for step in thread["steps"] if step["type"] == "user_message"]
                assert said == ["When?", "Count"]
                assert await again.ask("And now?", modes={"model": "echo"}) == "You said: And now?"
