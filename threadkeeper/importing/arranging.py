"""Makes a thread of a conversation, as the chat itself stores one: questions, runs, thoughts, tools and answers.

The current branch becomes the steps. The other branches become versions, as an edit of a question keeps what it
replaces (`conversation/versions.py`): other wordings are "edited", all else is "removed". Which version belongs to
which question is told by the times alone. So the times of the current branch are kept exactly, and a time of another
branch that lies outside of its turn is moved into it.
"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from datalayer import Feedback, ImportedFile, ImportedThread, Step, StepVersion, Thread
from datalayer.cleaning import clean_text, clean_time
from datalayer.organizing.organizing import LONGEST_TAG, MOST_TAGS
from datalayer.thought import THOUGHT, THOUGHT_NAME, THOUGHT_TYPE
from threadkeeper.importing.files import Opener, element_of
from threadkeeper.importing.model import Conversation, Earlier, Message
from threadkeeper.importing.sources import with_links
from threadkeeper.importing.tree import Group, tree_of

NAMESPACE = uuid.UUID("0f0b7f7e-5c0c-5c1e-9d3e-6d7a0c1b8e55")
IMPORTED = "imported"
"""The key in the metadata of a thread or a step that says where it comes from."""
LONGEST_TITLE = 200
_ANSWERER = "Assistant"
_RUN = "on_message"
_TICK = timedelta(microseconds=1)
_PAUSE = timedelta(milliseconds=1)
"""Between messages without a time of their own."""
_LONGEST_SECONDS = 7 * 86_400.0
"""A thought or a run of a tool that takes longer is a mistake in the file; its time is left out."""


class Ids:
    """Ids that depend on the source, the user and the ids of the source alone, so that twice is once."""

    def __init__(self, source: str, user_id: str, conversation_id: str) -> None:
        self._name = f"{source}\n{user_id}\n{conversation_id}"
        self.thread = str(uuid.uuid5(NAMESPACE, self._name))

    def of(self, kind: str, *names: str) -> str:
        return str(uuid.uuid5(NAMESPACE, "\n".join((self._name, kind, *names))))


def arrange(
    conversation: Conversation, source: str, opener: Opener, *, user_id: str, identifier: str, now: datetime
) -> ImportedThread:
    """The thread of the conversation.

    Args:
        source: the name of its format.
        opener: opens the files of the messages.
        user_id, identifier: of the user who gets it.
        now: the time of a conversation that has none.
    """
    ids = Ids(source, user_id, conversation.id)
    return _Arrangement(conversation, source, ids, opener, identifier=identifier, now=now).made()


class _Arrangement:
    def __init__(
        self, conversation: Conversation, source: str, ids: Ids, opener: Opener, *, identifier: str, now: datetime
    ) -> None:
        self._conversation, self._source, self._ids, self._identifier = conversation, source, ids, identifier
        self._opener = opener
        self._tree = tree_of(conversation)
        times = [one.at for one in conversation.messages if one.at is not None]
        self._begin = min(times, default=conversation.created_at or conversation.updated_at or now)
        self._end = max(times, default=self._begin)
        self._steps: list[Step] = []
        self._versions: list[StepVersion] = []
        self._votes: list[Feedback] = []
        self._files: list[ImportedFile] = []

    def made(self) -> ImportedThread:
        conversation = self._conversation
        groups: list[list[Group]] = [[] for _ in self._tree.turns]
        for group in self._tree.groups:
            groups[group.turn].append(group)
        begins = self._begins(groups)
        before = self._begin - _PAUSE
        for at, turn in enumerate(self._tree.turns):
            before = self._add_turn(turn, begins[at], before)
        for at, others in enumerate(groups):
            self._add_versions(others, begins[at], begins[at + 1] if at + 1 < len(begins) else None)
        self._versions += (self._earlier_version(one) for one in conversation.earlier)
        created = conversation.created_at or self._begin
        about: dict[str, Any] = {"from": self._source, "id": conversation.id}
        updated = _text(max(conversation.updated_at or self._end, created))
        tags = (clean_text(tag).strip()[:LONGEST_TAG] for tag in conversation.tags)
        return ImportedThread(
            Thread(
                self._ids.thread,
                created_at=_text(created),
                updated_at=updated,
                # A thread is either archived or pinned.
                archived_at=updated if conversation.is_archived else None,
                pinned_at=updated if conversation.is_pinned and not conversation.is_archived else None,
                name=self._title(),
                user_identifier=self._identifier,
                tags=[*dict.fromkeys(filter(None, tags))][:MOST_TAGS] or None,
                metadata={IMPORTED: about},
            ),
            tuple(self._steps),
            tuple(self._versions),
            tuple(self._votes),
            tuple(self._files),
        )

    def _title(self) -> str:
        title = self._conversation.title.strip()
        if not title:
            first = (one.text.strip() for turn in self._tree.turns for one in turn if one.kind == "question")
            title = next((one.splitlines()[0] for one in first if one), "")
        return clean_text(title)[:LONGEST_TITLE]

    def _begins(self, groups: list[list[Group]]) -> list[datetime]:
        """When each turn began: with the first wording of its question, as in a thread whose question was edited."""
        begins = []
        before = self._begin - _PAUSE
        for turn, others in zip(self._tree.turns, groups, strict=True):
            wordings = [turn[0], *(one.question for one in others if one.replaces is turn[0] and one.question)]
            times = [one.at for one in wordings if one.at is not None]
            begins.append(max(min(times, default=before + _PAUSE), before + _TICK))
            before = begins[-1] + _TICK
            for one in turn[1:] if turn[0].kind == "question" else turn:
                before = _after(before, one)
        return begins

    def _add_turn(self, turn: list[Message], begin: datetime, before: datetime) -> datetime:
        """Add the steps of a turn; returns the time of its last one."""
        rest = turn
        run = self._ids.of("run", turn[0].id)
        asked = None
        if turn[0].kind == "question":
            question, rest = turn[0], turn[1:]
            asked = self._ids.of("message", question.id)
            reworded = question.at is not None and question.at > begin
            self._steps.append(
                Step(
                    asked,
                    self._ids.thread,
                    self._identifier,
                    "user_message",
                    output=question.text,
                    created_at=_text(begin),
                    start=_text(begin),
                    end=_text(begin),
                    updated_at=_text(question.at) if question.at and reworded else None,
                    metadata=self._facts(question),
                )
            )
            self._add_files(question, asked)
        before = begin + _TICK
        if not rest:
            return before
        place = len(self._steps)
        run_at = before
        last_answer = next((one for one in reversed(rest) if one.kind == "answer"), None)
        for one in rest:
            before = _after(before, one)
            self._add_step(one, run, before)
            self._add_vote(one, run if one is last_answer else self._ids.of("message", one.id))
        self._steps.insert(
            place,
            Step(
                run,
                self._ids.thread,
                _RUN,
                "run",
                parent_id=asked,
                output="",
                created_at=_text(run_at),
                start=_text(run_at),
                end=_text(before),
                metadata={},
            ),
        )
        return before

    def _add_step(self, one: Message, run: str, at: datetime) -> None:
        step_id = self._ids.of("message", one.id)
        facts = self._facts(one)
        fields: dict[str, Any] = {}
        # Of infinity and of what is no number, too.
        seconds = one.seconds if one.seconds is not None and 0 <= one.seconds < _LONGEST_SECONDS else None
        end = at + timedelta(seconds=seconds or 0.0)
        match one.kind:
            case "thought":
                fields = {"show_input": "false", "default_open": False, "auto_collapse": False}
                facts |= {"status": THOUGHT, "icon": "brain"}
                if seconds is not None:
                    facts["seconds"] = seconds
            case "tool":
                fields = {"input": one.input, "is_error": one.is_error, "show_input": "true" if one.input else None}
            case _:
                fields = {"is_error": one.is_error}
                facts |= {"status": "error" if one.is_error else one.status}
                if one.model:
                    facts["model"] = one.model
        self._steps.append(
            Step(
                step_id,
                self._ids.thread,
                self._name(one),
                _type(one),
                parent_id=run,
                output=_said(one),
                created_at=_text(at),
                start=_text(at),
                end=_text(end),
                metadata=facts,
                **fields,
            )
        )
        self._add_files(one, step_id)

    def _add_versions(self, groups: list[Group], begin: datetime, limit: datetime | None) -> None:
        """Add the groups of one turn, each in its own stretch of the time between this turn's question and the next."""
        at = begin + _TICK
        stretches: list[list[datetime]] = []
        for group in groups:
            stretch = []
            for one in group.whole:
                at = _within(at, one.at, limit)
                stretch.append(at)
            stretches.append(stretch)
        # Each is replaced when the next one begins.
        ends = [*(stretch[0] for stretch in stretches), at + _TICK][1:]
        for group, stretch, end in zip(groups, stretches, ends, strict=True):
            self._add_group(group, [_text(one) for one in stretch], _text(end))

    def _add_group(self, group: Group, times: list[str], replaced_at: str) -> None:
        run = self._ids.of("run", group.whole[0].id)
        for one, at in zip(group.whole, times, strict=True):
            is_wording = one is group.question and group.replaces is not None
            step_id = self._ids.of("message", (group.replaces if is_wording and group.replaces else one).id)
            output = f"{one.input}\n\n{one.text}".strip() if one.kind == "tool" else _said(one)
            self._versions.append(
                StepVersion(
                    step_id,
                    "edited" if is_wording else "removed",
                    _type(one),
                    self._name(one),
                    clean_text(output),
                    at,
                    replaced_at,
                    None if one.kind == "question" else run,
                )
            )
            self._add_files(one, step_id)
            self._add_vote(one, step_id)

    def _earlier_version(self, one: Earlier) -> StepVersion:
        about = Message(one.message_id, None, one.kind, vote=one.vote)
        self._add_vote(about, self._ids.of("message", one.message_id))
        return StepVersion(
            self._ids.of("message", one.message_id),
            "edited" if one.is_edit else "removed",
            _type(about),
            self._name(about),
            clean_text(one.text),
            _text(one.at) if one.at else None,
            _text(one.replaced_at),
            self._ids.of("run", one.run) if one.run else None,
        )

    def _name(self, one: Message) -> str:
        names = {"question": self._identifier, "thought": THOUGHT_NAME, "tool": one.name or "tool"}
        return clean_text(names.get(one.kind, _ANSWERER))

    def _facts(self, one: Message) -> dict[str, Any]:
        """The metadata of a step: what has no place of its own."""
        about: dict[str, Any] = {"id": one.id}
        if one.sources:
            about["sources"] = [{"url": source.url, "title": source.title} for source in one.sources]
        missing = [file.name for file in one.files if file.is_missing]
        if missing:
            about["missing_files"] = missing
        return {IMPORTED: about}

    def _add_files(self, one: Message, step_id: str) -> None:
        for at, file in enumerate(one.files):
            if not file.is_missing:
                element_id = self._ids.of("file", one.id, str(at), file.id)
                self._files.append(element_of(file, element_id, self._ids.thread, step_id, self._opener))

    def _add_vote(self, one: Message, on: str) -> None:
        if one.vote is not None and one.kind == "answer":
            at = one.vote.at or one.at or self._end
            vote_id = self._ids.of("vote", one.id)
            self._votes.append(Feedback(vote_id, on, one.vote.value, comment=one.vote.comment, updated_at=_text(at)))


def _said(one: Message) -> str:
    return with_links(one.text, one.sources) if one.kind == "answer" else one.text


def _type(one: Message) -> str:
    kinds = {"question": "user_message", "thought": THOUGHT_TYPE, "tool": "tool"}
    return kinds.get(one.kind, "assistant_message")


def _after(before: datetime, one: Message) -> datetime:
    """The time of this message, which comes after another one."""
    return max(one.at or before + _PAUSE, before + _TICK)


def _within(before: datetime, at: datetime | None, limit: datetime | None) -> datetime:
    """The time of a message of another branch: its own if it lies within its turn and after what came before."""
    fits = at is not None and at > before and (limit is None or at < limit)
    return at if fits and at is not None else before + _TICK


def _text(at: datetime) -> str:
    found = clean_time(at.astimezone(UTC), "time of an imported message")
    assert found is not None
    return found
