"""Reads a form field by field, and keeps what was typed together with a sentence for each field that is not valid."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from datalayer.cleaning import clean_time
from threadkeeper.web.pages.failures import InvalidInput
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Posted
from threadkeeper.web.pages.periods import instant
from threadkeeper.web.pages.sentences import Say


class Fields:
    """The fields of a posted form.

    Args:
        form: the form.
        say: the reader's language, in which numbers are written.
        names: of the fields.
        longest: the most characters of a field.

    Raises:
        InvalidInput: a field is too long.
    """

    def __init__(self, form: Posted, say: Say, names: Sequence[str], *, longest: int = 2_000) -> None:
        self.say = say
        self.values = {name: form.one(name, longest=longest).strip() for name in names}
        self.problems: dict[str, str] = {}

    @property
    def filled(self) -> Filled:
        """The form as it is shown again."""
        return Filled(self.values, self.problems)

    def refuse(self, name: str, sentence: str) -> None:
        """Show this sentence at the field. The first sentence of a field stays."""
        self.problems.setdefault(name, sentence)

    def text(self, name: str) -> str:
        """The text of a field that must have one."""
        if not self.values[name]:
            self.refuse(name, self.say("bad_missing"))
        return self.values[name]

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of the choices."""
        value = self.values[name]
        if value not in choices:
            self.refuse(name, self.say("bad_choice", value=value[:60]))
        return value

    def amount(self, name: str, *, most: Decimal, is_needed: bool = True) -> Decimal | None:
        """The number from 0 in a field, as the reader's language writes it; None if it is empty or not valid."""
        text = self.values[name]
        if not text:
            if is_needed:
                self.text(name)
            return None
        try:
            amount = Posted([(name, text)]).amount(name, self.say.language)
        except InvalidInput as error:
            self.refuse(name, self.say(error.sentence, **error.values))
            return None
        if not 0 <= amount <= most:
            self.refuse(name, self.say("bad_number", value=text, least=0, most=most))
            return None
        return amount

    def day(self, name: str, zone: ZoneInfo, *, is_end: bool = False, is_needed: bool = True) -> str | None:
        """The begin (or the end) of the day in a field, as it is stored; None if the field is empty or not valid."""
        text = self.values[name]
        if not text:
            if is_needed:
                self.text(name)
            return None
        try:
            moment: datetime = instant(text, zone, is_end=is_end)
        except InvalidInput as error:
            self.refuse(name, self.say(error.sentence, **error.values))
            return None
        return clean_time(moment, "time")
