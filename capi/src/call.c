/* Requests beside `describe`: cells and further params in, the answer out as JSON. */
#include "service.h"

#include "request.h"

#include <stdlib.h>
#include <string.h>

#define PARAMS_HINT "give an object such as {\"labels\": [\"B cell\", \"T cell\"], \"top\": 2}"

/* Functions of the library do what these do. */
static const char *const own[] = {"initialize", "describe", "cancel", "shutdown"};

/* Write the members of the JSON object that the caller gave. Reports its failure. */
static int32_t read_params(const char *params, c2t_buffer *members) {
    json_document document = {0};
    char *copy = c2t_copy(params);
    if (copy == NULL) return c2t_fail_memory();
    int32_t code = c2t_json_read(&document, copy, strlen(params));
    const json_node *whole = document.nodes;
    if (code == C2T_ERROR_MEMORY) code = c2t_fail_memory();
    else if (code != C2T_OK || whole->type != JSON_OBJECT)
        code = c2t_fail(C2T_ERROR_ARGUMENT, PARAMS_HINT,
                        "the params are no JSON object with each name once");
    for (uint32_t i = code == C2T_OK ? whole->first : 0; i; i = document.nodes[i].next) {
        const json_node *member = &document.nodes[i];
        if (strcmp(member->key, "cells") == 0 || strcmp(member->key, "settings") == 0) {
            code = c2t_fail(C2T_ERROR_ARGUMENT, "leave them out of the params",
                            "the request has the %s", member->key);
            break;
        }
        if (i != whole->first) c2t_buffer_text(members, ",");
        c2t_buffer_string(members, member->key);
        c2t_buffer_text(members, ":");
        c2t_json_write(&document, member, members); /* on one line, whatever the caller's text has */
    }
    c2t_json_free(&document);
    if (code == C2T_OK && members->failed) code = c2t_fail_memory();
    return code;
}

/* The text of the answer's result: one item a cell, or, of answers to a question, one for all cells
 * together. Reports its failure. */
static int32_t conclude(const c2t_pending *pending, int asked, size_t cells, char **answer) {
    const json_document *document = &pending->answer;
    const json_node *result = c2t_json_member(document, document->nodes, "result", JSON_OBJECT);
    const json_node *list =
        c2t_json_member(document, result, asked ? "answers" : "cells", JSON_LIST);
    size_t items = list == NULL ? 0 : (size_t)list->number;
    c2t_buffer text = {0};
    if (items != cells && !(asked && items == 1))
        return c2t_fail(C2T_ERROR_PROTOCOL, "see that it is a c2t of the same age",
                        "the service answered without results for all %zu cells", cells);
    c2t_json_write(document, result, &text);
    c2t_buffer_add(&text, "", 1);
    if (text.failed) {
        c2t_buffer_free(&text);
        return c2t_fail_memory();
    }
    *answer = text.data;
    return C2T_OK;
}

int32_t c2t_call(c2t_service *service, const char *method, const c2t_request *request,
                 const char *params, char **answer) {
    if (answer != NULL) *answer = NULL;
    if (service == NULL || method == NULL || request == NULL || answer == NULL)
        return c2t_fail(C2T_ERROR_ARGUMENT, "see c2t.h for what may be NULL",
                        "c2t_call was given NULL");
    if (!c2t_is_utf8(method, strlen(method)))
        return c2t_fail(C2T_ERROR_ARGUMENT, "such as \"annotate\"", "the method is not UTF-8");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(method, own[i]) == 0)
            return c2t_fail(C2T_ERROR_ARGUMENT, "see c2t.h",
                            "\"%s\" has a function of its own", method);
    if (request->count == 0)
        return c2t_fail(C2T_ERROR_ARGUMENT, "call c2t_request_add_cell first",
                        "the request has no cells");
    uint64_t deadline = c2t_deadline(service->options->timeout);
    c2t_buffer members = {0}, line = {0};
    c2t_pending pending;
    memset(&pending, 0, sizeof pending);
    int32_t code = params == NULL ? C2T_OK : read_params(params, &members);
    if (code == C2T_OK) code = c2t_enter(service, &pending);
    if (code == C2T_OK) {
        c2t_request_call(request, pending.id, method, &members, &line);
        code = c2t_send(service, &pending, &line, deadline, NULL, NULL);
        if (code == C2T_OK)
            code = conclude(&pending, strcmp(method, "ask") == 0, request->count, answer);
        c2t_leave(service, &pending);
    }
    c2t_buffer_free(&members);
    c2t_buffer_free(&line);
    return code;
}

void c2t_text_free(char *text) { free(text); }
