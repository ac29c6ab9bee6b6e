// The encoder with AVX2 and FMA.
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "../memory.h"

namespace {
#include "../../linears/isa/vector_avx2.inl"
#define C2T_PRODUCTS "isa/products_avx2.inl"
#include "../encoder.inl"
}  // namespace

void c2t_avx2::run_encoder(const EncoderJob& job, int32_t thread) { EncoderThread(job, thread).run(); }
