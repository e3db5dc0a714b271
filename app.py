"""The application: creates its parts from the settings and registers Chainlit's handlers.

Start it with `threadkeeper serve`; `chainlit run app.py` works too. The settings are read once, here.
"""

import asyncio
import gc
import logging
import os
import sys
from pathlib import Path
from typing import Any

import chainlit as cl
import chainlit.data
import chainlit.server
from chainlit.config import APP_ROOT, config

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper import metrics
from threadkeeper.chat.context.history import DEFAULT_SYSTEM_PROMPT
from threadkeeper.chat.trying_models import ModelTrial
from threadkeeper.chat.wording import say, starters
from threadkeeper.conversation.arrivals import Arrivals, ask_after_arrival
from threadkeeper.conversation.assistants import chat_profiles, keep_one_configuration
from threadkeeper.conversation.clock import DatabaseClock, date_messages
from threadkeeper.conversation.kept_exchanges import ExchangeKeeper
from threadkeeper.conversation.language import language_of_session
from threadkeeper.conversation.leaving import leave_as_user
from threadkeeper.conversation.long_waits import LongWaits
from threadkeeper.conversation.offers import ASK, CONTINUE, REGENERATE, TRY_AGAIN, VERSION
from threadkeeper.conversation.opening import open_on_any_socket
from threadkeeper.conversation.page_config import configure_page
from threadkeeper.conversation.programs import Programs
from threadkeeper.conversation.resuming import resume_on_any_socket
from threadkeeper.conversation.reviewed_answers import REVIEWED, explain_review, show_reviewed
from threadkeeper.conversation.session import Conversations
from threadkeeper.conversation.shared_threads import keep_what_is_shared
from threadkeeper.conversation.stored_messages import edit_stored_messages
from threadkeeper.conversation.usage_footer import USAGE
from threadkeeper.conversation.write_failures import show_write_failure
from threadkeeper.factories import (
    embeds_here,
    knowledge_on_demand,
    load_limits,
    model_lists,
    offered_models,
    open_blobs,
    open_model,
    open_telemetry,
    retriever,
    review_policy,
    trial,
)
from threadkeeper.gateway.routes import GatewayOnDemand, gateway_router
from threadkeeper.gateway.settings import GatewaySettings
from threadkeeper.gateway.v1.parts import V1Parts
from threadkeeper.gateway.v1.servers import model_servers
from threadkeeper.jobs.answers import register_answers
from threadkeeper.jobs.registration import dump_line, register_jobs, server_of
from threadkeeper.jobs.webhooks import register_webhooks
from threadkeeper.knowledge.fetching.hosts import url_hosts
from threadkeeper.knowledge.fetching.places import Places
from threadkeeper.login.accounts import Authenticator, ensure_admin
from threadkeeper.logs import Redaction, configure_logging
from threadkeeper.settings.cookie_secret import cookie_secret
from threadkeeper.settings.fetch_headers import fetch_headers, header_secrets
from threadkeeper.settings.misspelled import misspelled_names
from threadkeeper.settings.report import shown_settings
from threadkeeper.settings.root_path import put_root_path
from threadkeeper.settings.settings import SettingsError, load_settings, plain
from threadkeeper.settings.urls import mask_url
from threadkeeper.tracing.environment import collector_secrets
from threadkeeper.web.auth.chainlit_logins import register_logins
from threadkeeper.web.auth.gate import Gate
from threadkeeper.web.auth.keys import KeyGate
from threadkeeper.web.files import file_url
from threadkeeper.web.frontend import prepare_frontend
from threadkeeper.web.mount import mount
from threadkeeper.web.page_texts import thread_for_page
from threadkeeper.web.routers import all_routers
from threadkeeper.web.security import SecurityHeaders
from threadkeeper.web.sockets import send_directly
from threadkeeper.web.system import System
from threadkeeper.web.traced import traced

logger = logging.getLogger("threadkeeper")

try:
    settings = load_settings()
    os.environ["CHAINLIT_AUTH_SECRET"] = cookie_secret(settings)
    put_root_path(settings.chainlit_root_path)
    blobs = open_blobs(settings)
    telemetry = open_telemetry(settings)
    fetch_headers()
except (SettingsError, datalayer.ConfigurationError) as error:
    sys.exit(f"Threadkeeper cannot start: {error}")
secrets = [*settings.secret_values(), *header_secrets(), *collector_secrets(), os.environ["CHAINLIT_AUTH_SECRET"]]
configure_logging(settings.log_level, settings.log_json, secrets)
for doubt in misspelled_names():
    logger.warning("%s", doubt)

try:
    layer = datalayer.create_data_layer(
        settings.resolved_database_url,
        blobs,
        file_url=file_url,
        on_write_failure=show_write_failure,
        spool=settings.data_dir.absolute() / "spool.jsonl",
        connections=settings.database_connections,
        read_url=settings.database_read_url or None,
    )
