// Gene embedding over one block of ranks. Each implementation includes this file in its anonymous namespace, after it has
// defined `Vector` (kLanes floats), load(const T*), store(Vector, T*, scale) and arithmetic.
//
// Three passes over a row, which stays in the L1 cache: gather and add; centre and square; write. The second pass
// measures the rounding error of the mean, the third subtracts it. Without that, rows of nearly equal values would be
// wrong in float: their variance is so small that the normalisation magnifies the error.

struct RowSum {
    Vector part[4];
    float tail = 0.0f;
    RowSum() { for (Vector& p : part) p = zero(); }
    float total() const { return sum(add(add(part[0], part[1]), add(part[2], part[3]))) + tail; }
};

// Call f(i, part) for each whole vector of the row; `part` goes round the four parts of a RowSum. Four sums do not wait
// for each other; and once f is inlined `part` is a constant, so that they stay in registers.
template <class F> inline void each_vector(int64_t whole, const F& f) {
    int64_t i = 0;
    for (; i + 4 * kLanes <= whole; i += 4 * kLanes) {
        f(i, 0);
        f(i + kLanes, 1);
        f(i + 2 * kLanes, 2);
        f(i + 3 * kLanes, 3);
    }
    if (i < whole) f(i, 0);
    if (i + kLanes < whole) f(i + kLanes, 1);
    if (i + 2 * kLanes < whole) f(i + 2 * kLanes, 2);
}

template <bool typed, class Table, class Out>
void embed_row(const c2t_embed_args& a, const Table* word, const Table* position, float word_scale,
               float position_scale, float* __restrict x, Out* __restrict out) {
    const int64_t hidden_size = a.hidden_size, whole = hidden_size - hidden_size % kLanes;
    const float* const token_type = a.token_type;
    const float* const gamma = a.gamma;
    const float* const beta = a.beta;
    const float out_scale = a.out_scale;
    constexpr bool scaled = std::is_same<Table, int8_t>::value;
    const Vector word_scales = broadcast(word_scale), position_scales = broadcast(position_scale);

    RowSum total;
    each_vector(whole, [&](int64_t i, int part) {
        Vector value = load(word + i), p = load(position + i);
        value = scaled ? multiply_add(p, position_scales, multiply(value, word_scales)) : add(value, p);
        if (typed) value = add(value, load(token_type + i));
        store(value, x + i, 1.0f);
        total.part[part] = add(total.part[part], value);
    });
    for (int64_t i = whole; i < hidden_size; ++i) {
        float value = scaled ? widen(word[i]) * word_scale + widen(position[i]) * position_scale
                             : widen(word[i]) + widen(position[i]);
        if (typed) value += token_type[i];
        x[i] = value;
        total.tail += value;
    }
    const float mean = total.total() / static_cast<float>(hidden_size);

    RowSum residue, squares;
    const Vector means = broadcast(mean);
    each_vector(whole, [&](int64_t i, int part) {
        const Vector centred = subtract(load(x + i), means);
        residue.part[part] = add(residue.part[part], centred);
        squares.part[part] = multiply_add(centred, centred, squares.part[part]);
    });
    for (int64_t i = whole; i < hidden_size; ++i) {
        const float centred = x[i] - mean;
        residue.tail += centred;
        squares.tail += centred * centred;
    }
    const float correction = residue.total() / static_cast<float>(hidden_size);
    float variance = squares.total() / static_cast<float>(hidden_size) - correction * correction;
    variance = variance < 0.0f ? 0.0f : variance;  // a NaN stays one
    const float inverse = 1.0f / std::sqrt(variance + a.epsilon);

    const Vector corrections = broadcast(correction), inverses = broadcast(inverse);
    each_vector(whole, [&](int64_t i, int) {
        const Vector centred = subtract(subtract(load(x + i), means), corrections);
        const Vector y = multiply_add(multiply(centred, inverses), load(gamma + i), load(beta + i));
        store(y, out + i, out_scale);
    });
    for (int64_t i = whole; i < hidden_size; ++i) {
        narrow(((x[i] - mean) - correction) * inverse * gamma[i] + beta[i], out + i, out_scale);
    }
}

constexpr int64_t kPrefetchBytes = 4096;  // prefetched ahead of their use: enough to hide the latency of memory

template <bool typed, class Table, class Out>
void embed_cells(const c2t_embed_args& a, int64_t block, float* x) {
    const Table* words = static_cast<const Table*>(a.word);
    const Table* positions = static_cast<const Table*>(a.position);
    const int64_t first = block * kRankBlock;
    const int64_t last = first + kRankBlock < a.ranks ? first + kRankBlock : a.ranks;
    const int64_t row_bytes = a.hidden_size * int64_t(sizeof(Table));
    const int64_t ahead = row_bytes < kPrefetchBytes ? kPrefetchBytes / row_bytes : 1;  // rows
    for (int64_t cell = 0; cell < a.cells; ++cell) {
        const int32_t* tokens = a.tokens + cell * a.ranks;
        Out* out = static_cast<Out*>(a.out) + cell * a.ranks * a.hidden_size;
        const int64_t length = a.lengths[cell];
        int64_t rank = first;
        for (; rank < last && rank < length; ++rank) {
            if (rank + ahead < length) {
                // The hardware cannot predict where the next token's row lies.
                const char* next = reinterpret_cast<const char*>(words + tokens[rank + ahead] * a.hidden_size);
                for (int64_t byte = 0; byte < row_bytes; byte += 64) __builtin_prefetch(next + byte);
            }
            const int64_t token = tokens[rank];
            embed_row<typed>(a, words + token * a.hidden_size, positions + rank * a.hidden_size,
                             a.word_scale ? a.word_scale[token] : 1.0f,
                             a.position_scale ? a.position_scale[rank] : 1.0f, x, out + rank * a.hidden_size);
        }
        if (rank < last) {
            std::memset(static_cast<void*>(out + rank * a.hidden_size), 0, (last - rank) * a.hidden_size * sizeof(Out));
        }
    }
}

template <class Table, class Out>
void embed_typed(const c2t_embed_args& a, int64_t block, float* x) {
    a.token_type ? embed_cells<true, Table, Out>(a, block, x) : embed_cells<false, Table, Out>(a, block, x);
}

template <class Table>
void embed_table(const c2t_embed_args& a, int64_t block, float* x) {
    switch (a.out_type) {
        case C2T_F16: return embed_typed<Table, Half>(a, block, x);
        case C2T_BF16: return embed_typed<Table, BFloat16>(a, block, x);
        case C2T_I8: return embed_typed<Table, int8_t>(a, block, x);
        default: return embed_typed<Table, float>(a, block, x);
    }
}

void embed_any(const c2t_embed_args& a, int64_t block, float* x) {
    switch (a.table_type) {
        case C2T_F16: return embed_table<Half>(a, block, x);
        case C2T_I8: return embed_table<int8_t>(a, block, x);
        default: return embed_table<float>(a, block, x);
    }
}
