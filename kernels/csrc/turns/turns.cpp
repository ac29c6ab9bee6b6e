// What happens to the texts of a greedy search between its steps. The numbers are those of
// c2t.runtime.generation.python_turns, to the last bit: sums have the same order.
#include "c2t_turns.h"

#include <algorithm>

namespace {

constexpr int32_t kNoToken = -1;

// Cache positions that the longest text of a call has.
int64_t furthest_of(const c2t_turns& t) {
    int64_t furthest = 0;
    for (int64_t i = 0; i < t.count; ++i) furthest = std::max(furthest, t.cached[t.slot[t.first + i]]);
    return furthest;
}

// Draft behind text i of a call, at most `limit` tokens. Returns what c2t_draft does.
int32_t draft(const c2t_turns& t, int64_t i, int64_t limit) {
    const int64_t slot = t.slot[t.first + i];
    // The last token of a text is never drafted: its step would give a token too many.
    limit = std::min({limit, t.most_tokens - 1 - t.written[slot], t.longest});
    const double trust = (t.learned[0] + t.prior) / (t.learned[1] + t.prior);
    c2t_draft_args a{};
    a.table = t.phrases;
    a.sequence = t.sequence + slot * t.room;
    a.tokens = t.draft_tokens + i * t.longest;
    a.states = t.draft_states + i * t.longest;
    a.shares = t.draft_shares + i * t.longest;
    a.reach = t.draft_reach + i * t.longest;
    a.banned = t.draft_bans + i * (t.longest + 1) * t.most_bans;
    a.length = t.counted[slot] + t.written[slot];
    a.ngram = t.ngram;
    a.state = t.state[slot];
    a.limit = t.phrases ? std::max<int64_t>(limit, 0) : 0;
    a.most_bans = t.most_bans;
    a.trust = std::min(1.0, trust);
    a.unlikely = t.unlikely;
    const int32_t status = c2t_draft(&a);
    t.drafted[i] = a.drafted;
    t.draft_widths[i] = a.bans;
    return status;
}

// The length of drafts that gives the most expected tokens per cost.
int64_t common_length(const c2t_turns& t) {
    const double each = t.token_cost + t.cost_per_row * static_cast<double>(t.count - 1);
    const double extra = t.count == 1 ? t.overhead : 0.0;
    const int64_t longest = *std::max_element(t.drafted, t.drafted + t.count);
    double expected = static_cast<double>(t.count), best_rate = expected;
    int64_t best = 0;
    for (int64_t length = 1; length <= longest; ++length) {
        double chances = 0.0;
        for (int64_t i = 0; i < t.count; ++i)
            if (length <= t.drafted[i]) chances += t.draft_reach[i * t.longest + length - 1];
        expected += chances;
        const double rate = expected / (1.0 + extra + each * static_cast<double>(length));
        if (rate > best_rate) best = length, best_rate = rate;
    }
    return best;
}

// The inputs of a step: tokens, positions and bans of text i.
void write_inputs(const c2t_turns& t, int64_t i) {
    const int64_t slot = t.slot[t.first + i], drafted = t.drafted[i], width = t.draft_widths[i];
    const int64_t last = t.counted[slot] + t.written[slot] - 1;
    int32_t* const ids = t.token_ids + i * t.tokens;
    ids[0] = t.written[slot] ? t.sequence[slot * t.room + last] : 0;
    std::copy_n(t.draft_tokens + i * t.longest, drafted, ids + 1);
    std::fill(ids + 1 + drafted, ids + t.tokens, 0);
    t.start[i] = t.cached[slot];
    const int32_t* from = t.draft_bans + i * (t.longest + 1) * t.most_bans;
    int32_t* to = t.banned + i * t.tokens * t.bans;
    int32_t* const end = to + t.tokens * t.bans;
    for (int64_t place = 0; place <= drafted; ++place, from += width, to += t.bans)
        std::fill(std::copy_n(from, width, to), to + t.bans, kNoToken);
    std::fill(to, end, kNoToken);
}

// Append the choices that confirm the draft of text i, and one more; returns how many.
int64_t write_text(c2t_turns& t, int64_t i) {
    const int64_t slot = t.slot[t.first + i], drafted = t.drafted[i], before = t.written[slot];
    const int64_t* const chosen = t.chosen + i * t.tokens;
    const uint8_t* const finite = t.finite + i * t.tokens;
    const int32_t* const draft = t.draft_tokens + i * t.longest;
    int32_t* const text = t.sequence + slot * t.room + t.counted[slot] + before;
    int64_t count = 0;
    bool confirmed = true, finished = before >= t.most_tokens;
    for (; confirmed && !finished && count <= drafted; ++count) {
        if (!finite[count]) {
            t.failed[slot] = 1;
            finished = true;
            break;
        }
        text[count] = static_cast<int32_t>(chosen[count]);
        t.new_rows[t.added] = i;
        t.new_places[t.added] = count;
        t.new_numbers[t.added++] = slot * t.most_tokens + before + count;
        confirmed = count < drafted && text[count] == draft[count];
        finished = std::find(t.end_tokens, t.end_tokens + t.ends, chosen[count]) != t.end_tokens + t.ends ||
                   before + count + 1 >= t.most_tokens;
    }
    t.written[slot] += count;
    t.cached[slot] += count;
    ++t.steps[slot];
    t.finished[i] = finished;
    t.ended += finished;
    if (count > 0 && t.phrases) {
        const int32_t state = count > 1 ? t.draft_states[i * t.longest + count - 2] : t.state[slot];
        t.state[slot] = c2t_follow(t.phrases, state, text[count - 1]);
    }
    return count;
}

// Take note of the draft of text i, of which the first `accepted` tokens were right.
void learn(c2t_turns& t, int64_t i, int64_t accepted) {
    const int64_t examined = std::min(t.drafted[i], accepted + 1);  // tokens after a wrong one prove nothing
    double promised = 0.0;
    for (int64_t place = 0; place < examined; ++place) promised += t.draft_shares[i * t.longest + place];
    t.learned[0] = t.learned[0] * t.memory + static_cast<double>(accepted);
    t.learned[1] = t.learned[1] * t.memory + promised;
    t.drafts += t.drafted[i];
    t.accepted += accepted;
}

}  // namespace

extern "C" {

int32_t c2t_turns_propose(c2t_turns* t) {
    t->furthest = furthest_of(*t);
    const int64_t limit = std::min(t->limit, t->positions - t->furthest - 1);
    t->bans = 0;
    for (int64_t i = 0; i < t->count; ++i) {
        if (const int32_t status = draft(*t, i, limit)) return status;
        t->bans = std::max(t->bans, t->draft_widths[i]);
    }
    const int64_t length = common_length(*t);
    for (int64_t i = 0; i < t->count; ++i) t->drafted[i] = std::min(t->drafted[i], length);
    t->tokens = 1 + length;
    for (int64_t i = 0; i < t->count; ++i) write_inputs(*t, i);
    return 0;
}

int32_t c2t_turns_take(c2t_turns* t) {
    t->added = t->ended = t->drafts = t->accepted = 0;
    for (int64_t i = 0; i < t->count; ++i) {
        const int64_t count = write_text(*t, i);
        if (t->phrases && !t->failed[t->slot[t->first + i]]) learn(*t, i, count - 1);
    }
    return 0;
}

}  // extern "C"
