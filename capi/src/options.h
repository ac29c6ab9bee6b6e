/* How to reach a service. */
#ifndef C2T_OPTIONS_H
#define C2T_OPTIONS_H

#include "base/base.h"

#define C2T_ARGUMENTS_MAX 64

struct c2t_options {
    char *bundle, *socket, *command; /* NULL: not given */
    char *arguments[C2T_ARGUMENTS_MAX];
    size_t argument_count;
    double start_timeout, timeout, close_timeout; /* seconds */
    size_t line_bytes;
    int pass_stderr;
};

/* A copy; NULL where memory is short. */
c2t_options *c2t_options_copy(const c2t_options *options);

#endif
