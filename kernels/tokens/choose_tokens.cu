// Greedy choice from logits: the arg-max of what is not banned, its probability before the ban, and whether the
// largest logit is a number. Many blocks share a row; the last of them to finish merges what all have found.
//
// Deterministic: which thread reads a column and the order in which findings are merged depend on V alone; neither
// the number of rows, nor how a row is aligned, nor which block is the last changes a bit.
//   C2T_LOGITS   0 float32, 1 float16

#ifndef C2T_THREADS
#define C2T_THREADS 256  // a power of two
#endif

#define C2T_TABLE C2T_LOGITS
#include "cuda/number_types.cuh"
#undef C2T_TABLE
typedef Table Logit;

// A thread has all its loads under way at once. More columns a thread would leave most of a GPU without work where
// there is one row: of 128256 columns, 32 blocks.
const int COLUMNS = 16;
const int PIECE = C2T_THREADS * COLUMNS;
const int VECTOR = 16 / sizeof(Logit);
struct alignas(16) Logits { Logit of[VECTOR]; };

// What is known of some columns. One of which nothing is known: {-infinity, 0, -infinity, V}.
struct alignas(16) Finding {
    float top;   // largest of all, NaNs left out
    float sum;   // of exp(logit - base(top)); NaN where one is NaN or +infinity
    float best;  // largest of what is allowed
    int index;   // the smallest column where that is; V where no allowed logit is above -infinity
};

// Where all are -infinity each exp is to be 0, not NaN.
__device__ inline float base(float top) { return top == -1.0f / 0.0f ? 0.0f : top; }

// By value: a finding is then read as one vector.
__device__ inline Finding merge(Finding a, Finding b) {
    const float top = fmaxf(a.top, b.top);
    const float sum = a.sum * expf(a.top - base(top)) + b.sum * expf(b.top - base(top));
    const bool second = b.best > a.best || (b.best == a.best && b.index < a.index);
    return {top, sum, second ? b.best : a.best, second ? b.index : a.index};
}

// All threads' findings merged in a fixed tree; thread 0 gets the result.
__device__ inline Finding merge_block(Finding mine) {
    __shared__ Finding all[C2T_THREADS];
    const int lane = threadIdx.x;
    all[lane] = mine;
    __syncthreads();
    for (int half = C2T_THREADS / 2; half; half /= 2) {
        if (lane < half) all[lane] = merge(all[lane], all[lane + half]);
        __syncthreads();
    }
    return all[0];
}

extern "C" __global__ void __launch_bounds__(C2T_THREADS) choose_tokens(
    const Logit* __restrict__ logits,  // [N, V]
    const int* __restrict__ banned,    // [N, W], padded with -1; null where W is 0
    Finding* scratch,                  // [N, P + 1] of P pieces; the index of the last one is the row's ticket
    int* __restrict__ tokens,          // [N]
    float* __restrict__ probability,   // [N], of a row that is not finite: NaN
    int* __restrict__ finite,          // [N] 0 or 1
    int vocabulary, int bans) {
    __shared__ unsigned ban[PIECE / 32];  // a bit for each column of the piece
    __shared__ bool last;
    const int pieces = (vocabulary + PIECE - 1) / PIECE;
    const long long row = blockIdx.x / pieces;
    const int piece = blockIdx.x % pieces, lane = threadIdx.x;
    const int first = piece * PIECE, left = vocabulary - first;
    const float nothing = -1.0f / 0.0f;
    const Finding unknown = {nothing, 0.0f, nothing, vocabulary};
    logits += row * vocabulary;
    scratch += row * (pieces + 1);
    int* ticket = &scratch[pieces].index;  // 0 before a launch, and after it

    // A thread reads runs of VECTOR columns; as vectors where these are aligned.
    float x[COLUMNS];
    const bool aligned = reinterpret_cast<unsigned long long>(logits) % 16 == 0;
    if (aligned && left >= PIECE) {
#pragma unroll
        for (int i = 0; i < COLUMNS; i += VECTOR) {
            const int column = i * C2T_THREADS + lane * VECTOR;
            const Logits read = *reinterpret_cast<const Logits*>(logits + first + column);
            for (int k = 0; k < VECTOR; ++k) x[i + k] = widen(read.of[k]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < COLUMNS; ++i) {
            const int column = i / VECTOR * VECTOR * C2T_THREADS + lane * VECTOR + i % VECTOR;
            x[i] = column < left ? widen(logits[first + column]) : nothing;
        }
    }

    for (int i = lane; i < PIECE / 32; i += C2T_THREADS) ban[i] = 0;
    __syncthreads();
    for (int i = lane; i < bans; i += C2T_THREADS) {
        const int column = banned[row * bans + i] - first;
        if (column >= 0 && column < PIECE) atomicOr(&ban[column / 32], 1u << column % 32);
    }
    __syncthreads();

    Finding mine = unknown;
#pragma unroll
    for (int i = 0; i < COLUMNS; ++i) {
        const int column = i / VECTOR * VECTOR * C2T_THREADS + lane * VECTOR + i % VECTOR;
        mine.top = fmaxf(mine.top, x[i]);
        if (x[i] > mine.best && !(ban[column / 32] >> column % 32 & 1)) {
            mine.best = x[i];
            mine.index = first + column;
        }
    }
#pragma unroll
    for (int i = 0; i < COLUMNS; ++i) mine.sum += expf(x[i] - base(mine.top));
    mine = merge_block(mine);

    if (lane == 0) {
        scratch[piece] = mine;
        __threadfence();  // the finding before the ticket
        last = atomicAdd(ticket, 1) == pieces - 1;
        __threadfence();  // the others' findings after their tickets
    }
    __syncthreads();
    if (!last) return;
    mine = unknown;
    for (int i = lane; i < pieces; i += C2T_THREADS) mine = merge(mine, scratch[i]);
    mine = merge_block(mine);
    if (lane == 0) {
        const int token = mine.index < vocabulary ? mine.index : 0;  // as arg-max of -infinity everywhere
        const bool right = mine.sum > 0.0f;  // not of NaN, nor where all are -infinity
        tokens[row] = token;
        probability[row] = right ? expf(widen(logits[token]) - mine.top) / mine.sum : nothing - nothing;
        finite[row] = right;
        *ticket = 0;
    }
}
