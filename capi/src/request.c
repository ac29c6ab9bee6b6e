/* A request is written as JSON when its counts are given: sending it is a copy. */
#include "request.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SETTING_NAMES                                                                             \
    "settings: max_new_tokens, num_beams, no_repeat_ngram_size, repetition_penalty, "             \
    "temperature, top_k, top_p, seed, drafts, counts_are, min_coverage, organism"

typedef enum { NUMBER, WORD, TEXT } kind;

static const struct {
    const char *name;
    kind kind;
} known[C2T_SETTINGS] = {
    {"max_new_tokens", NUMBER}, {"num_beams", NUMBER}, {"no_repeat_ngram_size", NUMBER},
    {"repetition_penalty", NUMBER}, {"temperature", NUMBER}, {"top_k", NUMBER},
    {"top_p", NUMBER},          {"seed", NUMBER},      {"drafts", WORD},
    {"counts_are", TEXT},       {"min_coverage", NUMBER}, {"organism", TEXT},
};

int32_t c2t_request_new(c2t_request **request) {
    if (request == NULL) return c2t_fail(C2T_ERROR_ARGUMENT, "give an address", "request is NULL");
    *request = calloc(1, sizeof **request);
    return *request ? C2T_OK : c2t_fail_memory();
}

static int32_t given_null(const char *function) {
    return c2t_fail(C2T_ERROR_ARGUMENT, "see c2t.h for what may be NULL", "%s was given NULL",
                    function);
}

int32_t c2t_request_set(c2t_request *request, const char *key, const char *value) {
    if (request == NULL || key == NULL || value == NULL) return given_null("c2t_request_set");
    size_t size = strlen(value), place = 0;
    while (place < C2T_SETTINGS && strcmp(known[place].name, key) != 0) place++;
    if (place == C2T_SETTINGS || !c2t_is_utf8(value, size))
        return c2t_fail(C2T_ERROR_ARGUMENT, SETTING_NAMES,
                        place == C2T_SETTINGS ? "no setting \"%.100s\"" : "%.100s is not UTF-8", key);
    double number;
    if (size > 0 && known[place].kind == NUMBER && c2t_read_number(value, size, &number) != size)
        return c2t_fail(C2T_ERROR_ARGUMENT, "give a number such as 4 or 0.5", "%s is \"%s\"", key,
                        value);
    if (size > 0 && known[place].kind == WORD && strcmp(value, "true") && strcmp(value, "false"))
        return c2t_fail(C2T_ERROR_ARGUMENT, "give \"true\" or \"false\"", "%s is \"%s\"", key, value);
    char *copy = size > 0 ? c2t_copy(value) : NULL;
    if (size > 0 && copy == NULL) return c2t_fail_memory();
    free(request->settings[place]);
    request->settings[place] = copy;
    return C2T_OK;
}

/* Take back what was added since; returns the error of this thread. */
static int32_t no_memory(c2t_request *request, size_t size) {
    request->cells.size = size;
    request->cells.failed = 0;
    return c2t_fail_memory();
}

int32_t c2t_request_add_cell(c2t_request *request, const char *id) {
    if (request == NULL) return given_null("c2t_request_add_cell");
    if (id != NULL && !c2t_is_utf8(id, strlen(id)))
        return c2t_fail(C2T_ERROR_ARGUMENT, "give text as UTF-8", "the id of cell %zu is not UTF-8",
                        request->count);
    c2t_buffer *cells = &request->cells;
    size_t before = cells->size;
    c2t_buffer_text(cells, request->count ? "}},{" : "[{");
    if (id != NULL) {
        c2t_buffer_text(cells, "\"id\":");
        c2t_buffer_string(cells, id);
        c2t_buffer_text(cells, ",");
    }
    c2t_buffer_text(cells, "\"counts\":{");
    if (cells->failed) return no_memory(request, before);
    request->count++;
    request->cell_start = cells->size;
    request->genes = 0;
    if (request->table) memset(request->table, 0, request->table_size * sizeof *request->table);
    return C2T_OK;
}

static uint64_t hash_of(const char *text, size_t size) { /* FNV-1a */
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    return hash;
}

static void put(c2t_gene_place *table, size_t size, c2t_gene_place place) {
    size_t at = place.hash & (size - 1);
    while (table[at].offset) at = (at + 1) & (size - 1);
    table[at] = place;
}

/* Make the table hold the genes up to an offset, with room for one more. Returns 0: no memory. */
static int rebuild(c2t_request *request, size_t end, size_t size) {
    c2t_gene_place *table = calloc(size, sizeof *table);
    if (table == NULL) return 0;
    for (size_t i = 0; i < request->table_size; i++)
        if (request->table[i].offset && request->table[i].offset < end)
            put(table, size, request->table[i]);
    free(request->table);
    request->table = table;
    request->table_size = size;
    return 1;
}

/* Whether the gene whose JSON string begins at an offset was given before. */
static int is_twice(const c2t_request *request, size_t offset, uint64_t hash) {
    const char *data = request->cells.data;
    size_t mask = request->table_size - 1, size = request->cells.size - offset;
    for (size_t at = hash & mask; request->table[at].offset; at = (at + 1) & mask) {
        c2t_gene_place place = request->table[at];
        /* The closing quote is compared, so lengths are equal. */
        if (place.hash == hash && place.offset < offset &&
            memcmp(data + place.offset, data + offset, size) == 0)
            return 1;
    }
    return 0;
}

