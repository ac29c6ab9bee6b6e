// A whole step of a Llama decoder, of up to 16 tokens (64 in int8), in one kernel that reads every weight once.
//
// Reading the weights bounds the time of a step of few tokens. So all matrices of all layers are one stream: their tiles
// are copied in order through rings in shared memory, and the copies run ahead of the arithmetic by the length of a ring.
// Memory stays busy even while the blocks wait for each other between two linears. Slower designs, and by how much:
// benchmarks/results/gpu_step.txt.
//
// There is one block on every multiprocessor, and all must run at once (a cooperative launch), since they wait for each
// other. A block takes the columns of a matrix in units of 16. Its streaming warps share a unit's inputs and compute
// partial sums; its epilogue warps add these in a fixed order and write the results, while the next unit is summed. The
// order of all sums is fixed: a row's results do not depend on how many rows there are, and repeat from run to run. So a
// step of more rows is several launches (groups.py): whole cells, or parts of a cell's tokens, from `first_token` on.
//
// Two rules keep signals between blocks fast. Only epilogue warps signal, because a signal waits for the memory accesses
// that its warp has in flight, and streaming warps always have copies of weights in flight. And copies of other warps
// slow the signal down too, so the last copies of a linear (HELD in weight_stream.cuh) start only after the block has
// signalled.
//
// Linears are float16 or int8, one by one. Activations in front of one in int8 are int8, too, with the bundle's static
// scale; sums are exact integers, and are multiplied by the scales of both at the end. That is what the bundle's graph
// states, and what the CPU computes. It also halves the bytes of activations, which decide how many rows a step can have:
// those of a normalised row stay in a block for all its units, in registers or, of many rows, in shared memory.
//   C2T_LAYERS, C2T_HIDDEN_SIZE, C2T_INTERMEDIATE_SIZE, C2T_HEADS, C2T_KV_HEADS, C2T_HEAD_SIZE, C2T_VOCABULARY_SIZE
//   C2T_INT8_QKV, C2T_INT8_O, C2T_INT8_GATE_UP, C2T_INT8_DOWN, C2T_INT8_LM_HEAD   a bit for each layer: 1 int8
//   C2T_ROWS    8 or 16, in int8 also 32 or 64: the most rows (tokens of all batch rows) of the step
//   C2T_BLOCKS  of the grid
//   C2T_STREAM_WARPS, C2T_EPILOGUE_WARPS   of a block
//   C2T_CHUNK   pieces (of 32 inputs) of a warp whose activations are in registers together
//   C2T_GROUP   tiles of a warp that are copied, and waited for, together
//   C2T_STAGES  groups in a warp's ring
//   C2T_QUERIES the most tokens of a batch row that a block attends with together
//   C2T_SHARED_ACTIVATIONS   1: normalised activations lie in shared memory, else in registers; only of int8
//   C2T_FIXED_SHARED_BYTES   shared memory of a block besides the rings, as the host has computed it

#include "decoder_step/step_attention.cuh"
#include "decoder_step/step_norm.cuh"

static_assert(ALL_INT8 || (C2T_ROWS <= 16 && !C2T_SHARED_ACTIVATIONS), "activations in float16 have no room");

// The block's own columns of the residual stream. No other block adds to them, so a copy in shared memory holds the sum.
#define OWN_UNITS ((UNITS(C2T_HIDDEN_SIZE) + C2T_BLOCKS - 1) / C2T_BLOCKS)
__device__ inline float* own_number(float* own, int row, int column) {
    return own + (column / 16 / C2T_BLOCKS * C2T_ROWS + row) * 16 + column % 16;
}

// Signal the other blocks. A block that sees the counter also sees what this block's epilogue warps have written, and
// what its other warps wrote before the last barrier of the whole block.
__device__ inline void signal(const Step& s, Counter counter) {
    if (threadIdx.x < STREAM_THREADS) return;
    wait_at(EPILOGUE_DONE, EPILOGUE_THREADS);
    if (threadIdx.x == STREAM_THREADS) add_release(s.counters + counter * COUNTER_STRIDE, 1);
}
// Wait until `count` signals have come.
__device__ inline void wait_for_signals(const Step& s, Counter counter, unsigned count) {
    if (threadIdx.x == STREAM_THREADS) {
        while (load_acquire(s.counters + counter * COUNTER_STRIDE) < count) {
        }
    }
    __syncthreads();
}

