// Packing in plain C++.
#include <algorithm>
#include <cstring>

#include "../pack.h"

namespace {

// Four rows of 32 numbers, column by column: out[32][4].
void interleave_32(const int8_t* rows, int64_t stride, int8_t* out) {
    const int8_t *const a = rows, *const b = a + stride, *const c = b + stride, *const d = c + stride;
    for (int64_t i = 0; i < 32; ++i) {
        out[4 * i] = a[i];
        out[4 * i + 1] = b[i];
        out[4 * i + 2] = c[i];
        out[4 * i + 3] = d[i];
    }
}

// Eight rows of eight numbers of four bytes each, turned: `stride` bytes from row to row, to rows of 256 bytes.
void transpose_8(const char* rows, int64_t stride, char* out) {
    for (int64_t column = 0; column < 8; ++column)
        for (int64_t row = 0; row < 8; ++row) std::memcpy(out + 256 * column + 4 * row, rows + row * stride + 4 * column, 4);
}

// sums[64] += those of the fours of steps[count][64][4]
void add_fours(const int8_t* steps, int64_t count, int32_t* sums) {
    for (; count > 0; --count, steps += 256)
        for (int64_t i = 0; i < 64; ++i) sums[i] += steps[4 * i] + steps[4 * i + 1] + steps[4 * i + 2] + steps[4 * i + 3];
}

#include "../pack.inl"

}  // namespace

void c2t_scalar::pack_panels(const c2t_pack_args& args, int64_t first, int64_t end) { pack_any(args, first, end); }
