#!/usr/bin/env bash
# Guess: `config_overrides` of a chat profile hold for a session with this profile: a profile that allows files, sound or
#   MCP makes the page offer them, and the server take them.
# True: the page gets the overrides, the session of the server does not. Its constructor asks for the profiles by
#   `run_until_complete`, which a running event loop refuses, and the error is dropped: the session has the
#   configuration of everybody, and the coroutine of the profiles is never awaited.
# For a chat like ours: a profile that allows files shows the button, and each upload is refused. Set features for all
#   profiles, and differ in what the profile does with them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check chainlit==2.12.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
import warnings
from importlib.metadata import version

import chainlit as cl
from chainlit.config import ChainlitConfigOverrides, FeaturesSettings, SpontaneousFileUploadFeature, config
from chainlit.session import WebsocketSession

warnings.simplefilter("always")
ALLOWED = FeaturesSettings(spontaneous_file_upload=SpontaneousFileUploadFeature(enabled=True))
config.features.spontaneous_file_upload = SpontaneousFileUploadFeature(enabled=False)


@cl.set_chat_profiles
async def profiles(user, language=None):
    overrides = ChainlitConfigOverrides(features=ALLOWED)
    return [cl.ChatProfile(name="with files", markdown_description="Takes files.", config_overrides=overrides)]


async def main():
    # As the page's settings are made, and as a connecting socket makes its session.
    (profile,) = await config.code.set_chat_profiles(None, "en")
    page = config.with_overrides(profile.config_overrides)
    with warnings.catch_warnings(record=True) as caught:
        session = WebsocketSession(
            id="a", socket_id="b", emit=None, emit_call=None, user_env={}, client_type="webapp",
            chat_profile="with files", environ={},
        )
        enabled = session.get_config().features.spontaneous_file_upload.enabled
    return page.features.spontaneous_file_upload.enabled, enabled, [str(one.message) for one in caught]


page, session, complaints = asyncio.run(main())
print("chainlit", version("chainlit"))
print("guess: files are allowed on the page: True, and in its session: True")
print(f"seen:  files are allowed on the page: {page}, and in its session: {session};", *complaints)
if (page, session) != (True, False) or not any("never awaited" in one for one in complaints):
    sys.exit("The behaviour has changed.")
PY
