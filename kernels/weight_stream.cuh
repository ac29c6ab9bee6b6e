// The weights of a decoder as one stream through rings in shared memory; see decoder_step.cu.
#pragma once

#include "step_sizes.cuh"
#include "tensor_core.cuh"

// The matrices in order, four in each layer and at last the logits', and which units of them are the block's. The
// blocks take turns over all matrices, so that none has more than its share in the end.
struct Matrix {
    int number, units, tiles;
    int first;  // the block's first unit

    __device__ void begin() {
        number = 0;
        first = blockIdx.x;
        size();
    }
    __device__ void next() {
        first = (first + int(gridDim.x) - units % int(gridDim.x)) % int(gridDim.x);
        ++number;
        size();
    }
    __device__ void size() {
        const int part = number % 4;
        units = number == 4 * C2T_LAYERS ? UNITS(C2T_VOCABULARY)
                : part == 0              ? UNITS(QUERIES + 2 * KEYS)
                : part == 2              ? UNITS(2 * C2T_INNER)
                                         : UNITS(C2T_WIDTH);
        tiles = TILES(part == 1 ? QUERIES : part == 3 ? C2T_INNER : C2T_WIDTH);
    }
    __device__ bool is_last() const { return number == 4 * C2T_LAYERS; }
    __device__ int tiles_of_warp() const { return (tiles - int(threadIdx.x / 32) + C2T_WARPS - 1) / C2T_WARPS; }
};

// A ring for each warp, that its lanes fill themselves: a piece is a tile, and a lane reads what it copied.
struct Stream {
    const Words* base;  // of the matrix
    const Words* next;
    Words* ring;
    Matrix matrix;
    int unit, left, slot;

    __device__ void begin(const Words* weights, Words* rings) {
        base = weights;
        ring = rings + threadIdx.x / 32 * (C2T_STAGES * TILE) + threadIdx.x % 32;
        slot = 0;
        matrix.begin();
        unit = matrix.first;
        enter();
        for (int i = 0; i < C2T_STAGES - 1; ++i) copy();
    }
    // The warp's part of the current unit; nothing, where the matrix has no unit for the block.
    __device__ void enter() {
        left = unit < matrix.units ? matrix.tiles_of_warp() : 0;
        next = base + ((long long)unit * matrix.tiles + threadIdx.x / 32) * TILE + threadIdx.x % 32;
    }
    // Start to copy the next piece, if there is one, and count it in any case.
    __device__ void copy() {
        while (left == 0 && unit < matrix.units + int(gridDim.x)) {
            unit += gridDim.x;
            if (unit >= matrix.units) {
                if (matrix.is_last()) {
                    unit = matrix.units + gridDim.x;
                    break;
                }
                base += (long long)matrix.units * matrix.tiles * TILE;
                matrix.next();
                unit = matrix.first;
            }
            enter();
        }
        if (left) {
            copy_async(ring + slot * TILE, next);
            copy_async(ring + slot * TILE + 32, next + 32);
            next += TILE * C2T_WARPS;
            --left;
        }
        commit_copies();
        slot = slot + 1 == C2T_STAGES ? 0 : slot + 1;
    }
    // The two Words of this lane of the next tile; the place of the one before is filled again.
    __device__ void take(Words& first, Words& second) {
        wait_for_copies<C2T_STAGES - 2>();
        const int oldest = slot + 1 == C2T_STAGES ? 0 : slot + 1;
        first = ring[oldest * TILE];
        second = ring[oldest * TILE + 32];
        copy();
    }
};
