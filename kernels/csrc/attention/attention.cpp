// Which forms of INT8 attention run here, and the whole of it on one thread.
#include "attention.h"

#include <new>

const AttentionKernel& attention_kernel(int32_t isa) {
#if defined(C2T_X86)
    if (isa == C2T_AVX2) return c2t_avx2::attention;
    if (isa == C2T_AVX512) return c2t_avx512::attention;
#endif
    (void)isa;
    return c2t_scalar::attention;
}

int32_t c2t_attention_isa_mask(void) {
    int32_t mask = c2t_isa_mask() & (1 << C2T_SCALAR | 1 << C2T_AVX2 | 1 << C2T_AVX512);
#if defined(C2T_X86)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512vnni")) mask &= ~(1 << C2T_AVX512);
#endif
    return mask;
}

int32_t c2t_attention(const c2t_attention_args* args, int32_t isa) {
    const AttentionKernel& kernel = attention_kernel(isa);
    const PackedSizes sizes(*args, kernel.element);
    void* memory = ::operator new(sizes.bytes(), std::align_val_t{64}, std::nothrow);
    if (!memory) return 1;
    for (int64_t i = 0; i < args->batch * args->heads; ++i) {
        kernel.pack(*args, i / args->heads, i % args->heads, memory);
        for (int64_t first = 0; first < args->queries; first += kernel.query_tile)
            kernel.attend(*args, i / args->heads, i % args->heads, first, memory);
    }
    ::operator delete(memory, std::align_val_t{64});
    return 0;
}
