// kernels/pack_weights.cu and kernels/decoder_step.cu as a host library; all blocks of a step run together.
#include "tensor_core_emulation.h"

#include "decoder_step/decoder_step.cu"
#include "decoder_step/pack_weights.cu"

extern "C" void pack(const Table* matrix, const float* factor, Words* packed, const long long* places, long long sums,
                     long long columns, long long sum_stride, long long column_stride, int order, int head,
                     int rotated, long long blocks) {
    run_grid(blocks, C2T_THREADS, [=] {
        pack_weights(matrix, factor, packed, places, sums, columns, sum_stride, column_stride, order, head, rotated);
    });
}

extern "C" void step(unsigned blocks, long long shared_bytes, const Words* weights, const long long* starts,
                     const float* cosines, const float* sines, const unsigned short* embeds, const long long* positions,
                     const long long* write_index, const long long* logit_rows, unsigned short* cache, float* logits,
                     float* residual, unsigned short* queries, unsigned short* context, unsigned short* product,
                     unsigned* counters, long long cache_stride, int batch, int tokens, int places, int capacity,
                     float epsilon, float scale) {
    run_blocks(0, blocks, blocks, THREADS, shared_bytes, [=] {
        decoder_step(weights, starts, cosines, sines, embeds, positions, write_index, logit_rows, cache, logits, residual,
                     queries, context, product, counters, cache_stride, batch, tokens, places, capacity, epsilon, scale);
    });
}
