// Writes a weight matrix in the order in which decoder_step.cu streams it: as float16 or int8, in tiles for tensor cores.
//
// A tile is 16 columns (outputs) by 32 rows of the matrix (inputs) in float16, by 64 in int8. Its inputs lie in four equal
// parts; lane l of a warp holds those of part l % 4, of two columns: a = l / 4 and b = a + 8. A tile has two halves: the
// first half of each lane's inputs, and the second. In a half a lane has 16 bytes: the first half of its inputs of a, the
// same of b, the second half of a, the same of b. These are the registers of an operand of mma.m16n8k16 (float16) and
// mma.m16n8k32 (int8). The streaming warps take the tiles in turn. A unit is 16 columns; units are dealt to the blocks in
// turn, and each block's tiles lie together, in the order of use. Tiles that reach beyond the matrix are filled with zeros.
//   C2T_TABLE     0 float32, 1 float16: packed as float16; 3 int8: packed as int8
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
    const bool int8 = C2T_TABLE == 3;
    const int numbers = int8 ? 8 : 4;  // of a column
    long long rest = (long long)blockIdx.x * C2T_THREADS + threadIdx.x;
    const auto digit = [&rest](long long count) {
        const long long value = rest % count;
        rest /= count;
        return value;
    };
    const long long lane = digit(32), half = digit(2), warp = digit(C2T_STREAM_WARPS);
    const long long in_chunk = digit(C2T_CHUNK / PIECES<int8>);
    const long long chunks = CHUNKS(inputs), chunk = digit(chunks), unit = rest;
    if (unit >= UNITS(columns)) return;
    const long long n = unit * 16 + lane / 4;
    const long long piece = (chunk * C2T_STREAM_WARPS + warp) * C2T_CHUNK + in_chunk * PIECES<int8>;
    const long long k = piece * 32 + (lane % 4 * 2 + half) * numbers;
    float value[2][8] = {};
    for (int i = 0; i < 2; ++i) {
        if (n + i * 8 >= columns) break;
        const Table* column = matrix + source_column(n + i * 8, order, head_size, rotated, int(columns)) * column_stride;
        for (int j = 0; j < numbers && k + j < inputs; ++j) {
            value[i][j] = widen(column[(k + j) * input_stride]) * (factor ? factor[k + j] : 1.0f);
        }
    }
    const long long tile =
        first_tiles[unit % C2T_BLOCKS] + (unit / C2T_BLOCKS * chunks + chunk) * (C2T_CHUNK / PIECES<int8>) + in_chunk;
    Words words;
    unsigned* word = &words.x;
    for (int i = 0; i < 4; ++i) {
        const float* of_column = value[i % 2] + i / 2 * (numbers / 2);
        word[i] = int8 ? pack_bytes(int(of_column[0]), int(of_column[1]), int(of_column[2]), int(of_column[3]))
                       : pack_halves(of_column[0], of_column[1]);
    }
    packed[((tile * C2T_STREAM_WARPS + warp) * 2 + half) * 32 + lane] = words;
}
