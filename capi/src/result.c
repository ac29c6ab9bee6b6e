/* A result keeps the line that it came in; its texts are parts of that line. */
#include "result.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *id, *text, *error;
    double confidence, cell_type_confidence;
    int64_t genes_used;
    const json_node *line;
} described;

struct c2t_result {
    json_document document;
    described *cells;
    size_t count;
    const char **warnings;
    size_t warning_count;
};

static int read_cell(const json_document *document, const json_node *node, described *cell) {
    cell->id = c2t_json_text(document, node, "cell", NULL);
    cell->text = c2t_json_text(document, node, "text", NULL);
    cell->error = c2t_json_text(document, node, "error", NULL);
    cell->confidence = c2t_json_number(document, node, "confidence", NAN);
    cell->cell_type_confidence = c2t_json_number(document, node, "cell_type_confidence", NAN);
    cell->line = node;
    cell->genes_used = c2t_json_integer(document, node, "genes_used");
    return cell->id != NULL && (cell->text == NULL) != (cell->error == NULL) && cell->genes_used >= 0;
}

static int read_all(c2t_result *result, const json_node *list, const json_node *warnings) {
    const json_document *document = &result->document;
    size_t place = 0;
    for (uint32_t i = list->first; i; i = document->nodes[i].next)
        if (!read_cell(document, &document->nodes[i], &result->cells[place++])) return 0;
    for (uint32_t i = warnings ? warnings->first : 0; i; i = document->nodes[i].next) {
        if (document->nodes[i].type != JSON_STRING) return 0;
        result->warnings[result->warning_count++] = document->nodes[i].text;
    }
    return 1;
}

int32_t c2t_result_make(json_document *answer, size_t cells, c2t_result **result) {
    const json_node *content = c2t_json_member(answer, answer->nodes, "result", JSON_OBJECT);
    const json_node *list = c2t_json_member(answer, content, "cells", JSON_LIST);
    const json_node *warnings = c2t_json_member(answer, content, "warnings", JSON_LIST);
    if (list == NULL || (size_t)list->number != cells) return C2T_ERROR_PROTOCOL;
    size_t warning_count = warnings ? (size_t)warnings->number : 0;
    c2t_result *made = calloc(1, sizeof *made);
    if (made == NULL) return C2T_ERROR_MEMORY;
    made->document = *answer;
    made->count = cells;
    made->cells = calloc(cells ? cells : 1, sizeof *made->cells);
    made->warnings = calloc(warning_count ? warning_count : 1, sizeof *made->warnings);
    int32_t code = C2T_ERROR_MEMORY;
    if (made->cells && made->warnings)
        code = read_all(made, list, warnings) ? C2T_OK : C2T_ERROR_PROTOCOL;
    if (code == C2T_OK) {
        memset(answer, 0, sizeof *answer);
        *result = made;
    } else {
        memset(&made->document, 0, sizeof made->document);
        c2t_result_free(made);
    }
    return code;
}

void c2t_result_free(c2t_result *result) {
    if (result == NULL) return;
    c2t_json_free(&result->document);
    free(result->cells);
    free(result->warnings);
    free(result);
}

static const described *cell_of(const c2t_result *result, size_t cell) {
    static const described none = {NULL, NULL, NULL, NAN, NAN, -1, NULL};
    return result != NULL && cell < result->count ? &result->cells[cell] : &none;
}

size_t c2t_result_cells(const c2t_result *result) { return result ? result->count : 0; }
const char *c2t_result_id(const c2t_result *result, size_t cell) { return cell_of(result, cell)->id; }
const char *c2t_result_text(const c2t_result *result, size_t cell) {
    return cell_of(result, cell)->text;
}
const char *c2t_result_error(const c2t_result *result, size_t cell) {
    return cell_of(result, cell)->error;
}
double c2t_result_confidence(const c2t_result *result, size_t cell) {
    return cell_of(result, cell)->confidence;
}
double c2t_result_cell_type_confidence(const c2t_result *result, size_t cell) {
    return cell_of(result, cell)->cell_type_confidence;
}
int64_t c2t_result_genes_used(const c2t_result *result, size_t cell) {
    return cell_of(result, cell)->genes_used;
}
const char *c2t_result_field(const c2t_result *result, size_t cell, const char *name) {
    const json_node *line = cell_of(result, cell)->line;
    return line == NULL || name == NULL ? NULL : c2t_json_text(&result->document, line, name, NULL);
}
size_t c2t_result_warnings(const c2t_result *result) { return result ? result->warning_count : 0; }
const char *c2t_result_warning(const c2t_result *result, size_t warning) {
    return result != NULL && warning < result->warning_count ? result->warnings[warning] : NULL;
}
