"""The public names of the library and their parameters. A change here can break applications that use them."""

import inspect
import subprocess
import sys
from typing import Any

import pytest

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from tests.support.server import ROOT

PUBLIC = """
Account(user, password_hash, password_changed_at=, logins_ended_at=)
Agreement(answers, verdicts, agreed, kappa, pairs)
AlreadyExists: DataLayerError
AnswerCount(count, is_more, texts_left=)
AnswerFilter(thumb=, has_comment=, reasons=, assistants=, models=, users=, tags=, since=, until=, min_cost=, max_cost=, is_error=, is_reviewed=, labels=, assigned_to=, is_flagged=, words=, versions=, is_unknown=)
AnswerPage(rows, next_cursor, is_partial=, texts_left=)
AnswerRow(step_id, thread_id, created_at, thread_name=, user=, tags=, question=, answer=, thumb=, comment=, reasons=, assistant=, model=, tokens=, cost=, seconds=, is_error=, verdicts=, assigned_to=, is_flagged=, is_removed=, version=, is_unknown=)
ApiKey(id, name, prefix, user_id, owner, project, scopes, models, requests_per_minute, tokens_per_minute, created_at, expires_at=, last_used_at=, revoked_at=, role=)
ApiReply(digest, status=, headers=, body=)
Assistant(id, slug, version, current_version, settings, access=, owner=, picture=, saved_at=, saved_by=, restored_from=, created_at=, deleted_at=, may_edit=)
AssistantAccess(kind=, role=, users=)
AssistantNumbers(total, versions=)
AssistantPicture(media_type, content)
AssistantProblem(field, kind, values=)
AssistantSettings(name, description=, type=, mode=, prologue=, prompt=, model=, embedding_model=, temperature=, top_p=, n=, max_tokens=, presence_penalty=, frequency_penalty=, logit_bias=, stop=, idk=, idk_link=, score_threshold=, opening_prompts=, tips=, training=)
AssistantUse(version, threads, answers, up, down, unknown, cost=)
AuditEntry(id, at, action, actor, thread_id, owner_id, purpose, details=)
AuditPage(entries, next_cursor)
BlobError: DataLayerError
BlobNotFound: BlobError
BlobOptions(azure_connection_string=, azure_key=, azure_sas=, azure_endpoint=, s3_endpoint=, s3_region=, s3_access_key_id=, s3_secret_access_key=, s3_session_token=, patience_seconds=, ca_file=)
BlobRefused: BlobError
BlobStore: close, delete, discard, list, open, ping, put, read, signed_url, unfinished
CallCosts: input, output, price, total
CallDemand(call_id, user_id, project_id, prompt_tokens, answer_tokens, short_answer_tokens, prompt_cost=, answer_token_cost=, key_id=)
CallFilter(since=, until=, project_ids=, providers=, models=, user_ids=, assistants=, kinds=, tags=, statuses=, versions=, key_ids=, all_tags=, project_slugs=, provider_models=)
CallPage(rows, next_cursor)
CallRow(call, user=, project=)
ConfigurationError: DataLayerError
ConnectionLost: StorageUnavailable
CopiedAnswer(step_id, thread_id, excerpt)
Coverage(value, answers, reviewed, down, down_reviewed, labels=)
DataLayerError: Exception
DataSource(id, assistant_id, kind, title, options=, object_key=, byte_size=, sha256=, created_at=, updated_at=, fetched=)
DeletedProject(id, slug, providers, keys, limits)
Document(id, source_id, key, title, characters, words, passages, record_id=, suggestion=, pages=)
DocumentPassage(position, text, tokens, page=)
Element(id, thread_id=, type=, url=, chainlit_key=, name=, display=, object_key=, byte_size=, sha256=, size=, page=, language=, for_id=, mime=, auto_play=, player_config=, props=, extra=, created_at=)
ExcerptPart(text, is_marked=)
Feedback(id, for_id, value, thread_id=, user_id=, comment=, updated_at=)
Folder(tag, threads)
Forbidden: DataLayerError
FoundThread(thread_id, title, text)
ImportedFile(element, content=)
ImportedThread(thread, steps=, versions=, votes=, files=)
InvalidAssistant: InvalidRecord
InvalidRecord: DataLayerError
Invitation(user_id, identifier, created_at, expires_at)
Job(id, kind, format, state, created_at, key=, owner=, arguments=, done=, total=, text=, result=, error=, object_key=, attempt=, interruptions=, is_cancelling=, started_at=, ended_at=, updated_at=)
JobContext: arguments, cancelled, interruptions, job_id, keep_file, owner, progress, step
JobFailed: DataLayerError
JobLater: DataLayerError
JobPage(jobs, next_cursor)
JobSchedule(every_seconds, first_after_seconds=)
KnowledgeState(sources=, changed_sources=, documents=, trained_at=, newest=)
Limit(id, scope, subject_id, period, unit, amount, created_at=)
LimitReached(standing, is_unpriced=)
LimitStanding(limit, used, in_flight, ends_at)
ListedSource(source, result=, trained_options=)
ListedUser(user, has_password, seen_at, threads, cost, invited_until)
ListedUserPage(rows, next_cursor)
LlmCall(id, kind, model, requested_at, responded_at=, project_id=, provider=, deployment=, user_id=, thread_id=, step_id=, assistant=, answered_by=, attempt=, is_streaming=, status_code=, error_kind=, error_message=, finish_reason=, prompt_tokens=, completion_tokens=, cached_tokens=, reasoning_tokens=, is_estimated=, query_characters=, response_characters=, seconds=, first_token_seconds=, tokens_per_second=, input_cost=, output_cost=, total_cost=, price=, tags=, library=, operating_system=, assistant_version=, key_id=)
LlmCallPayload(call_id, messages, response)
Login(token_hash, started_at, expires_at, agent=, id=, seen_at=, ended_at=)
Look(entry, count, thread_ids)
LookPage(looks, next_cursor)
NewDocument(source_id, key, fingerprint, title, characters, words, tokens, cost, passages, record_id=, suggestion=, pages=)
NewPassage(start, end, tokens, text, vectors, hashes, page=)
NotFound: DataLayerError
NotRunning: NotFound
OpenBlob(size, start, end, chunks=, close=)
OwnThreadPage(threads, next_cursor)
Page(threads, has_next)
PairAgreement(first, second, answers, agreed, kappa)
Passage(id, document_id, document_title, source_id, text, score, page=, record_id=)
PassageVector(id, part, vector)
Price(id, pattern, valid_from, input, output, cached=, image=, provider=, is_active=, created_at=)
Project(id, name, slug, description=, tags=, owner=, organisation=, providers=, created_at=)
Provider(name, slug, base_url=, deployment=, description=, secret=, passes_key=)
Rate(allowed, limit, remaining, retry_after, reset_after=)
Receipt(what, id, owner, deleted_by, deleted_at, rows, files=, files_left=, threads=, row_ids=, messages=, assistants_left=)
RecordChanged: DataLayerError
Repricing(calls=, without_tokens=, changed=, had_none=, before=, after=, unlisted=, unlisted_cost=)
Reservation(id, tokens, cost, standings=)
ResultPage(results, next_cursor)
RetentionPlan(kind, before, count, exempt, byte_size=)
RetentionReceipt(kind, before, applied_at, applied_by, rows, threads=, files=, files_left=, messages=)
ReviewItem(step_id, thread_id, reason, created_at, wanted=, assigned_to=, locked_by=, locked_until=, done_at=, user=, question=)
ReviewThread(thread, votes=, verdicts=, versions=, usage=, marks=, origin=, copies=)
ReviewedAnswer(step_id, reviewed_at, reviewers)
ReviewerProgress(reviewer, done, open, locked, verdicts)
SYSTEM
Sampled(thumbs_down, sample)
Satisfaction(start, end, value, answers, up, down)
SavedView(id, name, query, owner, is_shared, created_at)
SchemaError: DataLayerError
SharedThread(id, name, shared_at)
SourceChanged: DataLayerError
SourcePage(sources, next_cursor)
SourceResult(source_id, title, sha256, loader, taken, refused, documents, failed_documents=, fetch=)
StatementRefused: DataLayerError
Step(id, thread_id=, name=, type=, parent_id=, command=, modes=, disable_feedback=, streaming=, wait_for_answer=, is_error=, metadata=, tags=, input=, output=, created_at=, start=, end=, generation=, show_input=, default_open=, auto_collapse=, language=, indent=, extra=, updated_at=)
StepUsage(step_id, model, assistant, calls, prompt_tokens, completion_tokens, cost, seconds, first_token_seconds)
StepVersion(step_id, change, type, name, output, created_at, replaced_at, parent_id=)
StorageUnavailable: DataLayerError
Thread(id, created_at=, updated_at=, name=, user_id=, user_identifier=, tags=, metadata=, pinned_at=, archived_at=, expires_at=)
ThreadChoice(words=, tag=, is_pinned=, is_archived=, is_temporary=)
ThreadHeading(id, name, owner, is_own, is_shared, shared_at)
ThreadMark(thread_id, kind, note, by, created_at)
ThreadOrigin(thread_id, original_id, original_step_id, reviewer, created_at, better_step_id=, linked_at=)
TimedOut: StorageUnavailable
Training(id, assistant_id, number, state, is_current, created_at, started_by=, started_at=, finished_at=, settings=, counts=, threshold=, expected_sources=, done_sources=, error=, suggestions=, failure=)
TrainingCounts(documents=, failed_documents=, reused_documents=, passages=, vectors=, words=, characters=, tokens=, cost=)
TrainingSettings(model, dimensions, chunk_tokens, chunk_overlap, chunker, window_tokens=)
UsageBucket(start, end, value, totals)
UsageGroup(value, name, totals)
UsageProblem(kind, words, call_id=, repaired=)
UsageReport(calls=, totals=, problems=, repaired=, is_compared=)
UsageTotals(calls=, failed=, unpriced=, estimated=, prompt_tokens=, completion_tokens=, cached_tokens=, reasoning_tokens=, input_cost=, output_cost=, total_cost=, mean_seconds=, mean_tokens_per_second=, mean_first_token_seconds=, first_token_p50=, first_token_p95=)
User(id, identifier, metadata, created_at, role=, disabled_at=)
VectorSearch(name, reason=)
Verdict(step_id, label, reasons=, note=, better_answer=, thread_id=, reviewer=, created_at=, updated_at=)
VerdictChange(step_id, reviewer, label, reasons, note, better_answer, changed_at)
VersionConflict: DataLayerError
Vote(step_id, value, comment, reasons, user, updated_at)
WordCount(word, bad, others, down)
WriteFailure(what, thread_id, record_id, error)
acting_as(user)
acting_user
create_data_layer(database_url, blobs=, *, file_url=, on_write_failure=, patience_seconds=, spool=, connections=, read_url=, **engine_options)
open_blob_store(url, options=)
ChainlitLayer.accept_invitation(secret, password_hash)
ChainlitLayer.add_account(identifier, password_hash, role=, *, by=)
ChainlitLayer.add_price(price, *, by=)
ChainlitLayer.add_prices(new, *, by=)
ChainlitLayer.admins()
ChainlitLayer.agreement(*, since=, until=)
ChainlitLayer.answer_facets()
ChainlitLayer.answers_of_copies(copy_ids)
ChainlitLayer.apply_retention(before)
ChainlitLayer.assistant_numbers(slug)
ChainlitLayer.assistant_picture(slug, sha256)
ChainlitLayer.attach_elements(thread_id, element_ids, step_id, *, most_bytes=)
ChainlitLayer.begin_call(call)
ChainlitLayer.begin_document(training_id, document)
ChainlitLayer.begin_reply(key_id, name, digest)
ChainlitLayer.begin_training(training_id, settings, expected_sources)
ChainlitLayer.bill_training(training_id, tokens, cost)
ChainlitLayer.blobs
ChainlitLayer.build_debug_url()
ChainlitLayer.calls_of_step(thread_id, step_id)
ChainlitLayer.cancel_job(job_id)
ChainlitLayer.cancel_training(training_id)
ChainlitLayer.change_account(identifier, *, role=, disabled=, password_hash=, by=, only_if=)
ChainlitLayer.change_source(source_id, change, content=, mime=, replaces=)
ChainlitLayer.change_thread(thread_id, *, name=, metadata=, tags=, is_pinned=, is_archived=, only_if=)
ChainlitLayer.claim_turn(thread_id, holder, seconds)
ChainlitLayer.clock_ahead()
ChainlitLayer.close(deadline_seconds=)
ChainlitLayer.copy_shared_thread(thread_id, *, shown_metadata=)
ChainlitLayer.count_accounts()
ChainlitLayer.count_answers(which, *, most=)
ChainlitLayer.coverage(which, *, by=)
ChainlitLayer.create_api_key(name, scopes, *, user=, project=, models=, requests_per_minute=, tokens_per_minute=, expires_at=)
ChainlitLayer.create_assistant(settings, *, slug=, access=, owner=, picture=)
ChainlitLayer.create_element(element)
ChainlitLayer.create_step(step_dict)
ChainlitLayer.create_user(user)
ChainlitLayer.current_training(assistant_id)
ChainlitLayer.cut_thread(thread_id, after_step_id, keep=)
ChainlitLayer.database_facts()
ChainlitLayer.deactivate_price(price_id, *, by=)
ChainlitLayer.default_project()
ChainlitLayer.delete_assistant(slug, *, expected_version=)
ChainlitLayer.delete_element(element_id, thread_id=)
ChainlitLayer.delete_feedback(feedback_id)
ChainlitLayer.delete_knowledge(assistant_id)
ChainlitLayer.delete_project(slug, *, by=, only_if=)
ChainlitLayer.delete_prompt(prompt_id)
ChainlitLayer.delete_source(source_id)
ChainlitLayer.delete_step(step_id)
ChainlitLayer.delete_thread(thread_id)
ChainlitLayer.delete_thread_with_receipt(thread_id, *, only_if=)
ChainlitLayer.delete_threads(thread_ids)
ChainlitLayer.delete_user(identifier, *, by=, only_if=)
ChainlitLayer.detach_elements(thread_id, step_id)
ChainlitLayer.drop_reply(key_id, name, digest)
ChainlitLayer.element_link(thread_id, element_id, seconds)
ChainlitLayer.element_link_for_review(thread_id, element_id, seconds)
ChainlitLayer.end_interrupted_calls()
ChainlitLayer.end_login(login_id)
ChainlitLayer.end_logins()
ChainlitLayer.end_logins_of_user(identifier, *, by=)
ChainlitLayer.end_reply(key_id, name, reply, thread_id=)
ChainlitLayer.enqueue_answers(step_ids, *, reviewer=, wanted=, reason=)
ChainlitLayer.excerpts(words, thread_ids)
ChainlitLayer.existing_threads(thread_ids)
ChainlitLayer.export_calls(which)
ChainlitLayer.export_conversations(which, *, pseudonym_key=, purpose=)
ChainlitLayer.export_fine_tuning(which, *, pseudonym_key=, purpose=, bad_labels=)
ChainlitLayer.export_pairs(which, *, pseudonym_key=, purpose=, bad_labels=)
ChainlitLayer.export_threads(thread_ids)
ChainlitLayer.extend(call_id, *, seconds)
ChainlitLayer.extend_calls(ids, *, seconds)
ChainlitLayer.fail_training(training_id, error, failure=)
ChainlitLayer.fill_queue(*, percent, since=, until=, wanted=)
ChainlitLayer.find_api_key(secret)
ChainlitLayer.find_invitation(secret)
ChainlitLayer.find_source(assistant_id, kind, *, title=, address=)
ChainlitLayer.finish_document(training_id, document_id, passages)
ChainlitLayer.finish_training(training_id, threshold, word_counts)
ChainlitLayer.first_steps()
ChainlitLayer.folders(user_id)
ChainlitLayer.forget_jobs(before)
ChainlitLayer.forget_payloads(before)
ChainlitLayer.fork_thread(thread_id, step_id, *, title_ending=)
ChainlitLayer.get_account(identifier)
ChainlitLayer.get_account_and_login(identifier, token_hash)
ChainlitLayer.get_api_key(key_id)
ChainlitLayer.get_assistant(slug, version=)
ChainlitLayer.get_call(call_id)
ChainlitLayer.get_document(training, document_id)
ChainlitLayer.get_element(thread_id, element_id)
ChainlitLayer.get_favorite_steps(user_id)
ChainlitLayer.get_job(job_id)
ChainlitLayer.get_passages(scores, training=)
ChainlitLayer.get_source(source_id)
ChainlitLayer.get_sources(source_ids)
ChainlitLayer.get_thread(thread_id)
ChainlitLayer.get_thread_author(thread_id)
ChainlitLayer.get_thread_head(thread_id)
ChainlitLayer.get_threads(thread_ids)
ChainlitLayer.get_training(training_id)
ChainlitLayer.get_user(identifier)
ChainlitLayer.give_reasons(step_id, reasons, comment=)
ChainlitLayer.has_message(thread_id, step_id)
ChainlitLayer.has_sent_finish_reasons(provider)
ChainlitLayer.heading_of_thread(thread_id)
ChainlitLayer.import_thread(imported)
ChainlitLayer.index_vectors(training_id)
ChainlitLayer.invite(identifier, *, seconds, by=)
ChainlitLayer.is_new()
ChainlitLayer.keep_documents(training_id, added)
ChainlitLayer.keep_fetched(source, facts, content=, mime=)
ChainlitLayer.keep_import(content, seconds)
ChainlitLayer.keep_lock(step_id, *, lock_seconds=)
ChainlitLayer.keep_passages(training_id, document_id, first, added, *, tokens, cost)
ChainlitLayer.keep_source_result(training_id, result, options)
ChainlitLayer.keep_suggestions(training_id, suggestions)
ChainlitLayer.keep_turns(holders, seconds)
ChainlitLayer.knowledge_states(assistant_ids)
ChainlitLayer.last_answered_by(model, provider)
ChainlitLayer.limit_standings(user_id, project_id, key_id=, *, zone)
ChainlitLayer.link_better_run(copy_id, better_step_id, *, original_step_id=)
ChainlitLayer.list_answers(which, *, cursor=, limit=, excerpts=)
ChainlitLayer.list_api_keys(user=)
ChainlitLayer.list_assistant_versions(slug)
ChainlitLayer.list_assistants()
ChainlitLayer.list_audit(*, actor=, thread_id=, cursor=, limit=)
ChainlitLayer.list_calls(which, *, order=, descending=, cursor=, limit=)
ChainlitLayer.list_documents(training_id, source_id=, limit=, after=)
ChainlitLayer.list_jobs(*, kinds=, states=, key=, cursor=, limit=)
ChainlitLayer.list_limits()
ChainlitLayer.list_logins()
ChainlitLayer.list_passages(document_id, first=, limit=)
ChainlitLayer.list_prices()
ChainlitLayer.list_projects()
ChainlitLayer.list_prompts()
ChainlitLayer.list_queue(*, is_done=, limit=, thread_id=, excerpts=, cursor=)
ChainlitLayer.list_sources(assistant_id)
ChainlitLayer.list_threads(pagination, filters)
ChainlitLayer.list_trainings(assistant_id, limit=)
ChainlitLayer.list_users()
ChainlitLayer.list_views()
ChainlitLayer.listed_source(assistant_id, source_id)
ChainlitLayer.listed_user(user_id, *, cost_since)
ChainlitLayer.log_out(user_id, login)
ChainlitLayer.look_for_vectors()
ChainlitLayer.make_temporary(thread_id, seconds)
ChainlitLayer.mark_thread(thread_id, kind, *, note=)
ChainlitLayer.may_create_assistants()
ChainlitLayer.message_versions(thread_id)
ChainlitLayer.migrate(*, removals=)
ChainlitLayer.names_alike()
ChainlitLayer.names_of_threads(thread_ids)
ChainlitLayer.names_of_users(user_ids)
ChainlitLayer.nearest_passages(training, vector, count)
ChainlitLayer.note_admin_act(action, by, **details)
ChainlitLayer.note_backup(folder, *, files, size, by)
ChainlitLayer.note_call_read(call_id)
ChainlitLayer.note_first_steps(what)
ChainlitLayer.open_element(thread_id, element_id, start=, end=)
ChainlitLayer.open_element_for_review(thread_id, element_id, start=, end=)
ChainlitLayer.open_thread_for_review(thread_id, *, purpose=, purpose_required=)
ChainlitLayer.organize_threads(thread_ids, *, is_pinned=, is_archived=, add_tags=, remove_tags=)
ChainlitLayer.own_texts_to_index()
ChainlitLayer.own_threads(user_id, which=, *, cursor=, limit=)
ChainlitLayer.page_of_favorites(user_id, *, cursor=, limit=)
ChainlitLayer.page_of_results(training_id, *, cursor=, limit=)
ChainlitLayer.page_of_sources(assistant_id, *, title=, cursor=, limit=)
ChainlitLayer.page_of_users(*, words=, cursor=, limit=, cost_since)
ChainlitLayer.passage_hashes(ids)
ChainlitLayer.passage_vectors(training, ids)
ChainlitLayer.passages_with_words(training, words, limit)
ChainlitLayer.pending_migrations()
ChainlitLayer.pending_removals()
ChainlitLayer.ping()
ChainlitLayer.plan_retention(before)
ChainlitLayer.prepare_vectors()
ChainlitLayer.project_id(slug)
ChainlitLayer.put_limit(limit, *, by=, only_if=)
ChainlitLayer.put_project(project, *, only_if=)
ChainlitLayer.put_prompt(name, text, *, is_shared=, prompt_id=)
ChainlitLayer.put_source(source, content=, mime=, replaces=)
ChainlitLayer.put_verdict(verdict)
ChainlitLayer.put_view(name, query, *, is_shared=)
ChainlitLayer.queued_writes
ChainlitLayer.read_replica
ChainlitLayer.read_source(source_id)
ChainlitLayer.record_call(call, payload=)
ChainlitLayer.register_job(kind, work, *, format=, at_once=, schedule=)
ChainlitLayer.release(call_id)
ChainlitLayer.release_item(step_id)
ChainlitLayer.release_turn(holder)
ChainlitLayer.remove_limit(limit_id, *, by=, only_if=)
ChainlitLayer.remove_old_trainings(assistant_id, keep=)
ChainlitLayer.remove_verdict(step_id)
ChainlitLayer.remove_view(view_id)
ChainlitLayer.replace_thread_name(thread_id, expected, name)
ChainlitLayer.replicas()
ChainlitLayer.reprice(since, cost_of, *, forget=, dry_run=)
ChainlitLayer.reserve(demand, *, zone, seconds)
ChainlitLayer.restore_assistant(slug, version, *, expected_version=)
ChainlitLayer.restore_vote(answer_id, removed_id)
ChainlitLayer.retry_job(job_id)
ChainlitLayer.review_progress(*, since=)
ChainlitLayer.reviewed_answers(thread_id)
ChainlitLayer.revoke_api_key(key_id)
ChainlitLayer.run_jobs(times=)
ChainlitLayer.satisfaction(since, until, interval, zone, *, split_by=)
ChainlitLayer.save_assistant(slug, settings, *, expected_version=, access=, owner=, picture=)
ChainlitLayer.see_api_key(key_id)
ChainlitLayer.see_login(user_id, login)
ChainlitLayer.set_disabled(identifier, disabled, *, by=)
ChainlitLayer.set_password(identifier, password_hash, *, by=)
ChainlitLayer.set_role(identifier, role, *, by=)
ChainlitLayer.set_step_favorite(step_dict, favorite)
ChainlitLayer.settled(thread_id)
ChainlitLayer.shared_threads()
ChainlitLayer.spread_documents(training, limit, *, with_suggestion=)
ChainlitLayer.start_job(kind, arguments=, *, key=)
ChainlitLayer.start_training(assistant_id, started_by=)
ChainlitLayer.stop_jobs(seconds=)
ChainlitLayer.suggestions_of(assistant_ids)
ChainlitLayer.take_documents(training_id, source_id, wanted)
ChainlitLayer.take_next(*, lock_seconds=, other_than=)
ChainlitLayer.take_over(thread_id, *, step_id=, purpose=, purpose_required=, title_ending=)
ChainlitLayer.take_rate(key_id, kind, amount, per_minute, *, is_owed=)
ChainlitLayer.take_source(training_id, source_id, number)
ChainlitLayer.texts_to_index()
ChainlitLayer.thread_changes(thread_ids)
ChainlitLayer.thread_marks_of(thread_id)
ChainlitLayer.threads_to_export(user_id)
ChainlitLayer.trained_sources(training_id, source_ids=)
ChainlitLayer.training_vectors(training)
ChainlitLayer.unmark_thread(thread_id, kind)
ChainlitLayer.update_step(step_dict)
ChainlitLayer.update_thread(thread_id, name=, user_id=, metadata=, tags=)
ChainlitLayer.upsert_feedback(feedback)
ChainlitLayer.usable_assistant(slug)
ChainlitLayer.usage_by(which, dimension, *, order=, limit=, percentiles=)
ChainlitLayer.usage_series(which, interval, zone, split_by=, *, percentiles=)
ChainlitLayer.usage_totals(which)
ChainlitLayer.verdict_history(thread_id)
ChainlitLayer.verify_usage(*, repair=, found=)
ChainlitLayer.vote_on_answer(answer_id, value, *, thread_id=)
ChainlitLayer.who_looked(*, cursor=, limit=, export=)
ChainlitLayer.who_looked_by_export(*, cursor=, limit=)
ChainlitLayer.word_counts(training_id)
ChainlitLayer.words_in_bad_answers(which, *, bad_labels=, limit=)
"""  # noqa: E501


