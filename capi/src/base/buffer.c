/* Growing buffers, and what goes into them: text, UTF-8, JSON's strings and numbers. */
#include "base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT 9007199254740992.0 /* up to here a double holds every whole number */

void c2t_buffer_add(c2t_buffer *buffer, const void *data, size_t size) {
    if (buffer->failed || size == 0) return;
    if (size > buffer->capacity - buffer->size) {
        size_t capacity = buffer->capacity ? buffer->capacity : 256;
        while (capacity - buffer->size < size) {
            if (capacity > SIZE_MAX / 2) {
                buffer->failed = 1;
                return;
            }
            capacity *= 2;
        }
        char *grown = realloc(buffer->data, capacity);
        if (grown == NULL) {
            buffer->failed = 1;
            return;
        }
        buffer->data = grown;
        buffer->capacity = capacity;
    }
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

void c2t_buffer_text(c2t_buffer *buffer, const char *text) {
    c2t_buffer_add(buffer, text, strlen(text));
}

void c2t_buffer_free(c2t_buffer *buffer) {
    free(buffer->data);
    memset(buffer, 0, sizeof *buffer);
}

void c2t_buffer_integer(c2t_buffer *buffer, uint64_t value) {
    char digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    c2t_buffer_add(buffer, digits + first, sizeof digits - first);
}

void c2t_buffer_number(c2t_buffer *buffer, double value) {
    if (value >= 0 && value < EXACT && value == (double)(uint64_t)value) {
        c2t_buffer_integer(buffer, (uint64_t)value);
        return;
    }
    char text[64], plain[64];
    snprintf(text, sizeof text, "%.17g", value);
    size_t size = 0;
    int between = 0; /* whatever the locale has between the digits, in one byte or in more */
    for (const char *c = text; *c; c++) {
        int known = (*c >= '0' && *c <= '9') || *c == '-' || *c == '+' || *c == 'e';
        if (known) plain[size++] = *c;
        else if (!between) plain[size++] = '.';
        between = !known;
    }
    c2t_buffer_add(buffer, plain, size);
}

void c2t_buffer_string(c2t_buffer *buffer, const char *text) {
    static const char digits[] = "0123456789abcdef";
    c2t_buffer_add(buffer, "\"", 1);
    const char *start = text, *c = text;
    for (; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        char escape[6] = {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
        c2t_buffer_add(buffer, start, (size_t)(c - start));
        c2t_buffer_add(buffer, escape, sizeof escape);
        start = c + 1;
    }
    c2t_buffer_add(buffer, start, (size_t)(c - start));
    c2t_buffer_add(buffer, "\"", 1);
}

char *c2t_copy(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    if (copy != NULL) memcpy(copy, text, size);
    return copy;
}

size_t c2t_utf8_character(const char *text, size_t size) {
    const unsigned char *c = (const unsigned char *)text;
    if (size == 0) return 0;
    if (c[0] < 0x80) return 1;
    size_t length = c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : 2;
    if (c[0] < 0xc2 || c[0] > 0xf4 || length > size) return 0;
    for (size_t i = 1; i < length; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    /* Too long a form, a half of a surrogate pair, or beyond the last character. */
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f)) return 0;
    if ((c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f)) return 0;
    return length;
}

int c2t_is_utf8(const char *text, size_t size) {
    while (size > 0) {
        size_t length = c2t_utf8_character(text, size);
        if (length == 0) return 0;
        text += length;
        size -= length;
    }
    return 1;
}

size_t c2t_utf8_cut(const char *text, size_t size) {
    size_t start = size;
    while (start > 0 && size - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) start--;
    if (start == 0 || (unsigned char)text[start - 1] < 0xc0) return size;
    start--; /* the first byte of the last character */
    return c2t_utf8_character(text + start, size - start) == size - start ? size : start;
}

size_t c2t_read_number(const char *text, size_t size, double *value) {
    size_t at = 0, digits = 0;
    uint64_t mantissa = 0;
    long scale = 0;
    int negative = size > 0 && text[0] == '-';
    at += (size_t)negative;
    if (at < size && text[at] == '0' && at + 1 < size && text[at + 1] >= '0' && text[at + 1] <= '9')
        return 0;
    for (int fraction = 0; fraction < 2; fraction++) {
        size_t before = at;
        for (; at < size && text[at] >= '0' && text[at] <= '9'; at++) {
            if (mantissa != 0 || text[at] != '0') digits++;
            if (digits <= 19) {
                mantissa = mantissa * 10 + (uint64_t)(text[at] - '0');
                scale -= fraction;
            } else {
                scale += 1 - fraction;
            }
        }
        if (at == before) return 0;
        if (fraction == 0 && at < size && text[at] == '.') at++;
        else break;
    }
    if (at < size && (text[at] == 'e' || text[at] == 'E')) {
        long exponent = 0;
        int minus = ++at < size && text[at] == '-';
        if (at < size && (text[at] == '-' || text[at] == '+')) at++;
        size_t before = at;
        for (; at < size && text[at] >= '0' && text[at] <= '9'; at++)
            if (exponent < 100000) exponent = exponent * 10 + (text[at] - '0');
        if (at == before) return 0;
        scale += minus ? -exponent : exponent;
    }
    double number;
    if (mantissa < (uint64_t)EXACT && scale >= -22 && scale <= 22) { /* exact factors: rounded once */
        double power = 1;
        for (long i = 0; i < labs(scale); i++) power *= 10;
        number = scale < 0 ? (double)mantissa / power : (double)mantissa * power;
    } else if (mantissa == 0) {
        number = 0;
    } else {
        long double wide = (long double)mantissa;
        for (long i = 0; i < labs(scale) && i < 400; i++) wide = scale < 0 ? wide / 10 : wide * 10;
        number = (double)wide;
    }
    if (!isfinite(number)) return 0;
    *value = negative ? -number : number;
    return at;
}
