"""Exports of reviewed threads: conversations, preference pairs, and examples for fine-tuning.

Each export is a stream of dictionaries, thread by thread, whose memory does not grow with the number of threads. A
thread without a record leaves no row in the audit; the row of every other thread is stored before its first record is
in the stream, for several small threads at once. With a key, user names are replaced by pseudonyms that are the same in
every export with that key; texts are exported unchanged.
"""

import hashlib
import hmac
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.database import Database
from datalayer.history import thread_reads
from datalayer.history.answers import ANSWER, is_whole
from datalayer.history.removed_answers import QUESTION
from datalayer.history.thread_reads import WholeThread
from datalayer.ownership import Actor
from datalayer.records.review import AnswerFilter, StepVersion, Verdict, Vote
from datalayer.review import access, audit, copies
from datalayer.review import thread as review_thread
from datalayer.review.copies import BetterRun
from datalayer.review.filters import chosen, threads_with_words
from datalayer.schema.chat import threads
from datalayer.schema.review import answers
from datalayer.thought import THOUGHT_TYPE, speech_of

_AT_ONCE = 20
# Characters of the records that wait for the audit rows of their threads.
_LARGEST_BATCH = 1_000_000
_ROLES = {QUESTION: "user", ANSWER: "assistant", "system_message": "system"}

Name = Callable[[str | None], str | None]


@dataclass(frozen=True)
class Talk:
    """A thread to export, with its votes, verdicts, versions and usage, and the answers that match the filter."""

    whole: WholeThread
    surroundings: Mapping[str, Any]
    better: Mapping[str, Sequence[BetterRun]]
    """The better answers from its copies, by the answer that they improve."""
    wanted: frozenset[str]
    name: Name
    bad_labels: frozenset[str]

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        """The steps with a text of a user, the assistant or the system, without thought that was stored with it."""
        said = [_without_thought(step) for step in self.whole.steps if step["type"] in _ROLES]
        return [step for step in said if step["output"]]

    @cached_property
    def versions(self) -> list[StepVersion]:
        """The earlier versions of messages, without thought that was stored with them."""
        return [
            replace(one, output=speech_of(one.output)) if one.type == ANSWER and one.output else one
            for one in self.surroundings["versions"]
            if one.type != THOUGHT_TYPE
        ]

    @cached_property
    def ids(self) -> frozenset[str]:
        return frozenset(step["id"] for step in self.messages)

    @cached_property
    def run_of(self) -> dict[str, str]:
        """The run of each answer that is the last one in its run; votes and calls of the run count for that answer."""
        last = {step["parentId"]: step["id"] for step in self.messages if step["type"] == ANSWER and step["parentId"]}
        return {step_id: run_id for run_id, step_id in last.items()}

    def verdicts_on(self, step_id: str) -> list[Verdict]:
        """Oldest first."""
        return [one for one in self.surroundings["verdicts"] if one.step_id == step_id]

    def better_than(self, at: int) -> tuple[str, str] | None:
        """The latest better answer for this message, from a verdict or a copy, and before it the source.

        Left out are answers from copies in which the question was changed, and answers equal to the given one.
        """
        step, question = self.messages[at], self._question_before(at)
        found = [(one.updated_at or "", "verdict", one.better_answer) for one in self.verdicts_on(step["id"])]
        runs = self.better.get(step["id"], ())
        found += [(run.linked_at, "run", run.answer) for run in runs if run.question == question]
        texts = [(when, source, speech_of(answer or "")) for when, source, answer in found]
        given = [(when, source, answer) for when, source, answer in texts if answer and answer != step["output"]]
        return max(given)[1:] if given else None

    def is_example(self, at: int) -> bool:
        """Whether this message may be a training example: a complete answer without a thumb down or a bad verdict."""
        step = self.messages[at]
        voted = (step["id"], self.run_of.get(step["id"]))
        is_down = any(one.value == 0 and one.step_id in voted for one in self.surroundings["votes"])
        is_bad = any(one.label in self.bad_labels for one in self.verdicts_on(step["id"]))
        return is_whole(step) and not is_down and not is_bad

    def better_than_removed(self, removed: StepVersion) -> tuple[str, str] | None:
        """The better answer of the latest verdict that gives one, for an answer that was removed from the thread."""
        given = (
            []
            if removed.step_id in self.ids
            else [one for one in self.verdicts_on(removed.step_id) if one.better_answer]
        )
        return ("verdict", max((one.updated_at or "", one.better_answer or "") for one in given)[1]) if given else None

    def said_before(self, removed: StepVersion) -> list[Mapping[str, Any]]:
        """The messages before an answer that was removed from the thread, as they were when it was given."""
        moment = removed.created_at or ""
        texts: list[tuple[str, str, str, Mapping[str, Any]]] = [
            (step["createdAt"] or "", step["id"], "9999", step) for step in self.messages
        ]
        texts += [
            (one.created_at or "", one.step_id, one.replaced_at, {"type": one.type, "output": one.output})
            for one in self.versions
            if one.replaced_at > moment
        ]
        # Latest first, so that of several versions of one message the one replaced first stays in the dictionary.
        latest_first = sorted(texts, key=lambda one: one[:3], reverse=True)
        remaining = {step_id: step for created, step_id, _, step in latest_first if created < moment}
        return [*reversed(remaining.values())]

    def _question_before(self, at: int) -> str | None:
        before = reversed(self.messages[:at])
        return next((step["output"] for step in before if step["type"] == QUESTION), None)


