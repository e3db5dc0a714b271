#!/usr/bin/env bash
# Guess: when a person stops an agent while its tool runs, the memory that the framework keeps has the question and what was
#   done, or nothing of it, and the next question is answered.
# True: three frameworks, three memories. LangChain's agent with a checkpointer keeps the call without its result, and each
#   later question goes out behind it, which OpenAI refuses ("must be followed by tool messages"): the thread never answers
#   again. A tool that raises leaves the same. The session of OpenAI's Agents SDK keeps the question alone, so that the
#   model is never told of a call that has taken effect. Pydantic AI adds a result of its own, which says that the call was
#   interrupted, and goes on.
# For a chat like ours: Stop in Chainlit cancels the task, and so does a closed page or a time-out. With the first, answer
#   the open calls in the state before the next question; with the second, note in the session what the tool did.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check langchain==1.5.2 langgraph==1.2.24 \
  langchain-openai==1.7.4 openai-agents==0.24.0 'pydantic-ai-slim[openai]==2.68.0' openai==3.57.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import openai
from agents import Agent as OpenAIAgent
from agents import OpenAIChatCompletionsModel, Runner, SQLiteSession, function_tool, set_tracing_disabled
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from pydantic_ai import Agent, capture_run_messages
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

set_tracing_disabled(disabled=True)
CALL = {"id": "call_1", "type": "function", "function": {"name": "refund", "arguments": '{"order": "1067"}'}}
FIRST, LATER = "Refund order 1067.", "What is the postage?"
requests = []


def reply(messages):
    """As OpenAI: calls without their results are refused. The model calls the tool when a refund is asked for."""
    for message, following in zip(messages, [*messages[1:], {"role": None}]):
        if message.get("tool_calls") and following["role"] != "tool":
            text = "An assistant message with 'tool_calls' must be followed by tool messages"
            return 400, {"error": {"message": text, "type": "invalid_request_error", "code": None, "param": None}}
    answer = {"role": "assistant", "content": "Five euros."}
    if messages[-1]["content"] == FIRST:
        answer = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    choice = {"index": 0, "message": answer, "finish_reason": "tool_calls" if "tool_calls" in answer else "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return 200, {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"])
        status, body = reply(requests[-1])
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
ADDRESS = {"api_key": "none", "base_url": f"http://127.0.0.1:{server.server_port}/v1"}
refunded = asyncio.Event()


async def refund(order: str) -> str:
    """Refunds an order."""
    refunded.set()
    # The money is on its way; now the tool waits for a letter to be sent.
    await asyncio.Event().wait()
    return "refunded"


async def stopped(run):
    refunded.clear()
    task = asyncio.create_task(run)
    await refunded.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def langchain():
    agent = create_agent(ChatOpenAI(model="m", **ADDRESS), [tool(refund)], checkpointer=InMemorySaver())

    def ask(text):
        return agent.ainvoke({"messages": [("user", text)]}, {"configurable": {"thread_id": "1"}})

    return ask, ask


async def agents():
    model = OpenAIChatCompletionsModel("m", openai.AsyncOpenAI(**ADDRESS))
    agent, session = OpenAIAgent(name="shop", tools=[function_tool(refund)], model=model), SQLiteSession("1")

    def ask(text):
        return Runner.run(agent, text, session=session)

    return ask, ask


async def pydantic():
    agent, history = Agent(OpenAIChatModel("m", provider=OpenAIProvider(**ADDRESS)), tools=[refund]), []

    async def begin(text):
        with capture_run_messages() as messages:
            try:
                await agent.run(text)
            finally:
                history.extend(messages)

    return begin, lambda text: agent.run(text, message_history=history)


async def outcome(framework):
    """For each of two later questions, whether it is answered, and the roles in the last request."""
    begin, go_on = await framework()
    await stopped(begin(FIRST))
    answered = []
    for _ in range(2):
        try:
            await go_on(LATER)
        except openai.BadRequestError:
            answered.append("refused")
        else:
            answered.append("answered")
    return answered, [message["role"] for message in requests[-1]], requests[-1]


async def main():
    return {name: await outcome(work) for name, work in (("langchain", langchain), ("agents", agents), ("pydantic", pydantic))}


seen = asyncio.run(main())
print(*(f"{name} {version(name)}" for name in ("langchain", "langgraph", "openai-agents", "pydantic-ai-slim")))
print("guess: all answer the two questions after the stop, and tell the model the same of the call")
for name, (answered, roles, _) in seen.items():
    print(f"seen:  {name}: {', '.join(answered)}; the last request has {', '.join(roles)}")
results = [message["content"] for message in seen["pydantic"][2] if message["role"] == "tool"]
print("seen:  pydantic: the result is", *results)
if (
    [answered for answered, _, _ in seen.values()] != [["refused"] * 2, ["answered"] * 2, ["answered"] * 2]
    or seen["langchain"][1] != ["user", "assistant", "user", "user"]
    or any(message.get("tool_calls") for message in seen["agents"][2])
    or len(results) != 1
):
    sys.exit("The behaviour has changed.")
PY
