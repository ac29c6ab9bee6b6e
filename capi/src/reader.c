/* The thread that reads what a service says, and gives it to whom it concerns. Nothing that a
 * service sends is trusted. */
#include "service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 65536
#define GRACE 1.0 /* seconds for the last words of a service that has closed its output */
#define SHOWN 60  /* bytes of a line that cannot be understood */

static const struct {
    int rpc;
    int32_t code;
} codes[] = {
    {-32001, C2T_ERROR_CELLS},    {-32002, C2T_ERROR_OVERLOADED}, {-32003, C2T_ERROR_ENGINE},
    {-32004, C2T_ERROR_CANCELLED}, {-32006, C2T_ERROR_ARGUMENT},  {-32007, C2T_ERROR_CLOSED},
    {-32602, C2T_ERROR_ARGUMENT},
};

void c2t_settle(c2t_service *service, c2t_pending *pending, const c2t_failure *failure) {
    if (!pending->answered) {
        pending->answered = 1;
        pending->failure = *failure;
    }
    c2t_condition_wake(&pending->woken);
    c2t_condition_wake(&service->changed); /* it may wait for its turn to write */
}

void c2t_lose(c2t_service *service, const c2t_failure *failure) {
    if (service->lost.code == C2T_OK) service->lost = *failure;
    for (c2t_pending *p = service->pending; p; p = p->next) c2t_settle(service, p, &service->lost);
    c2t_condition_wake(&service->changed);
}

static c2t_pending *find(c2t_service *service, int64_t id) {
    c2t_pending *p = service->pending;
    while (p != NULL && p->id != (uint64_t)id) p = p->next;
    return p;
}

/* Read the error of an answer. */
static void read_error(const json_document *document, const json_node *error, c2t_failure *failure) {
    const json_node *data = c2t_json_member(document, error, "data", JSON_OBJECT);
    const char *message = c2t_json_text(document, error, "message", "an error without a message");
    double rpc = c2t_json_number(document, error, "code", 0);
    int32_t code = C2T_ERROR_SERVICE;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (rpc == codes[i].rpc) code = codes[i].code;
    c2t_failure_set(failure, code, c2t_json_text(document, data, "hint", "see the service's log"),
                    "%s", c2t_json_text(document, data, "problem", message));
    int64_t retry = c2t_json_integer(document, data, "retry_after");
    if (code == C2T_ERROR_OVERLOADED)
        failure->retry_after = retry < 1 ? 1 : retry > 3600 ? 3600 : (int32_t)retry;
}

/* A message with a method: news of a request. */
static int32_t hear(c2t_service *service, json_document *document, const char *method) {
    const json_node *params = c2t_json_member(document, document->nodes, "params", JSON_OBJECT);
    int64_t id = c2t_json_integer(document, params, "id");
    int32_t code = C2T_OK;
    c2t_lock_take(&service->lock);
    c2t_pending *pending = find(service, id);
    if (pending != NULL && pending->texts != NULL && !pending->answered) {
        code = c2t_texts_hear(pending->texts, document, method, params);
        c2t_condition_wake(&pending->woken);
    }
    c2t_lock_give(&service->lock);
    return code;
}

/* An answer. The document goes to whoever waits for it. */
static int32_t answer(c2t_service *service, json_document *document, c2t_failure *failure) {
    const json_node *whole = document->nodes;
    const json_node *error = c2t_json_member(document, whole, "error", JSON_OBJECT);
    const json_node *result = c2t_json_member(document, whole, "result", JSON_OBJECT);
    int64_t id = c2t_json_integer(document, whole, "id");
    if ((error == NULL) == (result == NULL)) return C2T_ERROR_PROTOCOL;
    failure->code = C2T_OK;
    if (error != NULL) read_error(document, error, failure);
    if (id < 0) { /* it does not concern one request */
        if (error == NULL || c2t_json_member(document, whole, "id", JSON_NULL) == NULL)
            return C2T_ERROR_PROTOCOL;
        return failure->code;
    }
    int32_t code = C2T_OK;
    c2t_lock_take(&service->lock);
    c2t_pending *pending = find(service, id);
    if (pending != NULL && !pending->answered) {
        pending->answer = *document;
        memset(document, 0, sizeof *document);
        c2t_settle(service, pending, failure);
    } else if (id == 0 || (uint64_t)id >= service->next_id) {
        code = C2T_ERROR_PROTOCOL; /* an answer to nothing; else to what was cancelled */
    }
    c2t_lock_give(&service->lock);
    return code;
}

