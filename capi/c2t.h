/* libc2t: descriptions of single cells, in words, for programs in C and all that can call C.
 *
 * The library speaks to the service of c2t: it starts one (`c2t serve BUNDLE --stdio`) as a child
 * process, or connects to the Unix socket of one that runs. The model is in that process.
 *
 *     c2t_options *options; c2t_service *service; c2t_request *request; c2t_result *result;
 *     c2t_options_new(&options);
 *     c2t_options_set(options, "bundle", "path/of/bundle");
 *     c2t_open(options, &service);
 *     c2t_request_new(&request);
 *     c2t_request_add_cell(request, "AAACCTGA-1");
 *     c2t_request_add_genes(request, genes, counts, number_of_genes);
 *     c2t_describe(service, request, NULL, NULL, &result);
 *     puts(c2t_result_text(result, 0));
 *
 * Results. A function that returns int32_t gives C2T_OK or one of the codes below. Then
 * c2t_last_problem() and c2t_last_hint() say in words what is wrong and what to do; they speak of
 * the last call of the same thread that failed.
 *
 * Text is UTF-8 and ends with 0. Text that is given is copied. Text of a result is the result's,
 * and valid until c2t_result_free; of a service, until c2t_close; the last problem and hint, until
 * the next call of the same thread that fails.
 *
 * Threads. A service may be used by any number of threads at a time: their requests are under way
 * together. Options, a request or a result belong to one thread at a time; a request may be sent by
 * several threads at a time as long as none changes it. c2t_close must be the last call with a
 * service to begin: calls in other threads that began before it return C2T_CLOSED, and it waits for
 * them.
 * After fork(), only the parent may use what was opened before.
 *
 * Not compatible with changes that take anything away or change what it means: those have another
 * number in c2t_abi_version() and in the name of the library. Functions, keys and codes may be added.
 */
#ifndef C2T_H
#define C2T_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(C2T_BUILD)
#define C2T_API __declspec(dllexport)
#elif defined(__GNUC__) && !defined(_WIN32)
#define C2T_API __attribute__((visibility("default")))
#else
#define C2T_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define C2T_ABI_VERSION 1

enum {
    C2T_OK = 0,
    C2T_ERROR_ARGUMENT = -1,   /* a call that cannot be right; nothing was done */
    C2T_ERROR_MEMORY = -2,     /* no memory */
    C2T_ERROR_START = -3,      /* the service did not start, or nobody listens at the socket */
    C2T_ERROR_LOST = -4,       /* the service is gone; open it again */
    C2T_ERROR_PROTOCOL = -5,   /* what answers is no service of c2t, or an incompatible one */
    C2T_ERROR_TIMEOUT = -6,    /* no answer in time; the request was cancelled */
    C2T_ERROR_CANCELLED = -7,  /* by the callback or c2t_cancel */
    C2T_ERROR_CELLS = -8,      /* the cells cannot be described as a whole */
    C2T_ERROR_OVERLOADED = -9, /* try again after c2t_last_retry_after() seconds */
    C2T_ERROR_ENGINE = -10,    /* the engine failed */
    C2T_ERROR_CLOSED = -11,    /* c2t_close was called meanwhile, or the service is stopping */
    C2T_ERROR_SERVICE = -12    /* the service failed in another way */
};

typedef struct c2t_options c2t_options;
typedef struct c2t_service c2t_service;
typedef struct c2t_request c2t_request;
typedef struct c2t_result c2t_result;

/* The ABI of the library that is loaded; compare it with C2T_ABI_VERSION. */
C2T_API int32_t c2t_abi_version(void);
/* The version of the library, such as "0.1.0". */
C2T_API const char *c2t_version(void);

/* Why the last failing call of this thread failed, what to do, and its code. Never NULL. */
C2T_API const char *c2t_last_problem(void);
C2T_API const char *c2t_last_hint(void);
C2T_API int32_t c2t_last_code(void);
/* Seconds to wait after C2T_ERROR_OVERLOADED; 0 after any other error. */
C2T_API int32_t c2t_last_retry_after(void);

/* How to reach a service. Keys:
 *   bundle         folder of a bundle: start a child process with it
 *   socket         path of a Unix socket: connect to it (not on Windows); one of the two
 *   command        program of the child; "c2t", looked for in PATH
 *   argument       one more argument of the child; each call adds one
 *   start_timeout  seconds until the service must have opened the bundle; 300
 *   timeout        seconds that a request may take; 600; 0: as long as it takes
 *   close_timeout  seconds that the child may take to end before it is killed; 10
 *   stderr         what becomes of the child's standard error: "keep" its last line, for
 *                  c2t_last_problem (the default), or "pass" all of it on to our own, too
 *   line_bytes     longest answer that is accepted, in bytes; 67108864
 */
C2T_API int32_t c2t_options_new(c2t_options **options);
C2T_API int32_t c2t_options_set(c2t_options *options, const char *key, const char *value);
C2T_API void c2t_options_free(c2t_options *options);

/* Start or reach a service. It returns when the service can describe. */
C2T_API int32_t c2t_open(const c2t_options *options, c2t_service **service);
/* End it. A child ends; a service behind a socket goes on. NULL is fine. Not from a callback. */
C2T_API int32_t c2t_close(c2t_service *service);
/* What was opened: "version" (of c2t), "bundle_name", "bundle_digest" (SHA-256 of its manifest),
 * "bundle_precision". NULL for other keys. */
C2T_API const char *c2t_service_info(const c2t_service *service, const char *key);

