/* Texts of a request while they are written: the newest state of each, however slow the callback. */
#ifndef C2T_STREAM_H
#define C2T_STREAM_H

#include "base/json.h"

typedef struct {
    c2t_buffer text;
    size_t changed_from; /* what the callback does not know yet */
    unsigned char waiting, finished, without_text;
} c2t_cell_text;

typedef struct {
    c2t_cell_text *cells;
    size_t *queue; /* a ring of the cells that the callback must hear of */
    size_t count, first, waiting;
    size_t bytes, most_bytes; /* of all texts */
} c2t_texts;

/* Returns 0 where memory is short. */
int c2t_texts_make(c2t_texts *texts, size_t count, size_t most_bytes);
void c2t_texts_free(c2t_texts *texts);

/* Take in a notification. Returns C2T_OK, or an error where it cannot be right. */
int32_t c2t_texts_hear(c2t_texts *texts, const json_document *document, const char *method,
                       const json_node *params);
/* A cell is finished with a text, or NULL. */
int32_t c2t_texts_finish(c2t_texts *texts, size_t cell, const char *text);

/* The next news for the callback. Returns 1: some, 0: none, or C2T_ERROR_MEMORY. */
int32_t c2t_texts_take(c2t_texts *texts, size_t *cell, size_t *changed_from, c2t_buffer *copy,
                       int *without_text, int32_t *finished);

#endif