/* Understand a line, which is taken over. Where nothing can go on, fills in why. */
static int32_t understand(c2t_service *service, char *line, size_t size, c2t_failure *failure) {
    json_document document;
    char shown[SHOWN + 1];
    size_t length = size < SHOWN ? size : SHOWN;
    memcpy(shown, line, length);
    for (size_t i = 0; i < length; i++)
        if (shown[i] < 0x20 || shown[i] > 0x7e) shown[i] = '?';
    shown[length] = 0;
    int32_t code = c2t_json_read(&document, line, size);
    failure->code = C2T_OK;
    if (code == C2T_OK) {
        const char *version = c2t_json_text(&document, document.nodes, "jsonrpc", "");
        const char *method = c2t_json_text(&document, document.nodes, "method", NULL);
        if (strcmp(version, "2.0") != 0) code = C2T_ERROR_PROTOCOL;
        else if (method != NULL) code = hear(service, &document, method);
        else code = answer(service, &document, failure);
    }
    c2t_json_free(&document);
    if (code == C2T_OK)
        failure->code = C2T_OK; /* what failed was one request */
    else if (code == C2T_ERROR_MEMORY)
        c2t_failure_set(failure, code, "free some, or send fewer cells at a time", "no memory");
    else if (code != failure->code)
        c2t_failure_set(failure, C2T_ERROR_PROTOCOL, "see that it is a c2t of the same age",
                        "what answers is no service of c2t: it said \"%s\"", shown);
    return code;
}

/* Take in bytes of the service's output. */
static int32_t feed(c2t_service *service, c2t_buffer *line, const char *data, size_t size,
                    c2t_failure *failure) {
    while (size > 0) {
        const char *end = memchr(data, '\n', size);
        size_t part = end ? (size_t)(end - data) : size;
        if (part > service->options->line_bytes - line->size)
            return c2t_failure_set(failure, C2T_ERROR_PROTOCOL,
                                   "send fewer cells at a time, or raise \"line_bytes\"",
                                   "the service sent a line of more than %zu bytes",
                                   service->options->line_bytes);
        c2t_buffer_add(line, data, part);
        if (end) c2t_buffer_add(line, "", 1); /* so that an empty line has memory, too */
        if (line->failed)
            return c2t_failure_set(failure, C2T_ERROR_MEMORY,
                                   "free some, or send fewer cells at a time", "no memory");
        if (end == NULL) return C2T_OK;
        char *whole = line->data;
        size_t length = line->size - 1;
        memset(line, 0, sizeof *line);
        int32_t code = understand(service, whole, length, failure);
        if (code != C2T_OK) return code;
        data = end + 1;
        size -= part + 1;
    }
    return C2T_OK;
}

static void hear_error(c2t_service *service, const char *data, size_t size) {
    if (service->options->pass_stderr) fwrite(data, 1, size, stderr);
    c2t_words_hear(&service->words, data, size);
}

/* Say why a service is gone, in its own last words. */
static void explain(c2t_service *service, char *block, c2t_failure *failure) {
    const char *socket = service->options->socket;
    if (!c2t_transport_is_child(service->transport)) {
        c2t_failure_set(failure, C2T_ERROR_LOST, "see that it runs, and connect again",
                        "the service at %s has closed the connection", socket ? socket : "?");
        return;
    }
    uint64_t deadline = c2t_deadline(GRACE);
    size_t size;
    char how[64] = "it runs, but has closed its output";
    c2t_origin origin;
    while ((origin = c2t_transport_read(service->transport, block, BLOCK, deadline, &size)) ==
           FROM_STDERR)
        hear_error(service, block, size);
    c2t_words_end(&service->words);
    c2t_transport_wait(service->transport, deadline, how, sizeof how);
    const char *said = service->words.problem[0] ? service->words.problem : service->words.last;
    const char *hint = service->words.hint[0] ? service->words.hint : "open it again";
    c2t_failure_set(failure, C2T_ERROR_LOST, hint, "the service has ended (%s)%s%s", how,
                    said[0] ? ": " : "", said);
}

void c2t_read_all(void *of) {
    c2t_service *service = of;
    c2t_buffer line = {0};
    c2t_failure failure;
    char *block = malloc(BLOCK);
    failure.code = C2T_OK;
    if (block == NULL)
        c2t_failure_set(&failure, C2T_ERROR_MEMORY, "free some", "no memory");
    while (failure.code == C2T_OK) {
        size_t size;
        c2t_origin origin =
            c2t_transport_read(service->transport, block, BLOCK, C2T_FOREVER, &size);
        if (origin == FROM_OUTPUT) feed(service, &line, block, size, &failure);
        else if (origin == FROM_STDERR) hear_error(service, block, size);
        else if (origin == INTERRUPTED)
            c2t_failure_set(&failure, C2T_ERROR_LOST, "open it again", "the connection was given up");
        else if (origin != NOTHING_YET) explain(service, block, &failure);
    }
    c2t_lock_take(&service->lock);
    c2t_lose(service, &failure);
    service->reader_done = 1;
    c2t_condition_wake(&service->changed);
    c2t_lock_give(&service->lock);
    c2t_transport_interrupt(service->transport); /* nobody writes to what cannot answer */
    c2t_buffer_free(&line);
    free(block);
}
