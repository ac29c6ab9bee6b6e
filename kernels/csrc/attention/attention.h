// INT8 attention of an encoder on the CPU: its arguments, its packed keys and values, and what an instruction set provides.
//
// Two decisions. Queries lie in the lanes of a vector and keys come one by one: then the softmax needs no sum across
// lanes. And keys come in blocks of kBlock: scores, probabilities and sums of a block stay in the first-level cache, so no
// score matrix exists. kernels/attention/definition.py says what is computed.
#pragma once
#include <stdint.h>

#include "../c2t_kernels.h"

// Keys whose probabilities share a scale; also definition.py's BLOCK.
constexpr int64_t kBlock = 128;
constexpr int64_t kMaxHeadSize = 256;
extern "C" {

struct c2t_attention_args {
    const float* query;          // [B, Q, heads * head_size]
    const float* key;            // [B, K, heads * head_size]
    const float* value;          // as key
    const int64_t* key_lengths;  // [B] how many keys of each batch row count, 0 ... K; null: all
    float* out;                  // [B, Q, heads * head_size]; may be the queries' own memory
    int64_t batch, queries, keys, heads, head_size;
    // Numbers from a row, and from a batch row, to the next one: `out` lies as the queries do, the values as the keys.
    int64_t query_row, query_batch, key_row, key_batch;
    float scale;  // of the products, > 0
};

// Which instruction sets have it, as c2t_isa_mask. AVX-512 needs VNNI.
C2T_EXPORT int32_t c2t_attention_isa_mask(void);

// Run it on the calling thread. Returns 1 if memory ran out.
C2T_EXPORT int32_t c2t_attention(const struct c2t_attention_args* args, int32_t isa);

}  // extern "C"

inline int64_t round_up(int64_t number, int64_t multiple) { return (number + multiple - 1) / multiple * multiple; }

// How an implementation wants a head packed: padded with zeros to multiples of so many keys and columns.
struct PackedLayout {
    int64_t element;  // bytes of an integer
    int64_t keys, columns;
};

// Sizes of the packed keys and values of one head.
struct PackedSizes {
    PackedSizes(const c2t_attention_args& args, const PackedLayout& layout)
        : columns(args.head_size), keys(round_up(args.keys, layout.keys)), width(round_up(columns, layout.columns)),
          blocks((args.keys + kBlock - 1) / kBlock), integer_bytes(round_up(keys * width * layout.element, 64)),
          floats(round_up(3 * keys + blocks * width + width + 1, 16)) {}
    int64_t columns;        // of a head
    int64_t keys, width, blocks;
    int64_t integer_bytes;  // of the keys; the values need as many
    int64_t floats;         // 4-byte numbers behind them
    int64_t bytes() const { return 2 * integer_bytes + 4 * floats; }
};

// Where they lie in a head's memory, which is aligned to 64 bytes.
template <class Integer>
struct PackedHead {
    PackedHead(const PackedSizes& sizes, void* memory)
        : key(static_cast<Integer*>(memory)),
          value(reinterpret_cast<Integer*>(static_cast<char*>(memory) + sizes.integer_bytes)),
          first_sum(reinterpret_cast<int32_t*>(static_cast<char*>(memory) + 2 * sizes.integer_bytes)),
          key_scale(reinterpret_cast<float*>(first_sum + sizes.keys)), key_bias(key_scale + sizes.keys),
          value_scale(key_bias + sizes.keys), value_mean(value_scale + sizes.blocks * sizes.width),
          finite(value_mean + sizes.width) {}
    Integer* key;        // [keys, width]
    Integer* value;      // as an implementation's products read it
    int32_t* first_sum;  // [keys] what a sum of products starts with: takes the queries' offset away again
    float* key_scale;    // [keys]
    float* key_bias;     // [keys] 0; a huge negative number behind the last key
    float* value_scale;  // [blocks, width]
    float* value_mean;   // [width]
    float* finite;       // 1, or 0 where a key or value is no finite number
};

// What an instruction set provides.
struct AttentionKernel {
    PackedLayout layout;
    int64_t query_tile;   // queries of one call of `attend`
    // Quantise and pack the keys and values of one head of one batch row.
    void (*pack)(const c2t_attention_args& args, int64_t batch, int64_t head, void* memory);
    // Compute the rows of up to query_tile queries, from `first` on.
    void (*attend)(const c2t_attention_args& args, int64_t batch, int64_t head, int64_t first, const void* memory);
};

namespace c2t_scalar { extern const AttentionKernel attention; }
namespace c2t_avx2 { extern const AttentionKernel attention; }
namespace c2t_avx512 { extern const AttentionKernel attention; }
namespace c2t_amx { extern const AttentionKernel attention; }

const AttentionKernel& attention_kernel(int32_t isa);
