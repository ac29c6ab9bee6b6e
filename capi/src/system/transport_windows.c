/* The child on Windows. Its pipes have names, because only those can be waited for in time. */
#ifdef _WIN32

#include "transport.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define PIPE_BYTES 65536

typedef struct {
    HANDLE pipe;
    OVERLAPPED state; /* its event is set when a read is done */
    char data[PIPE_BYTES];
    int under_way, ended;
} incoming;

struct c2t_transport {
    HANDLE input, process, stop;
    OVERLAPPED writing;
    incoming output, errors;
    int output_ended;
    atomic_int interrupted;
};

static int make_event(HANDLE *event) {
    *event = CreateEventW(NULL, TRUE, FALSE, NULL);
    return *event != NULL;
}

static void close_if(HANDLE *handle) {
    if (*handle != NULL && *handle != INVALID_HANDLE_VALUE) CloseHandle(*handle);
    *handle = NULL;
}

/* A pipe whose one end is ours, and whose other a child may have. */
static int make_pipe(const c2t_transport *t, int number, HANDLE *ours, HANDLE *childs) {
    wchar_t name[96];
    SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
    int outgoing = number == 0;
    swprintf(name, sizeof name / sizeof *name, L"\\\\.\\pipe\\c2t-%lu-%llx-%llx-%d",
             (unsigned long)GetCurrentProcessId(), (unsigned long long)(uintptr_t)t,
             (unsigned long long)GetTickCount64(), number);
    *ours = CreateNamedPipeW(name,
                             (DWORD)(outgoing ? PIPE_ACCESS_OUTBOUND : PIPE_ACCESS_INBOUND) |
                                 FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                             PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, PIPE_BYTES, PIPE_BYTES,
                             0, NULL);
    if (*ours == INVALID_HANDLE_VALUE) return 0;
    *childs = CreateFileW(name, outgoing ? GENERIC_READ : GENERIC_WRITE, 0, &inherited,
                          OPEN_EXISTING, 0, NULL);
    return *childs != INVALID_HANDLE_VALUE;
}

/* Quote an argument so that the child's C library takes it apart again. */
static void add_argument(c2t_buffer *line, const char *text) {
    if (line->size) c2t_buffer_text(line, " ");
    c2t_buffer_text(line, "\"");
    size_t backslashes = 0;
    for (const char *c = text; *c; c++) {
        if (*c == '\\') {
            backslashes++;
        } else {
            if (*c == '"')
                for (; backslashes > 0; backslashes--) c2t_buffer_text(line, "\\\\");
            for (; backslashes > 0; backslashes--) c2t_buffer_text(line, "\\");
            c2t_buffer_text(line, *c == '"' ? "\\" : "");
            c2t_buffer_add(line, c, 1);
        }
    }
    for (; backslashes > 0; backslashes--) c2t_buffer_text(line, "\\\\");
    c2t_buffer_text(line, "\"");
}

static wchar_t *command_line(const c2t_options *options) {
    c2t_buffer line = {0};
    add_argument(&line, options->command ? options->command : "c2t");
    add_argument(&line, "serve");
    add_argument(&line, options->bundle);
    add_argument(&line, "--stdio");
    for (size_t i = 0; i < options->argument_count; i++) add_argument(&line, options->arguments[i]);
    c2t_buffer_add(&line, "", 1);
    wchar_t *wide = line.failed ? NULL : calloc(line.size, sizeof *wide);
    if (wide != NULL)
        MultiByteToWideChar(CP_UTF8, 0, line.data, -1, wide, (int)line.size);
    c2t_buffer_free(&line);
    return wide;
}

static DWORD spawn(c2t_transport *t, const c2t_options *options, HANDLE ends[3]) {
    STARTUPINFOEXW start;
    PROCESS_INFORMATION made;
    SIZE_T size = 0;
    DWORD problem = ERROR_NOT_ENOUGH_MEMORY;
    memset(&start, 0, sizeof start);
    start.StartupInfo.cb = sizeof start;
    start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    start.StartupInfo.hStdInput = ends[0];
    start.StartupInfo.hStdOutput = ends[1];
    start.StartupInfo.hStdError = ends[2];
    InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    start.lpAttributeList = malloc(size);
    wchar_t *line = command_line(options);
    if (start.lpAttributeList != NULL && line != NULL &&
        InitializeProcThreadAttributeList(start.lpAttributeList, 1, 0, &size)) {
        /* Nothing else of the host's is inherited. */
        if (UpdateProcThreadAttribute(start.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
                                      ends, 3 * sizeof *ends, NULL, NULL) &&
            CreateProcessW(NULL, line, NULL, NULL, TRUE,
                           CREATE_NO_WINDOW | EXTENDED_STARTUPINFO_PRESENT, NULL, NULL,
                           &start.StartupInfo, &made)) {
            CloseHandle(made.hThread);
            t->process = made.hProcess;
            problem = 0;
        } else {
            problem = GetLastError();
        }
        DeleteProcThreadAttributeList(start.lpAttributeList);
    }
    free(start.lpAttributeList);
    free(line);
    return problem;
}

