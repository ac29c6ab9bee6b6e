// Choices from logits with AVX-512 (F, BW, DQ, VL).
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "../c2t_tokens.h"

namespace {
#include "../../linears/isa/vector_avx512.inl"
#include "../choices.inl"
}  // namespace

void c2t_avx512::choose(const c2t_choices_args& args) { choose_rows(args); }
void c2t_avx512::probabilities(const c2t_probabilities_args& args) { probabilities_of(args); }
