"""Makes `import chainlit` cheaper by stand-ins for packages that this application does not call.

`traceloop.sdk`: Chainlit imports `literalai`, the client of a hosted service, for the names of its record types.
`literalai` imports `traceloop.sdk`, which imports pandas, NumPy and instrumentation of many language models: more than
half of the time and memory of `import chainlit` (ADR 0021). `literalai` uses one name of it, the class `Traceloop`,
when a client of the service is created or records a step.

`aiohttp` and `requests`: Chainlit imports `socketio`, which imports the clients of Engine.IO beside the server, and
with them both packages. The import of `aiohttp` also reads the certificates of the system twice. Only the clients,
which nothing here creates, use them.

`httpx._main`: the command line of `httpx`, which imports Rich and Pygments. `httpx` imports it for one function.

`mcp`: Chainlit names its class `ClientSession` in annotations, and imports the package again, in a function, when a
user connects an MCP server. The package imports a whole server of its own: a seventh of the CPU time of the start.

A stand-in loads the real package at the first use, so that an application that uses the package still works; that of
`mcp` is there until Chainlit is imported. The stand-ins must be installed before Chainlit is imported.
`threadkeeper serve` does that. `chainlit run app.py` imports Chainlit before our code runs, and starts as slowly as
before.
"""

import importlib
import os
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_SDK = "traceloop.sdk"
_CLIENTS = ("aiohttp", "requests")
_COMMAND_LINE = "httpx._main"
_MCP = "mcp"


class StandIn(ModuleType):
    """A module until one of its names, or one of its submodules, is used."""

    def __getattr__(self, name: str) -> Any:
        # The import system asks for names such as `__spec__`, which is not a use. It asks for `__path__` to find a
        # submodule, which is one.
        if name.startswith("__") and name != "__path__":
            raise AttributeError(f"the stand-in of {self.__name__} has no {name}")
        return getattr(_real(self.__name__), name)


class _UntilUsed(type):
    def __getattr__(cls, name: str) -> Any:
        return getattr(_real(_SDK).Traceloop, name)


class _Traceloop(metaclass=_UntilUsed):
    """The class `Traceloop`, whose methods are called on the class itself."""


class _ClientSession:
    """A name in annotations."""


def _httpx() -> None:
    """The command `httpx`."""
    _real(_COMMAND_LINE).main()


def put_stand_ins() -> set[str]:
    """Install the stand-ins; returns the names of the modules that have one.

    A package that is already imported, or is not installed, has none; nor has `traceloop.sdk` if LITERAL_API_KEY is
    set, because the service is then used.
    """
    put = {_SDK} if put_traceloop() else set()
    for client in _CLIENTS:
        if _is_to_come(client, client):
            put.add(client)
            _put(client)
    if _is_to_come(_COMMAND_LINE, "httpx") and "httpx" not in sys.modules:
        put.add(_COMMAND_LINE)
        _put(_COMMAND_LINE, main=_httpx, __path__=[])
    if _is_to_come(_MCP, _MCP):
        put.add(_MCP)
        _put(_MCP, ClientSession=_ClientSession, __path__=[])
    return put


def put_traceloop() -> bool:
    """Install the stand-in of `traceloop.sdk` alone; returns whether it was."""
    if os.environ.get("LITERAL_API_KEY") or not _is_to_come(_SDK, "traceloop"):
        return False
    # `from traceloop.sdk import Traceloop` asks for `__path__` too, and is not a use yet.
    _put(_SDK, Traceloop=_Traceloop, __path__=[])
    return True


def chainlit_is_imported() -> None:
    """Remove the stand-in of `mcp`: whoever imports `mcp` from now on uses it."""
    if isinstance(sys.modules.get(_MCP), StandIn):
        del sys.modules[_MCP]


def _is_to_come(module: str, package: str) -> bool:
    return module not in sys.modules and find_spec(package) is not None


def _put(module: str, **names: Any) -> None:
    stand_in = StandIn(module, f"A stand-in: see {__name__}.")
    for name, value in names.items():
        setattr(stand_in, name, value)
    sys.modules[module] = stand_in


def _real(module: str) -> ModuleType:
    if isinstance(sys.modules.get(module), StandIn):
        del sys.modules[module]
    return importlib.import_module(module)
