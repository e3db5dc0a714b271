"""A Chainlit chat that keeps its history in the SQLite file chat.db of the working directory.

Log in with any name and the password "demo".
"""

import chainlit as cl

import datalayer

layer = datalayer.create_data_layer("sqlite:///chat.db")
cl.data_layer(lambda: layer)
# Creates the schema, or upgrades it after an update of the library.
cl.on_app_startup(layer.migrate)


@cl.password_auth_callback
def log_in(name: str, password: str) -> cl.User | None:
    return cl.User(name) if password == "demo" else None


@cl.on_chat_start
async def greet() -> None:
    await cl.Message("Hello. I repeat what you write.").send()


@cl.on_chat_resume
async def resume(thread: object) -> None:
    """Without this hook Chainlit offers no past threads. The page shows the stored messages by itself."""


@cl.on_message
async def answer(message: cl.Message) -> None:
    async with cl.Step("counting", type="tool") as step:
        step.output = f"{len(message.content.split())} words"
    await cl.Message(f"You wrote: {message.content}").send()
