"""Options of HTTP clients for servers on loopback."""

import ssl
from typing import Any

# Without a context, a client reads every certificate authority of the machine, which takes 15 ms.
PLAIN_HTTP: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
