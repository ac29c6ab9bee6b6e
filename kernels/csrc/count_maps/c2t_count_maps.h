// The C interface of reading cells from JSON; kernels/count_maps/native.py mirrors the structure field by field.
#pragma once
#include "../c2t_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { C2T_NAME_BYTES = 64 };  // a longer name is not plain

enum c2t_count_status {
    C2T_COUNTS_READ = 0,
    C2T_COUNTS_NO_MEMORY = 1,
    C2T_COUNTS_NEW_NAMES = 2,  // some names are not in the table; they are listed, nothing else is written
    C2T_COUNTS_NOT_PLAIN = 3,  // JSON that another reader must judge
};

// Names of genes, numbered from 0 on in the order in which they came.
typedef struct c2t_names c2t_names;

struct c2t_count_args {
    const char* const* texts;   // [cells] JSON objects, name to number; an object may be cut off or no JSON at all
    const int64_t* text_bytes;  // [cells]
    int64_t* indptr;            // [cells + 1] where each cell's entries begin
    int32_t* indices;           // [room] column of each entry
    double* data;               // [room]
    int32_t* column_name;       // [room] number of the name of each column, in the order of first appearance
    const char** new_names;     // [room] names that are not in the table, one or several times
    int32_t* new_name_bytes;    // [room]
    int64_t cells, room;        // room: an object of n bytes has at most n / 5 names
    int64_t columns, new_names_count;  // results
};

// Returns null if memory ran out. The seed keeps strangers from choosing names that collide.
C2T_EXPORT c2t_names* c2t_names_new(uint64_t seed);
C2T_EXPORT void c2t_names_free(c2t_names* names);

// Adds names that are not there yet: `bytes` holds them one behind the other, ends[i] is where name i ends.
// Returns 0, or 1 if memory ran out: then the first of them are added, and the others are not. Threads may call this and c2t_count_maps at the same time.
C2T_EXPORT int32_t c2t_names_add(c2t_names* names, const char* bytes, const int64_t* ends, int64_t count);

// Returns a c2t_count_status.
C2T_EXPORT int32_t c2t_count_maps(c2t_names* names, struct c2t_count_args* args);

#ifdef __cplusplus
}
#endif
