/* Options are texts by name: another one never changes how a function is called. */
#include "options.h"

#include <stdlib.h>
#include <string.h>

#define KEYS                                                                                      \
    "keys: bundle, socket, command, argument, start_timeout, timeout, close_timeout, stderr, "    \
    "line_bytes"
#define SECONDS_MAX 1e9
#define LINE_MIN 4096.0
#define LINE_MAX 1073741824.0

int32_t c2t_options_new(c2t_options **options) {
    if (options == NULL) return c2t_fail(C2T_ERROR_ARGUMENT, "give an address", "options is NULL");
    *options = calloc(1, sizeof **options);
    if (*options == NULL) return c2t_fail_memory();
    (*options)->start_timeout = 300;
    (*options)->timeout = 600;
    (*options)->close_timeout = 10;
    (*options)->line_bytes = 64u << 20;
    return C2T_OK;
}

static int32_t set_text(char **place, const char *value) {
    char *copy = c2t_copy(value);
    if (copy == NULL) return c2t_fail_memory();
    free(*place);
    *place = copy;
    return C2T_OK;
}

static int32_t read_in(const char *key, const char *value, double least, double most, double *place) {
    double number;
    size_t size = strlen(value);
    if (size == 0 || c2t_read_number(value, size, &number) != size || number < least || number > most)
        return c2t_fail(C2T_ERROR_ARGUMENT, "give a number such as 30 or 2.5", "%s is \"%s\"", key,
                        value);
    *place = number;
    return C2T_OK;
}

int32_t c2t_options_set(c2t_options *options, const char *key, const char *value) {
    if (options == NULL || key == NULL || value == NULL)
        return c2t_fail(C2T_ERROR_ARGUMENT, "give options, a key and a value",
                        "c2t_options_set was given NULL");
    if (!c2t_is_utf8(key, strlen(key)) || !c2t_is_utf8(value, strlen(value)))
        return c2t_fail(C2T_ERROR_ARGUMENT, "give text as UTF-8", "an option is not UTF-8");
    struct {
        const char *name;
        char **text;
        double *seconds;
    } known[] = {
        {"bundle", &options->bundle, NULL},
        {"socket", &options->socket, NULL},
        {"command", &options->command, NULL},
        {"start_timeout", NULL, &options->start_timeout},
        {"timeout", NULL, &options->timeout},
        {"close_timeout", NULL, &options->close_timeout},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, key) != 0) continue;
        if (known[i].seconds) return read_in(key, value, 0, SECONDS_MAX, known[i].seconds);
        return set_text(known[i].text, value);
    }
    if (strcmp(key, "argument") == 0) {
        if (options->argument_count == C2T_ARGUMENTS_MAX)
            return c2t_fail(C2T_ERROR_ARGUMENT, "give fewer", "more than %d arguments",
                            C2T_ARGUMENTS_MAX);
        int32_t code = set_text(&options->arguments[options->argument_count], value);
        if (code == C2T_OK) options->argument_count++;
        return code;
    }
    if (strcmp(key, "line_bytes") == 0) {
        double bytes;
        int32_t code = read_in(key, value, LINE_MIN, LINE_MAX, &bytes);
        if (code == C2T_OK) options->line_bytes = (size_t)bytes;
        return code;
    }
    if (strcmp(key, "stderr") == 0) {
        options->pass_stderr = strcmp(value, "pass") == 0;
        if (options->pass_stderr || strcmp(value, "keep") == 0) return C2T_OK;
        return c2t_fail(C2T_ERROR_ARGUMENT, "give \"keep\" or \"pass\"", "stderr is \"%s\"", value);
    }
    return c2t_fail(C2T_ERROR_ARGUMENT, KEYS, "no option \"%s\"", key);
}

c2t_options *c2t_options_copy(const c2t_options *options) {
    c2t_options *copy = malloc(sizeof *copy);
    if (copy == NULL) return NULL;
    *copy = *options;
    copy->bundle = copy->socket = copy->command = NULL;
    copy->argument_count = 0;
    memset(copy->arguments, 0, sizeof copy->arguments);
    int failed = (options->bundle && !(copy->bundle = c2t_copy(options->bundle))) ||
                 (options->socket && !(copy->socket = c2t_copy(options->socket))) ||
                 (options->command && !(copy->command = c2t_copy(options->command)));
    for (size_t i = 0; i < options->argument_count && !failed; i++) {
        copy->arguments[i] = c2t_copy(options->arguments[i]);
        failed = copy->arguments[i] == NULL;
        copy->argument_count = i + 1;
    }
    if (!failed) return copy;
    c2t_options_free(copy);
    return NULL;
}

void c2t_options_free(c2t_options *options) {
    if (options == NULL) return;
    free(options->bundle);
    free(options->socket);
    free(options->command);
    for (size_t i = 0; i < options->argument_count; i++) free(options->arguments[i]);
    free(options);
}
