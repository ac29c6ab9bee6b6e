/* A request on its way: sent, heard of, answered, cancelled. */
#include "service.h"

#include "request.h"
#include "result.h"

#include <stdlib.h>
#include <string.h>

#define CANCEL_SECONDS 1.0 /* to say that an answer is not wanted any more */
#define GONE_SECONDS 3.0   /* until the reader knows why a service does not read any more */

_Thread_local int c2t_callbacks;

int32_t c2t_enter(c2t_service *service, c2t_pending *pending) {
    c2t_failure failure;
    if (c2t_condition_make(&pending->woken) != 0) return c2t_fail_memory();
    c2t_lock_take(&service->lock);
    failure = service->lost;
    if (service->closing)
        c2t_failure_set(&failure, C2T_ERROR_CLOSED, "open it again", "the service was closed");
    if (failure.code == C2T_OK) {
        pending->id = service->next_id++;
        pending->next = service->pending;
        service->pending = pending;
        service->active++;
    }
    c2t_lock_give(&service->lock);
    if (failure.code == C2T_OK) return C2T_OK;
    c2t_condition_free(&pending->woken);
    return c2t_report(&failure);
}

/* Write a line when it is our turn. The lock is held. Returns 1, or 0 where it was not written. */
static int write_line(c2t_service *service, c2t_pending *pending, const char *data, size_t size,
                      uint64_t deadline) {
    c2t_failure failure;
    size_t written = 0;
    while (service->writing && !(pending && pending->answered)) {
        if (c2t_left(deadline, 1) == 0) return 0;
        c2t_condition_wait(&service->changed, &service->lock, deadline);
    }
    if (service->lost.code != C2T_OK || (pending && pending->answered)) return 0;
    service->writing = 1;
    c2t_lock_give(&service->lock);
    c2t_sent sent = c2t_transport_write(service->transport, data, size, deadline, &written);
    c2t_lock_take(&service->lock);
    service->writing = 0;
    c2t_condition_wake(&service->changed);
    if (sent == NOT_IN_TIME && written > 0) { /* half a line: nothing can follow it */
        c2t_failure_set(&failure, C2T_ERROR_TIMEOUT, "open it again",
                        "the service did not read a request in time");
        c2t_lose(service, &failure);
        c2t_transport_interrupt(service->transport);
    }
    return sent == WRITTEN;
}

int32_t c2t_tell(c2t_service *service, c2t_pending *pending, c2t_stream stream, void *user) {
    c2t_buffer text = {0};
    int32_t stop = 0, finished, code = 0;
    size_t cell, changed_from;
    int without_text;
    while (!stop && !(pending->answered && pending->failure.code != C2T_OK) &&
           (code = c2t_texts_take(pending->texts, &cell, &changed_from, &text, &without_text,
                                  &finished)) > 0) {
        c2t_lock_give(&service->lock);
        c2t_callbacks++;
        stop = stream(user, cell, changed_from, without_text ? NULL : text.data, finished);
        c2t_callbacks--;
        c2t_lock_take(&service->lock);
    }
    c2t_buffer_free(&text);
    return code < 0 ? C2T_ERROR_MEMORY : stop ? C2T_ERROR_CANCELLED : C2T_OK;
}

/* End a request, also where an answer has come meanwhile. The lock is held. */
static void stop(c2t_pending *pending, int32_t code) {
    switch (code) {
    case C2T_ERROR_MEMORY:
        c2t_failure_set(&pending->failure, code, "free some, or send fewer cells at a time",
                        "no memory");
        break;
    case C2T_ERROR_CANCELLED:
        c2t_failure_set(&pending->failure, code, "let it return 0 to go on",
                        "the callback stopped the request");
        break;
    case C2T_ERROR_LOST:
        c2t_failure_set(&pending->failure, code, "open it again",
                        "the service does not read any more");
        break;
    default:
        c2t_failure_set(&pending->failure, code, "send fewer cells at a time, or raise the timeout",
                        "the service did not answer in time");
    }
    pending->answered = 1;
}

void c2t_exchange(c2t_service *service, c2t_pending *pending, const c2t_buffer *line,
                  uint64_t deadline, c2t_stream stream, void *user) {
    int32_t late = C2T_ERROR_TIMEOUT, code;
    c2t_lock_take(&service->lock);
    if (!write_line(service, pending, line->data, line->size, deadline) &&
        c2t_left(deadline, 1) > 0) {
        uint64_t soon = c2t_deadline(GONE_SECONDS);
        if (soon < deadline) deadline = soon;
        late = C2T_ERROR_LOST; /* unless the reader knows more */
    }
    for (;;) {
        if (stream && (code = c2t_tell(service, pending, stream, user)) != C2T_OK)
            stop(pending, code);
        if (!pending->answered && c2t_left(deadline, 1) == 0) stop(pending, late);
        if (pending->answered) break;
        c2t_condition_wait(&pending->woken, &service->lock, deadline);
    }
    c2t_lock_give(&service->lock);
}

