"""`threadkeeper retention`: delete what is kept no longer; a dry run first."""

import json
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from datalayer import SYSTEM, acting_as
from datalayer.database import Database
from datalayer.records.retention import RetentionPlan, RetentionReceipt
from datalayer.review.retention import Retention
from threadkeeper.commands.terminal import console, end, new_file, open_store, run, settings_or_end
from threadkeeper.scheduled import cutoffs


def retention(
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, only say what would be done.")] = False,
    receipt: Annotated[
        Path | None, typer.Option(help="A new file for the receipts as well.", show_default=False)
    ] = None,
) -> None:
    """Delete threads, files and audit older than RETENTION_*_DAYS say, and what was said in calls older than
    USAGE_PAYLOAD_DAYS; pinned and flagged threads stay."""
    settings = settings_or_end()
    # Before anything is gone: what cannot be written afterwards would be lost.
    file = new_file(receipt, "The receipt", "Nothing was deleted.") if receipt and apply else None
    before = cutoffs(settings.retention_days)

    async def work() -> tuple[list[RetentionPlan], list[RetentionReceipt]]:
        async with AsyncExitStack() as closing:
            store = Retention(Database(settings.resolved_database_url), open_store(settings), patience_seconds=0)
            closing.push_async_callback(store.close)
            closing.enter_context(acting_as(SYSTEM))
            plans = await store.plan_retention(before)
            return plans, await store.apply_retention(before) if apply else []

    plans, receipts = run(work())
    shown = console()
    table = Table("Class", "Before", "To go", "Bytes of files", "Exempt: pinned or flagged")
    for plan in plans:
        size = "" if plan.byte_size is None else f"{plan.byte_size:,}"
        table.add_row(plan.kind, plan.before, f"{plan.count:,}", size, f"{plan.exempt:,}")
    shown.print(table)
    if not apply:
        shown.print("A dry run: nothing was deleted. `threadkeeper retention --apply` does it.")
        return
    text = json.dumps([asdict(one) for one in receipts], ensure_ascii=False, indent=2)
    if file is not None:
        with file:
            file.write(text + "\n")
    typer.echo(text)
    if left := sum(len(one.files_left) for one in receipts):
        end(f"{left} files were not let go of by the store; they are tried again.", 1)