int32_t c2t_transport_open(const c2t_options *options, c2t_transport **transport) {
    if (options->bundle == NULL)
        return c2t_fail(C2T_ERROR_ARGUMENT, "set the option \"bundle\"",
                        "there are no Unix sockets on Windows");
    c2t_transport *t = calloc(1, sizeof *t);
    if (t == NULL) return c2t_fail_memory();
    HANDLE ends[3] = {NULL, NULL, NULL};
    DWORD problem = 0;
    if (!make_event(&t->stop) || !make_event(&t->writing.hEvent) ||
        !make_event(&t->output.state.hEvent) || !make_event(&t->errors.state.hEvent) ||
        !make_pipe(t, 0, &t->input, &ends[0]) || !make_pipe(t, 1, &t->output.pipe, &ends[1]) ||
        !make_pipe(t, 2, &t->errors.pipe, &ends[2]))
        problem = GetLastError();
    else
        problem = spawn(t, options, ends);
    for (int i = 0; i < 3; i++) close_if(&ends[i]);
    if (problem == 0) {
        *transport = t;
        return C2T_OK;
    }
    c2t_transport_free(t);
    return c2t_fail(C2T_ERROR_START, "install c2t, or give its path as the option \"command\"",
                    "cannot start %s: Windows error %lu", options->command ? options->command : "c2t",
                    (unsigned long)problem);
}

/* Begin a read where none is under way. */
static void begin(incoming *from) {
    if (from->under_way || from->ended) return;
    if (ReadFile(from->pipe, from->data, PIPE_BYTES, NULL, &from->state) ||
        GetLastError() == ERROR_IO_PENDING)
        from->under_way = 1; /* also where it is done already: its event is set */
    else
        from->ended = 1;
}

/* What a read gave: bytes, or 0 where nothing is there, or it ended. */
static size_t finish(incoming *from, char *buffer, size_t capacity) {
    DWORD got = 0;
    if (!from->under_way || !HasOverlappedIoCompleted(&from->state)) return 0;
    from->under_way = 0;
    if (!GetOverlappedResult(from->pipe, &from->state, &got, FALSE)) {
        from->ended = 1;
        return 0;
    }
    size_t size = got < capacity ? got : capacity; /* the capacity is PIPE_BYTES or more */
    memcpy(buffer, from->data, size);
    return size;
}

c2t_origin c2t_transport_read(c2t_transport *t, char *buffer, size_t capacity, uint64_t deadline,
                              size_t *size) {
    for (;;) {
        if (atomic_load(&t->interrupted)) return INTERRUPTED;
        begin(&t->errors);
        begin(&t->output);
        if ((*size = finish(&t->errors, buffer, capacity)) > 0) return FROM_STDERR;
        if ((*size = finish(&t->output, buffer, capacity)) > 0) return FROM_OUTPUT;
        if (t->output.ended && !t->output_ended) {
            t->output_ended = 1;
            return OUTPUT_ENDED;
        }
        if (t->output.ended && t->errors.ended) return ALL_ENDED;
        HANDLE events[3] = {t->stop};
        DWORD count = 1;
        if (t->output.under_way) events[count++] = t->output.state.hEvent;
        if (t->errors.under_way) events[count++] = t->errors.state.hEvent;
        if (count == 1) continue;
        DWORD wait = deadline == C2T_FOREVER ? INFINITE : (DWORD)c2t_left(deadline, 1000000);
        if (WaitForMultipleObjects(count, events, FALSE, wait) == WAIT_TIMEOUT) return NOTHING_YET;
    }
}

c2t_sent c2t_transport_write(c2t_transport *t, const char *data, size_t size, uint64_t deadline,
                             size_t *written) {
    *written = 0;
    while (*written < size) {
        size_t left = size - *written;
        DWORD part = left < PIPE_BYTES ? (DWORD)left : PIPE_BYTES, sent = 0;
        int stopped = 0, late = 0;
        if (!WriteFile(t->input, data + *written, part, NULL, &t->writing) &&
            GetLastError() != ERROR_IO_PENDING)
            return PEER_GONE;
        while (!stopped && !late) {
            uint64_t slice = c2t_left(deadline, C2T_SLICE);
            if (WaitForSingleObject(t->writing.hEvent, (DWORD)slice) == WAIT_OBJECT_0) break;
            stopped = atomic_load(&t->interrupted);
            late = c2t_left(deadline, C2T_SLICE) == 0;
        }
        if (stopped || late) CancelIoEx(t->input, &t->writing);
        int done = GetOverlappedResult(t->input, &t->writing, &sent, TRUE);
        *written += sent;
        if (stopped) return PEER_GONE;
        if (!done) return late ? NOT_IN_TIME : PEER_GONE;
    }
    return WRITTEN;
}

void c2t_transport_end_input(c2t_transport *t) { close_if(&t->input); }

void c2t_transport_interrupt(c2t_transport *t) {
    atomic_store(&t->interrupted, 1);
    SetEvent(t->stop);
}

int c2t_transport_is_child(const c2t_transport *t) {
    (void)t;
    return 1;
}

int c2t_transport_wait(c2t_transport *t, uint64_t deadline, char *how, size_t capacity) {
    DWORD code = 0, wait = deadline == C2T_FOREVER ? INFINITE : (DWORD)c2t_left(deadline, 1u << 30);
    if (WaitForSingleObject(t->process, wait) != WAIT_OBJECT_0) return 0;
    GetExitCodeProcess(t->process, &code);
    if (how != NULL) snprintf(how, capacity, "exit code %lu", (unsigned long)code);
    return 1;
}

void c2t_transport_kill(c2t_transport *t, int at_once) {
    if (at_once) TerminateProcess(t->process, 1); /* Windows has no way to ask */
}

static void forget(incoming *from) {
    DWORD got;
    if (from->under_way) {
        CancelIoEx(from->pipe, &from->state);
        GetOverlappedResult(from->pipe, &from->state, &got, TRUE); /* it writes no more to us */
    }
    close_if(&from->pipe);
    close_if(&from->state.hEvent);
}

void c2t_transport_free(c2t_transport *t) {
    if (t == NULL) return;
    forget(&t->output);
    forget(&t->errors);
    close_if(&t->input);
    close_if(&t->writing.hEvent);
    close_if(&t->process);
    close_if(&t->stop);
    free(t);
}

#else
typedef int c2t_only_on_windows; /* ISO C wants something in a file */
#endif
