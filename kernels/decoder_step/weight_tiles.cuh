// How a matrix is cut into tiles: pack_weights.cu writes them, decoder_step.cu streams them.
#pragma once

#define TILE 64  // Words of a tile: 16 columns by 32 numbers of the sum
#define UNITS(columns) (((columns) + 15) / 16)
// The sum of a unit of 16 columns is cut into chunks, of which each warp has C2T_CHUNK tiles in a row.
#define CHUNKS(sums) (((sums) + 32 * C2T_WARPS * C2T_CHUNK - 1) / (32 * C2T_WARPS * C2T_CHUNK))