def parameters(callable_: Any) -> str:
    """The parameters in order; `=` marks optional ones, `*` keyword-only ones."""
    shown, named = [], False
    for one in inspect.signature(callable_).parameters.values():
        if one.name == "self":
            continue
        if one.kind is one.KEYWORD_ONLY and not named:
            named = True
            shown.append("*")
        stars = "**" if one.kind is one.VAR_KEYWORD else "*" if one.kind is one.VAR_POSITIONAL else ""
        shown.append(f"{stars}{one.name}{'' if one.default is one.empty else '='}")
    return f"({', '.join(shown)})"


def described(name: str) -> str:
    found = getattr(datalayer, name)
    if isinstance(found, type) and issubclass(found, Exception):
        return f"{name}: {found.__bases__[0].__name__}"
    if isinstance(found, type) and getattr(found, "_is_protocol", False):
        return f"{name}: {', '.join(sorted(member for member in vars(found) if not member.startswith('_')))}"
    return f"{name}{parameters(found)}" if callable(found) else name


def public() -> list[str]:
    methods = [
        f"ChainlitLayer.{name}{parameters(method) if callable(method) else ''}"
        for name in sorted(dir(ChainlitLayer))
        if not name.startswith("_") and (method := inspect.getattr_static(ChainlitLayer, name))
    ]
    return [*map(described, sorted(datalayer.__all__)), *methods]


def test_the_public_names_do_not_change() -> None:
    assert public() == PUBLIC.strip().splitlines()


def test_each_public_name_can_be_imported() -> None:
    assert set(datalayer.__all__) <= set(dir(datalayer))
    assert len(set(datalayer.__all__)) == len(datalayer.__all__)


def test_importing_the_library_imports_none_of_its_modules() -> None:
    program = """
import sys, datalayer
print(*(name for name in sys.modules if name.startswith(("datalayer.", "sqlalchemy"))))
assert datalayer.NotFound is datalayer.errors.NotFound
print("sqlalchemy" in sys.modules, set(datalayer.__all__) <= set(dir(datalayer)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "False True"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = datalayer.Nothing  # type: ignore[attr-defined]
