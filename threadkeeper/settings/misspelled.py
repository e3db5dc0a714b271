"""Finds misspelled names of settings.

They are warnings, not errors, because `.env` can also hold variables of other programs. In the environment, only
variables that start with `THREADKEEPER_` are checked.
"""

import difflib
import os

from threadkeeper.settings.fetch_headers import PREFIX
from threadkeeper.settings.settings import Settings, names_in_env_file

# A name of Chainlit's that looks like one of ours.
_OF_CHAINLIT = {"CHAINLIT_PARENT_ROOT_PATH"}
_OWN_NAME = "THREADKEEPER_"
_CHAINLITS_NAME = "CHAINLIT_"
# The similarity of OPENAI_MODEL to OPENAI_MODELS is above this; that of each of Chainlit's variables to ours is below.
_ALIKE = 0.8
_ALIKE_AT_ALL = 0.6


def misspelled_names() -> list[str]:
    """One sentence per unknown name, with the most similar setting if there is one. Values are never included.

    Raises:
        SettingsError: the `.env` file cannot be read.
    """
    known = [name.upper() for name in Settings.model_fields]
    own = (name for name in os.environ if name.startswith(_OWN_NAME))
    sentences = []
    for name in sorted({*names_in_env_file(), *own}.difference(known, _OF_CHAINLIT)):
        if name.startswith(PREFIX):
            continue
        plain = name.removeprefix(_OWN_NAME)
        is_own = plain != name
        # The prefix that all of Chainlit's variables share would make any two of them alike.
        prefix = _CHAINLITS_NAME if plain.startswith(_CHAINLITS_NAME) else ""
        names = [one.removeprefix(prefix) for one in known if one.startswith(prefix)]
        cutoff = _ALIKE_AT_ALL if is_own else _ALIKE
        if near := difflib.get_close_matches(plain.removeprefix(prefix), names, n=1, cutoff=cutoff):
            sentences.append(f"Unknown setting {name}. Did you mean {prefix}{near[0]}?")
        elif is_own:
            sentences.append(f"Unknown setting {name}.")
    return sentences
