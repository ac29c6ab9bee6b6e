/* Several threads, and requests that do not come to their end. */
#define _POSIX_C_SOURCE 200809L

#include "checks.h"

#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
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

#define THREADS 8

static int32_t never(void *user, size_t cell, size_t from, const char *text, int32_t finished) {
    (void)user, (void)cell, (void)from, (void)text, (void)finished;
    return 1;
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

void check_threads(void) {
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

void check_callbacks(void) {
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

static sem_t made, begun;

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
    c2t_request *request = cells(2000, 0);
    sem_post(&made);
    mine->code = c2t_describe(mine->service, request, dawdle, &calls, &mine->results[0]);
    CHECK(mine->results[0] == NULL);
    c2t_request_free(request);
    return NULL;
}

void check_cancel(void) {
    CHECK(sem_init(&made, 0, 0) == 0);
    CHECK(sem_init(&begun, 0, 0) == 0);
    job jobs[2];
    pthread_t threads[2];
    memset(jobs, 0, sizeof jobs);
    c2t_service *service = open_with(NULL, NULL);
    for (int i = 0; i < 2; i++) {
        jobs[i].service = service;
        CHECK(pthread_create(&threads[i], NULL, describe_many, &jobs[i]) == 0);
    }
    for (int i = 0; i < 2; i++) sem_wait(&made);
    sem_wait(&begun); /* of the first; the second waits behind it */
    pause_for(300);
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

void check_timeout(void) {
    c2t_service *service = open_with("timeout", "0.05");
    c2t_request *request = cells(1000, 0);
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

void check_killed(void) {
    CHECK(sem_init(&begun, 0, 0) == 0);
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

void check_again(void) {
    int before = open_files();
    for (int i = 0; i < 5; i++) {
        c2t_service *service = open_with(NULL, NULL);
        OK(c2t_close(service));
    }
    CHECK(open_files() == before);
}