// Write two neighbouring columns of a linear's result where they are read next. `keys`, `values`: the layer's cache.
__device__ inline void write_result(const Step& s, const RowPositions& of_rows, unsigned short* keys,
                                    unsigned short* values, float* own, int layer, int linear, int row, int column,
                                    float one, float other) {
    if (linear == QKV) {
        write_qkv(s, of_rows, keys, values, row, column, one, other);
    } else if (linear == GATE_UP) {
        write_input(s, DOWN, layer, row, column / 2, one / (1.0f + __expf(-one)) * other);
    } else if (linear == LM_HEAD) {
        float* out = s.logits + (long long)row * C2T_VOCABULARY_SIZE + column;
        if (column < C2T_VOCABULARY_SIZE) out[0] = one;
        if (column + 1 < C2T_VOCABULARY_SIZE) out[1] = other;
    } else {
        float *sum = own_number(own, row, column), *out = s.residual + row * C2T_HIDDEN_SIZE + column;
        out[0] = sum[0] += one;
        out[1] = sum[1] += other;
        mark_if_spoilt(s, row, sum[0] + sum[1]);
    }
}

// The block's share of attention: item `first` and every C2T_BLOCKS-th after it. Only blocks that attend wait for
// `qkv_written` signals, that is until all keys and values are in the cache. Cache positions that earlier steps wrote are
// read before that wait.
__device__ inline void attend_all(const Step& s, const RowPositions& of_rows, const unsigned short* keys,
                                  const unsigned short* values, float* exchange, int layer, int first,
                                  unsigned qkv_written) {
    AttentionItem it(s, of_rows, first);
    KeyValues kv = {};
    kv.read(keys, values, it.kv_offset, 0, 0, it.old);
    wait_for_signals(s, QKV_WRITTEN, qkv_written);
    kv.read(keys, values, it.kv_offset, 0, it.old, it.before + it.count);
#pragma unroll 1
    for (int item = first;;) {
        attend(s, keys, values, it, kv, exchange, layer);
        __syncthreads();
        if ((item += C2T_BLOCKS) >= AttentionItem::items(s)) break;
        it = AttentionItem(s, of_rows, item);
        kv = {};  // another cell's numbers may be infinite, and times a weight of zero that is NaN
        kv.read(keys, values, it.kv_offset, 0, 0, it.before + it.count);
    }
}

// The logits' rows are rows of the residual stream; of the other linears, row is row.
__device__ inline int stream_row(const Step& s, int linear, int row) {
    return linear == LM_HEAD ? row / s.logits_per_cell * s.tokens + int(s.logit_rows[row]) : row;
}

// What a block's warps share of a linear.
struct Shared {
    float *norm, *exchange, *squares, *own;
    Words* activations;
    SumExchange sums;
};

