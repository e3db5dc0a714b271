"""SQL of verdicts (also known as scores): one per reviewer and answer, their history, and inter-rater agreement."""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, and_, cast, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.cleaning import clean_id, clean_text
from datalayer.dialects import Dialect
from datalayer.errors import InvalidRecord, NotFound
from datalayer.history import feedback, removed_answers
from datalayer.records.review import ReviewedAnswer, Verdict, VerdictChange
from datalayer.records.review_statistics import Agreement, PairAgreement
from datalayer.schema.chat import steps, users
from datalayer.schema.review import review_items, verdict_changes, verdicts

LONGEST_LABEL = 100
_CONTENTS = ("label", "reasons", "note", "betterAnswer")


def clean(verdict: Verdict) -> dict[str, Any]:
    """The verdict's content as values of its columns.

    Raises:
        InvalidRecord: the step's id is not a UUID, or the label is empty or too long.
    """
    label = clean_text(verdict.label).strip()
    if not label or len(label) > LONGEST_LABEL:
        raise InvalidRecord(f"the label of a verdict needs 1 to {LONGEST_LABEL} characters", field="label")
    return {
        "stepId": clean_id(verdict.step_id, "step id of a verdict"),
        "label": label,
        "reasons": [clean_text(reason) for reason in verdict.reasons] or None,
        "note": clean_text(verdict.note) if verdict.note else None,
        "betterAnswer": clean_text(verdict.better_answer) if verdict.better_answer else None,
    }


async def put(
    connection: AsyncConnection, dialect: Dialect, cleaned: Mapping[str, Any], reviewer: tuple[str, str], now: str
) -> Verdict:
    """Store the reviewer's verdict on an answer; the queue's item is done once it has as many verdicts as it wants.

    The answer may have been removed from its thread, if an earlier version of it is stored.

    Args:
        cleaned: the values from `clean`.
        reviewer: id and identifier.
        now: the time of the change.

    Raises:
        NotFound: there is no such answer.
    """
    step_id, reviewer_id = cleaned["stepId"], reviewer[0]
    answer = steps.c.id == step_id, steps.c.type == removed_answers.ANSWER
    thread_id = (await connection.execute(select(steps.c.threadId).where(*answer))).scalar()
    thread_id = thread_id or await removed_answers.thread_of(connection, step_id)
    if thread_id is None:
        raise NotFound(f"the answer {step_id} does not exist")
    await _hold_item(connection, step_id)
    mine = verdicts.c.stepId == step_id, verdicts.c.reviewerId == reviewer_id
    there = (await connection.execute(select(verdicts).where(*mine))).mappings().first()
    if there is None or any(there[name] != cleaned[name] for name in _CONTENTS):
        changes = {name: cleaned[name] for name in _CONTENTS} | {"updatedAt": now}
        values = {"id": str(uuid.uuid4()), "threadId": thread_id, "reviewerId": reviewer_id, "createdAt": now}
        await connection.execute(
            dialect.insert(verdicts)
            .values(**cleaned, **values, updatedAt=now)
            .on_conflict_do_update(index_elements=[verdicts.c.stepId, verdicts.c.reviewerId], set_=changes)
        )
        await _note(connection, dialect, {**cleaned, "threadId": thread_id, "reviewerId": reviewer_id}, now)
        await feedback.mark_answers(connection, [thread_id])
    await _close_item(connection, step_id, reviewer_id, now)
    kept = (await connection.execute(_listed(and_(*mine)))).mappings().one()
    return _verdict(kept)


