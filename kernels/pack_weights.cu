// A weight matrix in the order in which decoder_step.cu streams it: float16, in tiles that tensor cores take.
//
// A tile is 16 columns (outputs) by 32 of the sum: two halves of 8 columns, in each of which lane l of a warp finds its
// 8 numbers side by side: of column l / 4, from number 8 (l % 4) on. Tiles of the same 16 columns follow each other.
// What lies beyond the matrix is zero.
//   C2T_TABLE     0 float32, 1 float16
//   C2T_THREADS   of a block

#include "number_types.cuh"
#include "tensor_core.cuh"

// Which column of the matrix is written as column n.
__device__ inline long long source_column(long long n, int order, int head, int rotated, int columns) {
    if (order == 1) {  // queries and keys: the two numbers that are rotated together lie side by side
        if (n >= rotated) return n;
        const long long place = n % head;
        return n - place + place / 2 + (place & 1) * (head / 2);
    }
    if (order == 2) return n / 2 + (n & 1) * (columns / 2);  // a gate and its partner
    return n;
}

extern "C" __global__ void __launch_bounds__(C2T_THREADS) pack_weights(
    const Table* __restrict__ matrix,
    const float* __restrict__ factor,  // [sums], of each row of the matrix; null: none
    Words* __restrict__ packed, long long sums, long long columns,
    long long sum_stride, long long column_stride,  // from one to the next, in numbers
    int order, int head, int rotated) {
    const long long place = (long long)blockIdx.x * C2T_THREADS + threadIdx.x;
    const int lane = int(place % 32), half = int(place / 32 % 2);
    const long long tile = place / 64, tiles = (sums + 31) / 32;
    const long long n = tile / tiles * 16 + half * 8 + lane / 4;
    if (n >= (columns + 15) / 16 * 16) return;
    const long long k = tile % tiles * 32 + lane % 4 * 8;
    float value[8];
    for (int i = 0; i < 8; ++i) value[i] = 0.0f;
    if (n < columns) {
        const Table* column = matrix + source_column(n, order, head, rotated, int(columns)) * column_stride;
        for (int i = 0; i < 8; ++i) {
            if (k + i < sums) value[i] = widen(column[(k + i) * sum_stride]) * (factor ? factor[k + i] : 1.0f);
        }
    }
    packed[place] = Words{pack_halves(value[0], value[1]), pack_halves(value[2], value[3]),
                          pack_halves(value[4], value[5]), pack_halves(value[6], value[7])};
}
