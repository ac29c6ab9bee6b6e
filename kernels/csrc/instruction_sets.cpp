// See instruction_sets.h.
#include "instruction_sets.h"

#if defined(C2T_X86)
#include "x86_features.h"
#endif

int32_t c2t_isa_mask(void) {
    int32_t mask = 1 << C2T_SCALAR;
#if defined(C2T_X86)
    const X86Features features = x86_features();
    mask |= features.avx2 << C2T_AVX2 | features.avx512 << C2T_AVX512;
#if defined(C2T_HAS_AMX)
    mask |= (features.vnni && features.amx && tiles_allowed()) << C2T_AMX;
#endif
#elif defined(C2T_ARM64)
    mask |= 1 << C2T_NEON;  // part of the baseline: nothing needs to be asked
#endif
    return mask;
}

int32_t products_isa_mask() {
    int32_t mask = c2t_isa_mask() & ~(1 << C2T_NEON);
#if defined(C2T_X86)
    if (!x86_features().vnni) mask &= ~(1 << C2T_AVX512);
#endif
    return mask;
}