Form = Callable[[Talk], Iterator[dict[str, Any]]]


async def export(
    database: Database,
    which: AnswerFilter,
    form: Form,
    *,
    actor: Actor,
    pseudonym_key: bytes | None,
    purpose: str | None,
    bad_labels: Collection[str],
) -> AsyncIterator[dict[str, Any]]:
    """Apply the form to each thread that has an answer that matches the filter."""
    name, details = pseudonyms(pseudonym_key), audit.export_details(form.__name__)

    async def noted(batch: _Batch) -> list[dict[str, Any]]:
        """The records of the batch, after the audit rows of the threads that begin in it are stored."""
        records, owner_of = batch.take()
        if owner_of:
            async with database.write() as connection:
                reviewer = await access.demand(connection, actor)
                subjects = [(thread_id, owner) for thread_id, owner in owner_of.items() if owner != reviewer.id]
                await audit.note(connection, "export", reviewer.identifier, subjects, purpose=purpose, details=details)
        return records

    async with database.read() as connection:
        # The actor of the call: another user may be acting when the stream is read.
        await access.demand(connection, actor)
        # Looked up once for the whole export, and without the maximum that holds for a page of the inbox.
        among = await threads_with_words(connection, database, which)
    which, after = replace(which, words=None), None
    while among is None or among:
        async with database.read() as connection:
            await access.demand(connection, actor)
            page = await _page(connection, database, which, _next(after, among))
        batch = _Batch()
        for thread_id, owner_id, wanted in page:
            whole = await thread_reads.get(database, thread_id)
            if whole is None:
                continue
            async with database.read() as connection:
                about = await review_thread.surroundings(connection, thread_id)
                better = await copies.better_runs(connection, thread_id)
            for at, one in enumerate(form(Talk(whole, about, better, wanted, name, frozenset(bad_labels)))):
                if at == 0:
                    batch.begin(thread_id, owner_id)
                if batch.add(one):
                    for ready in await noted(batch):
                        yield ready
        for ready in await noted(batch):
            yield ready
        if among is not None:
            del among[:_AT_ONCE]
        elif len(page) < _AT_ONCE:
            return
        else:
            after = page[-1][0]


