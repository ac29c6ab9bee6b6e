/* See words.h. */
#include "words.h"

#include <string.h>

static void keep(char *place, const char *line) {
    memcpy(place, line, strlen(line) + 1);
}

void c2t_words_end(c2t_words *words) {
    static const char error[] = "error: ", hint[] = "hint: ";
    char *line = words->line;
    while (words->size > 0 && strchr(" \t\r", line[words->size - 1])) words->size--;
    line[words->size] = 0;
    for (size_t i = 0; i < words->size;) {
        size_t length = c2t_utf8_character(line + i, words->size - i);
        if (length == 0) line[i] = '?';
        i += length ? length : 1;
    }
    if (strncmp(line, error, sizeof error - 1) == 0) {
        keep(words->problem, line + sizeof error - 1);
        words->hint[0] = 0;
    } else if (strncmp(line, hint, sizeof hint - 1) == 0) {
        keep(words->hint, line + sizeof hint - 1);
    } else if (words->size > 0) {
        keep(words->last, line);
    }
    words->size = 0;
}

void c2t_words_hear(c2t_words *words, const char *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\n') c2t_words_end(words);
        else if (words->size + 1 < sizeof words->line && data[i] != 0) words->line[words->size++] = data[i];
    }
}