async def remove(connection: AsyncConnection, dialect: Dialect, step_id: str, reviewer_id: str, now: str) -> bool:
    """Delete the reviewer's verdict but keep its history; False if there is none."""
    await _hold_item(connection, step_id)
    mine = verdicts.c.stepId == step_id, verdicts.c.reviewerId == reviewer_id
    removed = await connection.execute(delete(verdicts).where(*mine).returning(verdicts.c.threadId))
    thread_id = removed.scalar()
    if thread_id is None:
        return False
    nothing = dict.fromkeys(_CONTENTS)
    await _note(
        connection, dialect, {"stepId": step_id, **nothing, "threadId": thread_id, "reviewerId": reviewer_id}, now
    )
    await feedback.mark_answers(connection, [thread_id])
    lacking = review_items.c.stepId == step_id, _given(step_id) < review_items.c.wanted
    await connection.execute(update(review_items).where(*lacking).values(doneAt=None))
    return True


async def of_thread(connection: AsyncConnection, thread_id: str) -> list[Verdict]:
    """Every verdict on answers of the thread, in order of time."""
    rows = await connection.execute(_listed(verdicts.c.threadId == thread_id))
    return [_verdict(row) for row in rows.mappings()]


async def history(connection: AsyncConnection, thread_id: str) -> list[VerdictChange]:
    """Every change of every verdict on answers of the thread, oldest first."""
    change = verdict_changes.c
    statement = (
        select(*(change[name] for name in ("stepId", *_CONTENTS, "changedAt")), users.c.identifier)
        .join(users, users.c.id == change.reviewerId)
        .where(change.threadId == thread_id)
        .order_by(change.changedAt, change.id)
    )
    return [
        VerdictChange(
            step_id=row.stepId,
            reviewer=row.identifier,
            label=row.label,
            reasons=tuple(row.reasons or ()),
            note=row.note,
            better_answer=row.betterAnswer,
            changed_at=row.changedAt,
        )
        for row in await connection.execute(statement)
    ]


async def reviewed(connection: AsyncConnection, thread_id: str) -> list[ReviewedAnswer]:
    """The answers of the thread that have a verdict, in order of the latest one."""
    given = select(verdicts.c.stepId, func.max(verdicts.c.updatedAt), func.count())
    grouped = given.where(verdicts.c.threadId == thread_id).group_by(verdicts.c.stepId)
    found = [ReviewedAnswer(*row) for row in await connection.execute(grouped)]
    return sorted(found, key=lambda one: one.reviewed_at)


async def agreement(connection: AsyncConnection, conditions: Sequence[ColumnElement[bool]]) -> Agreement:
    """Inter-rater agreement (share and kappa). Counts come from SQL; kappa is computed here."""
    chosen = select(verdicts.c.stepId, verdicts.c.reviewerId, verdicts.c.label).where(*conditions).cte("chosen")
    number = func.count()
    of_answer = select(chosen.c.stepId, number.label("n")).group_by(chosen.c.stepId).having(number > 1).cte("of_answer")
    of_label = (
        select(chosen.c.stepId, chosen.c.label, number.label("same"))
        .join(of_answer, of_answer.c.stepId == chosen.c.stepId)
        .group_by(chosen.c.stepId, chosen.c.label)
        .cte("of_label")
    )
    agreeing = (
        select(of_label.c.stepId, func.sum(of_label.c.same * (of_label.c.same - 1)).label("pairs"))
        .group_by(of_label.c.stepId)
        .cte("agreeing")
    )
    pairs = of_answer.c.n * (of_answer.c.n - 1)
    sums = select(
        number, func.sum(of_answer.c.n), func.sum(pairs), func.sum(agreeing.c.pairs),
        func.avg(cast(agreeing.c.pairs, Float) / pairs),
    ).join_from(of_answer, agreeing, agreeing.c.stepId == of_answer.c.stepId)  # fmt: skip
    answers, given, possible, agreed, mean = (await connection.execute(sums)).one()
    labels = select(of_label.c.label, func.sum(of_label.c.same)).group_by(of_label.c.label)
    counts = {label: int(count) for label, count in await connection.execute(labels)}
    between = await _pairs(connection, chosen)
    if not answers:
        return Agreement(0, 0, None, None, ())
    by_chance = sum((count / int(given)) ** 2 for count in counts.values())
    return Agreement(answers, int(given), int(agreed) / int(possible), _kappa(float(mean), by_chance), tuple(between))