// A streaming warp's sums of a linear's units. Only one type of the two is compiled where all linears are of it.
template <bool INT8>
__device__ __forceinline__ void sum_linear(const Step& s, Stream& stream, Shared& shared, int layer, int linear, int units,
                                           int rows) {
    const auto produce = [&](const Sums<INT8>& sums, int unit) {
        shared.sums.produce<INT8>(sums, rows);
        if (unit + C2T_BLOCKS >= units && linear != LM_HEAD) wait_at(SIGNALLED, THREADS);
        stream.refill_held<INT8>();
    };
    if (!is_normalised(linear)) {
        const void* source = linear == O ? s.context : s.gated;
        for (int unit = blockIdx.x; unit < units; unit += C2T_BLOCKS) {
            Sums<INT8> sums = {};
            add_read<INT8>(sums, stream, source, rows, linear == O ? Q_COLUMNS : C2T_INTERMEDIATE_SIZE);
            produce(sums, unit);
        }
    } else if (blockIdx.x < units) {
        ChunkActivations<INT8, C2T_SHARED_ACTIVATIONS> activations(shared.activations);
        read_normalised<INT8>(activations, s, rows, shared.squares, shared.norm, layer, linear,
                              [&](int row) { return stream_row(s, linear, row); });
        for (int unit = blockIdx.x; unit < units; unit += C2T_BLOCKS) {
            Sums<INT8> sums = {};
            add_chunk<INT8, true>(sums, stream, activations);
            produce(sums, unit);
        }
    }
}
// The epilogue warps write the linear's results.
template <bool INT8>
__device__ __forceinline__ void write_linear(const Step& s, const RowPositions& of_rows, Shared& shared,
                                             unsigned short* keys, unsigned short* values, const float* scales, int layer,
                                             int linear, int units, int rows) {
    const int thread = threadIdx.x - STREAM_THREADS;
    if (INT8 && blockIdx.x < units && thread < rows) {
        const int row = stream_row(s, linear, thread);
        const Words four = load_from_l2((const Words*)s.spoilt + row / 4);
        const unsigned bits = row % 4 == 0 ? four.x : row % 4 == 1 ? four.y : row % 4 == 2 ? four.z : four.w;
        shared.sums.spoilt[thread] = __uint_as_float(bits);  // seen once the epilogue warps have met for the unit's sums
    }
    for (int unit = blockIdx.x; unit < units; unit += C2T_BLOCKS) {
        shared.sums.consume<INT8>(rows, scales + unit * 16, [&](int row, int column, float one, float other) {
            write_result(s, of_rows, keys, values, shared.own, layer, linear, row, unit * 16 + column, one, other);
        });
    }
}

// Floats of shared memory: a normalisation's weights; the exchange of partial sums in float32, or of attention; the rows'
// squares; the block's own columns; the exchange of sums in int8, and what is added to its rows; normalised activations.
const int NORM = NORM_FLOATS, EXCHANGE = 2 * EXCHANGE_FLOATS > ATTENTION_FLOATS ? 2 * EXCHANGE_FLOATS : ATTENTION_FLOATS,
          SQUARES = C2T_ROWS * PARTIAL_STRIDE, OWN = OWN_UNITS * C2T_ROWS * 16, INTEGERS = 2 * EXCHANGE_INTEGERS,
          SPOILT = SOME_INT8 ? C2T_ROWS : 0, ACTIVATIONS = 4 * ACTIVATION_WORDS<SOME_INT8>;
static_assert((NORM + EXCHANGE + SQUARES + OWN + INTEGERS + SPOILT + ACTIVATIONS) * sizeof(float) + sizeof(RowPositions) ==
                  C2T_FIXED_SHARED_BYTES,
              "the host computes another size of shared memory");
static_assert(TILE * sizeof(Words) == 1024, "the host packs other tiles");

