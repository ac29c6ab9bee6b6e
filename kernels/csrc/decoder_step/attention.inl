// Attention of queries that share a KV head, in float32.
//
// Queries lie in the lanes of a vector and keys come one by one: so no sum goes across lanes, and a query's numbers depend
// on no other query. Everything is added in the order of the cache positions.

constexpr int64_t kKeysTogether = 8;
constexpr int kQueriesTogether = kLanes == 16 ? 4 : 2;  // more sums would not fit into the registers

// Up to kLanes queries; each sees cache positions [first, end).
struct Queries {
    void add(const float* query, int64_t from, int64_t to) {
        numbers[count] = query;
        first[count] = from;
        end[count++] = to;
    }
    int64_t count = 0;
    const float* numbers[kLanes];  // [head_size], already scaled
    int64_t first[kLanes], end[kLanes];
};

// scores [keys][lanes] of queries [size][lanes] with keys [keys][size]
template <int64_t keys>
inline void scores_of(const float* queries, const float* key, int64_t size, float* scores) {
    Vector products[keys];
    for (int64_t i = 0; i < keys; ++i) products[i] = zero();
    for (int64_t d = 0; d < size; ++d) {
        const Vector query = load(queries + d * kLanes);
        for (int64_t i = 0; i < keys; ++i) products[i] = multiply_add(broadcast(key[i * size + d]), query, products[i]);
    }
    for (int64_t i = 0; i < keys; ++i) store(scores + i * kLanes, products[i]);
}

// Likewise of n keys.
template <int64_t keys = kKeysTogether>
inline void scores_of_all(const float* queries, const float* key, int64_t n, int64_t size, float* scores) {
    for (; n >= keys; n -= keys, key += keys * size, scores += keys * kLanes) scores_of<keys>(queries, key, size, scores);
    if constexpr (keys > 1) scores_of_all<keys / 2>(queries, key, n, size, scores);
}

// f(scores of a lane at a position) for the positions from `begin` on that a query does not see.
template <class F> inline void unseen(const Queries& queries, float* scores, int64_t begin, int64_t end, const F& f) {
    for (int64_t lane = 0; lane < queries.count; ++lane) {
        for (int64_t i = begin; i < queries.first[lane]; ++i) f(scores[(i - begin) * kLanes + lane]);
        for (int64_t i = queries.end[lane]; i < end; ++i) f(scores[(i - begin) * kLanes + lane]);
    }
}

// scores [n][lanes] become weights of a softmax, not yet divided by their sums, which are returned.
inline Vector softmax(const Queries& queries, float* scores, int64_t begin, int64_t end) {
    const int64_t numbers = (end - begin) * kLanes;
    unseen(queries, scores, begin, end, [](float& score) { score = std::numeric_limits<float>::lowest(); });
    // Two at a time: one would wait for the other.
    Vector most = load(scores), other = most;
    int64_t at = kLanes;
    for (; at + kLanes < numbers; at += 2 * kLanes) {
        most = larger(most, load(scores + at));
        other = larger(other, load(scores + at + kLanes));
    }
    if (at < numbers) most = larger(most, load(scores + at));
    most = larger(most, other);
    // What a query does not see is the exponential's least number here, which is lost in a sum of 1 and more.
    Vector total = zero();
    for (int64_t i = 0; i < numbers; i += kLanes) {
        const Vector weight = exponential(subtract(load(scores + i), most));
        total = add(total, weight);
        store(scores + i, weight);
    }
    unseen(queries, scores, begin, end, [](float& weight) { weight = 0.0f; });
    return total;
}

// out [queries][size] += n values [n][size] times the weights [n][lanes] of `queries` lanes, for `vectors` vectors.
template <int queries, int vectors>
inline void add_weighted(const float* weights, const float* values, int64_t n, int64_t size, float* out) {
    Vector part[queries][vectors];
    for (int q = 0; q < queries; ++q)
        for (int i = 0; i < vectors; ++i) part[q][i] = load(out + q * size + i * kLanes);
    for (int64_t position = 0; position < n; ++position, weights += kLanes, values += size) {
        Vector value[vectors];
        for (int i = 0; i < vectors; ++i) value[i] = load(values + i * kLanes);
        for (int q = 0; q < queries; ++q) {
            const Vector weight = broadcast(weights[q]);
            for (int i = 0; i < vectors; ++i) part[q][i] = multiply_add(weight, value[i], part[q][i]);
        }
    }
    for (int q = 0; q < queries; ++q)
        for (int i = 0; i < vectors; ++i) store(out + q * size + i * kLanes, part[q][i]);
}

