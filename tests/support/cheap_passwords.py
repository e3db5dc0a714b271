"""Argon2 at the least cost. At the cost that a server uses, each login takes 0.2 s of CPU time.

Forked programs and the users that the tests add to them use it; `start_server(SERVE)` and `tests/unit/test_accounts.py`
use the cost of a server.
"""

import functools

import argon2

CHEAP_HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def hash_cheaply() -> None:
    """From now on, new password hashers of this process have the least cost."""
    cheap = functools.partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    setattr(argon2, "PasswordHasher", cheap)  # noqa: B010  a type checker refuses a function in place of a class
