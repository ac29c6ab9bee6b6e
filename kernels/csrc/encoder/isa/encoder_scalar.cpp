// The encoder without vector instructions.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "../memory.h"

namespace {
#include "../../linears/isa/vector_scalar.inl"
#define C2T_PRODUCTS "isa/products_scalar.inl"
#include "../encoder.inl"
}  // namespace

void c2t_scalar::run_encoder(const EncoderJob& job, int32_t thread) { EncoderThread(job, thread).run(); }
