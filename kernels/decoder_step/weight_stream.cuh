// A block's weights of all matrices as one stream through rings in shared memory; see decoder_step.cu.
//
// The stream does not know types: a group has the same bytes in float16 and in int8.
#pragma once

#include "decoder_step/step_sizes.cuh"
#include "cuda/tensor_core.cuh"

#define GROUP_PIECES (C2T_GROUP * PIECES<INT8>)
#define CHUNK_GROUPS (C2T_CHUNK / GROUP_PIECES)
// The last groups of a unit: the copies that replace them are started only later (see decoder_step.cu). At most half of
// the ring, so that enough copies stay in flight.
#define HELD (CHUNK_GROUPS < C2T_STAGES / 2 ? CHUNK_GROUPS : C2T_STAGES / 2)

// A lane's share of a group of tiles: two halves of each tile.
struct Group {
    Words tile[C2T_GROUP][2];
};

// One warp's ring. Each lane copies and reads only its own share, so no barrier is needed between the two. The block's
// tiles lie in the order of use, one for each warp in turn (pack_weights.cu): the next copy is a fixed step further.
struct Stream {
    const Words* next;
    Words* ring;
    int left, oldest;  // groups still to be copied; the oldest group's stage in the ring

    __device__ void begin(const Words* weights, const long long* first_tiles, Words* rings) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const long long first = first_tiles[blockIdx.x];
        next = weights + (first * C2T_STREAM_WARPS + warp) * TILE + lane;
        left = int(first_tiles[blockIdx.x + 1] - first) / C2T_GROUP;
        ring = rings + warp * (C2T_STAGES * C2T_GROUP * TILE) + lane;
        for (oldest = 0; oldest < C2T_STAGES; ++oldest) copy();
        oldest = 0;
    }
    // Wait for the group AFTER stages behind the oldest, and read it.
    template <int AFTER> __device__ Group wait_for_group() const {
        wait_for_copies<C2T_STAGES - 1 - AFTER>();
        const int stage = oldest + AFTER < C2T_STAGES ? oldest + AFTER : oldest + AFTER - C2T_STAGES;
        Group group;
#pragma unroll
        for (int i = 0; i < 2 * C2T_GROUP; ++i) group.tile[i / 2][i % 2] = ring[stage * C2T_GROUP * TILE + i * 32];
        return group;
    }
    // The oldest group has been used: start the copy that replaces it.
    __device__ void refill() {
        copy();
        oldest = oldest + 1 == C2T_STAGES ? 0 : oldest + 1;
    }
    template <bool INT8> __device__ void refill_held() {
#pragma unroll
        for (int group = 0; group < HELD; ++group) refill();
    }
    // Start to copy the next group to the oldest stage. Past the end nothing is copied, but a group of copies is
    // committed all the same: wait_for_copies counts committed groups.
    __device__ void copy() {
        if (left > 0) {
#pragma unroll
            for (int i = 0; i < 2 * C2T_GROUP; ++i) {
                copy_async(ring + oldest * C2T_GROUP * TILE + i * 32,
                           next + i / 2 * (C2T_STREAM_WARPS * TILE) + i % 2 * 32);
            }
        }
        commit_copies();
        next += C2T_GROUP * C2T_STREAM_WARPS * TILE;
        --left;
    }
};
