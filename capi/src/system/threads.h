/* Locks, conditions, threads and a clock, for POSIX and Windows. */
#ifndef C2T_THREADS_H
#define C2T_THREADS_H

#include <stdint.h>

#define C2T_FOREVER UINT64_MAX

#ifdef _WIN32
#include <windows.h>

typedef SRWLOCK c2t_lock;
typedef CONDITION_VARIABLE c2t_condition;
typedef HANDLE c2t_thread;
#else
#include <pthread.h>

typedef pthread_mutex_t c2t_lock;
typedef pthread_cond_t c2t_condition;
typedef pthread_t c2t_thread;
#endif

/* Milliseconds of a clock that nobody sets. */
uint64_t c2t_now(void);
/* The time so many seconds from now; 0 or less: never. */
uint64_t c2t_deadline(double seconds);
/* Milliseconds until then, at most `most`. */
uint64_t c2t_left(uint64_t deadline, uint64_t most);

int c2t_lock_make(c2t_lock *lock);
void c2t_lock_free(c2t_lock *lock);
void c2t_lock_take(c2t_lock *lock);
void c2t_lock_give(c2t_lock *lock);

int c2t_condition_make(c2t_condition *condition);
void c2t_condition_free(c2t_condition *condition);
/* Wait until woken or until then; it may also wake for nothing. */
void c2t_condition_wait(c2t_condition *condition, c2t_lock *lock, uint64_t deadline);
void c2t_condition_wake(c2t_condition *condition);

/* Start a thread that no signal of the host comes to. Returns 0, or a number of the system. */
int c2t_thread_start(c2t_thread *thread, void (*work)(void *), void *of);
void c2t_thread_join(c2t_thread thread);

#endif
