"""Reads the credentials of an `Authorization` header (RFC 6750)."""


def bearer_token(header: str) -> str | None:
    """The token of a header `Bearer TOKEN`; None for another scheme."""
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
