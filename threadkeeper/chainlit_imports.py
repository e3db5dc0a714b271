"""Makes `import chainlit` cheaper by a stand-in for a package that this application does not call.

Chainlit imports `literalai`, the client of a hosted service, for the names of its record types. `literalai` imports
`traceloop.sdk`, which imports pandas, NumPy and instrumentation of many language models: more than half of the time and
memory of `import chainlit` (ADR 0021). `literalai` uses one name of it, the class `Traceloop`, when a client of the
service is created or records a step.

The stand-in has that name. It loads the real package at the first use of a method of the class or of another name, so
that an application that uses the service still works. It must be installed before Chainlit is imported. `threadkeeper
serve` does that. `chainlit run app.py` imports Chainlit before our code runs, and starts as slowly as before.
"""

import importlib
import os
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_SDK = "traceloop.sdk"


class StandIn(ModuleType):
    """The module `traceloop.sdk` until one of its names is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # The import system asks for these names; that is not a use of the package.
            raise AttributeError(f"the stand-in of {_SDK} has no {name}")
        return getattr(_real(), name)


class _UntilUsed(type):
    def __getattr__(cls, name: str) -> Any:
        return getattr(_real().Traceloop, name)


class _Traceloop(metaclass=_UntilUsed):
    """The class `Traceloop`, whose methods are called on the class itself."""


def put_stand_in() -> bool:
    """Install the stand-in for `traceloop.sdk`; returns whether it was installed.

    It is not installed if LITERAL_API_KEY is set, because the service is then used, or if the real package is already
    imported.
    """
    if os.environ.get("LITERAL_API_KEY") or _SDK in sys.modules or find_spec("traceloop") is None:
        return False
    stand_in = StandIn(_SDK, f"A stand-in: see {__name__}.")
    stand_in.Traceloop = _Traceloop  # type: ignore[attr-defined]
    sys.modules[_SDK] = stand_in
    return True


def _real() -> ModuleType:
    if isinstance(sys.modules.get(_SDK), StandIn):
        del sys.modules[_SDK]
    return importlib.import_module(_SDK)
