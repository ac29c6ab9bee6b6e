// Rank-value encoding, compiled for AVX-512.
#include <immintrin.h>

#include <cstring>
#include <limits>

#include "../implementations.h"

namespace {
#include "rank_known.inl"

inline __m512d doubles(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
inline __m512d doubles(const double* p) { return _mm512_loadu_pd(p); }
inline __m512d doubles(const int32_t* p) { return _mm512_cvtepi32_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline __m512d doubles(const int64_t* p) { return _mm512_cvtepi64_pd(_mm512_loadu_si512(p)); }
inline __m256i int32s(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i int32s(const int64_t* p) { return _mm512_cvtepi64_epi32(_mm512_loadu_si512(p)); }

// As known_one_by_one, eight entries at a time. Compressed vectors are stored whole: kSpill leaves room for that.
template <class Value, class Index>
int64_t known_entries(const c2t_rank_args& a, const Value* data, const Index* columns, int64_t stored, const RankScratch& s) {
    int64_t n = 0, i = 0;
    for (; i + 8 <= stored; i += 8) {
        const __m256i column = int32s(columns + i);
        const __m512d x = doubles(data + i);
        const __m256i token = _mm256_i32gather_epi32(a.column_token, column, 4);
        const __m512d median = _mm512_i32gather_pd(column, a.column_median, 8);
        const __mmask8 keep = _mm256_cmpge_epi32_mask(token, _mm256_setzero_si256()) &
                              _mm512_cmp_pd_mask(x, _mm512_setzero_pd(), _CMP_GT_OQ);
        const __m512i key = _mm512_castpd_si512(_mm512_div_pd(x, median));
        _mm512_storeu_si512(s.key + n, _mm512_maskz_compress_epi64(keep, key));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(s.token + n), _mm256_maskz_compress_epi32(keep, token));
        n += __builtin_popcount(keep);
    }
    return known_one_by_one(a, data, columns, i, stored, s, n);
}

#include "rank_value.inl"
}  // namespace

void c2t_avx512::rank_cells(const c2t_rank_args& args, int64_t first, int64_t last, const RankScratch& scratch) {
    rank_any(args, first, last, scratch);
}
