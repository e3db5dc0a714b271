"""What DynamoDB and its SDK refuse, as the errors of this library."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from datalayer.errors import ConnectionLost, DataLayerError, InvalidRecord, SchemaError, StorageUnavailable, TimedOut

TRANSPORT_ERRORS = (ClientError, BotoCoreError, OSError)
"""What a call to DynamoDB raises if it fails."""

_BUSY_REASONS = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_TOO_LARGE = ("item size", "expression size")


class ConditionFailed(Exception):
    """A write met other data than it expects; nothing was stored. `at` has the places of the refused actions."""

    def __init__(self, at: frozenset[int]) -> None:
        super().__init__("a condition is not met")
        self.at = at


class Busy(StorageUnavailable):
    """DynamoDB asks to repeat the call later."""


class NotPermitted(StorageUnavailable):
    """The credentials may not make this call."""


class InUse(StorageUnavailable):
    """The table is being created, changed or deleted."""


_Refusal = tuple[type[DataLayerError], str]
_REFUSALS: dict[str, _Refusal] = {
    **dict.fromkeys(
        (
            *("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"),
            *("TransactionConflictException", "TransactionInProgressException", "ReplicatedWriteConflictException"),
            *("InternalServerError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException", "503"),
        ),
        (Busy, "DynamoDB is busy ({code})"),
    ),
    "ResourceNotFoundException": (
        SchemaError,
        "the DynamoDB table {table!r} does not exist in this account and region, or is still being created: `migrate` "
        "of the data layer creates it (docs/dynamodb.md)",
    ),
    "ResourceInUseException": (
        InUse,
        "the DynamoDB table {table!r} is being created, changed or deleted: try again later",
    ),
    **dict.fromkeys(
        ("AccessDeniedException", "AccessDenied", "KMSAccessDeniedException"),
        (
            NotPermitted,
            "the credentials may not call {operation} for the DynamoDB table {table!r} ({code}): docs/dynamodb.md "
            "lists the permissions",
        ),
    ),
    **dict.fromkeys(
        (
            *("UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "ExpiredToken"),
            *("MissingAuthenticationToken", "MissingAuthenticationTokenException"),
            *("IncompleteSignature", "IncompleteSignatureException"),
        ),
        (
            StorageUnavailable,
            "DynamoDB does not accept the credentials ({code}): check whether they are right and have not expired",
        ),
    ),
    **dict.fromkeys(
        ("InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired"),
        (
            StorageUnavailable,
            "DynamoDB does not accept the signature ({code}): check AWS_SECRET_ACCESS_KEY and this machine's clock",
        ),
    ),
}
_UNKNOWN: _Refusal = (StorageUnavailable, "DynamoDB refused the request ({code})")


def translated(error: Exception, *, table: str, timeout_seconds: float) -> DataLayerError:
    """The error of this library for a failed call.

    Raises:
        ConditionFailed: a condition of a write is not met.
    """
    if isinstance(error, ClientError):
        return _refusal(error, table)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StorageUnavailable("the credentials for DynamoDB are missing or incomplete: set AWS_ACCESS_KEY_ID")
    if isinstance(error, ReadTimeoutError | TimeoutError):
        return TimedOut(f"DynamoDB gave no answer within {timeout_seconds} seconds")
    return ConnectionLost(f"DynamoDB cannot be reached now ({type(error).__name__})")


def _refusal(error: ClientError, table: str) -> DataLayerError:
    details = error.response.get("Error", {})
    code, message = details.get("Code", ""), details.get("Message", "")
    if code == "ConditionalCheckFailedException":
        raise ConditionFailed(frozenset({0})) from None
    if code == "TransactionCanceledException":
        return _cancellation(error)
    if code in ("ValidationException", "ItemCollectionSizeLimitExceededException"):
        return _invalid(message)
    kind, sentence = _REFUSALS.get(code, _UNKNOWN)
    return kind(sentence.format(code=code, table=table, operation=error.operation_name))


def _cancellation(error: ClientError) -> DataLayerError:
    given = error.response.get("CancellationReasons", ())
    reasons = [str(reason.get("Code")) for reason in given]
    if _BUSY_REASONS.intersection(reasons):
        return Busy("another write is changing the same items")
    if failed := frozenset(at for at, reason in enumerate(reasons) if reason == "ConditionalCheckFailed"):
        raise ConditionFailed(failed) from None
    messages = {str(reason["Message"]) for reason in given if reason.get("Message")}
    return _invalid("; ".join(sorted(messages)) or ", ".join(sorted({*reasons} - {"None"})))


def _invalid(message: str) -> InvalidRecord:
    if any(one in message.lower() for one in _TOO_LARGE):
        return InvalidRecord(f"the record is too large for DynamoDB: an item has at most 400 KB ({message[:200]})")
    return InvalidRecord(f"DynamoDB refuses the record: {message[:200]}")
