/* Cells to describe and how: kept as the JSON that is sent. */
#ifndef C2T_REQUEST_H
#define C2T_REQUEST_H

#include "base/base.h"

#define C2T_SETTINGS 12

typedef struct {
    size_t offset; /* of the gene's JSON string in `cells`; 0: none */
    uint64_t hash;
} c2t_gene_place;

struct c2t_request {
    c2t_buffer cells; /* the list of cells, without what closes the last and the list */
    size_t count;
    size_t cell_start;     /* offset of the last cell */
    size_t genes;          /* of the last cell */
    c2t_gene_place *table; /* of the last cell's genes, to find those that come twice */
    size_t table_size;     /* a power of 2, at least twice the genes */
    char *settings[C2T_SETTINGS];
};

/* The line that sends a request. Where memory is short, `line` says so. */
void c2t_request_line(const c2t_request *request, uint64_t id, int stream, c2t_buffer *line);
/* The same for another method. members: of its params, as they stand between the braces of an object. */
void c2t_request_call(const c2t_request *request, uint64_t id, const char *method,
                      const c2t_buffer *members, c2t_buffer *line);

#endif
