// The most probable token of rows of logits, and its probability. Each implementation includes this file in its anonymous
// namespace, after its vectors.
//
// One decision: a row is read in blocks. The block with the largest logit is looked through again for the token; the sum
// of a softmax is kept in double precision over the blocks.

#include "../linears/exponential.inl"

constexpr int64_t kBlock = 16 * kLanes;

// What all blocks of a row [n] give: f(first) of each whole block, g(i) of each logit behind them.
template <class Block, class One> void blocks(int64_t n, const Block& f, const One& g) {
    const int64_t whole = n - n % kBlock;
    for (int64_t first = 0; first < whole; first += kBlock) f(first);
    for (int64_t i = whole; i < n; ++i) g(i);
}

struct Best {
    float logit;
    int64_t token;
};

// The first of the largest logits [n], which are finite numbers; or whether they are not all finite.
inline Best best_of(const float* logits, int64_t n, bool& finite) {
    float best = -std::numeric_limits<float>::infinity(), rest = 0.0f;
    int64_t begin = 0, end = 0;
    Vector odd = zero();  // becomes NaN by a number that is not finite
    blocks(n, [&](int64_t first) {
        Vector most = load(logits + first);
        for (int64_t i = first; i < first + kBlock; i += kLanes) {
            const Vector v = load(logits + i);
            most = larger(most, v);
            odd = multiply_add(v, zero(), odd);
        }
        const float top = largest(most);
        if (top > best) best = top, begin = first, end = first + kBlock;
    }, [&](int64_t i) {
        rest += logits[i] * 0.0f;
        if (logits[i] > best) best = logits[i], begin = i, end = i + 1;
    });
    finite = sum(odd) + rest == 0.0f;
    int64_t token = begin;
    while (token + 1 < end && logits[token] != best) ++token;
    return {best, token};
}

// The largest of any logits [n], banned or not: a NaN if there is one.
inline float top_of(const float* logits, int64_t n) {
    float top = logits[0];
    for (int64_t i = 1; i < n && !std::isnan(top); ++i)
        if (!(logits[i] <= top)) top = logits[i];
    return top;
}

// The first of the largest logits that are not banned; 0 where there is none. A row with a NaN has no best token.
inline int64_t best_allowed(const float* logits, int64_t n, const int32_t* banned, int64_t bans) {
    float best = -std::numeric_limits<float>::infinity();
    int64_t token = 0;
    for (int64_t i = 0; i < n; ++i) {
        if (logits[i] > best && std::find(banned, banned + bans, i) == banned + bans) best = logits[i], token = i;
    }
    return token;
}

inline void choose_rows(const c2t_choices_args& a) {
    for (int64_t row = 0; row < a.rows; ++row) {
        const float* const logits = a.logits + row * a.vocabulary_size;
        const int32_t* const banned = a.banned + row * a.bans;
        bool finite = true;
        Best best = best_of(logits, a.vocabulary_size, finite);
        if (!finite) best.logit = top_of(logits, a.vocabulary_size);
        if (!finite || std::find(banned, banned + a.bans, best.token) != banned + a.bans)
            best.token = best_allowed(logits, a.vocabulary_size, banned, a.bans);
        a.tokens[row] = best.token;
        a.top[row] = best.logit;
    }
}

inline void probabilities_of(const c2t_probabilities_args& a) {
    for (int64_t i = 0; i < a.count; ++i) {
        const int64_t row = a.named[i];
        const float* const logits = a.logits + row * a.vocabulary_size;
        const float top = a.top[row];
        double total = 0.0;
        blocks(a.vocabulary_size, [&](int64_t first) {
            Vector part = zero();
            for (int64_t at = first; at < first + kBlock; at += kLanes)
                part = add(part, exponential(subtract(load(logits + at), broadcast(top))));
            total += static_cast<double>(sum(part));
        }, [&](int64_t at) { total += static_cast<double>(std::exp(logits[at] - top)); });
        a.probabilities[i] = static_cast<float>(static_cast<double>(std::exp(logits[a.tokens[row]] - top)) / total);
    }
}
