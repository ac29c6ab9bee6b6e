/* See stream.h. Whoever calls holds the lock of the service. */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

int c2t_texts_make(c2t_texts *texts, size_t count, size_t most_bytes) {
    texts->cells = calloc(count ? count : 1, sizeof *texts->cells);
    texts->queue = calloc(count ? count : 1, sizeof *texts->queue);
    texts->count = count;
    texts->most_bytes = most_bytes;
    return texts->cells != NULL && texts->queue != NULL;
}

void c2t_texts_free(c2t_texts *texts) {
    for (size_t i = 0; texts->cells != NULL && i < texts->count; i++)
        c2t_buffer_free(&texts->cells[i].text);
    free(texts->cells);
    free(texts->queue);
    memset(texts, 0, sizeof *texts);
}

static void announce(c2t_texts *texts, size_t cell) {
    if (texts->cells[cell].waiting) return;
    texts->cells[cell].waiting = 1;
    texts->queue[(texts->first + texts->waiting++) % texts->count] = cell;
}

/* From a byte on, a text is now another. */
static int32_t change(c2t_texts *texts, size_t cell, size_t start, const char *piece) {
    c2t_cell_text *state = &texts->cells[cell];
    size_t size = strlen(piece);
    texts->bytes -= state->text.size - start;
    if (size > texts->most_bytes - texts->bytes) return C2T_ERROR_PROTOCOL;
    texts->bytes += size;
    state->text.size = start;
    c2t_buffer_add(&state->text, piece, size);
    if (state->text.failed) return C2T_ERROR_MEMORY;
    if (start < state->changed_from) state->changed_from = start;
    announce(texts, cell);
    return C2T_OK;
}

/* The byte at which a character begins; SIZE_MAX: the text is shorter. */
static size_t byte_of(const c2t_buffer *text, int64_t character) {
    size_t at = 0;
    for (; character > 0 && at < text->size; character--)
        at += c2t_utf8_character(text->data + at, text->size - at);
    return character == 0 ? at : SIZE_MAX;
}

int32_t c2t_texts_finish(c2t_texts *texts, size_t cell, const char *text) {
    c2t_cell_text *state = &texts->cells[cell];
    if (state->finished) return C2T_OK;
    const char *whole = text ? text : "";
    size_t same = 0;
    while (same < state->text.size && whole[same] && whole[same] == state->text.data[same]) same++;
    while (same > 0 && ((unsigned char)whole[same] & 0xc0) == 0x80) same--; /* whole characters */
    int32_t code = change(texts, cell, same, whole + same);
    state->finished = 1;
    state->without_text = text == NULL;
    return code;
}

int32_t c2t_texts_hear(c2t_texts *texts, const json_document *document, const char *method,
                       const json_node *params) {
    int is_text = strcmp(method, "text") == 0;
    if (!is_text && strcmp(method, "cell") != 0) return C2T_OK; /* of a newer service */
    int64_t cell = c2t_json_integer(document, params, "cell");
    if (cell < 0 || (uint64_t)cell >= texts->count) return C2T_ERROR_PROTOCOL;
    if (is_text) {
        int64_t start = c2t_json_integer(document, params, "start");
        const char *piece = c2t_json_text(document, params, "text", NULL);
        size_t byte = start < 0 ? SIZE_MAX : byte_of(&texts->cells[cell].text, start);
        if (byte == SIZE_MAX || piece == NULL || texts->cells[cell].finished)
            return C2T_ERROR_PROTOCOL;
        return change(texts, (size_t)cell, byte, piece);
    }
    const json_node *result = c2t_json_member(document, params, "result", JSON_OBJECT);
    if (result == NULL) return C2T_ERROR_PROTOCOL;
    return c2t_texts_finish(texts, (size_t)cell, c2t_json_text(document, result, "text", NULL));
}

int32_t c2t_texts_take(c2t_texts *texts, size_t *cell, size_t *changed_from, c2t_buffer *copy,
                       int *without_text, int32_t *finished) {
    if (texts->waiting == 0) return 0;
    *cell = texts->queue[texts->first];
    texts->first = (texts->first + 1) % texts->count;
    texts->waiting--;
    c2t_cell_text *state = &texts->cells[*cell];
    copy->size = 0;
    c2t_buffer_add(copy, state->text.data, state->text.size);
    c2t_buffer_add(copy, "", 1);
    if (copy->failed) return C2T_ERROR_MEMORY;
    *changed_from = state->changed_from < state->text.size ? state->changed_from : state->text.size;
    if (state->without_text) *changed_from = 0;
    *without_text = state->without_text;
    *finished = state->finished;
    state->changed_from = state->text.size;
    state->waiting = 0;
    return 1;
}
