/* A strict reader of the JSON that a service sends: one line, read in place, bounded.
 *
 * Refused: what is no JSON, no UTF-8, holds the character 0, or is larger or deeper than any answer
 * is. */
#ifndef C2T_JSON_H
#define C2T_JSON_H

#include "base.h"

#define C2T_JSON_DEPTH 16
#define C2T_JSON_NODES (1 << 21) /* 16 cells, each with evidence of 8,192 genes: 1.2 million */
#define C2T_JSON_MEMBERS 64

typedef enum { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_LIST, JSON_OBJECT } json_type;

typedef struct {
    json_type type;
    uint32_t first, next; /* the first value inside, the next beside; 0: none */
    const char *key;      /* of a value in an object */
    const char *text;     /* of a string; ends with 0. Of a number: where it stands in the line */
    double number;        /* of a number; of a list or object, how many values are inside */
} json_node;

/* The first node is the whole. Texts of nodes lie in the line. */
typedef struct {
    char *line;
    json_node *nodes;
    uint32_t size, capacity;
} json_document;

/* Read a line, which ends with 0, is changed and then belongs to the document. Returns C2T_OK,
 * C2T_ERROR_PROTOCOL or C2T_ERROR_MEMORY. */
int32_t c2t_json_read(json_document *document, char *line, size_t size);
void c2t_json_free(json_document *document);
/* A value as JSON again, without blanks; numbers are written as they stood in the line. */
void c2t_json_write(const json_document *document, const json_node *node, c2t_buffer *out);

/* The member of an object; NULL: there is none, or it has another type. */
const json_node *c2t_json_member(const json_document *document, const json_node *object,
                                 const char *key, json_type type);
/* The same of a member's text or number; `absent` where there is none. */
const char *c2t_json_text(const json_document *document, const json_node *object, const char *key,
                          const char *absent);
double c2t_json_number(const json_document *document, const json_node *object, const char *key,
                       double absent);
/* A whole number from 0 to 2^53; -1 where there is none. */
int64_t c2t_json_integer(const json_document *document, const json_node *object, const char *key);

#endif