async def _pairs(connection: AsyncConnection, chosen: Any) -> list[PairAgreement]:
    first, second = chosen.alias("first"), chosen.alias("second")
    one, other = users.alias("one"), users.alias("other")
    statement = (
        select(one.c.identifier, other.c.identifier, first.c.label, second.c.label, func.count())
        .select_from(first)
        .join(second, first.c.stepId == second.c.stepId)
        .join(one, one.c.id == first.c.reviewerId)
        .join(other, other.c.id == second.c.reviewerId)
        .where(one.c.identifier < other.c.identifier)
        .group_by(one.c.identifier, other.c.identifier, first.c.label, second.c.label)
    )
    tables: dict[tuple[str, str], dict[tuple[str, str], int]] = defaultdict(dict)
    for left, right, label, label_of_other, count in await connection.execute(statement):
        tables[left, right][label, label_of_other] = count
    return [_pair(*names, table) for names, table in sorted(tables.items())]


def _pair(first: str, second: str, table: Mapping[tuple[str, str], int]) -> PairAgreement:
    answers = sum(table.values())
    agreed = sum(count for (left, right), count in table.items() if left == right)
    of_first: dict[str, int] = defaultdict(int)
    of_second: dict[str, int] = defaultdict(int)
    for (left, right), count in table.items():
        of_first[left] += count
        of_second[right] += count
    by_chance = sum(of_first[label] * of_second[label] for label in of_first) / answers**2
    return PairAgreement(first, second, answers, agreed, _kappa(agreed / answers, by_chance))


def _kappa(observed: float, by_chance: float) -> float | None:
    return None if by_chance >= 1 else (observed - by_chance) / (1 - by_chance)


def _given(step_id: str) -> Any:
    return select(func.count()).select_from(verdicts).where(verdicts.c.stepId == step_id).scalar_subquery()


async def _hold_item(connection: AsyncConnection, step_id: str) -> None:
    """Lock the queue's item, so that of two verdicts at once the second counts the first."""
    item = select(review_items.c.stepId).where(review_items.c.stepId == step_id)
    await connection.execute(item.with_for_update())


async def _close_item(connection: AsyncConnection, step_id: str, reviewer_id: str, now: str) -> None:
    item = review_items.c.stepId == step_id
    unlocked = {"lockedBy": None, "lockedUntil": None}
    await connection.execute(
        update(review_items).where(item, review_items.c.lockedBy == reviewer_id).values(**unlocked)
    )
    done = item, review_items.c.doneAt.is_(None), _given(step_id) >= review_items.c.wanted
    await connection.execute(update(review_items).where(*done).values(doneAt=now))


async def _note(connection: AsyncConnection, dialect: Dialect, values: Mapping[str, Any], now: str) -> None:
    # A write is applied again if its connection was lost; its id keeps it from being noted twice.
    identity = f"{values['stepId']} {values['reviewerId']} {now}"
    statement = dialect.insert(verdict_changes).values(
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, identity)), changedAt=now, **values
    )
    await connection.execute(statement.on_conflict_do_nothing(index_elements=[verdict_changes.c.id]))


def _listed(condition: ColumnElement[bool]) -> Any:
    return (
        select(verdicts, users.c.identifier)
        .join(users, users.c.id == verdicts.c.reviewerId)
        .where(condition)
        .order_by(verdicts.c.createdAt, verdicts.c.id)
    )


def _verdict(row: Any) -> Verdict:
    return Verdict(
        step_id=row["stepId"],
        label=row["label"],
        reasons=tuple(row["reasons"] or ()),
        note=row["note"],
        better_answer=row["betterAnswer"],
        thread_id=row["threadId"],
        reviewer=row["identifier"],
        created_at=row["createdAt"],
        updated_at=row["updatedAt"],
    )
