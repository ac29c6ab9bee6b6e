/* Checks of libc2t from C: checks NAME bundle|socket PATH. Exit code 0 and "ok", or the line that
 * failed. The tests build it with and without sanitizers, and run it under valgrind. */
#include "checks.h"

const char *kind, *path;

c2t_service *open_with(const char *key, const char *value) {
    c2t_options *options;
    c2t_service *service;
    OK(c2t_options_new(&options));
    OK(c2t_options_set(options, kind, path));
    if (getenv("C2T_COMMAND")) OK(c2t_options_set(options, "command", getenv("C2T_COMMAND")));
    if (key) OK(c2t_options_set(options, key, value));
    OK(c2t_open(options, &service));
    c2t_options_free(options);
    return service;
}

/* Cells whose counts depend on a seed. */
c2t_request *cells(int count, int seed) {
    c2t_request *request;
    char gene[32];
    OK(c2t_request_new(&request));
    for (int cell = 0; cell < count; cell++) {
        snprintf(gene, sizeof gene, "cell%d", cell);
        OK(c2t_request_add_cell(request, gene));
        for (int number = 1; number <= 60; number++) {
            int value = (number * 7 + cell * 13 + seed * 29) % 11;
            if (value > 5) continue;
            snprintf(gene, sizeof gene, "ENSG%011d", number);
            OK(c2t_request_add_gene(request, gene, value));
        }
    }
    return request;
}

void same(const c2t_result *one, const c2t_result *two) {
    CHECK(c2t_result_cells(one) == c2t_result_cells(two));
    for (size_t i = 0; i < c2t_result_cells(one); i++) {
        CHECK(c2t_result_text(one, i) && c2t_result_text(two, i));
        CHECK(strcmp(c2t_result_text(one, i), c2t_result_text(two, i)) == 0);
    }
}

void refused(int32_t code, int32_t wanted, const char *part) {
    CHECK(code == wanted && c2t_last_code() == wanted);
    CHECK(strstr(c2t_last_problem(), part) != NULL);
    CHECK(c2t_last_hint()[0] != 0);
}

int32_t hear(void *user, size_t cell, size_t from, const char *text, int32_t finished) {
    heard *so_far = user;
    CHECK(cell < CELLS && text != NULL && strlen(text) < sizeof so_far->text[0]);
    CHECK(from <= strlen(text) && from <= strlen(so_far->text[cell]));
    CHECK(memcmp(text, so_far->text[cell], from) == 0);
    CHECK(!so_far->finished[cell]);
    strcpy(so_far->text[cell], text);
    so_far->finished[cell] = finished;
    so_far->calls++;
    return 0;
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        void (*check)(void);
    } checks[] = {
        {"stream", check_stream},       {"arguments", check_arguments}, {"threads", check_threads},
        {"callbacks", check_callbacks}, {"cancel", check_cancel},       {"timeout", check_timeout},
        {"killed", check_killed},       {"again", check_again},         {"locale", check_locale},
        {"hostile", check_hostile},     {"call", check_call},
        {"vectors", check_vectors},     {"ask", check_ask},
    };
    CHECK(count == 4);
    kind = arguments[2];
    path = arguments[3];
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (strcmp(checks[i].name, arguments[1]) != 0) continue;
        checks[i].check();
        puts("ok");
        return 0;
    }
    fprintf(stderr, "no check %s\n", arguments[1]);
    return 2;
}
