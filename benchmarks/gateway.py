"""`python -m benchmarks.gateway`: what the gateway adds to a call, beside the proxy of LiteLLM.

`--litellm .../bin/litellm` names the command of a virtual environment of its own, which has `litellm[proxy]` in the
version of `litellm_proxy.VERSION` and `asyncpg`; without it, LiteLLM is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from datetime import UTC, datetime

from benchmarks.chat_report import put_section
from benchmarks.gateway_ways import DIRECT, GATEWAY, LITELLM, Measured, Result, measure
from benchmarks.litellm_proxy import VERSION
from benchmarks.token_server import TOKENS
from tests.support.postgres import Cluster, Databases, find_binaries
from tests.support.server import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
TITLE = "## The gateway"


def report(result: Result, loads: tuple[float, float], engine: str) -> list[str]:
    """The lines of the section."""
    proxies = [way for way in (GATEWAY, LITELLM) if way in result.stored]
    lines = [
        TITLE,
        "",
        f"Written by `python -m benchmarks.gateway`, {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {engine};",
        f"load average {loads[0]:.1f} before, {loads[1]:.1f} at the end, the benchmark included.",
        "",
        f"Calls to a scripted provider directly and through proxies, in turns; {TOKENS} tokens an answer, a stream",
        "sends 50 a second. Medians. Provider, proxies, database and the caller share the cores.",
    ]
    if LITELLM in proxies:
        lines += [
            f"LiteLLM is `litellm[proxy]` {VERSION} with one worker. Its own logging needs the engine of Prisma, which",
            "is a download of its own. In its place, a callback writes one row a call to Postgres with asyncpg, which",
            "costs less.",
        ]
    lines += [
        "",
        "| Calls | At once | Way | First byte | Added | Whole | Added | Ratio | Calls/s | CPU a call | Incomplete |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in result.measured:
        for way in (DIRECT, *proxies):
            timed = one.ways[way]
            first, whole = timed.medians()
            more = one.added(way)
            compared = (
                ["", "", "", ""]
                if way == DIRECT
                else [f"{more[0]:+.1f} ms", f"{more[1]:+.1f} ms", f"{one.ratio(way):.3f}", f"{timed.cpu_ms:.1f} ms"]
            )
            kind = "streams" if one.stream else "plain"
            lines.append(
                f"| {kind} | {one.at_once} | {way} | {first:.1f} ms | {compared[0]} | {whole:.1f} ms | {compared[1]} "
                f"| {compared[2]} | {timed.a_second:.0f} | {compared[3]} | {timed.incomplete} |"
            )
    if LITELLM in proxies:
        lines += ["", *_compared(result.measured)]
    stored = ", ".join(f"{way} {'yes' if result.stored[way] else 'no'}" for way in proxies)
    memory = ", ".join(f"{way} {result.megabytes[way]:.0f} MB" for way in proxies)
    killed = result.killed
    return [
        *lines,
        "",
        f"Every call is stored with its tokens: {stored}. Memory at the end: {memory}.",
        "",
        f"With `kill -9` in between: of {killed.asked} calls that the provider billed, {killed.equal} are stored with",
        f"the tokens of its ledger; {killed.marked} were in flight, and the next start marks them as interrupted;",
        f"{killed.differing} differ, and {killed.missing} are missing.",
    ]


def _compared(measured: list[Measured]) -> list[str]:
    """What the gateway adds, as a part of what LiteLLM adds."""
    lines = [
        "The gateway beside LiteLLM (less is better, but for calls a second):",
        "",
        "| Calls | At once | Added to the first byte | Added to the whole | Calls a second | CPU a call |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in measured:
        ours, theirs = one.added(GATEWAY), one.added(LITELLM)
        own, other = one.ways[GATEWAY], one.ways[LITELLM]
        kind = "streams" if one.stream else "plain"
        shares = [ours[0] / theirs[0], ours[1] / theirs[1], own.a_second / other.a_second, own.cpu_ms / other.cpu_ms]
        lines.append(f"| {kind} | {one.at_once} | " + " | ".join(f"{share:.2f} ×" for share in shares) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the gateway adds to a call.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sqlite", action="store_true", help="store in SQLite in place of Postgres")
    parser.add_argument("--litellm", help="the command of LiteLLM, to measure its proxy too; needs Postgres")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    other = None
    with contextlib.ExitStack() as stack:
        if options.sqlite:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="threadkeeper-gateway-"))
            url = f"sqlite:///{folder}/threadkeeper.db"
        else:
            binaries = find_binaries()
            if binaries is None:
                sys.exit("No Postgres server was found: install the package postgresql, or give --sqlite.")
            databases = Databases(stack.enter_context(Cluster(binaries, durable=True)).url)
            stack.callback(databases.close)
            url = databases.create()
            other = (options.litellm, databases.create()) if options.litellm else None
        result = asyncio.run(measure(url, rounds=options.rounds, litellm=other))
    engine = "SQLite" if options.sqlite else "Postgres"
    put_section(PAGE, TITLE, report(result, (before, os.getloadavg()[0]), engine))


if __name__ == "__main__":
    main()
