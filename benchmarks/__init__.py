"""How fast the data layer is, beside Chainlit's own two layers and beside the least that the work can cost.

`make bench` measures and writes `docs/benchmarks.md`. Milliseconds belong to one machine and one hour; the ratios to
the floor, measured in the same minute on the same server, are what is promised.

`measure` has what depends on the size of the history. What does not is a module of its own whose `section` gives a
`sections.Section`: its part of the page, and its rows of the table of budgets. `run` lists them all.
"""

import tests as _tests  # noqa: F401  gives Chainlit a folder of its own, before it is imported
