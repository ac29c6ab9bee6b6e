// The C interface of drafts from a phrase table; kernels/drafts/cpu.py mirrors the structures field by field.
#pragma once
#include "../c2t_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

// The automaton of c2t.runtime.generation.phrase_table. State 0 is the root: the empty context.
struct c2t_phrases {
    const int32_t* first_edge;  // [states + 1] edges of state s are [first_edge[s], first_edge[s + 1])
    const int32_t* token;       // [edges]
    const int32_t* target;      // [edges]
    const int32_t* count;       // [edges]
    const int32_t* shorter;     // [states]
    const double* total;        // [states] what the counts of a state are shares of
};

struct c2t_draft_args {
    const struct c2t_phrases* table;
    const int32_t* sequence;  // [length] tokens that the n-gram ban counts
    int32_t* tokens;          // [limit] what is drafted
    int32_t* states;          // [limit] the state behind each of them
    double* shares;           // [limit] the share of the table's captions that go on so
    double* reach;            // [limit] the chance that a token is accepted
    int32_t* banned;          // [drafted + 1, bans] what the ban forbids before each token and behind the last, padded
                              // with -1; has room for [limit + 1, most_bans]
    int64_t length, ngram;    // ngram: 0 bans nothing
    int64_t state, limit, most_bans;
    double trust, unlikely;   // a draft ends before a token whose reach is less than `unlikely`
    int64_t drafted, bans;    // results
};

// Return 0, or 2 where the ban forbids more than most_bans tokens at one place: there is no draft then.
C2T_EXPORT int32_t c2t_draft(struct c2t_draft_args* args);
// The state of the longest context that `state`, followed by `token`, ends with.
C2T_EXPORT int32_t c2t_follow(const struct c2t_phrases* table, int32_t state, int32_t token);

#ifdef __cplusplus
}
#endif
