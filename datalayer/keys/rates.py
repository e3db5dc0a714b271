"""SQL of rates: one statement takes an amount from what a key may use a minute, or refuses it.

The generic cell rate algorithm. An empty rate holds the amount of one minute and fills evenly. An amount larger than
that is allowed when nothing is taken, and is then waited off: the mean is kept, and no call is impossible.
"""

from sqlalchemy import Float, case, literal, true
from sqlalchemy.ext.asyncio import AsyncConnection

from datalayer.dialects import Dialect
from datalayer.records.keys import Rate, RateKind
from datalayer.schema.keys import api_key_rates

_MINUTE = 60.0
# The two readings of the clock for a new row differ by less.
_CLOCK_SECONDS = 0.001


async def take(
    connection: AsyncConnection,
    dialect: Dialect,
    key_id: str,
    kind: RateKind,
    *,
    amount: int,
    per_minute: int,
    is_owed: bool = False,
) -> Rate:
    """Take the amount from the rate of this key, if it allows it, or in any case if it is owed."""
    seconds = amount * _MINUTE / per_minute
    needed = min(seconds, _MINUTE)
    table, takes = api_key_rates.c, literal(seconds, Float)
    statement = dialect.insert(api_key_rates).values(
        keyId=key_id, kind=kind, askedAt=dialect.clock, fullAt=dialect.clock + takes, wasTaken=True
    )
    # Every value of the statement is computed from the row as it was, and from one reading of the clock.
    now = statement.excluded.askedAt
    begins = case((table.fullAt > now, table.fullAt), else_=now)
    is_allowed = true() if is_owed else begins + needed <= now + _MINUTE
    statement = statement.on_conflict_do_update(
        index_elements=[table.keyId, table.kind],
        set_={
            "askedAt": now,
            "fullAt": case((is_allowed, begins + takes), else_=table.fullAt),
            "wasTaken": is_allowed,
        },
    ).returning(table.askedAt, table.fullAt, table.wasTaken)
    asked_at, full_at, was_taken = (await connection.execute(statement)).one()
    taken = max(full_at - asked_at, 0.0)
    return Rate(
        allowed=was_taken,
        limit=per_minute,
        remaining=max(0, int((_MINUTE - taken + _CLOCK_SECONDS) * per_minute / _MINUTE)),
        retry_after=0.0 if was_taken else max(taken + needed - _MINUTE, 0.0),
        reset_after=taken,
    )
