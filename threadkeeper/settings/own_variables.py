"""Which environment variables are the server's own, and so never the key of a provider.

Admins choose the variable of a provider's key, and the address to which it is sent. With any variable, they could read
the secrets of the server: by CHAINLIT_AUTH_SECRET, everyone's logins are signed.
"""

# Pages need this, and do not load the settings. A test compares the two.
_SETTINGS = frozenset(
    {
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS"),
        *("AZURE_OPENAI_API_KEY", "OPENAI_API_KEY", "KNOWLEDGE_EMBEDDING_API_KEY"),
        *("BLOB_URL", "DATABASE_URL", "DATABASE_READ_URL"),
        *("METRICS_TOKEN", "REVIEW_PSEUDONYM_KEY"),
    }
)
_OF_LIBRARIES = ("CHAINLIT_", "KNOWLEDGE_HEADER_", "LITERAL_", "OAUTH_", "OTEL_", "PGPASS")
"""How the variables begin that other parts of the server read, and none of which is the key of a model provider."""
_OF_AZURE = frozenset({"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_PASSWORD"})


def is_own_variable(name: str) -> bool:
    """Whether this variable has a secret of the server, or of a library that it uses."""
    # The address of a proxy may have a password. These names are valid in small letters too.
    is_proxy = name.upper().endswith("_PROXY")
    return is_proxy or name in _SETTINGS or name in _OF_AZURE or name.startswith(_OF_LIBRARIES)