extern "C" __global__ void __launch_bounds__(THREADS, 1) decoder_step(
    const Words* __restrict__ weights, const long long* __restrict__ first_tiles,
    // Without a matrix in int8, the next three are not read.
    const float* __restrict__ norms,         // [2 layers + 1, hidden_size]
    const float* __restrict__ scales,        // of all packed columns, times that of their linear's input
    const float* __restrict__ input_scales,  // see Step
    const float* __restrict__ cosines, const float* __restrict__ sines, const unsigned short* __restrict__ embeds,
    const long long* __restrict__ positions, const long long* __restrict__ write_index,
    const long long* __restrict__ logit_rows, unsigned short* cache, float* logits, float* residual,
    unsigned short* queries, void* context, void* gated, unsigned* counters, float* spoilt,
    long long cache_stride, int batch, int tokens, int logits_per_cell, int capacity, int first_token, float epsilon,
    float scale) {
    const Step s = {cosines,  sines,   embeds, positions, write_index,  logit_rows, cache,        logits,
                    residual, queries, context, gated,    counters,     spoilt,     input_scales, cache_stride,
                    batch,    tokens,  logits_per_cell,   capacity,     first_token, epsilon,     scale};
    const bool streams = warp_number() < C2T_STREAM_WARPS;
    Words* rings = shared_memory();
    Shared shared;
    shared.norm = (float*)(rings + C2T_STREAM_WARPS * C2T_STAGES * C2T_GROUP * TILE);
    shared.exchange = shared.norm + NORM;
    shared.squares = shared.exchange + EXCHANGE;
    shared.own = shared.squares + SQUARES;
    int* integers = (int*)(shared.own + OWN);
    float* added = (float*)(integers + INTEGERS);
    shared.activations = (Words*)(added + SPOILT);
    shared.sums = {shared.exchange, integers, added, 0};
    RowPositions& of_rows = *(RowPositions*)(added + SPOILT + ACTIVATIONS);
    Stream stream;
    if (streams) stream.begin(weights, first_tiles, rings);

    read_positions(s, of_rows);
    for (int at = threadIdx.x; at < INTEGERS; at += THREADS) integers[at] = 0;
    for (int unit = blockIdx.x; unit < UNITS(C2T_HIDDEN_SIZE); unit += C2T_BLOCKS) {
        for (int at = threadIdx.x; at < s.batch * s.tokens * 16; at += THREADS) {
            const int row = at / 16, column = unit * 16 + at % 16, offset = row * C2T_HIDDEN_SIZE + column;
            const float value = half_value(s.embeds[offset]);
            s.residual[offset] = *own_number(shared.own, row, column) = value;
            mark_if_spoilt(s, row, value);
        }
    }
    // The last blocks have fewer units: they attend first.
    const int items = AttentionItem::items(s), first_item = C2T_BLOCKS - 1 - int(blockIdx.x);
    const unsigned attending = items < C2T_BLOCKS ? items : C2T_BLOCKS;
    unsigned input_signals = C2T_BLOCKS;  // how many must have come before the next linear
    __syncthreads();
    signal(s, INPUT_WRITTEN);
    for (int number = 0; number <= 4 * C2T_LAYERS; ++number) {
        const int layer = number / 4, linear = number == 4 * C2T_LAYERS ? LM_HEAD : number % 4;
        const bool int8 = in_int8(linear, layer);
        if (int8 && is_normalised(linear)) copy_norm(norms + number / 2 * C2T_HIDDEN_SIZE, shared.norm);
        wait_for_signals(s, INPUT_WRITTEN, input_signals);
        const int rows = s.batch * (linear == LM_HEAD ? s.logits_per_cell : s.tokens);
        unsigned short* keys = s.cache + 2 * layer * s.cache_stride;
        unsigned short* values = keys + s.cache_stride;

        const int units = UNITS(columns_of(linear));
        const bool has_units = blockIdx.x < units;
        const float* column_scales = scales + columns_before(layer, linear);
        // A kernel without linears of a type has no code for it.
        if (streams && int8) {
            sum_linear<SOME_INT8>(s, stream, shared, layer, linear, units, rows);
        } else if (streams) {
            sum_linear<ALL_INT8>(s, stream, shared, layer, linear, units, rows);
        } else if (int8) {
            write_linear<SOME_INT8>(s, of_rows, shared, keys, values, column_scales, layer, linear, units, rows);
        } else {
            write_linear<ALL_INT8>(s, of_rows, shared, keys, values, column_scales, layer, linear, units, rows);
        }
        if (linear == LM_HEAD) break;
        signal(s, linear == QKV ? QKV_WRITTEN : INPUT_WRITTEN);
        if (!streams && has_units) arrive_at(SIGNALLED, THREADS);
        if (linear == QKV) {
            if (first_item < items) {
                const unsigned qkv_written = (layer + 1) * C2T_BLOCKS;
                attend_all(s, of_rows, keys, values, shared.exchange, layer, first_item, qkv_written);
                signal(s, INPUT_WRITTEN);
            }
            input_signals += attending;
        } else {
            input_signals += C2T_BLOCKS;
        }
    }
    if (streams) shared.sums.end();
    // The last block to end resets the counters: no other block reads them any more.
    if (threadIdx.x == STREAM_THREADS && atomicAdd(s.counters + ENDED * COUNTER_STRIDE, 1u) == C2T_BLOCKS - 1) {
        for (int counter = 0; counter < COUNTERS; ++counter) s.counters[counter * COUNTER_STRIDE] = 0;
        for (int row = 0; row < SPOILT; ++row) s.spoilt[row] = 0.0f;
    }
}
