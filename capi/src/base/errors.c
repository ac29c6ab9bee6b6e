/* The last error of each thread, in memory of fixed size: nothing to free when a thread ends. */
#define _POSIX_C_SOURCE 200112L /* strerror_r gives an int */

#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local c2t_failure last;

/* Let a text be one line of whole characters: it may hold what a stranger sent. */
static void tidy(char *text, size_t capacity) {
    size_t size = strlen(text);
    if (size + 1 == capacity) text[c2t_utf8_cut(text, size)] = 0;
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = ' ';
}

static void set(c2t_failure *failure, int32_t code, const char *hint, const char *format,
                va_list arguments) {
    failure->code = code;
    failure->retry_after = 0;
    vsnprintf(failure->problem, sizeof failure->problem, format, arguments);
    tidy(failure->problem, sizeof failure->problem);
    snprintf(failure->hint, sizeof failure->hint, "%s", hint);
    tidy(failure->hint, sizeof failure->hint);
}

int32_t c2t_failure_set(c2t_failure *failure, int32_t code, const char *hint, const char *format,
                        ...) {
    va_list arguments;
    va_start(arguments, format);
    set(failure, code, hint, format, arguments);
    va_end(arguments);
    return code;
}

int32_t c2t_report(const c2t_failure *failure) {
    last = *failure;
    return last.code;
}

int32_t c2t_fail(int32_t code, const char *hint, const char *format, ...) {
    c2t_failure failure; /* the arguments may be parts of the last one */
    va_list arguments;
    va_start(arguments, format);
    set(&failure, code, hint, format, arguments);
    va_end(arguments);
    return c2t_report(&failure);
}

int32_t c2t_fail_memory(void) {
    return c2t_fail(C2T_ERROR_MEMORY, "free some, or send fewer cells at a time", "no memory");
}

void c2t_system_error(int number, char *text, size_t capacity) {
#ifdef _WIN32
    if (strerror_s(text, capacity, number) != 0) snprintf(text, capacity, "error %d", number);
#else
    if (strerror_r(number, text, capacity) != 0) snprintf(text, capacity, "error %d", number);
#endif
}

const char *c2t_last_problem(void) { return last.problem; }
const char *c2t_last_hint(void) { return last.hint; }
int32_t c2t_last_code(void) { return last.code; }
int32_t c2t_last_retry_after(void) { return last.retry_after; }
int32_t c2t_abi_version(void) { return C2T_ABI_VERSION; }
const char *c2t_version(void) { return C2T_VERSION; }
