"""Make `import chainlit` cheaper by what nothing here calls.

Chainlit imports `literalai`, the client of a hosted service, for the names of its record types. `literalai` imports
`traceloop.sdk`, which imports pandas, NumPy and the instrumentation of every language model there is: more than half
of the time and of the memory of `import chainlit` (ADR 0021). `literalai` itself uses one name of it, the class
`Traceloop`, when a client of the service is made or a step is recorded with it.

The stand-in is that name. It loads the real package the first time that anything of it is used, so nothing is lost to
whoever does use it. It can only be put in place before Chainlit is imported: `threadkeeper serve` does, while
`chainlit run app.py` has imported Chainlit before it reads a line of ours, and starts as slowly as before.
"""

import importlib
import os
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_SDK = "traceloop.sdk"


class StandIn(ModuleType):
    """The module `traceloop.sdk` until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # The import system asks for these, and what it asks for is no use of the package.
            raise AttributeError(f"the stand-in of {_SDK} has no {name}")
        return getattr(_real(), name)


class _UntilUsed(type):
    def __getattr__(cls, name: str) -> Any:
        return getattr(_real().Traceloop, name)


class _Traceloop(metaclass=_UntilUsed):
    """The class `Traceloop`, whose methods are all called on the class itself."""


def put_stand_in() -> bool:
    """Put the stand-in in the place of `traceloop.sdk`, and say whether that was done.

    It is not done with LITERAL_API_KEY set, which says that the service is used, nor once the real package is imported.
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
