"""The browser and the system that a User-Agent names, in words.

What a browser says of itself is its own business: it is shown, and nothing is decided by it.
"""

from ua_parser import parse_os, parse_user_agent

from threadkeeper.web.pages.shell import Say


def described(agent: str | None, say: Say) -> str:
    """As in "Firefox on Linux". Versions are left out: browsers do not tell the system's truly any more."""
    browser, system = parse_user_agent(agent or ""), parse_os(agent or "")
    if browser and system:
        return say("agent", browser=browser.family, system=system.family)
    found = browser or system
    return found.family if found else say("agent_unknown")
