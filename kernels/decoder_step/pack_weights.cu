// Writes a weight matrix in the order in which decoder_step.cu streams it: as float16, in tiles for tensor cores.
//
// A tile is 16 columns (outputs) by 32 rows of the matrix (inputs), in two halves. In half h, lane l of a warp holds
// four inputs, 8 (l % 4) + 4 h and the next three, of two columns: a = l / 4 and b = a + 8. Their order is a's first
// two, b's first two, a's last two, b's last two: the registers of an mma.m16n8k16 operand. The streaming warps take
// the tiles in turn. A unit is 16 columns; units are dealt to the blocks in turn, and each block's tiles lie together,
// in the order of use. Tiles that reach beyond the matrix are filled with zeros.
//   C2T_TABLE     0 float32, 1 float16
//   C2T_THREADS   of a block of this kernel
//   C2T_BLOCKS, C2T_STREAM_WARPS, C2T_CHUNK   as in decoder_step.cu

#include "cuda/number_types.cuh"
#include "cuda/tensor_core.cuh"
#include "decoder_step/weight_tiles.cuh"

// How the columns are ordered: as in the matrix; with the two numbers that the rotary embedding rotates together side by
// side; with each gate beside the number that it gates.
enum Order { PLAIN = 0, ROPE_INTERLEAVED = 1, GATE_UP_INTERLEAVED = 2 };

// Which column of the matrix is written as column n. `rotated`: columns of queries and keys, which come before values.
__device__ inline long long source_column(long long n, int order, int head_size, int rotated, int columns) {
    if (order == ROPE_INTERLEAVED) {
        if (n >= rotated) return n;
        const long long dim = n % head_size;
        return n - dim + dim / 2 + (dim & 1) * (head_size / 2);
    }
    if (order == GATE_UP_INTERLEAVED) return n / 2 + (n & 1) * (columns / 2);
    return n;
}

extern "C" __global__ void __launch_bounds__(C2T_THREADS) pack_weights(
    const Table* __restrict__ matrix,
    const float* __restrict__ factor,  // [inputs], multiplied into each row of the matrix; null: none
    Words* __restrict__ packed,
    const long long* __restrict__ first_tiles,  // [blocks]: where a block's tiles of this matrix begin, per warp
    long long inputs, long long columns,
    long long input_stride, long long column_stride,  // elements from one to the next
    int order, int head_size, int rotated) {
    // A thread writes the Words of one lane; its number is taken apart into their place, lane first.
    long long rest = (long long)blockIdx.x * C2T_THREADS + threadIdx.x;
    const auto digit = [&rest](long long count) {
        const long long value = rest % count;
        rest /= count;
        return value;
    };
    const long long lane = digit(32), half = digit(2), warp = digit(C2T_STREAM_WARPS), in_chunk = digit(C2T_CHUNK);
    const long long chunks = CHUNKS(inputs), chunk = digit(chunks), unit = rest;
    if (unit >= UNITS(columns)) return;
    const long long n = unit * 16 + lane / 4;
    const long long k = ((chunk * C2T_STREAM_WARPS + warp) * C2T_CHUNK + in_chunk) * 32 + lane % 4 * 8 + half * 4;
    float value[2][4] = {};
    for (int i = 0; i < 2; ++i) {
        if (n + i * 8 >= columns) break;
        const Table* column = matrix + source_column(n + i * 8, order, head_size, rotated, int(columns)) * column_stride;
        for (int j = 0; j < 4 && k + j < inputs; ++j) {
            value[i][j] = widen(column[(k + j) * input_stride]) * (factor ? factor[k + j] : 1.0f);
        }
    }
    const long long tile = first_tiles[unit % C2T_BLOCKS] + (unit / C2T_BLOCKS * chunks + chunk) * C2T_CHUNK + in_chunk;
    packed[((tile * C2T_STREAM_WARPS + warp) * 2 + half) * 32 + lane] =
        Words{pack_halves(value[0][0], value[0][1]), pack_halves(value[1][0], value[1][1]),
              pack_halves(value[0][2], value[0][3]), pack_halves(value[1][2], value[1][3])};
}
