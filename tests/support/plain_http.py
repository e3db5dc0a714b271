"""How servers on loopback are asked over plain HTTP."""

import ssl
from typing import Any

# A client reads every certificate authority of the machine, which takes 15 ms, unless it is given a context.
PLAIN_HTTP: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
