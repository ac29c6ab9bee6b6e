// The encoder with AVX-512 (F, BW, DQ, VL) and VNNI.
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "../memory.h"

namespace {
#include "../../linears/isa/vector_avx512.inl"
#define C2T_PRODUCTS "isa/products_avx512.inl"
#include "../encoder.inl"
}  // namespace

void c2t_avx512::run_encoder(const EncoderJob& job, int32_t thread) { EncoderThread(job, thread).run(); }
