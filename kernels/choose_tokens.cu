// Greedy choice from logits: one block per row finds the arg-max of what is not banned, its probability before the
// ban, and whether the largest logit is a number.
//
// Deterministic: every thread walks its own columns in order, and the halves of the block are merged in a fixed tree.
//   C2T_LOGITS   0 float32, 1 float16

#ifndef C2T_THREADS
#define C2T_THREADS 1024  // a power of two
#endif

#define C2T_TABLE C2T_LOGITS
#include "number_types.cuh"
#undef C2T_TABLE
typedef Table Logit;

__device__ inline bool is_banned(const int* banned, int count, int token) {
    for (int i = 0; i < count; ++i) {
        if (banned[i] == token) return true;
    }
    return false;
}

extern "C" __global__ void __launch_bounds__(C2T_THREADS) choose_tokens(
    const Logit* __restrict__ logits,  // [N, V]
    const int* __restrict__ banned,    // [N, W], padded with -1; null where W is 0
    int* __restrict__ tokens,          // [N]
    float* __restrict__ probability,   // [N], of a row that is not finite: NaN
    int* __restrict__ finite,          // [N] 0 or 1
    int vocabulary, int bans) {
    __shared__ float top[C2T_THREADS];   // largest of all
    __shared__ float best[C2T_THREADS];  // largest of what is allowed
    __shared__ int index[C2T_THREADS];   // where that is; V where no allowed logit is above -infinity
    __shared__ int bad;
    const long long row = blockIdx.x;
    const int lane = threadIdx.x;
    const float nothing = -1.0f / 0.0f;
    logits += row * vocabulary;
    if (bans) banned += row * bans;
    if (lane == 0) bad = 0;
    __syncthreads();

    float my_top = nothing, my_best = nothing;
    int my_index = vocabulary;
    bool is_nan = false;
    for (int i = lane; i < vocabulary; i += C2T_THREADS) {
        const float x = widen(logits[i]);
        is_nan |= x != x;
        if (x > my_top) my_top = x;
        // A ban is looked for only where the best of this thread rises: a few times in a hundred columns.
        if (x > my_best && !is_banned(banned, bans, i)) {
            my_best = x;
            my_index = i;
        }
    }
    if (is_nan) atomicOr(&bad, 1);
    top[lane] = my_top;
    best[lane] = my_best;
    index[lane] = my_index;
    __syncthreads();
    for (int half = C2T_THREADS / 2; half; half /= 2) {
        if (lane < half) {
            const int other = lane + half;
            if (top[other] > top[lane]) top[lane] = top[other];
            // Of equal ones the smaller index, whichever thread met it.
            if (best[other] > best[lane] || (best[other] == best[lane] && index[other] < index[lane])) {
                best[lane] = best[other];
                index[lane] = index[other];
            }
        }
        __syncthreads();
    }
    const float largest = top[0];
    const int token = index[0] < vocabulary ? index[0] : 0;  // as arg-max of -infinity everywhere
    const bool right = !bad && largest - largest == 0.0f;
    __syncthreads();

    float sum = 0.0f;
    if (right) {
        for (int i = lane; i < vocabulary; i += C2T_THREADS) sum += expf(widen(logits[i]) - largest);
    }
    best[lane] = sum;
    __syncthreads();
    for (int half = C2T_THREADS / 2; half; half /= 2) {
        if (lane < half) best[lane] += best[lane + half];
        __syncthreads();
    }
    if (lane == 0) {
        tokens[row] = token;
        probability[row] = right ? expf(widen(logits[token]) - largest) / best[0] : nothing - nothing;
        finite[row] = right;
    }
}
