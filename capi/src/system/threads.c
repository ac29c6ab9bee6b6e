/* See threads.h. */
#define _POSIX_C_SOURCE 200809L

#include "threads.h"

#include <stdlib.h>

#ifndef _WIN32
#include <signal.h>
#include <time.h>
#endif

typedef struct {
    void (*work)(void *);
    void *of;
} start;

uint64_t c2t_deadline(double seconds) {
    if (!(seconds > 0) || seconds > 1e9) return C2T_FOREVER;
    return c2t_now() + (uint64_t)(seconds * 1000) + 1;
}

uint64_t c2t_left(uint64_t deadline, uint64_t most) {
    if (deadline == C2T_FOREVER) return most;
    uint64_t now = c2t_now();
    if (deadline <= now) return 0;
    return deadline - now < most ? deadline - now : most;
}

#ifdef _WIN32

static unsigned __stdcall run(void *given) {
    start begun = *(start *)given;
    free(given);
    begun.work(begun.of);
    return 0;
}

uint64_t c2t_now(void) { return GetTickCount64(); }

int c2t_lock_make(c2t_lock *lock) {
    InitializeSRWLock(lock);
    return 0;
}
void c2t_lock_free(c2t_lock *lock) { (void)lock; }
void c2t_lock_take(c2t_lock *lock) { AcquireSRWLockExclusive(lock); }
void c2t_lock_give(c2t_lock *lock) { ReleaseSRWLockExclusive(lock); }

int c2t_condition_make(c2t_condition *condition) {
    InitializeConditionVariable(condition);
    return 0;
}
void c2t_condition_free(c2t_condition *condition) { (void)condition; }
void c2t_condition_wait(c2t_condition *condition, c2t_lock *lock, uint64_t deadline) {
    DWORD left = deadline == C2T_FOREVER ? INFINITE : (DWORD)c2t_left(deadline, 1u << 30);
    SleepConditionVariableSRW(condition, lock, left, 0);
}
void c2t_condition_wake(c2t_condition *condition) { WakeAllConditionVariable(condition); }

#include <process.h>

int c2t_thread_start(c2t_thread *thread, void (*work)(void *), void *of) {
    start *given = malloc(sizeof *given);
    if (given == NULL) return ERROR_NOT_ENOUGH_MEMORY;
    *given = (start){work, of};
    *thread = (HANDLE)_beginthreadex(NULL, 0, run, given, 0, NULL);
    if (*thread != NULL) return 0;
    free(given);
    return (int)GetLastError();
}

void c2t_thread_join(c2t_thread thread) {
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

#else

static void *run(void *given) {
    start begun = *(start *)given;
    free(given);
    begun.work(begun.of);
    return NULL;
}

uint64_t c2t_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int c2t_lock_make(c2t_lock *lock) { return pthread_mutex_init(lock, NULL); }
void c2t_lock_free(c2t_lock *lock) { pthread_mutex_destroy(lock); }
void c2t_lock_take(c2t_lock *lock) { pthread_mutex_lock(lock); }
void c2t_lock_give(c2t_lock *lock) { pthread_mutex_unlock(lock); }

int c2t_condition_make(c2t_condition *condition) {
#ifdef __APPLE__
    return pthread_cond_init(condition, NULL);
#else
    pthread_condattr_t kind;
    int problem = pthread_condattr_init(&kind);
    if (problem != 0) return problem;
    pthread_condattr_setclock(&kind, CLOCK_MONOTONIC);
    problem = pthread_cond_init(condition, &kind);
    pthread_condattr_destroy(&kind);
    return problem;
#endif
}
void c2t_condition_free(c2t_condition *condition) { pthread_cond_destroy(condition); }
void c2t_condition_wait(c2t_condition *condition, c2t_lock *lock, uint64_t deadline) {
    if (deadline == C2T_FOREVER) {
        pthread_cond_wait(condition, lock);
        return;
    }
#ifdef __APPLE__
    uint64_t left = c2t_left(deadline, 1u << 30);
    struct timespec time = {(time_t)(left / 1000), (long)(left % 1000) * 1000000};
    pthread_cond_timedwait_relative_np(condition, lock, &time);
#else
    struct timespec time = {(time_t)(deadline / 1000), (long)(deadline % 1000) * 1000000};
    pthread_cond_timedwait(condition, lock, &time);
#endif
}
void c2t_condition_wake(c2t_condition *condition) { pthread_cond_broadcast(condition); }

int c2t_thread_start(c2t_thread *thread, void (*work)(void *), void *of) {
    start *given = malloc(sizeof *given);
    if (given == NULL) return 12; /* ENOMEM */
    *given = (start){work, of};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits the mask */
    int problem = pthread_create(thread, NULL, run, given);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (problem != 0) free(given);
    return problem;
}

void c2t_thread_join(c2t_thread thread) { pthread_join(thread, NULL); }

#endif
