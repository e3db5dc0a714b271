"""A minimal Chainlit app that streams: no data layer, nothing stored, each token sent immediately."""

import os

import chainlit as cl
from openai import AsyncOpenAI

client = AsyncOpenAI()
model = os.environ["OPENAI_MODELS"]


@cl.on_message
async def answer(message: cl.Message) -> None:
    reply = cl.Message(content="")
    stream = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": message.content}], stream=True
    )
    async for part in stream:
        if part.choices and (token := part.choices[0].delta.content):
            await reply.stream_token(token)
    await reply.update()
