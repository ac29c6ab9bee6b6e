/* What a child said last on its standard error. */
#ifndef C2T_WORDS_H
#define C2T_WORDS_H

#include "../base/base.h"

#define C2T_WORD_BYTES 512

/* c2t reports an error in two lines, "error: " and "hint: "; others in whatever comes last. */
typedef struct {
    char line[C2T_WORD_BYTES]; /* that has not ended */
    size_t size;
    char last[C2T_WORD_BYTES], problem[C2T_WORD_BYTES], hint[C2T_WORD_BYTES];
} c2t_words;

void c2t_words_hear(c2t_words *words, const char *data, size_t size);
/* No more comes: a line without an end counts, too. */
void c2t_words_end(c2t_words *words);

#endif
