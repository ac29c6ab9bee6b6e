// Sizes of a decoder step, from the macros of decoder_step.cu, and the memory that its blocks share.
#pragma once

#include "cuda/tensor_core.cuh"
#include "decoder_step/weight_tiles.cuh"

#define Q_COLUMNS (C2T_HEADS * C2T_HEAD_SIZE)
#define KV_COLUMNS (C2T_KV_HEADS * C2T_HEAD_SIZE)  // of keys; values have as many
#define STREAM_THREADS (C2T_STREAM_WARPS * 32)
#define EPILOGUE_THREADS (C2T_EPILOGUE_WARPS * 32)
#define THREADS (STREAM_THREADS + EPILOGUE_THREADS)
#define WARPS (THREADS / 32)
static_assert(CHUNKS(C2T_HIDDEN_SIZE) == 1, "normalised activations are one chunk");
static_assert(C2T_STREAM_WARPS % 4 == 0, "the warps' partial sums are read four at a time");

// The shuffle tells the compiler that all lanes of a warp have the same number: branches on it are then uniform.
__device__ inline int warp_number() { return __shfl_sync(0xFFFFFFFF, int(threadIdx.x / 32), 0); }

// Hardware barriers of a block (PTX bar), by number; 0 is __syncthreads. FULL and EMPTY are pairs: one barrier for each
// of the two buffers of SumExchange.
enum Barrier { SQUARES_WRITTEN = 1, EPILOGUE_DONE = 2, SIGNALLED = 3, FULL = 4, EMPTY = 6 };

// Counters in global memory by which blocks signal each other: how many blocks have written queries, keys and values;
// how many have written their share of the next linear's input; how many have ended. Each counter has a cache line to
// itself, so that polling one does not slow down adding to another.
enum Counter { QKV_WRITTEN, INPUT_WRITTEN, ENDED, COUNTERS };
#define COUNTER_STRIDE 32
static_assert(COUNTERS == 3 && COUNTER_STRIDE == 32, "the host allocates other counters");

// A layer's linears in order; LM_HEAD comes once, after the last layer.
enum Linear { QKV, O, GATE_UP, DOWN, LM_HEAD };
__device__ constexpr int columns_of(int linear) {
    return linear == QKV       ? Q_COLUMNS + 2 * KV_COLUMNS
           : linear == GATE_UP ? 2 * C2T_INTERMEDIATE_SIZE
           : linear == LM_HEAD ? C2T_VOCABULARY_SIZE
                               : C2T_HIDDEN_SIZE;
}
// Whether a linear follows a normalisation.
__device__ constexpr bool is_normalised(int linear) { return linear != O && linear != DOWN; }

// Which linears are in int8; the others are in float16.
__device__ constexpr unsigned long long int8_layers(int linear) {
    return linear == QKV       ? C2T_INT8_QKV
           : linear == O       ? C2T_INT8_O
           : linear == GATE_UP ? C2T_INT8_GATE_UP
           : linear == DOWN    ? C2T_INT8_DOWN
                               : C2T_INT8_LM_HEAD;
}
const bool SOME_INT8 = (int8_layers(QKV) | int8_layers(O) | int8_layers(GATE_UP) | int8_layers(DOWN) |
                        int8_layers(LM_HEAD)) != 0,
           ALL_INT8 = (int8_layers(QKV) & int8_layers(O) & int8_layers(GATE_UP) & int8_layers(DOWN)) ==
                          (1ull << C2T_LAYERS % 64) - 1 && int8_layers(LM_HEAD) == 1;