static int32_t add(c2t_request *request, const char *gene, double count) {
    c2t_buffer *cells = &request->cells;
    if (gene == NULL || *gene == 0 || !c2t_is_utf8(gene, strlen(gene)))
        return c2t_fail(C2T_ERROR_ARGUMENT, "give an Ensembl id or a symbol in UTF-8",
                        "gene %zu of cell %zu is %s", request->genes, request->count - 1,
                        gene && *gene ? "not UTF-8" : "empty");
    if (!(count >= 0) || !isfinite(count)) {
        c2t_buffer shown = {0};
        if (isfinite(count)) c2t_buffer_number(&shown, count);
        else c2t_buffer_text(&shown, isnan(count) ? "not a number" : "infinite");
        c2t_buffer_add(&shown, "", 1);
        int32_t code = c2t_fail(C2T_ERROR_ARGUMENT, "give counts of 0 or more",
                                "the count of %.100s in cell %zu is %s", gene, request->count - 1,
                                shown.failed ? "negative" : shown.data);
        c2t_buffer_free(&shown);
        return code;
    }
    size_t size = request->table_size ? request->table_size : 64;
    while (size < 2 * (request->genes + 1)) size *= 2;
    if (size > request->table_size && !rebuild(request, SIZE_MAX, size)) return c2t_fail_memory();
    if (request->genes) c2t_buffer_text(cells, ",");
    size_t offset = cells->size;
    c2t_buffer_string(cells, gene);
    if (cells->failed) return c2t_fail_memory();
    uint64_t hash = hash_of(cells->data + offset, cells->size - offset);
    if (is_twice(request, offset, hash))
        return c2t_fail(C2T_ERROR_ARGUMENT, "add up the counts of a gene",
                        "gene %.100s comes twice in cell %zu", gene, request->count - 1);
    c2t_buffer_text(cells, ":");
    c2t_buffer_number(cells, count);
    if (cells->failed) return c2t_fail_memory();
    put(request->table, request->table_size, (c2t_gene_place){offset, hash});
    request->genes++;
    return C2T_OK;
}

int32_t c2t_request_add_genes(c2t_request *request, const char *const *genes, const double *counts,
                              size_t number) {
    if (request == NULL || (number > 0 && (genes == NULL || counts == NULL)))
        return given_null("c2t_request_add_genes");
    if (request->count == 0)
        return c2t_fail(C2T_ERROR_ARGUMENT, "call c2t_request_add_cell first", "no cell was begun");
    size_t size = request->cells.size, before = request->genes;
    for (size_t i = 0; i < number; i++) {
        int32_t code = add(request, genes[i], counts[i]);
        if (code == C2T_OK) continue;
        /* Take all back. A table that cannot be made again only refuses genes once too often. */
        request->cells.size = size;
        request->cells.failed = 0;
        request->genes = before;
        if (request->table) rebuild(request, size, request->table_size);
        return code;
    }
    return C2T_OK;
}

int32_t c2t_request_add_gene(c2t_request *request, const char *gene, double count) {
    return c2t_request_add_genes(request, &gene, &count, 1);
}

void c2t_request_clear(c2t_request *request) {
    if (request == NULL) return;
    request->cells.size = 0;
    request->count = request->cell_start = request->genes = 0;
}

void c2t_request_free(c2t_request *request) {
    if (request == NULL) return;
    c2t_buffer_free(&request->cells);
    free(request->table);
    for (size_t i = 0; i < C2T_SETTINGS; i++) free(request->settings[i]);
    free(request);
}

/* Up to the params of a request. */
static void begin_line(c2t_buffer *line, uint64_t id, const char *method) {
    c2t_buffer_text(line, "{\"jsonrpc\":\"2.0\",\"id\":");
    c2t_buffer_integer(line, id);
    c2t_buffer_text(line, ",\"method\":");
    c2t_buffer_string(line, method);
    c2t_buffer_text(line, ",\"params\":{");
}

/* Settings and cells, which are the last of the params. */
static void end_line(c2t_buffer *line, const c2t_request *request) {
    int first = 1;
    c2t_buffer_text(line, "\"settings\":{");
    for (size_t i = 0; i < C2T_SETTINGS; i++) {
        if (request->settings[i] == NULL) continue;
        if (!first) c2t_buffer_text(line, ",");
        first = 0;
        c2t_buffer_string(line, known[i].name);
        c2t_buffer_text(line, ":");
        if (known[i].kind == TEXT) c2t_buffer_string(line, request->settings[i]);
        else c2t_buffer_text(line, request->settings[i]);
    }
    c2t_buffer_text(line, "},\"cells\":");
    c2t_buffer_add(line, request->cells.data, request->cells.size);
    c2t_buffer_text(line, "}}]}}\n");
}

void c2t_request_line(const c2t_request *request, uint64_t id, int stream, c2t_buffer *line) {
    begin_line(line, id, "describe");
    c2t_buffer_text(line, stream ? "\"stream\":true," : "\"stream\":false,");
    end_line(line, request);
}

void c2t_request_call(const c2t_request *request, uint64_t id, const char *method,
                      const c2t_buffer *members, c2t_buffer *line) {
    begin_line(line, id, method);
    c2t_buffer_add(line, members->data, members->size);
    if (members->size > 0) c2t_buffer_text(line, ",");
    end_line(line, request);
}
