"""`threadkeeper verify`: checks tokens and cost of every model call, and compares all totals with their rows."""

from typing import Annotated

import typer
from rich.text import Text

from datalayer.history.user_names import words_about
from datalayer.records.usage import plain_amount
from datalayer.usage.verify import UsageProblem, UsageReport
from threadkeeper.commands.database import UsageStore, with_usage
from threadkeeper.commands.terminal import console, end, settings_or_end
from threadkeeper.language.numbers import counted


def verify(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Remove references to deleted users and threads from calls, with the messages stored for these "
            "calls. Costs do not change.",
        ),
    ] = False,
) -> None:
    """Check the tokens and the cost of every call, and all totals. Exit code 1 if a problem is found."""
    settings, shown = settings_or_end(), console()

    def show_problem(problem: UsageProblem) -> None:
        where = f"call {problem.call_id}: " if problem.call_id else ""
        done = "; repaired" if problem.repaired else ""
        shown.print(Text(f"{where}{problem.words}{done}"), soft_wrap=True)

    async def verified(store: UsageStore) -> UsageReport:
        for names in await store.names_alike():
            shown.print(Text(f"Note: {words_about(names)}."), soft_wrap=True)
        return await store.verify_usage(repair=repair, found=show_problem)

    report = with_usage(settings, verified)
    totals = report.totals
    shown.print(
        f"{counted(report.calls, 'call')}, {counted(totals.total_tokens, 'token')}, ${plain_amount(totals.total_cost)}"
        f" ({totals.unpriced} without a price, {totals.estimated} with estimated tokens)."
    )
    if report.left:
        end(f"{counted(report.left, 'problem')} found.", 1)
    if not report.is_compared:
        end("New calls were stored during the check, so the totals were not compared. Run the command again.", 1)
    shown.print(
        "No problems found: no numbers of tokens contradict each other, every cost is tokens × price, and every total "
        "is the sum of its rows."
    )
