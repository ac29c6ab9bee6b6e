// Greedy choice from logits: the arg-max of the tokens that are not banned, its probability before the ban, and whether
// the largest logit is finite. Several blocks share a row; the last of them to end merges their results.
//
// Deterministic: which thread reads a column, and the order in which results are merged, depend on V alone. Neither the
// number of rows, nor the alignment of a row, nor the block that ends last changes a bit.
//   C2T_LOGITS   0 float32, 1 float16

#ifndef C2T_THREADS
#define C2T_THREADS 256  // a power of two
#endif

#define C2T_TABLE C2T_LOGITS
#include "cuda/number_types.cuh"
#undef C2T_TABLE
typedef Table Logit;

// A thread starts all its loads before it uses one. With more columns for each thread, a single row would keep few
// multiprocessors busy: 128256 columns are 32 blocks.
const int COLUMNS = 16;
const int PIECE = C2T_THREADS * COLUMNS;  // columns of a block
const int VECTOR = 16 / sizeof(Logit);
struct alignas(16) Logits { Logit of[VECTOR]; };

// The choice from some columns; from none: {-infinity, 0, -infinity, V}.
struct alignas(16) PartialChoice {
    float top;   // the largest logit, NaNs left out
    float sum;   // of exp(logit - exponent_base(top)); NaN if a logit is NaN or +infinity
    float best;  // the largest logit that is allowed
    int index;   // its smallest column; V if no allowed logit is above -infinity
};

// What is subtracted before exp: the largest logit; 0 if that is -infinity, since -infinity minus itself is NaN.
__device__ inline float exponent_base(float top) { return top == -1.0f / 0.0f ? 0.0f : top; }

// The arguments are passed by value, so that each is read from memory as one vector.
__device__ inline PartialChoice merge(PartialChoice a, PartialChoice b) {
    const float top = fmaxf(a.top, b.top);
    const float sum = a.sum * expf(a.top - exponent_base(top)) + b.sum * expf(b.top - exponent_base(top));
    const bool second = b.best > a.best || (b.best == a.best && b.index < a.index);
    return {top, sum, second ? b.best : a.best, second ? b.index : a.index};
}

// Merge the threads' choices in a tree of fixed order; thread 0 gets the result.
__device__ inline PartialChoice merge_block(PartialChoice mine) {
    __shared__ PartialChoice all[C2T_THREADS];
    const int thread = threadIdx.x;
    all[thread] = mine;
    __syncthreads();
    for (int half = C2T_THREADS / 2; half; half /= 2) {
        if (thread < half) all[thread] = merge(all[thread], all[thread + half]);
        __syncthreads();
    }
    return all[0];
}

extern "C" __global__ void __launch_bounds__(C2T_THREADS) choose_tokens(
    const Logit* __restrict__ logits,  // [N, V]
    const int* __restrict__ banned,    // [N, W], padded with -1; null where W is 0
    PartialChoice* scratch,            // [N, P + 1] for P pieces; `index` of a row's last one counts its ended blocks
    int* __restrict__ tokens,          // [N]
    float* __restrict__ probability,   // [N]; NaN if the row is not finite
    int* __restrict__ finite,          // [N] 0 or 1
    int vocabulary_size, int bans) {
    __shared__ unsigned ban[PIECE / 32];  // a bit for each column of the piece
    __shared__ bool last;
    const int pieces = (vocabulary_size + PIECE - 1) / PIECE;
    const long long row = blockIdx.x / pieces;
    const int piece = blockIdx.x % pieces, thread = threadIdx.x;
    const int first = piece * PIECE, left = vocabulary_size - first;
    const float minus_infinity = -1.0f / 0.0f;
    const PartialChoice none = {minus_infinity, 0.0f, minus_infinity, vocabulary_size};
    logits += row * vocabulary_size;
    scratch += row * (pieces + 1);
    int* ended_blocks = &scratch[pieces].index;  // 0 before and after a launch

    // A thread reads VECTOR neighbouring columns at a time, as one load where the row is aligned.
    float x[COLUMNS];
    const bool aligned = reinterpret_cast<unsigned long long>(logits) % 16 == 0;
    if (aligned && left >= PIECE) {
#pragma unroll
        for (int i = 0; i < COLUMNS; i += VECTOR) {
            const int column = i * C2T_THREADS + thread * VECTOR;
            const Logits read = *reinterpret_cast<const Logits*>(logits + first + column);
            for (int k = 0; k < VECTOR; ++k) x[i + k] = widen(read.of[k]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < COLUMNS; ++i) {
            const int column = i / VECTOR * VECTOR * C2T_THREADS + thread * VECTOR + i % VECTOR;
            x[i] = column < left ? widen(logits[first + column]) : minus_infinity;
        }
    }

    for (int i = thread; i < PIECE / 32; i += C2T_THREADS) ban[i] = 0;
    __syncthreads();
    for (int i = thread; i < bans; i += C2T_THREADS) {
        const int column = banned[row * bans + i] - first;
        if (column >= 0 && column < PIECE) atomicOr(&ban[column / 32], 1u << column % 32);
    }
    __syncthreads();

    PartialChoice mine = none;
#pragma unroll
    for (int i = 0; i < COLUMNS; ++i) {
        const int column = i / VECTOR * VECTOR * C2T_THREADS + thread * VECTOR + i % VECTOR;
        mine.top = fmaxf(mine.top, x[i]);
        if (x[i] > mine.best && !(ban[column / 32] >> column % 32 & 1)) {
            mine.best = x[i];
            mine.index = first + column;
        }
    }
#pragma unroll
    for (int i = 0; i < COLUMNS; ++i) mine.sum += expf(x[i] - exponent_base(mine.top));
    mine = merge_block(mine);

    if (thread == 0) {
        scratch[piece] = mine;
        __threadfence();  // the choice is written before the count
        last = atomicAdd(ended_blocks, 1) == pieces - 1;
        __threadfence();  // the others' choices are read after the count
    }
    __syncthreads();
    if (!last) return;
    mine = none;
    for (int i = thread; i < pieces; i += C2T_THREADS) mine = merge(mine, scratch[i]);
    mine = merge_block(mine);
    if (thread == 0) {
        const int token = mine.index < vocabulary_size ? mine.index : 0;  // arg-max of a row that is -infinity everywhere
        const bool is_finite = mine.sum > 0.0f;  // false for NaN, and for 0: all are -infinity
        tokens[row] = token;
        probability[row] = is_finite ? expf(widen(logits[token]) - mine.top) / mine.sum : minus_infinity - minus_infinity;  // NaN
        finite[row] = is_finite;
        *ended_blocks = 0;
    }
}
