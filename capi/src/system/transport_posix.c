/* The child, and the Unix socket. A child's input and output are a socket, too: a write to a pipe
 * whose reader is gone would send SIGPIPE to the host. */
#ifndef _WIN32
#define _GNU_SOURCE

#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: SO_NOSIGPIPE */
#endif

extern char **environ;

struct c2t_transport {
    int peer, errors, wake[2]; /* -1: none */
    int output_ended;
    pid_t child;   /* 0: none */
    c2t_lock lock; /* of what follows: a number of a child that was reaped may be another's */
    int reaped, status;
    atomic_int interrupted;
};

static void close_if(int *file) {
    if (*file >= 0) close(*file);
    *file = -1;
}

/* Keep a descriptor from children, and off the numbers of standard streams. */
static int make_private(int *file) {
    int moved = fcntl(*file, F_DUPFD_CLOEXEC, 3);
    if (moved < 0) return -1;
    close(*file);
    *file = moved;
    return 0;
}

static int make_pair(int pair[2], int is_socket) {
    int kind = SOCK_STREAM;
#ifdef SOCK_CLOEXEC
    kind |= SOCK_CLOEXEC;
#endif
    if ((is_socket ? socketpair(AF_UNIX, kind, 0, pair) : pipe(pair)) != 0) {
        pair[0] = pair[1] = -1;
        return -1;
    }
    return make_private(&pair[0]) || make_private(&pair[1]) ? -1 : 0;
}

static void do_not_wait(int file) {
    fcntl(file, F_SETFL, fcntl(file, F_GETFL) | O_NONBLOCK);
#ifdef SO_NOSIGPIPE
    int yes = 1;
    setsockopt(file, SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof yes);
#endif
}

/* Start `c2t serve BUNDLE --stdio`. Returns 0 or an error number. */
static int spawn(c2t_transport *t, const c2t_options *options, int input, int errors) {
    char *arguments[C2T_ARGUMENTS_MAX + 5];
    size_t count = 0;
    arguments[count++] = options->command ? options->command : (char *)"c2t";
    arguments[count++] = (char *)"serve";
    arguments[count++] = options->bundle;
    arguments[count++] = (char *)"--stdio";
    for (size_t i = 0; i < options->argument_count; i++) arguments[count++] = options->arguments[i];
    arguments[count] = NULL;

    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, pipe_signal;
    int problem = posix_spawn_file_actions_init(&actions);
    if (problem) return problem;
    problem = posix_spawnattr_init(&attributes);
    if (problem) {
        posix_spawn_file_actions_destroy(&actions);
        return problem;
    }
    sigemptyset(&none);
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &pipe_signal);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    problem = posix_spawn_file_actions_adddup2(&actions, input, 0);
    if (!problem) problem = posix_spawn_file_actions_adddup2(&actions, input, 1);
    if (!problem) problem = posix_spawn_file_actions_adddup2(&actions, errors, 2);
#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
    /* Files that the host has open are no business of the child. */
    if (!problem) problem = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
#endif
#endif
    if (!problem)
        problem = posix_spawnp(&t->child, arguments[0], &actions, &attributes, arguments, environ);
    if (problem) t->child = 0;
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return problem;
}

static int32_t open_child(c2t_transport *t, const c2t_options *options) {
    int talk[2] = {-1, -1}, errors[2] = {-1, -1};
    char reason[128];
    int problem = make_pair(talk, 1) || make_pair(errors, 0) ? errno : 0;
    if (!problem) problem = spawn(t, options, talk[1], errors[1]);
    close_if(&talk[1]);
    close_if(&errors[1]);
    t->peer = talk[0];
    t->errors = errors[0];
    if (!problem) {
        do_not_wait(t->peer);
        do_not_wait(t->errors);
        return C2T_OK;
    }
    c2t_system_error(problem, reason, sizeof reason);
    return c2t_fail(C2T_ERROR_START, "install c2t, or give its path as the option \"command\"",
                    "cannot start %s: %s", options->command ? options->command : "c2t", reason);
}

static int32_t open_socket(c2t_transport *t, const c2t_options *options) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char reason[128];
    if (strlen(options->socket) >= sizeof address.sun_path)
        return c2t_fail(C2T_ERROR_ARGUMENT, "put the socket at a shorter path",
                        "the path of the socket has more than %zu bytes",
                        sizeof address.sun_path - 1);
    memcpy(address.sun_path, options->socket, strlen(options->socket) + 1);
    t->peer = socket(AF_UNIX, SOCK_STREAM, 0);
    if (t->peer >= 0 && make_private(&t->peer) == 0 &&
        connect(t->peer, (struct sockaddr *)&address, sizeof address) == 0) {
        do_not_wait(t->peer);
        return C2T_OK;
    }
    c2t_system_error(errno, reason, sizeof reason);
    return c2t_fail(C2T_ERROR_START, "start a service there: `c2t serve BUNDLE --socket PATH`",
                    "cannot connect to %s: %s", options->socket, reason);
}