except datalayer.ConfigurationError as error:
    places = "DATABASE_URL or DATABASE_READ_URL" if settings.database_read_url else "DATABASE_URL"
    sys.exit(f"Threadkeeper cannot start: {places}: {error}")
model = open_model(settings, layer, secrets)
knowledge = knowledge_on_demand(settings, layer, secrets)
register_jobs(layer, settings, model, knowledge)
passages = retriever(settings, layer, knowledge, model)
models = offered_models(settings, model, layer)
conversations = Conversations(layer, model, settings, passages, models)
programs, webhook_places = Programs(layer, conversations), Places(url_hosts(settings.api_webhook_hosts))
register_answers(layer, programs)
register_webhooks(layer, webhook_places)
gate, key_gate = Gate(layer), KeyGate(layer)
gateway = GatewayOnDemand(
    layer,
    GatewaySettings(
        zone=settings.usage_time_zone,
        keep_payloads=settings.usage_keep_payloads,
        redact=Redaction(secrets),
        megabytes=settings.gateway_max_megabytes,
        seconds=settings.gateway_timeout_seconds,
    ),
    key_gate,
    V1Parts(
        model_servers(settings),
        layer,
        passages,
        settings.resolved_system_prompt(DEFAULT_SYSTEM_PROMPT),
        ExchangeKeeper(layer, passages),
        models,
    ),
)
accounts = Authenticator(layer)
clock = DatabaseClock(layer)
long_waits = LongWaits(layer)
date_messages()
register_logins(layer, auth_header=settings.auth_header, authenticator=accounts)
mount(
    chainlit.server.app,
    *all_routers(
        layer,
        ask_thread=programs,
        key_gate=key_gate,
        metrics_token=plain(settings.metrics_token),
        redirect_seconds=settings.files_redirect_seconds,
        theme=Path(APP_ROOT, "public", "theme.json"),
        time_zone=settings.usage_time_zone,
        review_policy=review_policy(settings),
        assistant_owners=settings.owners_of_assistants,
        asked_reasons=settings.asked_reasons,
        offered_models=models,
        try_assistant=trial(settings, model, models, passages),
        list_models=model_lists(settings, secrets),
        try_model=ModelTrial(model, layer),
        knowledge_limits=load_limits(settings),
        knowledge_places=Places(url_hosts(settings.knowledge_url_hosts)),
        webhook_places=webhook_places,
        shown_settings=shown_settings,
        accounts=accounts,
        public_url=settings.chainlit_url,
        system=System(
            data_dir=settings.data_dir.absolute(),
            database=mask_url(settings.resolved_database_url),
            files=mask_url(settings.resolved_blob_url),
            retention_days=settings.retention_days,
            retention_every_hours=settings.retention_every_hours,
            settings=shown_settings,
            dump_line=dump_line(settings),
        ),
        chat_server=server_of(model),
    ),
    gate=gate,
    headers=SecurityHeaders(
        file_link=(lambda: blobs.signed_url("any", 60)) if settings.files_redirect_seconds else None,
        custom_elements=any(Path(APP_ROOT, "public", "elements").glob("*.jsx")),
        served_over_https=(settings.chainlit_url or "").lower().startswith("https:"),
    ),
    traces=traced if telemetry is not None else None,
    programs=gateway_router(gateway),
)
send_directly(chainlit.server.sio)
arrivals = Arrivals()
resume_on_any_socket(chainlit.server.sio, arrivals)
open_on_any_socket(chainlit.server.sio, arrivals, conversations.open_again)
ask_after_arrival(chainlit.server.sio, arrivals)
edit_stored_messages(chainlit.server.sio, arrivals, layer)
leave_as_user(chainlit.server.sio)
browsers = chainlit.server.sio.eio
# Large enough for a message with a long pasted text. The model's window limits it, with a message to the user.
browsers.max_http_buffer_size = 16_000_000
metrics.watch(queued_write_count=lambda: layer.queued_writes, open_session_count=lambda: len(browsers.sockets))
chainlit.server.build_dir = str(prepare_frontend(settings.data_dir.absolute() / "frontend"))
configure_page(settings)
keep_one_configuration()

# `chainlit run -w` runs this file again, and Chainlit would keep its first data layer.
chainlit.data._data_layer, chainlit.data._data_layer_initialized = None, False


@cl.data_layer
def data_layer() -> ChainlitLayer:
    return layer