static_assert(!SOME_INT8 || C2T_LAYERS < 64, "a bit of 64 for each layer");
__device__ inline bool in_int8(int linear, int layer) {
    return ALL_INT8 || (SOME_INT8 && (int8_layers(linear) >> (linear == LM_HEAD ? 0 : layer) & 1));
}
// Of packed columns before those of a layer's linear; C2T_LAYERS and QKV are the LM head's.
__device__ inline int columns_before(int layer, int linear) {
    const int qkv = UNITS(columns_of(QKV)), hidden = UNITS(C2T_HIDDEN_SIZE), gate_up = UNITS(columns_of(GATE_UP));
    const int before = linear == O         ? qkv
                       : linear == GATE_UP ? qkv + hidden
                       : linear == DOWN    ? qkv + hidden + gate_up
                                           : 0;
    return 16 * (layer * (qkv + 2 * hidden + gate_up) + before);
}

// Bytes from one row of a linear's inputs to the next: a lane reads 16 at a time.
template <bool INT8> __device__ constexpr long long row_bytes(int inputs) {
    return INT8 ? (inputs + 15) / 16 * 16 : 2ll * inputs;
}

// What all blocks read and write. A row is one token of one batch row. Half precision numbers are unsigned short.
struct Step {
    const float *cosines, *sines;  // [positions, head_size / 2]
    const unsigned short* embeds;  // [rows, hidden_size]
    const long long *positions;    // [rows]
    const long long *write_index;  // [batch]: cache position of the first token
    const long long *logit_rows;   // [batch, logits_per_cell]: tokens whose logits are wanted
    unsigned short* cache;         // keys of the first layer, [batch, kv_heads, capacity, head_size]
    float* logits;                 // [batch, logits_per_cell, vocabulary_size]
    float* residual;               // [rows, hidden_size]: the residual stream
    unsigned short* queries;       // [rows, heads, head_size]
    void* context;                 // [rows, heads, head_size]: what attention returns, as O takes it
    void* gated;                   // [rows, intermediate_size]: silu(gate) * up, as DOWN takes it
    unsigned* counters;            // [COUNTERS, COUNTER_STRIDE]: zeros before and after a step
    float* spoilt;                 // [C2T_ROWS]: NaN of a row with a number that is not finite; else 0, as counters
    const float* input_scales;     // [4 layers + 1, 2]: of the linears' inputs, see InputSteps; not read in float16
    long long cache_stride;        // from keys to values, and from those to the next layer's keys
    int batch, tokens, logits_per_cell, capacity;
    int first_token;               // cache positions from `write_index` to the first of the tokens
    float epsilon, scale;
};

// int8 cannot hold what is not finite. So rows with such a number are marked, and the results of their linears are NaN:
// it reaches the logits of all rows that see it.
__device__ inline void mark_if_spoilt(const Step& s, int row, float value) {
    if (SOME_INT8 && value - value != 0.0f) s.spoilt[row] = __uint_as_float(0x7FC00000);
}
// A number in steps of a linear's input scale: rounded as ONNX's QuantizeLinear does, half to even. pack_bytes saturates.
struct InputSteps {
    float scale, inverse;  // the inverse as a division rounds it

    __device__ InputSteps(const Step& s, int layer, int linear) {
        const int number = 4 * layer + (linear == LM_HEAD ? 0 : linear);
        scale = s.input_scales[2 * number];
        inverse = s.input_scales[2 * number + 1];
    }
    // The quotient is that of a division: the first is at most a bit off, and the rest of the division mends it.
    __device__ int operator()(float value) const {
        const float quotient = value * inverse;
        return __float2int_rn(fmaf(fmaf(-quotient, scale, value), inverse, quotient));
    }
};
// Write a number of the input of O or DOWN, in float16 or int8.
__device__ inline void write_input(const Step& s, int linear, int layer, int row, int at, float value) {
    void* out = linear == O ? s.context : s.gated;
    const int inputs = linear == O ? Q_COLUMNS : C2T_INTERMEDIATE_SIZE;
    if (in_int8(linear, layer)) {
        const InputSteps steps(s, layer, linear);
        ((signed char*)out)[row * row_bytes<true>(inputs) + at] = (signed char)pack_bytes(steps(value), 0, 0, 0);
        mark_if_spoilt(s, row, value);
    } else {
        ((unsigned short*)out)[row * inputs + at] = (unsigned short)pack_halves(value, 0.0f);
    }
}
