"""`threadkeeper verify`: is the bill right? Every cost is reckoned anew, every sum compared with its rows."""

from typing import Annotated

import typer
from rich.text import Text

from datalayer.records.usage import plain_amount
from datalayer.usage.verify import UsageProblem
from threadkeeper.commands.database import with_usage
from threadkeeper.commands.terminal import console, end, settings_or_end


def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Let calls go of users and threads that are gone. No cost is changed.")
    ] = False,
) -> None:
    """Reckon every call's cost anew and compare all sums with their rows; exit code 1 where something is wrong."""
    settings, shown = settings_or_end(), console()

    def tell(problem: UsageProblem) -> None:
        where = f"call {problem.call_id}: " if problem.call_id else ""
        done = "; repaired" if problem.repaired else ""
        shown.print(Text(f"{where}{problem.words}{done}"), soft_wrap=True)

    report = with_usage(settings, lambda store: store.verify_usage(repair=repair, found=tell))
    totals = report.totals
    shown.print(
        f"{report.calls} calls, {totals.total_tokens:,} tokens, ${plain_amount(totals.total_cost)}"
        f" ({totals.unpriced} without a price, {totals.estimated} with tokens that were estimated)."
    )
    if report.left:
        end(f"{report.left} problem{'s' if report.left > 1 else ''} found.", 1)
    if not report.is_compared:
        end("Calls came in faster than they were looked at, so the sums were not compared: try again.", 1)
    shown.print("Every cost is its tokens times its price, and every sum that of its rows.")