@cl.on_app_startup
async def start() -> None:
    """Migrate the database and create the first user. A failure ends the process with one sentence."""
    doing = "the database that DATABASE_URL names"
    try:
        steps = await layer.migrate()
        if steps[:1] == ["build_schema"]:
            # A new database: whoever starts it first is to find the password that comes below.
            logger.info("the database was migrated: %s and %d more", steps[0], len(steps) - 1)
        else:
            for step in steps:
                logger.info("the database was migrated: %s", step)
        logger.info("%s", await layer.look_for_vectors())
        await clock.adjust()
        if layer.read_replica is not None:
            doing = "the standby that DATABASE_READ_URL names"
            await layer.read_replica.demand_settings()
        doing = "the store that BLOB_URL names"
        await layer.blobs.ping()
        doing = "the first user"
        if password := await ensure_admin(layer):
            print(f'\nCreated the user "admin". Sign in as admin with the password {password}\n', flush=True)  # noqa: T201
            await layer.note_first_steps("begun")
            if settings.sample_assistant and embeds_here(settings):
                await make_sample_assistant()
    except Exception as error:
        # Chainlit catches exceptions of a hook, and would continue to serve without a database.
        unforeseen = None if isinstance(error, datalayer.DataLayerError) else error
        logger.critical("Threadkeeper cannot start: %s: %s", doing, error or repr(error), exc_info=unforeseen)
        logging.shutdown()
        os._exit(1)
    # Everything imported so far lives as long as the process, so the collector need not scan it.
    gc.collect()
    gc.freeze()
    layer.run_jobs()
    clock.start()
    gateway.start()
    conversations.watch.start()
    long_waits.start()


async def make_sample_assistant() -> None:
    """Make it on the first start. The server serves without it as well."""
    from threadkeeper.knowledge.handbook import create_handbook  # noqa: PLC0415  only the first start needs it

    try:
        await create_handbook(layer, Path(__file__).parent)
    except datalayer.DataLayerError as error:
        logger.warning("the sample assistant is not whole, delete it at /assistants: %s", error)


@cl.on_app_shutdown
async def stop() -> None:
    """Stop the answers in progress, store their text so far, and hand jobs over. Then Chainlit closes the data layer,
    which stores all other queued writes."""
    clock.stop()
    long_waits.stop()
    await asyncio.gather(conversations.stop(), layer.stop_jobs(), gateway.close())
    await knowledge.close()
    if telemetry is not None:
        await telemetry.close()


@cl.on_chat_start
async def begin() -> None:
    await conversations.begin()


@cl.on_chat_resume
async def resume(thread: Any) -> None:
    if settings.review_tell_users:
        await show_reviewed(layer, thread["id"], language_of_session())
    await conversations.resume(thread)


@cl.on_message
async def answer(message: cl.Message) -> None:
    try:
        is_good = await gate.admits(getattr(cl.context.session, "token", None))
    except datalayer.DataLayerError:
        # The answer needs the same store and reports to the user that it is unavailable.
        is_good = True
    if not is_good:
        await cl.ErrorMessage(content=say("account_disabled", language_of_session())).send()
        return
    await conversations.answer(message)


@cl.on_stop
async def stopped() -> None:
    await conversations.stopped()


@cl.action_callback(REGENERATE)
@cl.action_callback(TRY_AGAIN)
async def try_again(action: cl.Action) -> None:
    await conversations.retry(action.payload.get("question_id"))


@cl.action_callback(CONTINUE)
async def continue_answer(action: cl.Action) -> None:
    await conversations.continue_answer(action.payload.get("answer_id"))


@cl.action_callback(VERSION)
async def show_version(action: cl.Action) -> None:
    await conversations.show_version(action.payload.get("question_id"), action.payload.get("to"))


@cl.action_callback(USAGE)
async def show_usage(action: cl.Action) -> None:
    await cl.context.emitter.send_toast(str(action.payload.get("details", "")), "info")


@cl.action_callback(REVIEWED)
async def show_review(_action: cl.Action) -> None:
    await explain_review()


@cl.on_settings_update
async def settings_changed(values: dict[str, Any]) -> None:
    await conversations.take_settings(values)


@cl.action_callback(ASK)
async def ask_prompt(action: cl.Action) -> None:
    await conversations.ask(action.payload.get("prompt"))


@cl.set_chat_profiles
async def offer_assistants(_user: cl.User | None, language: str | None) -> list[cl.ChatProfile]:
    return await chat_profiles(layer, language)


@cl.set_starters
async def offer_starters(_user: cl.User | None, language: str | None) -> list[cl.Starter]:
    return [cl.Starter(label=one.label, message=one.message) for one in starters(language)]


@cl.on_shared_thread_view
async def view_shared(thread: Any, _user: cl.User | None) -> bool:
    """Prepare a shared thread for display. Returns False, because only sharing by the owner gives access."""
    conversations.mark(thread, config.ui.language or "en")
    keep_what_is_shared(thread)
    thread.update(thread_for_page(thread, shared=True))
    return False
