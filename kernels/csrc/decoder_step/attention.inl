// Attention of one row's query heads that share a KV head, in float32.
//
// Everything is computed per query head and per cache position in one order, whatever else is in the step.

// Scores of a query [size] with `count` <= kLanes keys [count][size]; lanes behind them repeat the last key's.
inline Vector scores_of(const float* query, const float* keys, int64_t size, int64_t count) {
    const int64_t whole = size - size % kLanes;
    Vector part[kLanes];
    for (int64_t key = 0; key < kLanes; ++key) {
        const float* const k = keys + std::min(key, count - 1) * size;
        Vector products = zero();
        for (int64_t i = 0; i < whole; i += kLanes) products = multiply_add(load(query + i), load(k + i), products);
        part[key] = products;
    }
    Vector result = sums(part);
    if (whole == size) return result;
    float rest[kLanes];
    for (int64_t key = 0; key < kLanes; ++key) {
        const float* const k = keys + std::min(key, count - 1) * size;
        rest[key] = 0.0f;
        for (int64_t i = whole; i < size; ++i) rest[key] += query[i] * k[i];
    }
    return add(result, load(rest));
}

// weights [n]: softmax of scores [n], not yet divided by their sum, which is returned.
inline float exponentials(float* scores, int64_t n) {
    const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
    for (int64_t i = n; i < padded; ++i) scores[i] = scores[n - 1];
    Vector most = load(scores);
    for (int64_t i = kLanes; i < padded; i += kLanes) most = larger(most, load(scores + i));
    const Vector top = broadcast(largest(most));
    for (int64_t i = 0; i < padded; i += kLanes) store(scores + i, exponential(subtract(load(scores + i), top)));
    for (int64_t i = n; i < padded; ++i) scores[i] = 0.0f;
    Vector total = zero();
    for (int64_t i = 0; i < padded; i += kLanes) total = add(total, load(scores + i));
    return sum(total);
}

// out[head][...] = sums of values [n][size] by the weights of `heads` heads, for `vectors` vectors from `first` on.
template <int heads, int vectors>
inline void weighted(const float* weights, int64_t stride, const float* values, int64_t n, int64_t size, int64_t first,
                     const float* divisors, float* out) {
    Vector part[heads][vectors];
    for (int head = 0; head < heads; ++head)
        for (int i = 0; i < vectors; ++i) part[head][i] = zero();
    for (int64_t position = 0; position < n; ++position) {
        const float* const value = values + position * size + first;
        for (int i = 0; i < vectors; ++i) {
            const Vector v = load(value + i * kLanes);
            for (int head = 0; head < heads; ++head)
                part[head][i] = multiply_add(broadcast(weights[head * stride + position]), v, part[head][i]);
        }
    }
    for (int head = 0; head < heads; ++head)
        for (int i = 0; i < vectors; ++i)
            store(out + head * size + first + i * kLanes, divide(part[head][i], broadcast(divisors[head])));
}

template <int heads>
inline void weighted_sums(const float* weights, int64_t stride, const float* values, int64_t n, int64_t size,
                          const float* divisors, float* out) {
    int64_t first = 0;
    for (; first + 4 * kLanes <= size; first += 4 * kLanes)
        weighted<heads, 4>(weights, stride, values, n, size, first, divisors, out);
    for (; first + kLanes <= size; first += kLanes)
        weighted<heads, 1>(weights, stride, values, n, size, first, divisors, out);
    for (; first < size; ++first) {
        for (int head = 0; head < heads; ++head) {
            float total = 0.0f;
            for (int64_t position = 0; position < n; ++position)
                total += weights[head * stride + position] * values[position * size + first];
            out[head * size + first] = total / divisors[head];
        }
    }
}

// What `heads` query heads [heads][size] (already scaled) see of n keys and values [n][size]: out [heads][size].
// scores: memory for [heads][stride] with stride >= n + kLanes, divisors: for [heads]. cap: see soft_cap(); 0: none.
inline void attend(const float* queries, int64_t heads, const float* keys, const float* values, int64_t n, int64_t size,
                   float cap, float* scores, int64_t stride, float* divisors, float* out) {
    for (int64_t position = 0; position < n; position += kLanes) {
        const int64_t count = std::min(kLanes, n - position);
        for (int64_t head = 0; head < heads; ++head)
            store(scores + head * stride + position,
                  scores_of(queries + head * size, keys + position * size, size, count));
    }
    if (cap != 0.0f)
        for (int64_t head = 0; head < heads; ++head) soft_cap(scores + head * stride, (n + kLanes - 1) / kLanes * kLanes, cap);
    for (int64_t head = 0; head < heads; ++head) divisors[head] = exponentials(scores + head * stride, n);
    constexpr int kTogether = kLanes == 16 ? 4 : 2;  // more sums would not fit into the registers
    int64_t head = 0;
    for (; head + kTogether <= heads; head += kTogether)
        weighted_sums<kTogether>(scores + head * stride, stride, values, n, size, divisors + head, out + head * size);
    for (; head < heads; ++head)
        weighted_sums<1>(scores + head * stride, stride, values, n, size, divisors + head, out + head * size);
}
