// Scalar conversions between float and the storage types. Each implementation includes them in its anonymous namespace:
// of an inline function that several files define the linker keeps one, which might be the AVX-512 version.

struct Half { uint16_t bits; };
struct BFloat16 { uint16_t bits; };

inline uint32_t bits_of(float value) { uint32_t bits; std::memcpy(&bits, &value, 4); return bits; }
inline float float_of(uint32_t bits) { float value; std::memcpy(&value, &bits, 4); return value; }

inline float widen(float value) { return value; }
inline float widen(int8_t value) { return static_cast<float>(value); }
inline float widen(Half value) {
    const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
    const uint32_t magnitude = value.bits & 0x7FFF;
    if (magnitude >= 0x7C00) return float_of(sign | 0x7F800000 | (magnitude << 13));  // inf, NaN
    // Scaling by 2^112 moves the exponent bias from 15 to 127 and normalises subnormals.
    return float_of(sign | bits_of(float_of(magnitude << 13) * 0x1p112f));
}

inline void narrow(float value, float* out, float) { *out = value; }
inline void narrow(float value, BFloat16* out, float) {
    const uint32_t bits = bits_of(value);
    out->bits = value != value ? 0x7FC0 : static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
inline void narrow(float value, Half* out, float) {
    const uint32_t bits = bits_of(value);
    const uint32_t sign = (bits >> 16) & 0x8000;
    const uint32_t magnitude = bits & 0x7FFFFFFF;
    uint32_t half;
    if (magnitude > 0x7F800000) {
        half = 0x7E00;
    } else if (magnitude >= 0x477FF000) {  // rounds to 65536 or more
        half = 0x7C00;
    } else if (magnitude < 0x38800000) {  // subnormal: let the adder round at 2^-24
        half = bits_of(float_of(magnitude) + 0.5f) - 0x3F000000;
    } else {
        half = (magnitude - 0x38000000 + 0xFFF + ((magnitude >> 13) & 1)) >> 13;
    }
    out->bits = static_cast<uint16_t>(sign | half);
}
inline void narrow(float value, int8_t* out, float scale) {
    float steps = value / scale;
    steps = steps < -128.0f ? -128.0f : steps > 127.0f ? 127.0f : steps;
    // Adding 1.5 * 2^23 leaves no bits for the fraction: the adder rounds half to even.
    *out = static_cast<int8_t>((steps + 12582912.0f) - 12582912.0f);
}
