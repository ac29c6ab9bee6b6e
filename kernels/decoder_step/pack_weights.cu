// A weight matrix in the order in which decoder_step.cu streams it: float16, in tiles that tensor cores take.
//
// A tile is 16 columns (outputs) by 32 numbers of the sum, in two halves. In half h lane l of a warp finds two pairs of
// numbers of columns l / 4 and l / 4 + 8, from number 8 (l % 4) + 4 h on: first pair of the one, of the other, second
// pair of the one, of the other. The warps take tiles in turn; 16 columns are a unit, and units go round the blocks,
// each of which finds its own tiles one after another. What lies beyond the matrix is zero.
//   C2T_TABLE     0 float32, 1 float16
//   C2T_THREADS   of a block
//   C2T_BLOCKS, C2T_WARPS, C2T_CHUNK   as in decoder_step.cu

#include "cuda/number_types.cuh"
#include "cuda/tensor_core.cuh"
#include "decoder_step/weight_tiles.cuh"

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
    Words* __restrict__ packed,
    const long long* __restrict__ places,  // [blocks]: tiles of a warp before the block's first of this matrix
    long long sums, long long columns,
    long long sum_stride, long long column_stride,  // from one to the next, in numbers
    int order, int head, int rotated) {
    long long rest = (long long)blockIdx.x * C2T_THREADS + threadIdx.x;
    const auto take = [&rest](long long count) {
        const long long part = rest % count;
        rest /= count;
        return part;
    };
    const long long lane = take(32), half = take(2), warp = take(C2T_WARPS), in_chunk = take(C2T_CHUNK);
    const long long chunks = CHUNKS(sums), chunk = take(chunks), unit = rest;
    if (unit >= UNITS(columns)) return;
    const long long n = unit * 16 + lane / 4;
    const long long k = ((chunk * C2T_WARPS + warp) * C2T_CHUNK + in_chunk) * 32 + lane % 4 * 8 + half * 4;
    float value[2][4] = {};
    for (int i = 0; i < 2; ++i) {
        if (n + i * 8 >= columns) break;
        const Table* column = matrix + source_column(n + i * 8, order, head, rotated, int(columns)) * column_stride;
        for (int j = 0; j < 4 && k + j < sums; ++j) {
            value[i][j] = widen(column[(k + j) * sum_stride]) * (factor ? factor[k + j] : 1.0f);
        }
    }
    const long long tile = places[unit % C2T_BLOCKS] + (unit / C2T_BLOCKS * chunks + chunk) * C2T_CHUNK + in_chunk;
    packed[((tile * C2T_WARPS + warp) * 2 + half) * 32 + lane] =
        Words{pack_halves(value[0][0], value[0][1]), pack_halves(value[1][0], value[1][1]),
              pack_halves(value[0][2], value[0][3]), pack_halves(value[1][2], value[1][3])};
}
