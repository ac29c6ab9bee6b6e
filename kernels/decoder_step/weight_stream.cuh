// A block's weights of all matrices as one stream through rings in shared memory; see decoder_step.cu.
#pragma once

#include "decoder_step/step_sizes.cuh"
#include "cuda/tensor_core.cuh"

#define GROUPS (C2T_CHUNK / C2T_GROUP)  // of a chunk
static_assert(C2T_CHUNK % C2T_GROUP == 0, "a chunk is whole groups");
// Groups at a unit's end whose places in the ring are filled again only later, as far as the ring can spare them.
#define HELD (GROUPS < C2T_STAGES / 2 ? GROUPS : C2T_STAGES / 2)

// A group of tiles of a warp as its lane holds them: two halves of each.
struct Group {
    Words tile[C2T_GROUP][2];
};

// A ring for each warp, that its lanes fill themselves: a lane reads what it copied. The block's tiles lie in the order
// of use, one for each warp in turn (pack_weights.cu), so that a copy is an address and a step to the next.
struct Stream {
    const Words* next;
    Words* ring;
    int left, slot;  // groups to copy; where the oldest lies

    __device__ void begin(const Words* weights, const long long* starts, Words* rings) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const long long start = starts[blockIdx.x];
        next = weights + (start * C2T_WARPS + warp) * TILE + lane;
        left = int(starts[blockIdx.x + 1] - start) / C2T_GROUP;
        ring = rings + warp * (C2T_STAGES * C2T_GROUP * TILE) + lane;
        for (slot = 0; slot < C2T_STAGES; ++slot) copy();
        slot = 0;
    }
    // Wait for the group that comes so many after the oldest.
    template <int AFTER> __device__ Group wait_for_group() const {
        wait_for_copies<C2T_STAGES - 1 - AFTER>();
        const int place = slot + AFTER < C2T_STAGES ? slot + AFTER : slot + AFTER - C2T_STAGES;
        Group group;
#pragma unroll
        for (int i = 0; i < 2 * C2T_GROUP; ++i) group.tile[i / 2][i % 2] = ring[place * C2T_GROUP * TILE + i * 32];
        return group;
    }
    // The oldest group has been used: copy another to its place.
    __device__ void refill() {
        copy();
        slot = slot + 1 == C2T_STAGES ? 0 : slot + 1;
    }
    __device__ void refill_held() {
#pragma unroll
        for (int group = 0; group < HELD; ++group) refill();
    }
    // Start to copy the next group, if there is one, and count it in any case.
    __device__ void copy() {
        if (left > 0) {
#pragma unroll
            for (int i = 0; i < 2 * C2T_GROUP; ++i) {
                copy_async(ring + slot * C2T_GROUP * TILE + i * 32, next + i / 2 * (C2T_WARPS * TILE) + i % 2 * 32);
            }
        }
        commit_copies();
        next += C2T_GROUP * C2T_WARPS * TILE;
        --left;
    }
};