class _Batch:
    """Records that wait for the audit rows of their threads."""

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self._owner_of: dict[str, str | None] = {}
        self._characters = 0

    def begin(self, thread_id: str, owner_id: str | None) -> None:
        """The next record is the first one of this thread."""
        self._owner_of[thread_id] = owner_id

    def add(self, record: dict[str, Any]) -> bool:
        """Add a record; gives whether the batch is full."""
        self._records.append(record)
        self._characters += _characters(record)
        return self._characters >= _LARGEST_BATCH

    def take(self) -> tuple[list[dict[str, Any]], dict[str, str | None]]:
        """Empty the batch; gives its records, and the owners of the threads that began in it."""
        taken = self._records, self._owner_of
        self._records, self._owner_of, self._characters = [], {}, 0
        return taken


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 0


def pseudonyms(key: bytes | None) -> Name:
    """A function that maps identifiers to pseudonyms (a keyed hash); without a key, to themselves."""

    def name(identifier: str | None) -> str | None:
        if identifier is None or key is None:
            return identifier
        return "user-" + hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:20]

    return name


def conversation(talk: Talk) -> Iterator[dict[str, Any]]:
    """The whole thread, with the votes and verdicts on each answer. The keys are listed in `export_conversations`."""
    thread, run_of = talk.whole.thread, talk.run_of
    usage = {one.step_id: one for one in talk.surroundings["usage"]}
    messages = []
    for step in talk.messages:
        message: dict[str, Any] = {
            "id": step["id"],
            "role": _ROLES[step["type"]],
            "content": step["output"],
            "created_at": step["createdAt"],
        }
        if step["type"] == ANSWER:
            called = usage.get(step["id"]) or usage.get(run_of.get(step["id"], ""))
            message |= {
                "model": (called.model if called else None) or (step["metadata"] or {}).get("model"),
                "assistant": called.assistant if called else None,
                "is_error": bool(step["isError"]),
                "votes": [
                    _vote(vote, talk.name)
                    for vote in talk.surroundings["votes"]
                    if vote.step_id in (step["id"], run_of.get(step["id"]))
                ],
                "verdicts": [_verdict(one, talk.name) for one in talk.verdicts_on(step["id"])],
            }
        messages.append(message)
    yield {
        "id": thread.id,
        "user": talk.name(thread.user_identifier),
        "name": thread.name,
        "created_at": thread.created_at,
        "tags": thread.tags or [],
        "assistant": (thread.metadata or {}).get("chat_profile"),
        "messages": messages,
    }


def pairs(talk: Talk) -> Iterator[dict[str, Any]]:
    """A preference pair for each matching answer that has a better one. The keys are listed in `export_pairs`.

    An answer that was removed because its question was edited is paired with the better answer of a verdict. An answer
    that the user regenerated for the same question is paired with the one in the thread now.
    """
    messages, versions = talk.messages, talk.versions
    for at, step in enumerate(messages):
        better = talk.better_than(at) if step["id"] in talk.wanted else None
        if better is not None:
            yield _pair(talk, messages[:at], step["id"], better, step["output"])
    times = [step["createdAt"] or "" for step in messages]
    reworded: dict[str, str] = {}
    for one in versions:
        if one.change == "edited":
            reworded[one.step_id] = max(one.replaced_at, reworded.get(one.step_id, ""))
    removed_versions = [one for one in versions if one.change == "removed"]
    asked_then = [(one.created_at or "", one.replaced_at) for one in removed_versions if one.type == QUESTION]
    for removed in removed_versions:
        if removed.type != ANSWER:
            continue
        better = talk.better_than_removed(removed) if removed.step_id in talk.wanted else None
        if better is not None and better[1] != removed.output:
            yield _pair(talk, talk.said_before(removed), removed.step_id, better, removed.output)
        moment = removed.created_at or ""
        at = bisect_left(times, moment) - 1
        if at < 0 or messages[at]["type"] != QUESTION or at + 1 == len(messages):
            continue
        # Both answer the same question: no other question stood between then, and this one was not edited since.
        is_other = any(times[at] < asked < moment < removed_at for asked, removed_at in asked_then)
        is_reworded = reworded.get(messages[at]["id"], "") > moment
        now = messages[at + 1]
        is_better = now["type"] == ANSWER and now["id"] in talk.wanted and talk.is_example(at + 1)
        if not is_other and not is_reworded and is_better and now["output"] != removed.output:
            yield _pair(talk, messages[: at + 1], now["id"], ("retry", now["output"]), removed.output)