int32_t c2t_transport_open(const c2t_options *options, c2t_transport **transport) {
    c2t_transport *t = calloc(1, sizeof *t);
    if (t == NULL) return c2t_fail_memory();
    t->peer = t->errors = t->wake[0] = t->wake[1] = -1;
    int32_t code = C2T_OK;
    if (c2t_lock_make(&t->lock) != 0) {
        free(t);
        return c2t_fail_memory();
    }
    if (make_pair(t->wake, 0) != 0)
        code = c2t_fail(C2T_ERROR_START, "close some files", "this process has too many files open");
    if (code == C2T_OK) code = options->bundle ? open_child(t, options) : open_socket(t, options);
    if (code != C2T_OK) {
        c2t_transport_free(t);
        return code;
    }
    *transport = t;
    return C2T_OK;
}

/* Read what there is. Returns 1: something, 0: nothing yet, -1: it ended. */
static int read_some(int file, char *buffer, size_t capacity, size_t *size) {
    ssize_t got = read(file, buffer, capacity);
    if (got > 0) {
        *size = (size_t)got;
        return 1;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
    return -1;
}

c2t_origin c2t_transport_read(c2t_transport *t, char *buffer, size_t capacity, uint64_t deadline,
                              size_t *size) {
    for (;;) {
        struct pollfd files[3] = {
            {t->wake[0], POLLIN, 0},
            {t->output_ended ? -1 : t->peer, POLLIN, 0}, /* -1 is left out */
            {t->errors, POLLIN, 0},
        };
        if (t->output_ended && t->errors < 0) return ALL_ENDED;
        int wait = deadline == C2T_FOREVER ? -1 : (int)c2t_left(deadline, 1000000);
        int ready = poll(files, 3, wait);
        if (ready == 0) return NOTHING_YET;
        if (atomic_load(&t->interrupted)) return INTERRUPTED;
        if (ready < 0) continue; /* EINTR */
        if (files[2].revents) {
            int got = read_some(t->errors, buffer, capacity, size);
            if (got > 0) return FROM_STDERR;
            if (got < 0) close_if(&t->errors);
        }
        if (files[1].revents) {
            int got = read_some(t->peer, buffer, capacity, size);
            if (got > 0) return FROM_OUTPUT;
            if (got < 0) {
                t->output_ended = 1;
                return OUTPUT_ENDED;
            }
        }
    }
}

c2t_sent c2t_transport_write(c2t_transport *t, const char *data, size_t size, uint64_t deadline,
                             size_t *written) {
    *written = 0;
    while (*written < size) {
        ssize_t sent = send(t->peer, data + *written, size - *written, MSG_NOSIGNAL);
        if (sent >= 0) {
            *written += (size_t)sent;
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK) return PEER_GONE;
        struct pollfd file = {t->peer, POLLOUT, 0};
        if (atomic_load(&t->interrupted)) return PEER_GONE;
        uint64_t left = c2t_left(deadline, C2T_SLICE);
        if (left == 0) return NOT_IN_TIME;
        poll(&file, 1, (int)left);
    }
    return WRITTEN;
}

void c2t_transport_end_input(c2t_transport *t) { shutdown(t->peer, SHUT_WR); }

void c2t_transport_interrupt(c2t_transport *t) {
    atomic_store(&t->interrupted, 1);
    while (write(t->wake[1], "", 1) < 0 && errno == EINTR) continue;
}

int c2t_transport_is_child(const c2t_transport *t) { return t->child != 0; }

/* Look once whether the child has ended. */
static int has_ended(c2t_transport *t) {
    c2t_lock_take(&t->lock);
    if (t->child != 0 && !t->reaped) {
        pid_t ended = waitpid(t->child, &t->status, WNOHANG);
        if (ended == t->child) t->reaped = 1;
        else if (ended < 0 && errno != EINTR) t->reaped = 2; /* the host has reaped it itself */
    }
    int result = t->child == 0 || t->reaped;
    c2t_lock_give(&t->lock);
    return result;
}

int c2t_transport_wait(c2t_transport *t, uint64_t deadline, char *how, size_t capacity) {
    while (!has_ended(t)) {
        uint64_t left = c2t_left(deadline, 5);
        if (left == 0) return 0;
        poll(NULL, 0, (int)left);
    }
    if (how == NULL) return 1;
    if (t->reaped != 1) snprintf(how, capacity, "unknown exit code");
    else if (WIFSIGNALED(t->status)) snprintf(how, capacity, "signal %d", WTERMSIG(t->status));
    else snprintf(how, capacity, "exit code %d", WEXITSTATUS(t->status));
    return 1;
}

void c2t_transport_kill(c2t_transport *t, int at_once) {
    c2t_lock_take(&t->lock);
    if (t->child != 0 && !t->reaped) kill(t->child, at_once ? SIGKILL : SIGTERM);
    c2t_lock_give(&t->lock);
}

void c2t_transport_free(c2t_transport *t) {
    if (t == NULL) return;
    close_if(&t->peer);
    close_if(&t->errors);
    close_if(&t->wake[0]);
    close_if(&t->wake[1]);
    c2t_lock_free(&t->lock);
    free(t);
}

#else
typedef int c2t_not_on_windows; /* ISO C wants something in a file */
#endif
