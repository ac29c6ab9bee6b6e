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
#else
extern "C" void emulate(const long long* indptr, const int* indices, const double* data, const int* column_gene,
                        const int* gene_token, const double* median, const long long* scratch_start, u64* scratch,
                        int* tokens, int* lengths, int* genes, double* totals, unsigned char* status,
                        long long cells, int max_tokens, int cls_token, int eos_token, int pad_token) {
    run_grid(cells, C2T_THREADS, [&] {
        rank_value_encode(indptr, indices, data, column_gene, gene_token, median, scratch_start, scratch, tokens,
                          lengths, genes, totals, status, max_tokens, cls_token, eos_token, pad_token);
    });
}
#endif
