/* The reader of JSON. Strings are decoded where they stand: they never grow. */
#include "json.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    json_document *document;
    char *at, *end;
    int32_t code; /* why reading stopped */
} reader;

static int bad(reader *r, int32_t code) {
    if (r->code == C2T_OK) r->code = code;
    return 0;
}

static void skip_blanks(reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r' || *r->at == '\n'))
        r->at++;
}

static int take(reader *r, char wanted) {
    skip_blanks(r);
    if (r->at == r->end || *r->at != wanted) return 0;
    r->at++;
    return 1;
}

/* A new node; its index, 0 where there is no room. The whole has index 0, and is made first. */
static int add_node(reader *r, uint32_t *index) {
    json_document *d = r->document;
    if (d->size == C2T_JSON_NODES) return bad(r, C2T_ERROR_PROTOCOL);
    if (d->size == d->capacity) {
        uint32_t capacity = d->capacity ? 2 * d->capacity : 64;
        json_node *grown = realloc(d->nodes, capacity * sizeof *grown);
        if (grown == NULL) return bad(r, C2T_ERROR_MEMORY);
        d->nodes = grown;
        d->capacity = capacity;
    }
    *index = d->size++;
    memset(&d->nodes[*index], 0, sizeof *d->nodes);
    return 1;
}

static int read_hex(reader *r, uint32_t *code) {
    *code = 0;
    if (r->end - r->at < 4) return 0;
    for (int i = 0; i < 4; i++, r->at++) {
        char c = *r->at;
        uint32_t digit;
        if (c >= '0' && c <= '9') digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f') digit = (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F') digit = (uint32_t)(c - 'A') + 10;
        else return 0;
        *code = *code * 16 + digit;
    }
    return 1;
}

