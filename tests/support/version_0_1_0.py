"""The library of 0.1.0, as it was released, in a process of its own: it uses a database beside today's library.

The process reads a command a line and answers with a line of JSON. Run by itself, this module is that process.
"""

import asyncio
import json
import os
import sys
import tarfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

_ARCHIVE = Path(__file__).parents[1] / "migration" / "datalayer-0.1.0.tar.xz"


class OldVersion:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, command: str) -> Any:
        """Run the command: migrate, talk (gives what it read), write (until the next command), stop (gives the slowest
        write in seconds, and errors), end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()
        answer = await self._process.stdout.readline()
        assert answer, "the process of 0.1.0 ended"
        return json.loads(answer)


@asynccontextmanager
async def version_0_1_0(url: str, folder: Path) -> AsyncIterator[OldVersion]:
    """The library of 0.1.0 on the database of this URL."""
    with tarfile.open(_ARCHIVE) as archive:
        # Debian 12 has Python 3.11.2, where `extractall` takes no filter.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).resolve()), url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
    )
    try:
        yield OldVersion(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _serve(url: str) -> None:
    from chainlit.types import Feedback, Pagination, ThreadFilter  # noqa: PLC0415
    from chainlit.user import User  # noqa: PLC0415

    import datalayer  # noqa: PLC0415  that of 0.1.0

    assert Path(datalayer.__file__).is_relative_to(Path.cwd())
    layer = datalayer.create_data_layer(url)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    writing: asyncio.Task[None] | None = None
    slowest, errors, count = 0.0, [], 0

    def step(thread_id: str, output: str) -> dict[str, Any]:
        made = {"id": str(uuid.uuid4()), "threadId": thread_id, "name": "ada", "type": "assistant_message"}
        return {**made, "output": output, "streaming": False}

    async def talk() -> Any:
        owner = await layer.create_user(User(identifier="ada"))
        with datalayer.acting_as("ada"):
            kept, gone = str(uuid.uuid4()), str(uuid.uuid4())
            for thread_id in (kept, gone):
                await layer.update_thread(thread_id, name="of the old version", user_id=owner.id)
            written = step(kept, "written by the old version")
            await layer.create_step(written)
            await layer.update_step({**written, "output": "changed by the old version"})
            await layer.upsert_feedback(Feedback(forId=written["id"], value=1, comment="good"))
            await layer.create_step(step(gone, "to be deleted"))
            await layer.delete_thread(gone)
            whole = await layer.get_thread(kept)
            found = await layer.list_threads(Pagination(first=50), ThreadFilter(userId=owner.id, search="changed"))
            liked = await layer.list_threads(Pagination(first=50), ThreadFilter(userId=owner.id, feedback=1))
        return {
            "kept": kept,
            "gone": gone,
            "step": whole["steps"][0]["output"],
            "vote": whole["steps"][0]["feedback"]["value"],
            "found": kept in [one["id"] for one in found.data],
            "liked": kept in [one["id"] for one in liked.data],
        }

    async def write() -> None:
        nonlocal slowest, count
        thread_id = str(uuid.uuid4())
        while True:
            begun = time.monotonic()
            try:
                await layer.create_step(step(thread_id, f"text {count}"))
            except datalayer.DataLayerError as error:
                errors.append(str(error))
            count += 1
            slowest = max(slowest, time.monotonic() - begun)

    while command := (await lines.readline()).decode().strip():
        answer: Any = None
        try:
            match command:
                case "migrate":
                    answer = await layer.migrate()
                case "talk":
                    answer = await talk()
                case "write":
                    writing = asyncio.create_task(write())
                case "stop":
                    assert writing is not None
                    writing.cancel()
                    answer = {"slowest": slowest, "errors": errors, "count": count}
        except datalayer.DataLayerError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
