// Drafts from a phrase table. The numbers are those of c2t.runtime.generation.drafts.Drafter, to the last bit.
#include "c2t_drafts.h"

#include <algorithm>
#include <cstring>

namespace {

constexpr int32_t kRoot = 0;
constexpr int32_t kNoToken = -1;

// A text and what is drafted behind it, as one sequence.
struct Sequence {
    const int32_t* text;
    const int32_t* draft;
    int64_t length;

    int32_t operator[](int64_t index) const { return index < length ? text[index] : draft[index - length]; }
};

// Tokens that would complete an n-gram that the first `length` tokens have; returns how many, at most `most` of them
// written.
int64_t banned_next(const Sequence& all, int64_t length, int64_t ngram, int32_t* banned, int64_t most) {
    if (ngram == 0) return 0;
    const int64_t tail = length - (ngram - 1);
    int64_t count = 0;
    for (int64_t i = 0; i < tail; ++i) {
        int64_t same = 0;
        while (same < ngram - 1 && all[i + same] == all[tail + same]) ++same;
        if (same < ngram - 1) continue;
        if (count < most) banned[count] = all[i + ngram - 1];
        ++count;
    }
    return count;
}

struct Edge {
    int64_t index;
    double share;
};

// The most frequent edge of a state that is not banned; a share of 0 without any.
Edge best_edge(const c2t_phrases& table, int32_t state, const int32_t* banned, int64_t bans) {
    const int64_t first = table.first_edge[state], end = table.first_edge[state + 1];
    if (state == kRoot) return {first, 0.0};
    double total = table.total[state];
    for (int64_t edge = first; edge < end; ++edge) {
        if (std::find(banned, banned + bans, table.token[edge]) == banned + bans)
            return {edge, table.count[edge] / total};
        total -= table.count[edge];
    }
    return {first, 0.0};
}

}  // namespace

extern "C" {

int32_t c2t_draft(c2t_draft_args* a) {
    const Sequence all{a->sequence, a->tokens, a->length};
    int32_t state = static_cast<int32_t>(a->state);
    double chance = 1.0;
    a->drafted = a->bans = 0;
    for (int64_t row = 0;; ++row) {
        int32_t* const banned = a->banned + row * a->most_bans;
        const int64_t bans = banned_next(all, a->length + row, a->ngram, banned, a->most_bans);
        if (bans > a->most_bans) return 2;
        a->bans = std::max(a->bans, bans);
        std::fill(banned + bans, banned + a->most_bans, kNoToken);
        if (row == a->limit) break;
        const Edge edge = best_edge(*a->table, state, banned, bans);
        chance *= edge.share * a->trust;
        if (chance < a->unlikely) break;
        state = a->table->target[edge.index];
        a->tokens[row] = a->table->token[edge.index];
        a->states[row] = state;
        a->shares[row] = edge.share;
        a->reach[row] = chance;
        a->drafted = row + 1;
    }
    for (int64_t row = 1; row <= a->drafted; ++row)
        std::memmove(a->banned + row * a->bans, a->banned + row * a->most_bans,
                     static_cast<size_t>(a->bans) * sizeof(int32_t));
    return 0;
}

int32_t c2t_follow(const c2t_phrases* table, int32_t state, int32_t token) {
    for (;; state = table->shorter[state]) {
        const int32_t* const begin = table->token + table->first_edge[state];
        const int32_t* const end = table->token + table->first_edge[state + 1];
        const int32_t* const found = std::find(begin, end, token);
        if (found != end) return table->target[found - table->token];
        if (state == kRoot) return kRoot;
    }
}

}  // extern "C"
