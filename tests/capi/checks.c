/* Checks of libc2t from C: checks NAME bundle|socket PATH. Exit code 0 and "ok", or the line that
 * failed. The tests build it with and without sanitizers, and run it under valgrind. */
#define _POSIX_C_SOURCE 200809L

#include <c2t.h>

#include <dirent.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef _WIN32
#include <windows.h>

static int end_process(long number) {
    HANDLE process = OpenProcess(PROCESS_TERMINATE, FALSE, (DWORD)number);
    return process == NULL || !TerminateProcess(process, 9) || !CloseHandle(process);
}
#else
static int end_process(long number) { return kill((pid_t)number, SIGKILL); }
#endif

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
#define THREADS 8

static const char *kind, *path;

static c2t_service *open_with(const char *key, const char *value) {
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
static c2t_request *cells(int count, int seed) {
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

static void same(const c2t_result *one, const c2t_result *two) {
    CHECK(c2t_result_cells(one) == c2t_result_cells(two));
    for (size_t i = 0; i < c2t_result_cells(one); i++) {
        CHECK(c2t_result_text(one, i) && c2t_result_text(two, i));
        CHECK(strcmp(c2t_result_text(one, i), c2t_result_text(two, i)) == 0);
    }
}

static int32_t never(void *user, size_t cell, size_t from, const char *text, int32_t finished) {
    (void)user, (void)cell, (void)from, (void)text, (void)finished;
    return 1;
}

/* Keeps texts as a host would, and checks what it is told. */
typedef struct {
    char text[CELLS][4096];
    int finished[CELLS], calls;
} heard;

static int32_t hear(void *user, size_t cell, size_t from, const char *text, int32_t finished) {
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

static void check_stream(void) {
    c2t_service *service = open_with(NULL, NULL);
    c2t_request *request = cells(CELLS, 0);
    c2t_result *plain, *streamed;
    heard so_far;
    memset(&so_far, 0, sizeof so_far);
    OK(c2t_describe(service, request, NULL, NULL, &plain));
    OK(c2t_describe(service, request, hear, &so_far, &streamed));
    same(plain, streamed);
    for (int i = 0; i < CELLS; i++) {
        CHECK(so_far.finished[i]);
        CHECK(strcmp(so_far.text[i], c2t_result_text(plain, (size_t)i)) == 0);
    }
    CHECK(so_far.calls > CELLS);
    CHECK(strcmp(c2t_result_id(plain, 1), "cell1") == 0);
    CHECK(c2t_result_error(plain, 0) == NULL && c2t_result_genes_used(plain, 0) > 10);
    CHECK(c2t_result_confidence(plain, 0) > 0 && c2t_result_confidence(plain, 0) <= 1);
    CHECK(c2t_result_text(plain, CELLS) == NULL && c2t_result_id(plain, CELLS) == NULL);
    CHECK(isnan(c2t_result_confidence(plain, CELLS)) && c2t_result_genes_used(plain, CELLS) == -1);
    CHECK(strlen(c2t_service_info(service, "bundle_digest")) == 64);
    CHECK(strcmp(c2t_service_info(service, "bundle_name"), "tiny") == 0);
    CHECK(c2t_service_info(service, "version") && !c2t_service_info(service, "nothing"));
    OK(c2t_request_set(request, "max_new_tokens", "1"));
    c2t_result_free(streamed);
    OK(c2t_describe(service, request, NULL, NULL, &streamed));
    CHECK(strlen(c2t_result_text(streamed, 0)) < strlen(c2t_result_text(plain, 0)));
    c2t_result_free(plain);
    c2t_result_free(streamed);
    c2t_request_free(request);
    OK(c2t_close(service));
}

static void refused(int32_t code, int32_t wanted, const char *part) {
    CHECK(code == wanted && c2t_last_code() == wanted);
    CHECK(strstr(c2t_last_problem(), part) != NULL);
    CHECK(c2t_last_hint()[0] != 0);
}

static void check_arguments(void) {
    const int32_t wrong = C2T_ERROR_ARGUMENT;
    const char *genes[3] = {"B", "C", "B"}, *broken[2] = {"D", "\xff"};
    const double counts[3] = {1, 2, 3}, negative[2] = {1, -0.5}, none[2] = {1, NAN};
    c2t_options *options;
    c2t_service *service = NULL;
    c2t_request *request;
    c2t_result *result;
    CHECK(c2t_abi_version() == C2T_ABI_VERSION && c2t_version()[0] != 0);
    OK(c2t_options_new(&options));
    OK(c2t_request_new(&request));
    refused(c2t_options_new(NULL), wrong, "NULL");
    refused(c2t_options_set(options, "colour", "red"), wrong, "colour");
    refused(c2t_options_set(options, "timeout", "2,5"), wrong, "2,5");
    refused(c2t_options_set(options, "timeout", "-1"), wrong, "-1");
    refused(c2t_options_set(options, "timeout", "1e400"), wrong, "1e400");
    refused(c2t_options_set(options, "stderr", "loud"), wrong, "loud");
    refused(c2t_options_set(options, "line_bytes", "3"), wrong, "3");
    refused(c2t_options_set(options, "bundle", "\xc3"), wrong, "UTF-8");
    refused(c2t_open(options, &service), wrong, "neither");
    CHECK(service == NULL);
    OK(c2t_options_set(options, "bundle", "a"));
    OK(c2t_options_set(options, "socket", "b"));
    refused(c2t_open(options, &service), wrong, "both");
    refused(c2t_request_add_gene(request, "A", 1), wrong, "no cell");
    OK(c2t_request_add_cell(request, NULL));
    refused(c2t_request_add_cell(request, "\xed\xa0\x80"), wrong, "cell 1");
    refused(c2t_request_add_gene(request, "", 1), wrong, "empty");
    refused(c2t_request_add_gene(request, NULL, 1), wrong, "empty");
    OK(c2t_request_add_gene(request, "A", 1));
    refused(c2t_request_add_gene(request, "A", 1), wrong, "twice");
    refused(c2t_request_add_genes(request, genes, counts, 3), wrong, "B comes twice");
    refused(c2t_request_add_genes(request, genes, negative, 2), wrong, "-0.5");
    refused(c2t_request_add_genes(request, genes, none, 2), wrong, "not a number");
    refused(c2t_request_add_gene(request, "X", INFINITY), wrong, "infinite");
    refused(c2t_request_add_genes(request, broken, counts, 2), wrong, "UTF-8");
    OK(c2t_request_add_genes(request, genes, counts, 2)); /* nothing of the refused was added */
    OK(c2t_request_add_gene(request, "D", 0));
    OK(c2t_request_add_cell(request, NULL));
    OK(c2t_request_add_gene(request, "A", 1)); /* in another cell it is another */
    refused(c2t_request_set(request, "beams", "1"), wrong, "beams");
    refused(c2t_request_set(request, "num_beams", "two"), wrong, "two");
    refused(c2t_request_set(request, "drafts", "yes"), wrong, "yes");
    refused(c2t_describe(NULL, request, NULL, NULL, &result), wrong, "NULL");
    CHECK(result == NULL);
    refused(c2t_cancel(NULL), wrong, "NULL");
    OK(c2t_close(NULL));
    c2t_request_free(NULL);
    c2t_result_free(NULL);
    c2t_options_free(NULL);
    c2t_request_free(request);
    c2t_options_free(options);

    service = open_with(NULL, NULL);
    OK(c2t_request_new(&request));
    refused(c2t_describe(service, request, NULL, NULL, &result), wrong, "no cells");
    OK(c2t_request_add_cell(request, NULL));
    OK(c2t_request_add_gene(request, "nothing known", 2));
    refused(c2t_describe(service, request, NULL, NULL, &result), C2T_ERROR_CELLS, "");
    c2t_request_clear(request);
    OK(c2t_request_add_cell(request, NULL));
    OK(c2t_request_add_gene(request, "ENSG00000000001", 2));
    OK(c2t_request_set(request, "num_beams", "0"));
    refused(c2t_describe(service, request, NULL, NULL, &result), wrong, "num_beams");
    OK(c2t_request_set(request, "num_beams", ""));
    OK(c2t_describe(service, request, NULL, NULL, &result));
    CHECK(strcmp(c2t_result_id(result, 0), "0") == 0);
    c2t_result_free(result);
    c2t_request_free(request);
    OK(c2t_close(service));
}

typedef struct {
    c2t_service *service;
    int seed;
    int32_t code;
    c2t_result *results[3];
} job;

static void *work(void *of) {
    job *mine = of;
    c2t_request *request = cells(2, mine->seed);
    for (int i = 0; i < 3; i++) {
        heard so_far;
        memset(&so_far, 0, sizeof so_far);
        OK(c2t_describe(mine->service, request, i == 1 ? hear : NULL, &so_far, &mine->results[i]));
        c2t_request *wrong = cells(1, mine->seed);
        OK(c2t_request_set(wrong, "num_beams", "0"));
        c2t_result *none;
        CHECK(c2t_describe(mine->service, wrong, NULL, NULL, &none) == C2T_ERROR_ARGUMENT);
        CHECK(strstr(c2t_last_problem(), "num_beams")); /* each thread has its own last error */
        c2t_request_free(wrong);
    }
    c2t_request_free(request);
    return NULL;
}

static void check_threads(void) {
    c2t_service *service = open_with(NULL, NULL);
    pthread_t threads[THREADS];
    job jobs[THREADS];
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < THREADS; i++) {
        jobs[i].service = service;
        jobs[i].seed = i;
        CHECK(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < THREADS; i++) {
        c2t_request *request = cells(2, i);
        c2t_result *alone;
        OK(c2t_describe(service, request, NULL, NULL, &alone));
        for (int j = 0; j < 3; j++) {
            same(alone, jobs[i].results[j]);
            c2t_result_free(jobs[i].results[j]);
        }
        c2t_result_free(alone);
        c2t_request_free(request);
    }
    CHECK(c2t_last_code() == C2T_OK); /* no call of this thread has failed */
    OK(c2t_close(service));
}

static int32_t inner(void *user, size_t cell, size_t from, const char *text, int32_t finished) {
    (void)cell, (void)from, (void)text, (void)finished;
    c2t_service *service = user;
    c2t_request *request = cells(1, 3);
    c2t_result *result;
    CHECK(c2t_close(service) == C2T_ERROR_ARGUMENT);
    OK(c2t_describe(service, request, NULL, NULL, &result));
    c2t_result_free(result);
    c2t_request_free(request);
    return 0;
}

static void check_callbacks(void) {
    c2t_service *service = open_with(NULL, NULL);
    c2t_request *request = cells(1, 1);
    c2t_result *result;
    refused(c2t_describe(service, request, never, NULL, &result), C2T_ERROR_CANCELLED, "callback");
    CHECK(result == NULL);
    OK(c2t_request_set(request, "max_new_tokens", "2"));
    OK(c2t_describe(service, request, inner, service, &result));
    c2t_result_free(result);
    c2t_request_free(request);
    OK(c2t_close(service));
}

static void pause_for(long milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static sem_t begun;

/* Says that a request is under way, and keeps it so for a while. */
static int32_t dawdle(void *user, size_t cell, size_t from, const char *text, int32_t finished) {
    (void)cell, (void)from, (void)text, (void)finished;
    int *calls = user;
    if ((*calls)++ == 0) sem_post(&begun);
    pause_for(10);
    return 0;
}

static void *describe_many(void *of) {
    job *mine = of;
    int calls = 0;
    c2t_request *request = cells(400, 0);
    mine->code = c2t_describe(mine->service, request, dawdle, &calls, &mine->results[0]);
    CHECK(mine->results[0] == NULL);
    c2t_request_free(request);
    return NULL;
}

static void check_cancel(void) {
    job jobs[2];
    pthread_t threads[2];
    memset(jobs, 0, sizeof jobs);
    c2t_service *service = open_with(NULL, NULL);
    for (int i = 0; i < 2; i++) {
        jobs[i].service = service;
        CHECK(pthread_create(&threads[i], NULL, describe_many, &jobs[i]) == 0);
    }
    for (int i = 0; i < 2; i++) sem_wait(&begun);
    OK(c2t_cancel(service));
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(jobs[i].code == C2T_ERROR_CANCELLED);
    }
    CHECK(pthread_create(&threads[0], NULL, describe_many, &jobs[0]) == 0);
    sem_wait(&begun);
    OK(c2t_close(service));
    CHECK(pthread_join(threads[0], NULL) == 0);
    CHECK(jobs[0].code == C2T_ERROR_CLOSED);
}

static void check_timeout(void) {
    c2t_service *service = open_with("timeout", "0.05");
    c2t_request *request = cells(400, 0);
    c2t_result *result;
    refused(c2t_describe(service, request, NULL, NULL, &result), C2T_ERROR_TIMEOUT, "in time");
    c2t_request_free(request);
    OK(c2t_close(service));
}

/* The child writes its number into the file that PID_FILE names. */
static void *kill_child(void *of) {
    (void)of;
    long number = 0;
    sem_wait(&begun);
    FILE *file = fopen(getenv("PID_FILE"), "r");
    CHECK(file != NULL && fscanf(file, "%ld", &number) == 1 && number > 1);
    fclose(file);
    CHECK(end_process(number) == 0);
    return NULL;
}

static void check_killed(void) {
    pthread_t thread;
    job mine;
    memset(&mine, 0, sizeof mine);
    mine.service = open_with(NULL, NULL);
    CHECK(pthread_create(&thread, NULL, kill_child, NULL) == 0);
    describe_many(&mine);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(mine.code == C2T_ERROR_LOST && strstr(c2t_last_problem(), " 9)"));
    describe_many(&mine); /* and not SIGPIPE */
    CHECK(mine.code == C2T_ERROR_LOST && strstr(c2t_last_problem(), " 9)"));
    OK(c2t_close(mine.service));
}

static int open_files(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder) != NULL) count++;
    closedir(folder);
    return count;
}

static void check_again(void) {
    int before = open_files();
    for (int i = 0; i < 5; i++) {
        c2t_service *service = open_with(NULL, NULL);
        OK(c2t_close(service));
    }
    CHECK(open_files() == before);
}

/* Numbers under the locale of the environment; what arrives is the test's matter. */
static void check_locale(void) {
    char shown[32];
    CHECK(setlocale(LC_ALL, "") != NULL);
    snprintf(shown, sizeof shown, "%.1f", 1.5);
    CHECK(strcmp(shown, "1,5") == 0); /* else nothing is tested */
    c2t_service *service = open_with("timeout", "2.5");
    c2t_request *request;
    c2t_result *result;
    OK(c2t_request_new(&request));
    OK(c2t_request_add_cell(request, "a \"cell\"\n\\ \x7f \xc3\xa9"));
    OK(c2t_request_add_gene(request, "A", 1.5));
    OK(c2t_request_add_gene(request, "B", 0.1));
    OK(c2t_request_add_gene(request, "C", 1e-7));
    OK(c2t_request_add_gene(request, "D", 1234567.0));
    OK(c2t_request_add_gene(request, "E", 1e300));
    OK(c2t_request_add_gene(request, "F", 9007199254740993.0));
    OK(c2t_request_add_gene(request, "G", -0.0));
    OK(c2t_request_add_gene(request, "H", 5e-324));
    OK(c2t_request_set(request, "min_coverage", "0.25"));
    OK(c2t_describe(service, request, NULL, NULL, &result));
    CHECK(c2t_result_confidence(result, 0) == 0.12345);
    c2t_result_free(result);
    c2t_request_free(request);
    OK(c2t_close(service));
}

/* What a callback may rely on, whoever the peer is. */
static int32_t doubt(void *user, size_t cell, size_t from, const char *text, int32_t finished) {
    heard *so_far = user;
    CHECK(cell < 2 && !so_far->finished[cell] && (text || finished));
    CHECK(from <= (text ? strlen(text) : 0));
    so_far->finished[cell] = finished;
    return 0;
}

/* Whatever the peer says: each call returns, in time. The codes are printed. */
static void check_hostile(void) {
    int rounds = atoi(getenv("ROUNDS") ? getenv("ROUNDS") : "1");
    c2t_options *options;
    c2t_request *request = cells(2, 0);
    OK(c2t_options_new(&options));
    OK(c2t_options_set(options, kind, path));
    if (getenv("C2T_COMMAND")) OK(c2t_options_set(options, "command", getenv("C2T_COMMAND")));
    OK(c2t_options_set(options, "start_timeout", getenv("PATIENCE") ? getenv("PATIENCE") : "2"));
    OK(c2t_options_set(options, "timeout", getenv("PATIENCE") ? getenv("PATIENCE") : "2"));
    OK(c2t_options_set(options, "close_timeout", "1"));
    OK(c2t_options_set(options, "line_bytes", "100000"));
    for (int i = 0; i < rounds; i++) {
        c2t_service *service;
        c2t_result *result;
        heard so_far;
        memset(&so_far, 0, sizeof so_far);
        int32_t code = c2t_open(options, &service);
        printf("open %d %s | %s\n", (int)code, code ? c2t_last_problem() : "",
               code ? c2t_last_hint() : "");
        CHECK((code == C2T_OK) == (service != NULL));
        if (code != C2T_OK) continue;
        code = c2t_describe(service, request, i % 2 ? NULL : doubt, &so_far, &result);
        printf("describe %d %s | %s | %d\n", (int)code, code ? c2t_last_problem() : "",
               code ? c2t_last_hint() : "", (int)c2t_last_retry_after());
        CHECK((code == C2T_OK) == (result != NULL));
        for (size_t j = 0; j < c2t_result_cells(result); j++)
            CHECK(!c2t_result_text(result, j) != !c2t_result_error(result, j));
        c2t_result_free(result);
        c2t_close(service);
    }
    c2t_request_free(request);
    c2t_options_free(options);
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        void (*check)(void);
    } checks[] = {
        {"stream", check_stream},       {"arguments", check_arguments}, {"threads", check_threads},
        {"callbacks", check_callbacks}, {"cancel", check_cancel},       {"timeout", check_timeout},
        {"killed", check_killed},       {"again", check_again},         {"locale", check_locale},
        {"hostile", check_hostile},
    };
    CHECK(count == 4 && sem_init(&begun, 0, 0) == 0);
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
