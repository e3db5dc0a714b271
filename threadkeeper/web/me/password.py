"""A new password from a form, which has it twice."""

from threadkeeper.login.passwords import LONGEST_PASSWORD, SHORTEST_PASSWORD, Passwords, Refused
from threadkeeper.web.pages.failures import InvalidInput
from threadkeeper.web.pages.forms import Posted


async def new_password(form: Posted, passwords: Passwords) -> str:
    """The hash of the password in the fields `password` and `again`.

    Raises:
        InvalidInput: the two differ, or the password breaks a rule.
    """
    password = form.secret("password", longest=LONGEST_PASSWORD)
    if password != form.secret("again", longest=LONGEST_PASSWORD):
        raise InvalidInput("password_differs")
    try:
        return await passwords.hash(password)
    except Refused:
        raise InvalidInput("password_short", least=SHORTEST_PASSWORD, most=LONGEST_PASSWORD) from None
