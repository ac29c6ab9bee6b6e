// Rank-value encoding on CUDA: one block per cell, two bitonic sorts.
//
// The first sort, by (gene, stored order), brings the entries of a gene together, so that one thread adds them in the
// stored order: the sums have the bits of the NumPy definition, which atomics would not give. The second, by
// (quotient descending, token), is the ranking. Cells of up to C2T_SHARED entries are sorted in shared memory, larger
// ones by the same code in global memory. Compiled with -fmad=false. No header is included, for NVRTC.

typedef unsigned long long u64;

#ifndef C2T_THREADS
#define C2T_THREADS 512
#endif
#ifndef C2T_SHARED
#define C2T_SHARED 2048  // entries; 32 KiB, which every architecture gives without asking
#endif

enum { kOk = 0, kEmpty = 1, kNan = 2, kInfinite = 3, kNegative = 4 };
static constexpr u64 kLast = ~0ull;

// Sort (high[i], low[i]) ascending; size is a power of two.
__device__ void sort_pairs(u64* high, u64* low, int size, bool with_low) {
    for (int run = 2; run <= size; run <<= 1) {
        for (int step = run >> 1; step; step >>= 1) {
            for (int t = threadIdx.x; t < size / 2; t += C2T_THREADS) {
                const int i = 2 * t - (t & (step - 1)), j = i + step;
                const u64 hi = high[i], hj = high[j];
                const bool ascending = (i & run) == 0;
                if (!with_low) {
                    if ((hi > hj) == ascending && hi != hj) {
                        high[i] = hj;
                        high[j] = hi;
                    }
                    continue;
                }
                const u64 li = low[i], lj = low[j];
                const bool after = hi > hj || (hi == hj && li > lj);
                const bool same = hi == hj && li == lj;
                if (after == ascending && !same) {
                    high[i] = hj;
                    high[j] = hi;
                    low[i] = lj;
                    low[j] = li;
                }
            }
            __syncthreads();
        }
    }
}

// Sum over the block in a fixed order; every thread gets it.
__device__ double block_sum(double value, double* part) {
    part[threadIdx.x] = value;
    __syncthreads();
    for (int step = C2T_THREADS / 2; step; step >>= 1) {
        if (threadIdx.x < step) part[threadIdx.x] += part[threadIdx.x + step];
        __syncthreads();
    }
    const double sum = part[0];
    __syncthreads();
    return sum;
}

extern "C" __global__ void __launch_bounds__(C2T_THREADS, 2) rank_value_encode(
    const long long* __restrict__ indptr,   // [B + 1], from 0
    const int* __restrict__ indices,        // [N]
    const double* __restrict__ data,        // [N]
    const int* __restrict__ column_gene,    // [C], -1 for none
    const int* __restrict__ gene_token,     // [G]
    const double* __restrict__ median,      // [G]
    const long long* __restrict__ scratch_start,  // [B] where in scratch a large cell's 2 * size words begin
    u64* __restrict__ scratch,
    int* __restrict__ tokens,               // [B, max_tokens]
    int* __restrict__ lengths,              // [B]
    int* __restrict__ genes,                // [B]
    double* __restrict__ totals,            // [B]
    unsigned char* __restrict__ status,     // [B]
    int max_tokens, int cls_token, int eos_token, int pad_token) {
    __shared__ u64 shared_words[2 * C2T_SHARED];
    __shared__ int flags, found;
    const long long cell = blockIdx.x;
    const long long first = indptr[cell];
    const int stored = int(indptr[cell + 1] - first);
    indices += first;
    data += first;
    tokens += cell * max_tokens;

    int size = 2;
    while (size < stored) size <<= 1;
    u64* high = size <= C2T_SHARED ? shared_words : scratch + scratch_start[cell];
    u64* low = high + size;
    if (threadIdx.x == 0) flags = found = 0;
    __syncthreads();

    // Entries as (gene, stored order); what does not count goes to the end.
    double total = 0.0;
    int seen = 0;
    for (int i = threadIdx.x; i < size; i += C2T_THREADS) {
        u64 key = kLast;
        if (i < stored) {
            const double x = data[i];
            const int gene = column_gene[indices[i]];
            total += x;
            if (x != x) seen |= 1;
            else if (x - x != 0.0) seen |= 2;
            else if (x < 0.0) seen |= 4;
            if (gene >= 0 && x > 0.0) key = (u64(gene) << 32) | u64(i);
        }
        high[i] = key;
    }
    if (seen) atomicOr(&flags, seen);
    __syncthreads();
    const int bad = flags;  // the same for all threads
    // The words of `low` are not in use yet, but a small cell has too few of them for the sums.
    __shared__ double part[C2T_THREADS];
    total = block_sum(total, part);

    if (!bad) {
        sort_pairs(high, low, size, false);

        // The first entry of each gene adds up all of them. Positive doubles order like their bits.
        int heads = 0;
        for (int i = threadIdx.x; i < size; i += C2T_THREADS) {
            const u64 key = high[i];
            const u64 gene = key >> 32;
            u64 order = kLast;
            if (key != kLast && (i == 0 || (high[i - 1] >> 32) != gene)) {
                double sum = 0.0;
                for (int j = i; j < size && (high[j] >> 32) == gene; ++j) sum += data[unsigned(high[j])];
                order = 0x7FFFFFFFFFFFFFFFull - u64(__double_as_longlong(sum / median[gene]));
                ++heads;
            }
            low[i] = order;
        }
        if (heads) atomicAdd(&found, heads);
        __syncthreads();
        for (int i = threadIdx.x; i < size; i += C2T_THREADS) {
            // Tokens are not negative. Each element is read and written by one thread.
            high[i] = low[i] == kLast ? kLast : u64(unsigned(gene_token[high[i] >> 32]));
        }
        __syncthreads();
        sort_pairs(low, high, size, true);
    }

    const int n = found;
    const int front = cls_token >= 0, back = eos_token >= 0;
    const int room = max_tokens - front - back;
    const int used = n < room ? n : room;
    const int length = n ? front + used + back : 0;
    for (int i = threadIdx.x; i < max_tokens; i += C2T_THREADS) {
        int token = pad_token;
        if (i < length) {
            token = front && i == 0 ? cls_token : back && i == length - 1 ? eos_token : int(high[i - front]);
        }
        tokens[i] = token;
    }
    if (threadIdx.x == 0) {
        lengths[cell] = length;
        genes[cell] = n;
        totals[cell] = bad ? 0.0 : total;
        status[cell] = bad & 1 ? kNan : bad & 2 ? kInfinite : bad & 4 ? kNegative : n ? kOk : kEmpty;
    }
}
