"""The reader's time zone. `static/pages.js` sets its name in a cookie."""

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Request

from threadkeeper.web.pages.dependencies import Pages

ZONE_COOKIE = "time_zone"


def zone_of(name: str, default: str) -> ZoneInfo:
    """The time zone of this name, else the default, else UTC."""
    for known in (name, default):
        try:
            return ZoneInfo(known)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return ZoneInfo("UTC")


async def _zone(request: Request, pages: Pages) -> ZoneInfo:
    return zone_of(request.cookies.get(ZONE_COOKIE, ""), pages.time_zone)


Zone = Annotated[ZoneInfo, Depends(_zone)]
