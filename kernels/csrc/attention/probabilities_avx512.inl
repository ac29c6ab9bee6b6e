// Probabilities in 16-bit integers: twice as many at a time as in floats.

// 2^-(i / 32) for i = 0 ... 31, in 15 bits.
alignas(64) const int16_t kPowers[32] = {
    32767, 32065, 31378, 30706, 30048, 29404, 28774, 28158, 27554, 26964, 26386, 25821, 25268, 24726, 24196, 23678,
    23170, 22674, 22188, 21713, 21247, 20792, 20347, 19911, 19484, 19066, 18658, 18258, 17867, 17484, 17109, 16743};

// 2^-(y / 256) in 15 bits for each 16-bit y; 0 for the smallest one, which stands for a number that is too large.
//
// The five bits behind the point look up a power, the last three correct it: 2^-(r / 256) is about 1 - r ln 2 / 256. The
// largest relative error is 3e-4, a tenth of the step of the probabilities.
inline __m512i powers(__m512i y) {
    const __m512i table = _mm512_load_si512(kPowers);
    const __m512i coarse = _mm512_permutexvar_epi16(_mm512_srli_epi16(y, 3), table);
    const __m512i rest = _mm512_and_si512(y, _mm512_set1_epi16(7));
    const __m512i part = _mm512_mullo_epi16(rest, _mm512_set1_epi16(89));  // ln 2 / 256, in 15 bits
    const __m512i fine = _mm512_sub_epi16(coarse, _mm512_mulhrs_epi16(coarse, part));
    return _mm512_srlv_epi16(fine, _mm512_srli_epi16(y, 8));
}

// Probabilities of a block in 8 bits, 255 for the largest of each query; sums of the exact ones.
__attribute__((noinline)) void probabilities_of_block(int64_t keys, const Floats (&largest)[kVectors], Tile& tile, Floats (&sums)[kVectors]) {
    // Two vectors of 16 numbers, packed, become pairs of a query's two numbers.
    const __m512i pairs = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    const __m512i ones = _mm512_set1_epi16(1), most = _mm512_set1_epi16(255);
    for (int64_t v = 0; v < kVectors; ++v) {
        const float* scores = tile.scores + v * Vector::kLanes;
        int32_t* packed = tile.probabilities + v * Vector::kLanes;
        const Floats scale = Vector::mul(Vector::load(tile.scale + v * Vector::kLanes), Vector::all(256.0f));
        // How far a key's score lies below the largest, in 256ths of a power of two; the smallest integer where that does
        // not fit, and for no key. First the difference, then the scale: so the largest is 0 below itself.
        const auto below = [&](int64_t j) {
            if (j >= keys) return _mm512_set1_epi32(std::numeric_limits<int32_t>::min());
            const Floats difference = Vector::sub(largest[v], Vector::load(scores + j * kQueries));
            return _mm512_cvtps_epi32(Vector::mul(difference, scale));
        };
        __m512i sum = _mm512_setzero_si512();
        for (int64_t j = 0; j < round_up(keys, kKeyStep); j += Vector::kGroup) {
            // Keys 0 and 2, 1 and 3: so that bytes 0 ... 3 of a query lie in order in the end.
            const __m512i even = powers(_mm512_shuffle_epi8(_mm512_packs_epi32(below(j), below(j + 2)), pairs));
            const __m512i odd = powers(_mm512_shuffle_epi8(_mm512_packs_epi32(below(j + 1), below(j + 3)), pairs));
            // As instructions, for the reason that Vector::dot has.
            __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(even), "v"(ones));
            __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(odd), "v"(ones));
            const __m512i high = _mm512_slli_epi16(_mm512_mulhrs_epi16(odd, most), 8);
            _mm512_store_si512(packed + j / Vector::kGroup * kQueries,
                               _mm512_or_si512(_mm512_mulhrs_epi16(even, most), high));
        }
        sums[v] = Vector::mul(_mm512_cvtepi32_ps(sum), Vector::all(1.0f / 32767));
    }
}
