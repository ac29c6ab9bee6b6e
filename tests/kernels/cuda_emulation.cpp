// The CUDA sources as a host library; C2T_SOURCE is the path of one of them.
#include "cuda_emulation.h"
#include C2T_SOURCE

#if defined(C2T_TABLE) && !defined(C2T_WIDTH)
extern "C" void emulate(const int* token_ids, const Table* table, const float* scale, const float* given, Out* out,
                        long long rows, long long vocabulary, long long width) {
    run_grid(rows, C2T_THREADS, [&] { token_rows(token_ids, table, scale, given, out, vocabulary, width); });
}
#elif defined(C2T_LOGITS)
extern "C" void emulate(const Logit* logits, const int* banned, Finding* scratch, int* tokens, float* probability,
                        int* finite, long long rows, int vocabulary, int bans, int backwards) {
    const long long pieces = (vocabulary + PIECE - 1) / PIECE;
    run_grid(
        rows * pieces, C2T_THREADS,
        [&] { choose_tokens(logits, banned, scratch, tokens, probability, finite, vocabulary, bans); }, backwards);
}
#elif defined(C2T_WIDTH)
extern "C" void emulate(const int* tokens, const int* lengths, const Table* word, const Table* position,
                        const float* word_scale, const float* position_scale, const float* token_type,
                        const float* gamma, const float* beta, Out* out, long long cells, long long ranks,
                        long long token_stride, float epsilon, float out_scale) {
    run_grid(cells * ranks, 32, [&] {
        embed_genes(tokens, lengths, word, position, word_scale, position_scale, token_type, gamma, beta, out, cells,
                    ranks, token_stride, epsilon, out_scale);
    });
}
#endif
