"""Finds the current branch of a conversation, and what branches off it. Every message is in one of the two.

Exports have parents that do not exist, several roots, and cycles: a message whose parent cannot be followed is a root.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from threadkeeper.importing.model import Conversation, Message

_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Group:
    """A question that the current branch does not have and what answers it, or answers of another branch.

    `question` is None for answers. `replaces` is the question of the current branch that has another wording here;
    `is_of_wording` tells that the group belongs to the branch of such a wording.
    """

    turn: int
    question: Message | None
    is_of_wording: bool
    replaces: Message | None = None
    messages: list[Message] = field(default_factory=list)
    at: datetime = _FIRST

    @property
    def whole(self) -> list[Message]:
        """The question, if there is one, and the messages."""
        return self.messages if self.question is None else [self.question, *self.messages]


@dataclass(frozen=True, slots=True)
class Tree:
    """The current branch, cut into turns, and the groups of the other branches, in the order of their times.

    A turn begins with a question; the first one has none if the conversation begins with an answer.
    """

    turns: list[list[Message]]
    groups: list[Group]


def tree_of(conversation: Conversation) -> Tree:
    """The tree of the visible messages."""
    messages = _unique(conversation.messages)
    by_id = {one.id: one for one in messages}
    followed = {one.parent for one in messages}
    for one in messages:
        if one.kind == "question" and one.id not in followed and not one.text.strip() and not one.files:
            # It was never asked, or its words were deleted: the chat would offer to try it again.
            one.kind = "hidden"
    parents = _visible_parents(messages, by_id)
    visible = [one for one in messages if one.kind != "hidden"]
    path = _path(_current(conversation, visible, by_id, parents), by_id, parents)
    on_path = {one.id for one in path}
    children: dict[str | None, list[Message]] = defaultdict(list)
    for one in visible:
        parent = parents[one.id]
        children[parent].append(one)
    for siblings in children.values():
        siblings.sort(key=lambda one: one.at or _FIRST)
    turns, turn_of = _turns(path)
    groups: list[Group] = []
    for before, after in zip([None, *path], [*path, None], strict=True):
        turn = turn_of[before.id] if before is not None else 0
        for child in children[before.id if before is not None else None]:
            if child.id not in on_path:
                groups += _groups(child, after, turn, turn_of, children)
    # Other wordings come before other answers to the current one, which begins when they end.
    groups.sort(key=lambda one: (one.turn, not one.is_of_wording, one.at))
    return Tree(turns, groups)


def _unique(messages: Sequence[Message]) -> list[Message]:
    """The messages, each with an id of its own; of those with the same one, the first keeps it."""
    seen: set[str] = set()
    # The number that each id was given last: counting from the start each time would take its square.
    last: dict[str, int] = {}
    for one in messages:
        given = one.id
        while one.id in seen:
            last[given] = last.get(given, 1) + 1
            one.id = f"{given}#{last[given]}"
        seen.add(one.id)
    return list(messages)


def _visible_parents(messages: Sequence[Message], by_id: dict[str, Message]) -> dict[str, str | None]:
    """The nearest visible message before each one; None for a root, and where a cycle would begin."""
    rooted = _without_cycles(messages, by_id)
    found: dict[str, str | None] = {}
    for one in messages:
        # Walked up to what is known, so that a long chain of hidden messages is walked once.
        way = [one.id]
        parent = rooted[one.id]
        while parent is not None and by_id[parent].kind == "hidden" and parent not in found:
            way.append(parent)
            parent = rooted[parent]
        if parent is not None and by_id[parent].kind == "hidden":
            parent = found[parent]
        for step in way:
            found[step] = parent
    return found


def _without_cycles(messages: Sequence[Message], by_id: dict[str, Message]) -> dict[str, str | None]:
    """The parent of each message, or None where it does not exist or closes a cycle."""
    rooted: dict[str, str | None] = {}
    for one in messages:
        way: dict[str, None] = {}
        at: str | None = one.id
        while at is not None and at not in rooted:
            if at in way:
                # The message with which the walk began is as good a root as another.
                rooted[at] = None
                break
            way[at] = None
            parent = by_id[at].parent
            at = parent if parent in by_id else None
        for step in way:
            parent = by_id[step].parent
            rooted.setdefault(step, parent if parent in by_id else None)
    return rooted


def _current(
    conversation: Conversation, visible: Sequence[Message], by_id: dict[str, Message], parents: dict[str, str | None]
) -> str | None:
    """The last visible message of the current branch: the one that is named, or the newest one without a follower."""
    named = by_id.get(conversation.current or "")
    last = None if named is None else named.id if named.kind != "hidden" else parents[named.id]
    if last is not None:
        return last
    followed = {parents[one.id] for one in visible}
    leaves = [(one.at or _FIRST, place, one.id) for place, one in enumerate(visible) if one.id not in followed]
    return max(leaves)[2] if leaves else None


def _path(last: str | None, by_id: dict[str, Message], parents: dict[str, str | None]) -> list[Message]:
    path = []
    while last is not None:
        path.append(by_id[last])
        last = parents[last]
    return path[::-1]


def _turns(path: Sequence[Message]) -> tuple[list[list[Message]], dict[str, int]]:
    turns: list[list[Message]] = []
    turn_of: dict[str, int] = {}
    for one in path:
        if one.kind == "question" or not turns:
            turns.append([])
        turns[-1].append(one)
        turn_of[one.id] = len(turns) - 1
    return turns, turn_of


def _groups(
    root: Message,
    after: Message | None,
    turn: int,
    turn_of: dict[str, int],
    children: dict[str | None, list[Message]],
) -> list[Group]:
    """The groups of one branch: `after` is what the current branch has in the place of its root."""
    replaces = after if after is not None and after.kind == root.kind == "question" else None
    if replaces is not None:
        turn = turn_of[replaces.id]
    groups = []
    starts = [(root, _FIRST, replaces)]
    while starts:
        start, then, replaced = starts.pop()
        group = Group(
            turn,
            start if start.kind == "question" else None,
            replaces is not None,
            replaced,
            at=max(start.at or then, then),
        )
        groups.append(group)
        nodes = [start]
        while nodes:
            node = nodes.pop()
            if node is not group.question:
                group.messages.append(node)
            for child in reversed(children[node.id]):
                if child.kind == "question":
                    starts.append((child, max(node.at or group.at, group.at), None))
                else:
                    nodes.append(child)
    return groups
