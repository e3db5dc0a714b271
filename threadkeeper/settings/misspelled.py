"""Variables that look like a setting and are none.

They stop nothing, for `.env` may hold other programs' variables too. Of the environment, where everybody's are, only
those that bear Threadkeeper's own name are looked at.
"""

import difflib
import os

from threadkeeper.settings.settings import Settings, names_in_env_file

_OWN_NAME = "THREADKEEPER_"
# OPENAI_MODEL is more like OPENAI_MODELS than this, and no variable of Chainlit's as much like one of ours.
_ALIKE = 0.8
_ALIKE_AT_ALL = 0.6


def misspelt_names() -> list[str]:
    """A sentence for each, with the setting that is meant where one is near; never a value.

    Raises:
        SettingsError: the `.env` file cannot be read.
    """
    known = [name.upper() for name in Settings.model_fields]
    own = (name for name in os.environ if name.startswith(_OWN_NAME))
    sentences = []
    for name in sorted({*names_in_env_file(), *own}.difference(known)):
        plain = name.removeprefix(_OWN_NAME)
        is_own = plain != name
        if near := difflib.get_close_matches(plain, known, n=1, cutoff=_ALIKE_AT_ALL if is_own else _ALIKE):
            sentences.append(f"{name} is no setting: is {near[0]} meant?")
        elif is_own:
            sentences.append(f"{name} is no setting.")
    return sentences
