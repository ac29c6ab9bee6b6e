// Packing with AVX2. It keeps up with memory, so wider registers have no form of their own.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "../pack.h"

namespace {

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

// Four rows of 32 numbers, column by column: out[32][4].
void interleave_32(const int8_t* rows, int64_t stride, int8_t* out) {
    const __m256i a = load(rows), b = load(rows + stride), c = load(rows + 2 * stride), d = load(rows + 3 * stride);
    const __m256i ab = _mm256_unpacklo_epi8(a, b), cd = _mm256_unpacklo_epi8(c, d);
    const __m256i ab_high = _mm256_unpackhi_epi8(a, b), cd_high = _mm256_unpackhi_epi8(c, d);
    // Columns 0 to 3 and 16 to 19, and so on: unpacking goes by halves of a register.
    const __m256i at_0 = _mm256_unpacklo_epi16(ab, cd), at_4 = _mm256_unpackhi_epi16(ab, cd);
    const __m256i at_8 = _mm256_unpacklo_epi16(ab_high, cd_high), at_12 = _mm256_unpackhi_epi16(ab_high, cd_high);
    store(out, _mm256_permute2x128_si256(at_0, at_4, 0x20));
    store(out + 32, _mm256_permute2x128_si256(at_8, at_12, 0x20));
    store(out + 64, _mm256_permute2x128_si256(at_0, at_4, 0x31));
    store(out + 96, _mm256_permute2x128_si256(at_8, at_12, 0x31));
}

// Eight rows of eight numbers of four bytes each, turned: `stride` bytes from row to row, to rows of 256 bytes.
void transpose_8(const char* rows, int64_t stride, char* out) {
    __m256i pairs[8], fours[8];
    for (int i = 0; i < 8; i += 2) {
        const __m256i upper = load(rows + i * stride), lower = load(rows + (i + 1) * stride);
        pairs[i] = _mm256_unpacklo_epi32(upper, lower);
        pairs[i + 1] = _mm256_unpackhi_epi32(upper, lower);
    }
    for (int i = 0; i < 8; i += 4) {
        fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        store(out + 256 * i, _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20));
        store(out + 256 * (i + 4), _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31));
    }
}

// sums[64] += those of the fours of steps[count][64][4]
void add_fours(const int8_t* steps, int64_t count, int32_t* sums) {
    const __m256i bytes = _mm256_set1_epi8(1), pairs = _mm256_set1_epi16(1);
    __m256i sum[8];
    for (int i = 0; i < 8; ++i) sum[i] = load(sums + 8 * i);
    for (; count > 0; --count, steps += 256)
        for (int i = 0; i < 8; ++i)
            sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, load(steps + 32 * i)), pairs));
    for (int i = 0; i < 8; ++i) store(sums + 8 * i, sum[i]);
}

#include "../pack.inl"

}  // namespace

void c2t_avx2::pack_panels(const c2t_pack_args& args, int64_t first, int64_t end) { pack_any(args, first, end); }
