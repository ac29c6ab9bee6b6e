/* An opened service, and the requests that are under way. */
#ifndef C2T_SERVICE_H
#define C2T_SERVICE_H

#include "base/json.h"
#include "options.h"
#include "stream.h"
#include "system/threads.h"
#include "system/transport.h"
#include "system/words.h"

#define C2T_PROTOCOL 1

/* A request that is under way. It lies in the stack of the thread that waits for it. */
typedef struct c2t_pending {
    uint64_t id;
    c2t_texts *texts; /* NULL: nobody wants to hear of it meanwhile */
    c2t_condition woken;
    int answered;
    c2t_failure failure;  /* its code is C2T_OK where there is an answer */
    json_document answer; /* whose member "result" is an object */
    struct c2t_pending *next;
} c2t_pending;

struct c2t_service {
    c2t_options *options;
    c2t_transport *transport;
    c2t_thread reader;
    json_document hello; /* the answer to `initialize` */
    size_t line_limit;   /* bytes of a request */

    c2t_lock lock; /* of all that follows */
    c2t_condition changed;
    uint64_t next_id;
    c2t_pending *pending;
    size_t active; /* calls that use the service */
    int writing, closing, reader_done;
    c2t_failure lost; /* why nothing goes any more; C2T_OK: it goes */
    c2t_words words;  /* the reader's, until it is done */
};

/* Register a request, which gets its id. Reports its failure. */
int32_t c2t_enter(c2t_service *service, c2t_pending *pending);
/* Send a line and wait for the answer; tell `stream` of texts meanwhile. Fills in the failure. */
void c2t_exchange(c2t_service *service, c2t_pending *pending, const c2t_buffer *line,
                  uint64_t deadline, c2t_stream stream, void *user);
/* The same, of a line that may be too long or short of memory. Reports its failure. */
int32_t c2t_send(c2t_service *service, c2t_pending *pending, const c2t_buffer *line,
                 uint64_t deadline, c2t_stream stream, void *user);
/* Tell of texts until there are no more. Returns C2T_OK, or C2T_ERROR_CANCELLED where the callback
 * wants it; the lock is held, except in the callback. */
int32_t c2t_tell(c2t_service *service, c2t_pending *pending, c2t_stream stream, void *user);
/* The end of a request; where the service does not know it, it is told. */
void c2t_leave(c2t_service *service, c2t_pending *pending);

/* The thread that reads what the service says. */
void c2t_read_all(void *service);
/* Give a request an end; the lock is held. */
void c2t_settle(c2t_service *service, c2t_pending *pending, const c2t_failure *failure);
/* Nothing goes any more: all requests end; the lock is held. */
void c2t_lose(c2t_service *service, const c2t_failure *failure);

/* Callbacks that run in this thread. */
extern _Thread_local int c2t_callbacks;

#endif
