"""`threadkeeper retention`: deletes data that is older than its retention period. A dry run by default."""

from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from datalayer import SYSTEM, acting_as
from datalayer.cleaning import utc_now
from datalayer.database import Database
from datalayer.records.retention import RetentionPlan, RetentionReceipt
from datalayer.review.retention import Retention
from threadkeeper.commands.deletion import deleted, end_if_files_are_left, write_receipt
from threadkeeper.commands.terminal import console, new_file, open_store, run, settings_or_end
from threadkeeper.jobs.retention import cutoffs


def retention(
    apply: Annotated[bool, typer.Option("--apply", help="Apply the changes. Without this option: a dry run.")] = False,
    receipt: Annotated[
        Path | None,
        typer.Option(help="Write the receipts, with all ids, to this new file.", show_default=False),
    ] = None,
) -> None:
    """Delete data that is older than its retention period. A dry run by default.

    Threads, files and audit rows are kept for RETENTION_*_DAYS, the messages
    and answers of model calls for USAGE_PAYLOAD_DAYS. Pinned and flagged
    threads are kept, except temporary ones, which are deleted at their time.
    """
    settings = settings_or_end()
    # Opened before the deletion: if the file cannot be written, nothing is deleted.
    file = new_file(receipt, "the receipt", "Nothing was deleted.") if receipt and apply else None
    before = cutoffs(settings.retention_days) | {"temporary": utc_now()}

    async def work() -> tuple[list[RetentionPlan], list[RetentionReceipt]]:
        async with AsyncExitStack() as closing:
            store = Retention(Database(settings.resolved_database_url), open_store(settings), patience_seconds=0)
            closing.push_async_callback(store.close)
            closing.enter_context(acting_as(SYSTEM))
            plans = await store.plan_retention(before)
            return plans, await store.apply_retention(before) if apply else []

    plans, receipts = run(work())
    shown = console()
    table = Table("Class", "Older than", "To delete", "Bytes of files", "Exempt (pinned or flagged)")
    for plan in plans:
        size = "" if plan.byte_size is None else f"{plan.byte_size:,}"
        table.add_row(plan.kind, plan.before, f"{plan.count:,}", size, f"{plan.exempt:,}")
    shown.print(table)
    if not apply:
        shown.print("Dry run: nothing was deleted. To apply, run `threadkeeper retention --apply --receipt FILE`.")
        return
    for one in receipts:
        typer.echo(f"{one.kind}: {' '.join(deleted(one))}")
    write_receipt(file, receipt, [asdict(one) for one in receipts])
    end_if_files_are_left([key for one in receipts for key in one.files_left])
