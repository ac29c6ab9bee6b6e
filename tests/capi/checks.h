/* What the checks share. */
#ifndef CHECKS_H
#define CHECKS_H

#include <c2t.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "line %d: %s\nlast: %d %s | %s\n", __LINE__, #condition,              \
                    (int)c2t_last_code(), c2t_last_problem(), c2t_last_hint());                   \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)
#define OK(call) CHECK((call) == C2T_OK)
#define CELLS 6

/* "bundle" or "socket", and where it is. */
extern const char *kind, *path;

c2t_service *open_with(const char *key, const char *value);
/* Cells whose counts depend on a seed. */
c2t_request *cells(int count, int seed);
void same(const c2t_result *one, const c2t_result *two);
void refused(int32_t code, int32_t wanted, const char *part);

/* Keeps texts as a host would, and checks what it is told. */
typedef struct {
    char text[CELLS][4096];
    int finished[CELLS], calls;
} heard;

int32_t hear(void *user, size_t cell, size_t from, const char *text, int32_t finished);

void check_stream(void);
void check_arguments(void);
void check_call(void);
void check_vectors(void);
void check_ask(void);
void check_locale(void);
void check_hostile(void);
void check_threads(void);
void check_callbacks(void);
void check_cancel(void);
void check_timeout(void);
void check_killed(void);
void check_again(void);

#endif