/* Decode what follows "\u" to at most 4 bytes: fewer than it took. */
static char *read_unicode(reader *r, char *to) {
    uint32_t code, low;
    if (!read_hex(r, &code) || code == 0) return NULL;
    if (code >= 0xd800 && code < 0xe000) {
        if (code >= 0xdc00 || r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u') return NULL;
        r->at += 2;
        if (!read_hex(r, &low) || low < 0xdc00 || low >= 0xe000) return NULL;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* A string whose first quote was read; NULL where it is none. */
static const char *read_string(reader *r) {
    static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    char *start = r->at, *to = r->at;
    while (r->at < r->end && *r->at != '"') {
        unsigned char byte = (unsigned char)*r->at;
        if (byte < 0x20) return NULL;
        if (byte == '\\') {
            if (r->end - r->at < 2) return NULL;
            char name = r->at[1];
            r->at += 2;
            if (name == 'u') {
                to = read_unicode(r, to);
                if (to == NULL) return NULL;
                continue;
            }
            const char *escape = escapes;
            while (*escape && *escape != name) escape += 2;
            if (!*escape) return NULL;
            *to++ = escape[1];
            continue;
        }
        size_t length = c2t_utf8_character(r->at, (size_t)(r->end - r->at));
        if (length == 0) return NULL;
        memmove(to, r->at, length);
        to += length;
        r->at += length;
    }
    if (r->at == r->end) return NULL;
    r->at++; /* the quote, so there is room for the end of the text */
    *to = 0;
    return start;
}

static int read_value(reader *r, uint32_t index, int depth);

/* The values of a list or object whose bracket was read. */
static int read_values(reader *r, uint32_t parent, int is_object, int depth) {
    const char close = is_object ? '}' : ']';
    uint32_t last = 0;
    size_t count = 0;
    if (depth == C2T_JSON_DEPTH) return bad(r, C2T_ERROR_PROTOCOL);
    if (take(r, close)) return 1;
    do {
        const char *key = NULL;
        uint32_t index;
        if (is_object) {
            if (count == C2T_JSON_MEMBERS || !take(r, '"')) return bad(r, C2T_ERROR_PROTOCOL);
            key = read_string(r);
            if (key == NULL || !take(r, ':')) return bad(r, C2T_ERROR_PROTOCOL);
            const json_node *nodes = r->document->nodes;
            for (uint32_t i = nodes[parent].first; i; i = nodes[i].next)
                if (strcmp(nodes[i].key, key) == 0) return bad(r, C2T_ERROR_PROTOCOL);
        }
        if (!add_node(r, &index)) return 0;
        if (last) r->document->nodes[last].next = index;
        else r->document->nodes[parent].first = index;
        r->document->nodes[index].key = key;
        last = index;
        if (!read_value(r, index, depth)) return 0;
        count++;
    } while (take(r, ','));
    if (!take(r, close)) return bad(r, C2T_ERROR_PROTOCOL);
    r->document->nodes[parent].number = (double)count;
    return 1;
}

static int read_value(reader *r, uint32_t index, int depth) {
    static const struct {
        const char *name;
        json_type type;
    } words[] = {{"null", JSON_NULL}, {"false", JSON_FALSE}, {"true", JSON_TRUE}};
    json_node *node = &r->document->nodes[index];
    skip_blanks(r);
    size_t left = (size_t)(r->end - r->at);
    if (take(r, '{')) {
        node->type = JSON_OBJECT;
        return read_values(r, index, 1, depth + 1);
    }
    if (take(r, '[')) {
        node->type = JSON_LIST;
        return read_values(r, index, 0, depth + 1);
    }
    if (take(r, '"')) {
        node->type = JSON_STRING;
        node->text = read_string(r);
        return node->text ? 1 : bad(r, C2T_ERROR_PROTOCOL);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i].name);
        if (left >= length && memcmp(r->at, words[i].name, length) == 0) {
            node->type = words[i].type;
            r->at += length;
            return 1;
        }
    }
    size_t length = c2t_read_number(r->at, left, &node->number);
    if (length == 0) return bad(r, C2T_ERROR_PROTOCOL);
    node->type = JSON_NUMBER;
    node->text = r->at;
    r->at += length;
    return 1;
}

int32_t c2t_json_read(json_document *document, char *line, size_t size) {
    reader r = {document, line, line + size, C2T_OK};
    uint32_t whole;
    memset(document, 0, sizeof *document);
    document->line = line;
    if (add_node(&r, &whole) && read_value(&r, whole, 0)) {
        skip_blanks(&r);
        if (r.at != r.end) bad(&r, C2T_ERROR_PROTOCOL);
    }
    return r.code;
}

void c2t_json_free(json_document *document) {
    free(document->line);
    free(document->nodes);
    memset(document, 0, sizeof *document);
}

void c2t_json_write(const json_document *document, const json_node *node, c2t_buffer *out) {
    int is_object = node->type == JSON_OBJECT;
    switch (node->type) {
    case JSON_NULL: c2t_buffer_text(out, "null"); return;
    case JSON_FALSE: c2t_buffer_text(out, "false"); return;
    case JSON_TRUE: c2t_buffer_text(out, "true"); return;
    case JSON_STRING: c2t_buffer_string(out, node->text); return;
    case JSON_NUMBER: c2t_buffer_add(out, node->text, strspn(node->text, "+-.0123456789Ee")); return;
    default: break;
    }
    c2t_buffer_text(out, is_object ? "{" : "[");
    for (uint32_t i = node->first; i; i = document->nodes[i].next) {
        const json_node *value = &document->nodes[i];
        if (i != node->first) c2t_buffer_text(out, ",");
        if (is_object) {
            c2t_buffer_string(out, value->key);
            c2t_buffer_text(out, ":");
        }
        c2t_json_write(document, value, out);
    }
    c2t_buffer_text(out, is_object ? "}" : "]");
}

const json_node *c2t_json_member(const json_document *document, const json_node *object,
                                 const char *key, json_type type) {
    if (object == NULL || object->type != JSON_OBJECT) return NULL;
    for (uint32_t i = object->first; i; i = document->nodes[i].next)
        if (strcmp(document->nodes[i].key, key) == 0)
            return document->nodes[i].type == type ? &document->nodes[i] : NULL;
    return NULL;
}

const char *c2t_json_text(const json_document *document, const json_node *object, const char *key,
                          const char *absent) {
    const json_node *node = c2t_json_member(document, object, key, JSON_STRING);
    return node ? node->text : absent;
}

double c2t_json_number(const json_document *document, const json_node *object, const char *key,
                       double absent) {
    const json_node *node = c2t_json_member(document, object, key, JSON_NUMBER);
    return node ? node->number : absent;
}

int64_t c2t_json_integer(const json_document *document, const json_node *object, const char *key) {
    double number = c2t_json_number(document, object, key, -1);
    if (!(number >= 0 && number <= 9007199254740992.0)) return -1;
    return (double)(int64_t)number == number ? (int64_t)number : -1;
}
