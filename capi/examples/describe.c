/* Describe cells of a table: describe bundle|socket PATH TABLE
 *
 * The table has lines "cell <tab> gene <tab> count"; the lines of a cell stand together. For a
 * bundle, a service is started; a socket is that of a service that runs. Texts appear on standard error while they are written, then on standard output. */
#include <c2t.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int report(const char *doing) {
    fprintf(stderr, "error: %s: %s\nhint: %s\n", doing, c2t_last_problem(), c2t_last_hint());
    return 1;
}

/* Called while texts are written. Anything but 0 would stop the request. */
static int32_t show(void *user, size_t cell, size_t changed_from, const char *text,
                    int32_t finished) {
    (void)user;
    (void)changed_from;
    fprintf(stderr, "%zu%s %s\n", cell, finished ? "." : ":", text ? text : "(no text)");
    return 0;
}

static int read_table(const char *path, c2t_request *request) {
    char line[1024], cell[256], gene[256], last[256] = "";
    double count;
    FILE *table = fopen(path, "r");
    if (table == NULL) {
        perror(path);
        return 1;
    }
    while (fgets(line, sizeof line, table) != NULL) {
        if (sscanf(line, "%255[^\t]\t%255[^\t]\t%lf", cell, gene, &count) != 3) {
            fprintf(stderr, "error: not \"cell, gene, count\": %s\n", line);
            fclose(table);
            return 1;
        }
        if (strcmp(cell, last) != 0 && c2t_request_add_cell(request, cell) != C2T_OK) break;
        memcpy(last, cell, sizeof last);
        if (c2t_request_add_gene(request, gene, count) != C2T_OK) break;
    }
    int complete = feof(table);
    fclose(table);
    return complete ? 0 : report(path);
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: describe bundle|socket PATH TABLE\n");
        return 2;
    }
    if (c2t_abi_version() != C2T_ABI_VERSION) {
        fprintf(stderr, "error: libc2t is of another version than its header\n");
        return 1;
    }
    const char *command = getenv("C2T_COMMAND"); /* where c2t is not in PATH */
    c2t_options *options = NULL;
    c2t_service *service = NULL;
    c2t_request *request = NULL;
    c2t_result *result = NULL;
    int failed = 0;

    if (c2t_options_new(&options) != C2T_OK || c2t_request_new(&request) != C2T_OK ||
        c2t_options_set(options, arguments[1], arguments[2]) != C2T_OK ||
        (command != NULL && c2t_options_set(options, "command", command) != C2T_OK))
        failed = report("options");
    if (!failed) failed = read_table(arguments[3], request);
    if (!failed && c2t_open(options, &service) != C2T_OK) failed = report("open");
    if (!failed && c2t_describe(service, request, show, NULL, &result) != C2T_OK)
        failed = report("describe");
    for (size_t i = 0; i < c2t_result_warnings(result); i++)
        fprintf(stderr, "warning: %s\n", c2t_result_warning(result, i));
    for (size_t i = 0; i < c2t_result_cells(result); i++) {
        const char *text = c2t_result_text(result, i);
        printf("%s\t%s\n", c2t_result_id(result, i), text ? text : c2t_result_error(result, i));
    }
    c2t_result_free(result);
    c2t_request_free(request);
    c2t_options_free(options);
    if (c2t_close(service) != C2T_OK) failed = report("close");
    return failed;
}