template <int queries>
inline void add_weighted_rows(const float* weights, const float* values, int64_t n, int64_t size, float* out) {
    if (n <= 0) return;
    int64_t d = 0;
    for (; d + 4 * kLanes <= size; d += 4 * kLanes) add_weighted<queries, 4>(weights, values + d, n, size, out + d);
    for (; d + 2 * kLanes <= size; d += 2 * kLanes) add_weighted<queries, 2>(weights, values + d, n, size, out + d);
    for (; d + kLanes <= size; d += kLanes) add_weighted<queries, 1>(weights, values + d, n, size, out + d);
    for (; d < size; ++d)
        for (int q = 0; q < queries; ++q)
            for (int64_t i = 0; i < n; ++i) out[q * size + d] += weights[i * kLanes + q] * values[i * size + d];
}

// Keys or values of a KV head: of its first positions those that batch rows share, then its own.
struct Cached {
    // f(begin, end, numbers of `begin`) for what lies together of the positions [begin, end).
    template <class F> void parts(int64_t begin, int64_t end, const F& f) const {
        if (begin < std::min(shared, end)) f(begin, std::min(shared, end), prefix + begin * size);
        if (const int64_t first = std::max(shared, begin); first < end) f(first, end, own + first * size);
    }
    const float* prefix;  // [shared][size]
    const float* own;     // [C][size]; the first `shared` are not read
    int64_t shared, size;
};

// The values of `count` queries from `lane` on: first what not all of them see, then the positions that they share.
template <int count>
inline void values_of(const Queries& queries, int64_t lane, const float* weights, const Cached& values, int64_t begin,
                      float* out) {
    const int64_t size = values.size;
    const int64_t *const first = queries.first + lane, *const end = queries.end + lane;
    const int64_t from = *std::max_element(first, first + count);
    const int64_t to = std::max(from, *std::min_element(end, end + count));
    const auto add_alone = [&](int q, int64_t a, int64_t b) {
        values.parts(a, b, [&](int64_t i, int64_t j, const float* some) {
            add_weighted_rows<1>(weights + (i - begin) * kLanes + lane + q, some, j - i, size, out + q * size);
        });
    };
    for (int q = 0; q < count; ++q) add_alone(q, first[q], std::min(from, end[q]));
    values.parts(from, to, [&](int64_t i, int64_t j, const float* some) {
        add_weighted_rows<count>(weights + (i - begin) * kLanes + lane, some, j - i, size, out);
    });
    for (int q = 0; q < count; ++q) add_alone(q, to, end[q]);
}

struct AttentionMemory {
    float* queries;  // [head_size][lanes]
    float* scores;   // [C][lanes]
};

// What queries see of the keys and values of their KV head: out [count][size]. cap: see soft_cap(); 0: none.
inline void attend(const Queries& queries, const Cached& keys, const Cached& values, float cap, const AttentionMemory& memory,
                   float* out) {
    const int64_t size = keys.size;
    std::fill(memory.queries, memory.queries + size * kLanes, 0.0f);
    for (int64_t lane = 0; lane < queries.count; ++lane)
        for (int64_t d = 0; d < size; ++d) memory.queries[d * kLanes + lane] = queries.numbers[lane][d];
    const int64_t begin = *std::min_element(queries.first, queries.first + queries.count);
    const int64_t end = *std::max_element(queries.end, queries.end + queries.count);
    keys.parts(begin, end, [&](int64_t from, int64_t to, const float* key) {
        scores_of_all(memory.queries, key, to - from, size, memory.scores + (from - begin) * kLanes);
    });
    if (cap != 0.0f) soft_cap(memory.scores, (end - begin) * kLanes, cap);
    float totals[kLanes];
    store(totals, softmax(queries, memory.scores, begin, end));
    std::fill(out, out + queries.count * size, 0.0f);
    int64_t lane = 0;
    for (; lane + kQueriesTogether <= queries.count; lane += kQueriesTogether)
        values_of<kQueriesTogether>(queries, lane, memory.scores, values, begin, out + lane * size);
    for (; lane < queries.count; ++lane) values_of<1>(queries, lane, memory.scores, values, begin, out + lane * size);
    for (lane = 0; lane < queries.count; ++lane)
        for (int64_t d = 0; d < size; ++d) out[lane * size + d] /= totals[lane];
}
