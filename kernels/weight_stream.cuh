// A block's weights of all matrices as one stream through rings in shared memory; see decoder_step.cu.
#pragma once

#include "step_sizes.cuh"
#include "tensor_core.cuh"

// A ring for each warp, that its lanes fill themselves: a lane reads what it copied. The block's tiles lie in the order
// of use, one for each warp in turn (pack_weights.cu), so that a copy is an address and a step to the next.
struct Stream {
    const Words* next;
    Words* ring;
    int left, slot;  // tiles to copy; the slot to fill

    __device__ void begin(const Words* weights, const long long* starts, Words* rings) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const long long start = starts[blockIdx.x];
        next = weights + (start * C2T_WARPS + warp) * TILE + lane;
        left = int(starts[blockIdx.x + 1] - start);
        ring = rings + warp * (C2T_STAGES * TILE) + lane;
        for (slot = 0; slot < C2T_STAGES - 1; ++slot) copy();
    }
    // Start to copy the next tile, if there is one, and count it in any case.
    __device__ void copy() {
        if (left > 0) {
            copy_async(ring + slot * TILE, next);
            copy_async(ring + slot * TILE + 32, next + 32);
        }
        commit_copies();
        next += C2T_WARPS * TILE;
        --left;
    }
    // The two Words of this lane of the next tile; the slot of the one before is filled again.
    __device__ void take(Words& first, Words& second) {
        wait_for_copies<C2T_STAGES - 2>();
        const int oldest = slot + 1 == C2T_STAGES ? 0 : slot + 1;
        first = ring[oldest * TILE];
        second = ring[oldest * TILE + 32];
        copy();
        slot = oldest;
    }
};
