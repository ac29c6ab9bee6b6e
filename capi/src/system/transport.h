/* Bytes to and from a service: a child process, or a Unix socket.
 *
 * One thread reads. One thread at a time writes. */
#ifndef C2T_TRANSPORT_H
#define C2T_TRANSPORT_H

#include "../base/base.h"
#include "../options.h"
#include "threads.h"

/* How often a wait looks whether it was interrupted, in milliseconds. */
#define C2T_SLICE 100

typedef struct c2t_transport c2t_transport;

typedef enum { FROM_OUTPUT, FROM_STDERR, OUTPUT_ENDED, ALL_ENDED, NOTHING_YET, INTERRUPTED } c2t_origin;
typedef enum { WRITTEN, NOT_IN_TIME, PEER_GONE } c2t_sent;

/* Start or connect. Reports its failure. */
int32_t c2t_transport_open(const c2t_options *options, c2t_transport **transport);
/* Wait for bytes. The output ends once; then only standard error is waited for. */
c2t_origin c2t_transport_read(c2t_transport *transport, char *buffer, size_t capacity,
                              uint64_t deadline, size_t *size);
/* Write all, or say how much was. */
c2t_sent c2t_transport_write(c2t_transport *transport, const char *data, size_t size,
                             uint64_t deadline, size_t *written);
/* Tell the service that nothing more will come. Nobody writes meanwhile or after it. */
void c2t_transport_end_input(c2t_transport *transport);
/* Let whoever reads or writes stop. Any thread may call it. */
void c2t_transport_interrupt(c2t_transport *transport);
/* Whether there is a child, or it has ended by then. `how`: "exit code 1", for messages. */
int c2t_transport_is_child(const c2t_transport *transport);
int c2t_transport_wait(c2t_transport *transport, uint64_t deadline, char *how, size_t capacity);
/* Let the child end; where it must, at once. */
void c2t_transport_kill(c2t_transport *transport, int at_once);
/* Nobody reads or writes, and the child has ended. */
void c2t_transport_free(c2t_transport *transport);

#endif
