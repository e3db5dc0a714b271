"""The regular expressions by which an operator says which models a price is for.

They are matched against names of models in the middle of a chat, on the event loop. So one whose matching could take
long is refused when it is written down: an expression may only choose so often.
"""

import re
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

from datalayer.errors import InvalidRecord

LONGEST_PATTERN = 200
LONGEST_NAME = 200
"""No longer name is matched by anything."""

_MOST_WAYS = 10**7
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)
_PLAIN = (
    *(_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN, _constants.CATEGORY, _constants.RANGE),
    _constants.AT,
)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The expression, to be used with `fullmatch`; the case does not matter.

    Raises:
        InvalidRecord: it is none, or matching it could take too long.
    """
    if not pattern or len(pattern) > LONGEST_PATTERN:
        raise InvalidRecord(f"a pattern has 1 to {LONGEST_PATTERN} characters")
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
        ways = _ways(_parser.parse(pattern, re.IGNORECASE))
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidRecord(f"the pattern {pattern!r} is no regular expression ({error})") from None
    if ways > _MOST_WAYS:
        raise InvalidRecord(f"the pattern {pattern!r} could take too long: it may repeat freely three times at most")
    return compiled


def _ways(parsed: Any) -> int:
    """How many ways there are at most to match a text of `LONGEST_NAME` characters: the product of all choices.

    Raises:
        InvalidRecord: it cannot be told, as a choice may be made anew each time round.
    """
    ways = 1
    for operation, argument in parsed:
        if operation in _PLAIN:
            continue
        if operation is _constants.SUBPATTERN:
            ways *= _ways(argument[-1])
        elif operation is _constants.BRANCH:
            ways *= sum(_ways(branch) for branch in argument[1])
        elif operation in _REPEATS:
            least, most, repeated = argument
            inside = _ways(repeated)
            if most == least:
                ways *= inside ** min(most, LONGEST_NAME)
            elif inside == 1:
                ways *= min(most, LONGEST_NAME) - min(least, LONGEST_NAME) + 1
            elif most == 1:
                ways *= inside + 1
            else:
                raise InvalidRecord("a pattern may not repeat what itself repeats or chooses")
        else:
            raise InvalidRecord("a pattern may not look around or back")
        if ways > _MOST_WAYS:
            return ways
    return ways
