// How a weight matrix is cut into tiles: pack_weights.cu writes them, decoder_step.cu streams them.
#pragma once

// Words of a tile: 16 columns (outputs) by 32 rows of the matrix (inputs) in float16, by 64 in int8. Inputs are counted in
// pieces of 32: a tile has one piece, in int8 two. So a tile has as many bytes in both types, and so have the activations
// that it is multiplied by.
#define TILE 64
template <bool INT8> constexpr int PIECES = INT8 ? 2 : 1;
template <bool INT8> constexpr int TILE_INPUTS = 32 * PIECES<INT8>;
// A unit is 16 columns of a matrix: what a block computes at a time.
#define UNITS(columns) (((columns) + 15) / 16)
// A unit's inputs are cut into chunks. Of each chunk a streaming warp has C2T_CHUNK pieces that follow each other.
#define CHUNKS(inputs) (((inputs) + 32 * C2T_STREAM_WARPS * C2T_CHUNK - 1) / (32 * C2T_STREAM_WARPS * C2T_CHUNK))