def fine_tuning(talk: Talk) -> Iterator[dict[str, Any]]:
    """The thread up to its last example, as a chat for fine-tuning, with better answers in place of the given ones.

    An example is a matching answer that has a better one, or that is complete and has neither a thumb down nor a bad
    verdict. Other complete answers are context, with a weight of 0; incomplete ones are left out.
    """
    messages = talk.messages
    better = {at: talk.better_than(at) for at, step in enumerate(messages) if step["type"] == ANSWER}
    examples = {at for at in better if messages[at]["id"] in talk.wanted and (better[at] or talk.is_example(at))}
    if not examples:
        return
    conversation: list[dict[str, Any]] = []
    for at, step in enumerate(messages[: max(examples) + 1]):
        message: dict[str, Any] = {"role": _ROLES[step["type"]], "content": step["output"]}
        if at in better:
            if better[at] is None and not is_whole(step):
                continue
            message["content"] = (better[at] or ("", step["output"]))[1]
            message["weight"] = int(at in examples)
        conversation.append(message)
    yield {"messages": conversation}


def _without_thought(step: dict[str, Any]) -> dict[str, Any]:
    return {**step, "output": speech_of(step["output"])} if step["type"] == ANSWER and step["output"] else step


def _next(after: str | None, among: Sequence[str] | None) -> ColumnElement[bool]:
    """A condition for the next threads: the first of the known ids, or the ids after the last exported one."""
    if among is not None:
        return answers.c.threadId.in_(among[:_AT_ONCE])
    return true() if after is None else answers.c.threadId > after


async def _page(
    connection: AsyncConnection, database: Database, which: AnswerFilter, where: ColumnElement[bool]
) -> list[tuple[str, str | None, frozenset[str]]]:
    """The next threads: the thread's id, its owner's id, and the ids of the answers that match the filter."""
    condition = (await chosen(connection, database, which)).condition
    some = select(answers.c.threadId).where(condition, where).distinct().order_by(answers.c.threadId).limit(_AT_ONCE)
    ids = (await connection.execute(some)).scalars().all()
    wanted = select(answers.c.threadId, answers.c.stepId).where(condition, answers.c.threadId.in_(ids))
    found: dict[str, set[str]] = {thread_id: set() for thread_id in ids}
    for thread_id, step_id in await connection.execute(wanted):
        found[thread_id].add(step_id)
    owners = await connection.execute(select(threads.c.id, audit.OWNER_ID).where(threads.c.id.in_(ids)))
    owner_of = {row[0]: row[1] for row in owners}
    return [(thread_id, owner_of.get(thread_id), frozenset(steps)) for thread_id, steps in found.items()]


def _pair(
    talk: Talk, before: Sequence[Mapping[str, Any]], step_id: str, better: tuple[str, str], rejected: str
) -> dict[str, Any]:
    return {
        "thread_id": talk.whole.thread.id,
        "step_id": step_id,
        "user": talk.name(talk.whole.thread.user_identifier),
        "source": better[0],
        "prompt": [{"role": _ROLES[step["type"]], "content": step["output"]} for step in before],
        "chosen": better[1],
        "rejected": rejected,
        "verdicts": [_verdict(one, talk.name) for one in talk.verdicts_on(step_id)],
    }


def _vote(vote: Vote, name: Name) -> dict[str, Any]:
    return {
        "user": name(vote.user),
        "value": vote.value,
        "comment": vote.comment,
        "reasons": [*vote.reasons],
        "updated_at": vote.updated_at,
    }


def _verdict(one: Verdict, name: Name) -> dict[str, Any]:
    return {
        "reviewer": name(one.reviewer),
        "label": one.label,
        "reasons": [*one.reasons],
        "note": one.note,
        "better_answer": one.better_answer,
        "updated_at": one.updated_at,
    }