void c2t_leave(c2t_service *service, c2t_pending *pending) {
    int32_t code = pending->failure.code;
    c2t_lock_take(&service->lock);
    c2t_pending **place = &service->pending;
    while (*place != pending) place = &(*place)->next;
    *place = pending->next;
    if (code == C2T_ERROR_TIMEOUT || code == C2T_ERROR_CANCELLED || code == C2T_ERROR_CLOSED) {
        c2t_buffer line = {0};
        c2t_buffer_text(&line, "{\"jsonrpc\":\"2.0\",\"method\":\"cancel\",\"params\":{\"id\":");
        c2t_buffer_integer(&line, pending->id);
        c2t_buffer_text(&line, "}}\n");
        if (!line.failed)
            write_line(service, NULL, line.data, line.size, c2t_deadline(CANCEL_SECONDS));
        c2t_buffer_free(&line);
    }
    service->active--;
    c2t_condition_wake(&service->changed);
    c2t_lock_give(&service->lock);
    c2t_condition_free(&pending->woken);
    c2t_json_free(&pending->answer);
}

int32_t c2t_send(c2t_service *service, c2t_pending *pending, const c2t_buffer *line,
                 uint64_t deadline, c2t_stream stream, void *user) {
    if (line->failed) return c2t_fail_memory();
    if (line->size > service->line_limit)
        return c2t_fail(C2T_ERROR_ARGUMENT, "send fewer cells at a time",
                        "the request has %zu bytes; the service takes %zu", line->size,
                        service->line_limit);
    c2t_exchange(service, pending, line, deadline, stream, user);
    return pending->failure.code == C2T_OK ? C2T_OK : c2t_report(&pending->failure);
}

/* Make the result, and tell the callback the ends that it has not heard. */
static int32_t conclude(c2t_service *service, c2t_pending *pending, size_t cells, c2t_stream stream,
                        void *user, c2t_result **result) {
    int32_t code = c2t_result_make(&pending->answer, cells, result);
    if (code == C2T_ERROR_MEMORY) return c2t_fail_memory();
    if (code != C2T_OK)
        return c2t_fail(code, "see that it is a c2t of the same age",
                        "the service answered without results for all %zu cells", cells);
    if (stream == NULL) return C2T_OK;
    c2t_lock_take(&service->lock);
    for (size_t i = 0; i < cells && code == C2T_OK; i++)
        code = c2t_texts_finish(pending->texts, i, c2t_result_text(*result, i));
    if (code == C2T_OK) code = c2t_tell(service, pending, stream, user);
    if (code != C2T_OK) stop(pending, code == C2T_ERROR_CANCELLED ? code : C2T_ERROR_MEMORY);
    c2t_lock_give(&service->lock);
    if (code == C2T_OK) return C2T_OK;
    c2t_result_free(*result);
    *result = NULL;
    return c2t_report(&pending->failure);
}

int32_t c2t_describe(c2t_service *service, const c2t_request *request, c2t_stream stream, void *user,
                     c2t_result **result) {
    if (result != NULL) *result = NULL;
    if (service == NULL || request == NULL || result == NULL)
        return c2t_fail(C2T_ERROR_ARGUMENT, "see c2t.h for what may be NULL",
                        "c2t_describe was given NULL");
    if (request->count == 0)
        return c2t_fail(C2T_ERROR_ARGUMENT, "call c2t_request_add_cell first",
                        "the request has no cells");
    uint64_t deadline = c2t_deadline(service->options->timeout);
    c2t_texts texts = {0};
    c2t_pending pending;
    c2t_buffer line = {0};
    memset(&pending, 0, sizeof pending);
    if (stream) pending.texts = &texts;
    if (stream && !c2t_texts_make(&texts, request->count, service->options->line_bytes)) {
        c2t_texts_free(&texts);
        return c2t_fail_memory();
    }
    int32_t code = c2t_enter(service, &pending);
    if (code == C2T_OK) {
        c2t_request_line(request, pending.id, stream != NULL, &line);
        code = c2t_send(service, &pending, &line, deadline, stream, user);
        if (code == C2T_OK)
            code = conclude(service, &pending, request->count, stream, user, result);
        c2t_leave(service, &pending);
    }
    c2t_buffer_free(&line);
    c2t_texts_free(&texts);
    return code;
}

int32_t c2t_cancel(c2t_service *service) {
    c2t_failure failure;
    if (service == NULL)
        return c2t_fail(C2T_ERROR_ARGUMENT, "give a service", "c2t_cancel was given NULL");
    c2t_failure_set(&failure, C2T_ERROR_CANCELLED, "send it again", "the request was cancelled");
    c2t_lock_take(&service->lock);
    for (c2t_pending *p = service->pending; p; p = p->next) c2t_settle(service, p, &failure);
    c2t_lock_give(&service->lock);
    return C2T_OK;
}
