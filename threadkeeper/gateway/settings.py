"""What the operator configures of the gateway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`zone`, `keep_payloads` and `redact` are as in `MeteredModel`.

    `megabytes`: the largest request. `seconds`: the longest wait for the first byte of a provider, and between two.
    """

    zone: str = "UTC"
    keep_payloads: bool = True
    redact: Callable[[str], str] = lambda text: text
    megabytes: int = 100
    seconds: float = 600.0