/* Cells to describe and how. Settings (c2t_request_set) are those of the service's `settings`:
 *   max_new_tokens, num_beams, no_repeat_ngram_size, repetition_penalty, temperature, top_k, top_p,
 *   seed, drafts ("true" or "false"), counts_are ("auto", "counts", "log1p", "normalized"),
 *   min_coverage, organism
 * A value of "" takes a setting away. The service judges values. */
C2T_API int32_t c2t_request_new(c2t_request **request);
C2T_API int32_t c2t_request_set(c2t_request *request, const char *key, const char *value);
/* Begin another cell. id: its name, or NULL for its number. */
C2T_API int32_t c2t_request_add_cell(c2t_request *request, const char *id);
/* Add counts to the last cell. gene: an Ensembl id or a symbol, each once in a cell; genes that are
 * left out are 0. Where one of several genes is refused, none of them was added. */
C2T_API int32_t c2t_request_add_gene(c2t_request *request, const char *gene, double count);
C2T_API int32_t c2t_request_add_genes(c2t_request *request, const char *const *genes,
                                      const double *counts, size_t number);
/* Take all cells away; the settings stay. */
C2T_API void c2t_request_clear(c2t_request *request);
C2T_API void c2t_request_free(c2t_request *request);

/* Told of texts while they are written, in the thread that called c2t_describe.
 *   cell          place of the cell in the request, from 0
 *   changed_from  byte from which on the text differs from what was told before
 *   text          all of the text so far; valid until the callback returns. NULL where the cell
 *                 is finished without a text
 *   finished      1 the last time for this cell, else 0
 * Anything but 0 cancels the request: c2t_describe returns C2T_ERROR_CANCELLED. A callback that
 * takes long misses steps, never the last. It may call any function but c2t_close. */
typedef int32_t (*c2t_stream)(void *user, size_t cell, size_t changed_from, const char *text,
                              int32_t finished);

/* Describe the cells of a request; blocks. stream may be NULL. Where it returns anything but C2T_OK,
 * *result is NULL. A single cell that cannot be described is no failure of the call: see
 * c2t_result_error. */
C2T_API int32_t c2t_describe(c2t_service *service, const c2t_request *request, c2t_stream stream,
                             void *user, c2t_result **result);
/* What a service can do beside describing; blocks. Cells and settings are the request's (settings:
 * counts_are, min_coverage and organism only; for `ask` all of them); params is a JSON object of all
 * else, or NULL for none. Methods:
 *   annotate   how probable labels are, at most 256 cells: {"labels": ["B cell", "T cell"], "top": 3}
 *   explain    the genes that texts rest on, at most 16 cells: {"evidence": {"field": "cell_type",
 *              "label": "B cell", "runs": 256, "genes": 30, "seed": 0}}, each of them or none. A
 *              cell takes as long as some hundred descriptions: see the option timeout.
 *   ask        a question about each cell, or about all together, at most 64 cells:
 *              {"question": "What state is it in?", "labels": [], "together": false}
 *   embed      vectors of at most 256 cells; no params
 *   search     scores of texts for at most 256 cells: {"texts": ["activated T cells"]}
 * A bundle can do some of them: what it cannot is C2T_ERROR_ARGUMENT, and the problem says so.
 * *answer is what the service answers, a JSON object {"cells": [...], "warnings": [...]}, of `ask`
 * {"answers": [...], "settings": {...}, "warnings": [...]}, on one line: the fields of a cell are
 * those of a line of `c2t annotate` or `c2t explain`, of `embed` "embedding" and "joint", of `search`
 * "scores" in the order of the texts. c2t_text_free is its end. Where it returns anything but C2T_OK,
 * *answer is NULL; C2T_ERROR_SERVICE also says that a service is older than the method. One of them
 * is done at a time, of all clients together. */
C2T_API int32_t c2t_call(c2t_service *service, const char *method, const c2t_request *request,
                         const char *params, char **answer);
C2T_API void c2t_text_free(char *text);

/* Let every c2t_describe and c2t_call of this service that is under way return C2T_ERROR_CANCELLED. */
C2T_API int32_t c2t_cancel(c2t_service *service);

/* A result: cells in the order of the request. Outside of it, functions return NULL, NaN or -1. */
C2T_API size_t c2t_result_cells(const c2t_result *result);
C2T_API const char *c2t_result_id(const c2t_result *result, size_t cell);
/* The text, or NULL where there is an error. */
C2T_API const char *c2t_result_text(const c2t_result *result, size_t cell);
/* Why there is no text, else NULL. */
C2T_API const char *c2t_result_error(const c2t_result *result, size_t cell);
/* Mean probability of the text's tokens, and of those that name the cell type; NaN: none. */
C2T_API double c2t_result_confidence(const c2t_result *result, size_t cell);
C2T_API double c2t_result_cell_type_confidence(const c2t_result *result, size_t cell);
/* Genes that the model saw. */
C2T_API int64_t c2t_result_genes_used(const c2t_result *result, size_t cell);
/* What the text says: the value of "cell_type", "tissue", "disease", "sex", "age" or "pathways", or
 * an id: "cell_type_ontology_term_id", likewise tissue, disease, sex and development_stage. NULL where
 * the text does not say it, or the service is older than this function. */
C2T_API const char *c2t_result_field(const c2t_result *result, size_t cell, const char *name);
/* What is doubtful about the request as a whole. */
C2T_API size_t c2t_result_warnings(const c2t_result *result);
C2T_API const char *c2t_result_warning(const c2t_result *result, size_t warning);
C2T_API void c2t_result_free(c2t_result *result);

#ifdef __cplusplus
}
#endif

#endif
