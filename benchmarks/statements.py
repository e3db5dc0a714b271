"""The number of statements and round trips per write, counted on the wire, including BEGIN, COMMIT and resets."""

from chainlit.context import init_http_context

from benchmarks.contenders import OPENERS, Contender, fill, new_step
from benchmarks.measure import KINDS, creating
from benchmarks.sections import TITLES, Judged, Section
from benchmarks.timing import Call
from benchmarks.wire import Wire
from tests.support.postgres import Databases
from tests.support.records import new_id

TIMES = 10
TURN_CALLS = 6


def chat_turn(contender: Contender) -> Call:
    """The six calls that Chainlit makes for the first question of a thread and its answer, one after another."""

    async def turn() -> None:
        thread_id = new_id()
        run = new_step(thread_id) | {"type": "run", "output": ""}
        question = new_step(thread_id) | {"type": "user_message", "parentId": run["id"]}
        answer = new_step(thread_id) | {"parentId": run["id"]}
        await contender.write(run, created=True)
        await contender.write(question, created=True)
        await contender.begin(thread_id, "a name")
        await contender.write(answer, created=True)
        await contender.write(answer, created=False)
        await contender.write(run, created=False)

    return turn


async def count(url: str, kind: str, *, turn: bool = False) -> tuple[float, float]:
    """Statements and round trips of one `create_step`, or of one chat turn, after the first ones."""
    init_http_context()
    with Wire(url) as wire:
        contender = await OPENERS[kind](wire.url)
        try:
            call = chat_turn(contender) if turn else creating(contender)
            for _ in range(3):
                await call()
            wire.reset()
            for _ in range(TIMES):
                await call()
            return wire.statements / TIMES, wire.round_trips / TIMES
        finally:
            await contender.close()


async def section(databases: Databases) -> Section:
    lines = [
        "| | `create_step`: statements | round trips | chat turn of 6 calls: statements | round trips |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    ours = (0.0, 0.0)
    for kind in KINDS:
        url = databases.create()
        try:
            await fill(url, kind, 20)
            step, turn = await count(url, kind), await count(url, kind, turn=True)
        finally:
            databases.drop(url)
        lines.append(f"| {TITLES[kind]} | {step[0]:g} | {step[1]:g} | {turn[0]:g} | {turn[1]:g} |")
        if kind == "ours":
            ours = (step[0], turn[0])
    lines += ["", "A turn: a run, the question, the thread's name and user, the answer, the answer and the run again."]
    return Section(
        "Statements on the wire",
        tuple(lines),
        (
            Judged("statements per create_step", "1", f"{ours[0]:g}", ours[0] <= 1),
            Judged("statements per chat turn of 6 calls", f"≤ {TURN_CALLS}", f"{ours[1]:g}", ours[1] <= TURN_CALLS),
        ),
    )
