/* Opening and closing a service. */
#include "service.h"

#include <stdlib.h>
#include <string.h>

#define KILL_SECONDS 2.0 /* from asking a child to end until it is ended */
#define LEAVE_SECONDS 2.0 /* for calls in other threads to return */
#define LINE_LIMIT (32u << 20)

/* Introduce ourselves, and keep the answer. */
static int32_t initialize(c2t_service *service) {
    c2t_pending pending;
    c2t_buffer line = {0};
    memset(&pending, 0, sizeof pending);
    int32_t code = c2t_enter(service, &pending);
    if (code != C2T_OK) return code;
    c2t_buffer_text(&line, "{\"jsonrpc\":\"2.0\",\"id\":");
    c2t_buffer_integer(&line, pending.id);
    c2t_buffer_text(&line, ",\"method\":\"initialize\",\"params\":{\"protocol\":");
    c2t_buffer_integer(&line, C2T_PROTOCOL);
    c2t_buffer_text(&line, ",\"client\":\"libc2t " C2T_VERSION "\"}}\n");
    if (line.failed) {
        code = c2t_fail_memory();
    } else {
        c2t_exchange(service, &pending, &line, c2t_deadline(service->options->start_timeout), NULL,
                     NULL);
        if (pending.failure.code != C2T_OK) {
            code = c2t_report(&pending.failure);
        } else {
            service->hello = pending.answer;
            memset(&pending.answer, 0, sizeof pending.answer);
        }
    }
    c2t_buffer_free(&line);
    c2t_leave(service, &pending);
    if (code != C2T_OK) return code;
    const json_document *hello = &service->hello;
    const json_node *result = c2t_json_member(hello, hello->nodes, "result", JSON_OBJECT);
    if (c2t_json_integer(hello, result, "protocol") != C2T_PROTOCOL ||
        strcmp(c2t_json_text(hello, result, "server", ""), "c2t") != 0)
        return c2t_fail(C2T_ERROR_PROTOCOL, "use a library and a c2t of the same age",
                        "the service does not speak protocol %d of c2t", C2T_PROTOCOL);
    const json_node *limits = c2t_json_member(hello, result, "limits", JSON_OBJECT);
    int64_t bytes = c2t_json_integer(hello, limits, "line_bytes");
    service->line_limit = bytes > 0 ? (size_t)bytes : LINE_LIMIT;
    return C2T_OK;
}

/* Give everything back. Returns whether the child ended by itself. */
static int dismantle(c2t_service *service, int has_reader, double patience) {
    int in_time = 1;
    if (has_reader) {
        uint64_t deadline = c2t_deadline(patience);
        int waits = patience > 0 && c2t_transport_is_child(service->transport);
        c2t_lock_take(&service->lock);
        if (waits) c2t_transport_end_input(service->transport);
        while (waits && !service->reader_done && c2t_left(deadline, 1) > 0)
            c2t_condition_wait(&service->changed, &service->lock, deadline);
        in_time = service->reader_done || !waits;
        c2t_lock_give(&service->lock);
        c2t_transport_interrupt(service->transport);
        c2t_thread_join(service->reader);
        if (!in_time || !waits) deadline = c2t_now();
        if (!c2t_transport_wait(service->transport, deadline, NULL, 0)) {
            in_time = 0;
            c2t_transport_kill(service->transport, 0);
            if (!c2t_transport_wait(service->transport, c2t_deadline(KILL_SECONDS), NULL, 0)) {
                c2t_transport_kill(service->transport, 1);
                c2t_transport_wait(service->transport, c2t_deadline(KILL_SECONDS), NULL, 0);
            }
        }
    }
    c2t_transport_free(service->transport);
    c2t_condition_free(&service->changed);
    c2t_lock_free(&service->lock);
    c2t_json_free(&service->hello);
    c2t_options_free(service->options);
    free(service);
    return in_time;
}

int32_t c2t_open(const c2t_options *options, c2t_service **service) {
    if (service != NULL) *service = NULL;
    if (options == NULL || service == NULL)
        return c2t_fail(C2T_ERROR_ARGUMENT, "see c2t.h for what may be NULL",
                        "c2t_open was given NULL");
    if ((options->bundle == NULL) == (options->socket == NULL))
        return c2t_fail(C2T_ERROR_ARGUMENT, "set the option \"bundle\" or the option \"socket\"",
                        options->bundle ? "both a bundle and a socket were given"
                                        : "neither a bundle nor a socket was given");
    c2t_service *made = calloc(1, sizeof *made);
    if (made == NULL) return c2t_fail_memory();
    made->options = c2t_options_copy(options);
    made->next_id = 1;
    if (made->options == NULL || c2t_lock_make(&made->lock) != 0) {
        c2t_options_free(made->options);
        free(made);
        return c2t_fail_memory();
    }
    if (c2t_condition_make(&made->changed) != 0) {
        c2t_lock_free(&made->lock);
        c2t_options_free(made->options);
        free(made);
        return c2t_fail_memory();
    }
    int has_reader = 0;
    int32_t code = c2t_transport_open(made->options, &made->transport);
    if (code == C2T_OK) {
        has_reader = c2t_thread_start(&made->reader, c2t_read_all, made) == 0;
        code = has_reader ? initialize(made)
                          : c2t_fail(C2T_ERROR_START, "end some threads", "cannot start a thread");
    }
    if (code != C2T_OK) {
        if (!has_reader && made->transport) c2t_transport_kill(made->transport, 1);
        dismantle(made, has_reader, 0); /* what failed is still the last error */
        return code;
    }
    *service = made;
    return C2T_OK;
}

int32_t c2t_close(c2t_service *service) {
    c2t_failure failure;
    if (service == NULL) return C2T_OK;
    if (c2t_callbacks > 0)
        return c2t_fail(C2T_ERROR_ARGUMENT, "let the callback return 1, and close after it",
                        "c2t_close was called in a callback");
    c2t_failure_set(&failure, C2T_ERROR_CLOSED, "open it again", "the service was closed");
    c2t_lock_take(&service->lock);
    service->closing = 1;
    for (c2t_pending *p = service->pending; p; p = p->next) c2t_settle(service, p, &failure);
    while (service->active > 0) {
        uint64_t deadline = c2t_deadline(LEAVE_SECONDS);
        c2t_condition_wait(&service->changed, &service->lock, deadline);
        /* A call that still writes does so to a service that does not read. */
        if (service->writing && c2t_left(deadline, 1) == 0)
            c2t_transport_interrupt(service->transport);
    }
    c2t_lock_give(&service->lock);
    double patience = service->options->close_timeout;
    if (dismantle(service, 1, patience > 0 ? patience : 0)) return C2T_OK;
    return c2t_fail(C2T_ERROR_TIMEOUT, "give it more time with \"close_timeout\"",
                    "the service did not end by itself, and was killed");
}

const char *c2t_service_info(const c2t_service *service, const char *key) {
    if (service == NULL || key == NULL) return NULL;
    const json_document *hello = &service->hello;
    const json_node *result = c2t_json_member(hello, hello->nodes, "result", JSON_OBJECT);
    const json_node *bundle = c2t_json_member(hello, result, "bundle", JSON_OBJECT);
    if (strcmp(key, "version") == 0) return c2t_json_text(hello, result, "version", NULL);
    if (strcmp(key, "bundle_name") == 0) return c2t_json_text(hello, bundle, "name", NULL);
    if (strcmp(key, "bundle_digest") == 0) return c2t_json_text(hello, bundle, "digest", NULL);
    if (strcmp(key, "bundle_precision") == 0) return c2t_json_text(hello, bundle, "precision", NULL);
    return NULL;
}
