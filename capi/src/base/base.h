/* What all files of the library share: errors, growing buffers, UTF-8 and numbers.
 *
 * Numbers are written and read here, because those of the C library follow the locale of the host:
 * under a German one, 1.5 is "1,5". */
#ifndef C2T_BASE_H
#define C2T_BASE_H

#ifdef __MINGW32__
#define __USE_MINGW_ANSI_STDIO 1 /* the old C library of Windows does not know %zu */
#endif

#include "../../c2t.h"

#define C2T_PROBLEM_BYTES 1024
#define C2T_HINT_BYTES 512

#if defined(__MINGW32__)
#define C2T_PRINTF(text, first) __attribute__((format(gnu_printf, text, first)))
#elif defined(__GNUC__)
#define C2T_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define C2T_PRINTF(text, first)
#endif

#ifndef C2T_VERSION
#define C2T_VERSION "0.1.0"
#endif

/* A failure that one thread finds and another reports. */
typedef struct {
    int32_t code;
    int32_t retry_after;
    char problem[C2T_PROBLEM_BYTES];
    char hint[C2T_HINT_BYTES];
} c2t_failure;

/* Fill in a failure. Returns its code. */
int32_t c2t_failure_set(c2t_failure *failure, int32_t code, const char *hint, const char *format,
                        ...) C2T_PRINTF(4, 5);
/* Make it the last one of this thread. Returns its code. */
int32_t c2t_report(const c2t_failure *failure);
/* Both. */
int32_t c2t_fail(int32_t code, const char *hint, const char *format, ...) C2T_PRINTF(3, 4);
int32_t c2t_fail_memory(void);
/* What the system calls an error of its own. */
void c2t_system_error(int number, char *text, size_t capacity);

/* Bytes that grow. Where memory is short, `failed` is set and what follows is left out. */
typedef struct {
    char *data;
    size_t size, capacity;
    int failed;
} c2t_buffer;

void c2t_buffer_add(c2t_buffer *buffer, const void *data, size_t size);
void c2t_buffer_text(c2t_buffer *buffer, const char *text);
void c2t_buffer_free(c2t_buffer *buffer);
/* A number as JSON has it, exact: finite. */
void c2t_buffer_number(c2t_buffer *buffer, double value);
void c2t_buffer_integer(c2t_buffer *buffer, uint64_t value);
/* A string as JSON has it. The text is valid UTF-8. */
void c2t_buffer_string(c2t_buffer *buffer, const char *text);
/* A copy of a text; NULL where memory is short. */
char *c2t_copy(const char *text);

/* Bytes of the character that a text begins with, from 1 to 4; 0: it is no UTF-8. */
size_t c2t_utf8_character(const char *text, size_t size);
int c2t_is_utf8(const char *text, size_t size);
/* Bytes of the longest beginning that has at most `size` bytes and no cut character. */
size_t c2t_utf8_cut(const char *text, size_t size);

/* A number as JSON has it. Returns the bytes that it takes; 0: there is none, or it is too large.
 * The value is the nearest double, or next to it. */
size_t c2t_read_number(const char *text, size_t size, double *value);

#endif
