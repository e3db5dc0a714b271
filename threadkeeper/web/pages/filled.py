"""A form as it is shown, empty or with what was typed and a sentence for each field that is not valid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Filled:
    """The text of each field, the sentence for each field that is not valid, and all texts of a name, as of boxes."""

    values: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def text(self, name: str, otherwise: str = "") -> str:
        """The text of a field; another one if nothing was typed yet."""
        return self.values.get(name, otherwise)

    def has_problem(self, *names: str) -> bool:
        """Whether one of these fields is not valid."""
        return any(name in self.problems for name in names)

    def has_chosen(self, name: str, value: str) -> bool:
        """Whether the box of this name and value was checked."""
        return value in self.texts.get(name, ())

    def over(self, other: "Filled") -> "Filled":
        """The fields and sentences of both; those of this form where both have one."""
        return Filled(
            {**other.values, **self.values}, {**other.problems, **self.problems}, {**other.texts, **self.texts}
        )


EMPTY = Filled()
