// The C interface of the texts of a greedy search between its steps; kernels/turns/cpu.py mirrors the structure field by
// field. A text has a slot for as long as it is written; the batch row that it has in the cache may change.
#pragma once
#include "../drafts/c2t_drafts.h"

#ifdef __cplusplus
extern "C" {
#endif

struct c2t_turns {
    const struct c2t_phrases* phrases;  // null: nothing is drafted
    // Of each slot.
    int32_t* sequence;   // [slots, room] tokens that the n-gram ban counts: of the prompt, then of the text
    int64_t* counted;    // [slots] those of the prompt
    int64_t* written;    // [slots] those of the text, at most most_tokens
    int64_t* cached;     // [slots] tokens in the cache: prompt and text, without the text's last token
    int64_t* steps;      // [slots]
    int32_t* state;      // [slots] where the text stands in the automaton
    uint8_t* failed;     // [slots] 1: a logit was not a finite number
    const int64_t* slot; // [slots] of each batch row
    // Of each text of a call, in the order of their batch rows: its draft, which `take` compares.
    int64_t* drafted;        // [slots]
    int32_t* draft_tokens;   // [slots, longest]
    int32_t* draft_states;   // [slots, longest]
    double* draft_shares;    // [slots, longest]
    double* draft_reach;     // [slots, longest]
    int32_t* draft_bans;     // [slots, longest + 1, most_bans]
    int64_t* draft_widths;   // [slots] bans of a place in draft_bans
    // Results of c2t_turns_propose, for [count, tokens] and `bans` bans of each place, without gaps.
    int32_t* token_ids;      // the last token and the draft, padded with 0
    int64_t* start;          // [count] cache position of the first of them
    int32_t* banned;         // [count, tokens, bans] padded with -1; has room for [slots, longest + 1, most_bans]
    // Results of c2t_turns_take, for each new token; they have room for slots * (longest + 1).
    int64_t* new_rows;       // which text of the call
    int64_t* new_places;     // which of its choices
    int64_t* new_numbers;    // slot * most_tokens + its place in the text
    uint8_t* finished;       // [count] 1: the text goes no further
    const int64_t* end_tokens;  // [ends]
    double* learned;         // [2] accepted tokens, and those that the table's shares promised; see memory
    // Arguments of c2t_turns_take.
    const int64_t* chosen;   // [count, tokens]
    const uint8_t* finite;   // [count, tokens]
    int64_t room, longest, most_bans, most_tokens, ends, ngram;
    // Arguments: texts of the batch rows [first, first + count); most tokens of a draft; cache positions of a batch row.
    int64_t first, count, limit, positions;
    double overhead;         // see c2t.runtime.generation.drafts.common_length
    double unlikely, token_cost, cost_per_row, memory, prior;
    int64_t tokens, bans, furthest;  // results of propose; furthest: the largest of `start`
    int64_t added, ended, drafts, accepted;  // results of take: new tokens, finished texts, drafted and accepted tokens
};

// Draft for texts. Returns 0, or 2 where a ban forbids more than most_bans tokens at one place: nothing has changed then.
C2T_EXPORT int32_t c2t_turns_propose(struct c2t_turns* turns);
// Append to texts what was chosen: the choices that confirm the draft of the last call, and one more. Returns 0.
C2T_EXPORT int32_t c2t_turns_take(struct c2t_turns* turns);

#ifdef __cplusplus
}
#endif
