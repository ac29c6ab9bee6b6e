// Which forms of INT8 attention run here, and the whole of it on one thread.
#include "attention.h"

#include <new>

#include "../instruction_sets.h"

const AttentionKernel& attention_kernel(int32_t isa) {
#if defined(C2T_X86)
    if (isa == C2T_AVX2) return c2t_avx2::attention;
    if (isa == C2T_AVX512) return c2t_avx512::attention;
#if defined(C2T_HAS_AMX)
    if (isa == C2T_AMX) return c2t_amx::attention;
#endif
#endif
    (void)isa;
    return c2t_scalar::attention;
}

int32_t c2t_attention_isa_mask(void) { return products_isa_mask(); }

int32_t c2t_attention(const c2t_attention_args* args, int32_t isa) {
    const AttentionKernel& kernel = attention_kernel(isa);
    const PackedSizes sizes(*args, kernel.layout);
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
