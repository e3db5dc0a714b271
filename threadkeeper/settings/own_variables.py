"""Which environment variables are the server's own, and so never the key of a provider.

Admins choose the variable of a provider's key, and the address to which it is sent. With any variable, they could read
the secrets of the server: by CHAINLIT_AUTH_SECRET, everyone's logins are signed.
"""

from threadkeeper.settings.settings import Settings

_OF_LIBRARIES = ("CHAINLIT_", "KNOWLEDGE_HEADER_", "LITERAL_", "OAUTH_", "OTEL_", "PGPASS")
"""How the variables begin that other parts of the server read, and none of which is the key of a model provider."""
_OF_AZURE = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_PASSWORD")


def is_own_variable(name: str) -> bool:
    """Whether this variable is a setting of the server, or a secret of a library that it uses."""
    return name.lower() in Settings.model_fields or name.startswith(_OF_LIBRARIES) or name in _OF_AZURE
