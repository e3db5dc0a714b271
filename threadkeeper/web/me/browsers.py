"""Names the browser and the operating system of a User-Agent header. For display only: the header can be faked."""

from threadkeeper.web.pages.sentences import Say


def browser_name(agent: str | None, say: Say) -> str:
    """The name as in "Firefox on Linux", without versions: browsers no longer report the system's correctly."""
    from ua_parser import parse_os, parse_user_agent  # noqa: PLC0415  loads a table

    browser, system = parse_user_agent(agent or ""), parse_os(agent or "")
    if browser and system:
        return say("agent", browser=browser.family, system=system.family)
    found = browser or system
    return found.family if found else say("agent_unknown")
