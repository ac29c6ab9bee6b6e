// Sixteen queries, with AVX-512 and VNNI.
struct Vector512 {
    static constexpr int64_t kLanes = 16, kGroup = 4;
    using Integer = int8_t;
    using Floats = __m512;
    using Integers = __m512i;

    static Floats all(float x) { return _mm512_set1_ps(x); }
    static Floats load(const float* p) { return _mm512_load_ps(p); }
    static void store(float* p, Floats x) { _mm512_store_ps(p, x); }
    static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
    static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
    static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
    static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
    static bool any_less(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ) != 0; }
    static Floats to_floats(Integers x) { return _mm512_cvtepi32_ps(x); }
    static Integers zero() { return _mm512_setzero_si512(); }
    static Integers load(const void* p) { return _mm512_load_si512(p); }
    static Integers repeat(const void* p) {
        int32_t x;
        std::memcpy(&x, p, 4);
        return _mm512_set1_epi32(x);
    }
    static Integers dot(Integers sum, Integers unsigned_, Integers signed_) {
        // Not _mm512_dpbusd_epi32: GCC 12 copies each sum into another register and back around it.
        __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_), "v"(signed_));
        return sum;
    }
    // Turn a block [16, 16] over; numbers of a row are given from one row to the next.
    static void turn(const float* from, int64_t from_row, float* to, int64_t to_row) {
        Floats rows[16], pairs[16], fours[16], eights[16];
        for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_ps(from + i * from_row);
        for (int i = 0; i < 16; i += 2) {
            pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        }
        // fours[4 i + c]: columns c, c + 4, c + 8, c + 12 of rows 4 i ... 4 i + 3
        const auto halves = [](Floats a, Floats b, bool high) {
            const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
            return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
        };
        for (int i = 0; i < 16; i += 4)
            for (int c = 0; c < 4; ++c) fours[i + c] = halves(pairs[i + c / 2], pairs[i + c / 2 + 2], c % 2);
        for (int c = 0; c < 4; ++c)
            for (int i = 0; i < 16; i += 8) {
                eights[i + c] = _mm512_shuffle_f32x4(fours[i + c], fours[i + 4 + c], 0x88);      // columns c, c + 8
                eights[i + 4 + c] = _mm512_shuffle_f32x4(fours[i + c], fours[i + 4 + c], 0xDD);  // c + 4, c + 12
            }
        for (int c = 0; c < 8; ++c) {
            _mm512_storeu_ps(to + c * to_row, _mm512_shuffle_f32x4(eights[c], eights[8 + c], 0x88));
            _mm512_storeu_ps(to + (c + 8) * to_row, _mm512_shuffle_f32x4(eights[c], eights[8 + c], 0xDD));
        }
    }
    // y * 2^n, where `shifted` is kRounder + n.
    static Floats add_exponent(Floats y, Floats shifted) {
        const Integers n = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
        return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y), n));
    }
};
