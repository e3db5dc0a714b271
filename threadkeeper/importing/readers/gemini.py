"""Google Takeout of Gemini: `My Activity`, as JSON, newest first: a question and its answer a record, and no chats.

Each record becomes a thread, or each day. The names of folders, the header and the words before a question are in the
language of the account: the words are those with which most titles begin.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import PurePosixPath
from typing import Any

from threadkeeper.importing.files import entry_attachment
from threadkeeper.importing.model import Attachment, BadConversation, Conversation, Message, Read, Unreadable
from threadkeeper.importing.package import LARGEST_RECORD, BadPackage, Package, Shape
from threadkeeper.importing.reasons import Reason
from threadkeeper.importing.values import each, items, mapping, moment, text

_ENGLISH = "Prompted "
_SAMPLE = 300
_FEWEST = 4
_MOST_OF = 0.8
# Of a message or a file besides its texts, about.
_BYTES_EACH = 1000
_BEFORE_COLON = re.compile(r"[^:：]+[:：]\s*")
_END_OF_WORDS = re.compile(r".*[\s:：]", re.DOTALL)


@dataclass(frozen=True)
class Gemini:
    """`by_day`: one thread for each day (UTC) instead of one for each record."""

    by_day: bool = False
    source: str = "gemini"

    def recognizes(self, shape: Shape) -> bool:
        return {"item.title", "item.time", "item.safeHtmlItem"} <= shape

    def read(self, package: Package, entries: list[str]) -> Iterator[Read]:
        for entry in entries:
            read = partial(_conversation, package, _words(package, entry))
            found = each(package, entry, "item", read)
            yield from _days(found) if self.by_day else found


def _words(package: Package, entry: str) -> str:
    """The words with which the titles of questions begin."""
    titles: list[str] = []
    try:
        records = map(mapping, islice(package.records(entry), _SAMPLE))
        titles.extend(text(record.get("title")) for record in records if "safeHtmlItem" in record)
    except BadPackage:
        # What can be read is read again below, and the rest is named there.
        pass
    words = common_words(titles)
    if len(titles) >= _FEWEST:
        return words
    # A few titles may begin alike by chance, but hardly up to a colon.
    before_colon = _BEFORE_COLON.match(words) if len(titles) > 1 and not words.startswith(_ENGLISH) else None
    return before_colon[0] if before_colon else _ENGLISH


def common_words(titles: Sequence[str]) -> str:
    """The words with which most of the titles begin, up to a space or a colon."""
    begin, alike = "", list(titles)
    while alike:
        letters = Counter(title[len(begin)] for title in alike if len(title) > len(begin))
        if not letters:
            break
        letter, count = letters.most_common(1)[0]
        if count < _MOST_OF * len(titles):
            break
        begin += letter
        alike = [title for title in alike if title[len(begin) - 1 : len(begin)] == letter]
    found = _END_OF_WORDS.match(begin)
    return found[0] if found else ""


def _conversation(package: Package, words: str, given: Any) -> Conversation:
    record = mapping(given)
    title, at = text(record.get("title")), moment(record.get("time"))
    if not title:
        raise BadConversation("import_reason_no_question")
    own_id = f"{text(record.get('time'))} {hashlib.sha256(title.encode('utf-8', 'replace')).hexdigest()[:16]}"
    found = Conversation(own_id, created_at=at, updated_at=at)
    answers = [text(mapping(one).get("html")) for one in items(record.get("safeHtmlItem"))]
    if not title.startswith(words) and not answers:
        # Something that was made or rated, not a question.
        found.left_out["other_activity"] += 1
        return found
    question = Message(f"{own_id}/question", None, "question", title.removeprefix(words).strip(), at)
    question.files = tuple(_files(package, record))
    found.messages.append(question)
    if answers:
        said = "\n\n".join(filter(None, map(_markdown, answers)))
        found.messages.append(Message(f"{own_id}/answer", question.id, "answer", said))
    return found


def _days(found: Iterator[Read]) -> Iterator[Read]:
    """The conversations of each day as one."""
    times: Counter[str] = Counter()
    for day, group in groupby(found, _day):
        if not day:
            yield from group
            continue
        times[day] += 1
        listed: list[Read] = []
        size = 0
        for one in group:
            size += _size(one)
            # What is too large is read to its end, and not kept.
            if size <= LARGEST_RECORD:
                listed.append(one)
            else:
                listed.clear()
        if size > LARGEST_RECORD:
            yield Unreadable(day, Reason("import_reason_large_day", {"most": LARGEST_RECORD // 1024**2}))
            continue
        # An export that is not sorted has a day in several places.
        whole = Conversation(day if times[day] == 1 else f"{day} #{times[day]}", day)
        of_day = [one for one in listed if isinstance(one, Conversation)]
        # Newest first in the export.
        for one in sorted(of_day, key=lambda one: (one.created_at is not None, one.created_at)):
            for message in one.messages:
                if message.kind == "question" and whole.messages:
                    message.parent = whole.messages[-1].id
                whole.messages.append(message)
            whole.left_out += one.left_out
        if whole.messages:
            whole.current = whole.messages[-1].id
        yield whole


def _size(one: Read) -> int:
    """About the bytes of a conversation in memory."""
    messages = one.messages if isinstance(one, Conversation) else ()
    return _BYTES_EACH + sum(len(said.text) + _BYTES_EACH * (1 + len(said.files)) for said in messages)


def _day(one: Read) -> str:
    """The day of a conversation; "" if it has no time or could not be read."""
    return one.created_at.date().isoformat() if isinstance(one, Conversation) and one.created_at else ""


def _markdown(answer: str) -> str:
    from markdownify import markdownify  # noqa: PLC0415  takes a tenth of a second, and only this format needs it

    return str(markdownify(answer, heading_style="ATX", bullets="-")).strip()


def _files(package: Package, record: Mapping[str, Any]) -> Iterator[Attachment]:
    given = (record.get(key) for key in ("imageFile", "attachedFiles", "audioFiles"))
    for at, file in enumerate(one for value in given for one in (items(value) or [value])):
        name = text(file) or text(mapping(file).get("name")) or text(mapping(file).get("fileName"))
        if name:
            base = PurePosixPath(name).name
            entry = package.by_base_name.get(base)
            yield entry_attachment(package, f"{at}", base, entry) if entry else Attachment(f"{at}", base)
