/* One thread: what is refused, what is told, and peers that cannot be trusted. */
#include "checks.h"

#include <locale.h>
#include <math.h>

void check_stream(void) {
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
    CHECK(so_far.calls >= CELLS); /* more, where this thread is quick */
    CHECK(strcmp(c2t_result_id(plain, 1), "cell1") == 0);
    CHECK(c2t_result_error(plain, 0) == NULL && c2t_result_genes_used(plain, 0) > 10);
    CHECK(c2t_result_confidence(plain, 0) > 0 && c2t_result_confidence(plain, 0) <= 1);
    CHECK(c2t_result_text(plain, CELLS) == NULL && c2t_result_id(plain, CELLS) == NULL);
    CHECK(c2t_result_field(plain, CELLS, "cell_type") == NULL);
    CHECK(c2t_result_field(plain, 0, NULL) == NULL && c2t_result_field(NULL, 0, "tissue") == NULL);
    CHECK(c2t_result_field(plain, 0, "no such field") == NULL);
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

void check_arguments(void) {
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

/* How often a text has a part. */
static int times(const char *text, const char *part) {
    int number = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part)) number++;
    return number;
}

static int starts(const char *text, const char *part) {
    return strncmp(text, part, strlen(part)) == 0;
}

void check_call(void) {
    const int32_t wrong = C2T_ERROR_ARGUMENT;
    const char *labels = "{\"labels\": [\"B cell\",\n \"T \\u0063ell\"],\r\n\t\"top\": 1}\n";
    c2t_service *service = open_with(NULL, NULL);
    c2t_request *request;
    char *answer = (char *)"", *again;
    OK(c2t_request_new(&request));
    refused(c2t_call(service, "annotate", request, labels, &answer), wrong, "no cells");
    CHECK(answer == NULL);
    c2t_request_free(request);
    request = cells(3, 0);
    refused(c2t_call(NULL, "annotate", request, labels, &answer), wrong, "NULL");
    refused(c2t_call(service, NULL, request, labels, &answer), wrong, "NULL");
    refused(c2t_call(service, "annotate", NULL, labels, &answer), wrong, "NULL");
    refused(c2t_call(service, "annotate", request, labels, NULL), wrong, "NULL");
    refused(c2t_call(service, "shutdown", request, NULL, &answer), wrong, "shutdown");
    refused(c2t_call(service, "\xff", request, NULL, &answer), wrong, "UTF-8");
    refused(c2t_call(service, "annotate", request, "[]", &answer), wrong, "JSON object");
    refused(c2t_call(service, "annotate", request, "{\"labels\": [}", &answer), wrong, "JSON object");
    refused(c2t_call(service, "annotate", request, "{\"a\": \"\xff\"}", &answer), wrong, "JSON");
    refused(c2t_call(service, "annotate", request, "{}} , {", &answer), wrong, "JSON object");
    refused(c2t_call(service, "annotate", request, "{\"top\": 1, \"top\": 2}", &answer), wrong, "once");
    refused(c2t_call(service, "annotate", request, "{\"cells\": []}", &answer), wrong, "cells");
    refused(c2t_call(service, "annotate", request, NULL, &answer), wrong, "labels");
    refused(c2t_call(service, "annotate", request, "", &answer), wrong, "JSON object");
    refused(c2t_call(service, "explain", request, "{\"evidence\": {\"field\": \"mood\"}}", &answer),
            wrong, "mood");
    refused(c2t_call(service, "dream", request, "{}", &answer), C2T_ERROR_SERVICE, "dream");
    CHECK(answer == NULL);

    OK(c2t_call(service, "annotate", request, labels, &answer));
    CHECK(strncmp(answer, "{\"cells\":[{\"cell\":\"cell0\",\"label\":\"", 34) == 0);
    CHECK(times(answer, "\"cell\":") == 3 && times(answer, "\"top\":[{") == 3);
    CHECK(times(answer, "\"label\":\"B cell\"") + times(answer, "\"label\":\"T cell\"") == 6);
    CHECK(strchr(answer, '\n') == NULL && answer[strlen(answer) - 1] == '}');
    OK(c2t_call(service, "annotate", request, labels, &again));
    CHECK(strcmp(answer, again) == 0);
    c2t_text_free(answer);
    c2t_text_free(again);
    OK(c2t_call(service, "explain", request, NULL, &answer));
    CHECK(times(answer, "\"field\":\"cell_type\"") == 3);
    printf("%s\n", answer);
    c2t_text_free(answer);
    OK(c2t_request_set(request, "num_beams", "2")); /* nothing is written here */
    refused(c2t_call(service, "explain", request, NULL, &answer), wrong, "num_beams");
    c2t_text_free(NULL);
    c2t_request_free(request);
    OK(c2t_close(service));
}

/* A service of vectors and scores; it writes no texts. */
void check_vectors(void) {
    const int32_t wrong = C2T_ERROR_ARGUMENT;
    const char *texts = "{\"texts\": [\"activated T cells\", \"a monocyte\"]}";
    c2t_service *service = open_with(NULL, NULL);
    c2t_request *request = cells(3, 0);
    c2t_result *result;
    char *answer;
    OK(c2t_call(service, "embed", request, NULL, &answer));
    CHECK(starts(answer, "{\"cells\":[{\"cell\":\"cell0\",\"embedding\":["));
    CHECK(times(answer, "\"joint\":[") == 3 && times(answer, "\"error\":null") == 3);
    c2t_text_free(answer);
    OK(c2t_call(service, "search", request, texts, &answer));
    CHECK(starts(answer, "{\"cells\":[{\"cell\":\"cell0\",\"scores\":["));
    CHECK(times(answer, "\"scores\":[") == 3);
    c2t_text_free(answer);
    OK(c2t_call(service, "annotate", request, "{\"labels\": [\"B cell\", \"T cell\"]}", &answer));
    CHECK(times(answer, "\"mass\":1.0") == 3);
    c2t_text_free(answer);
    refused(c2t_call(service, "search", request, NULL, &answer), wrong, "texts");
    refused(c2t_call(service, "search", request, "{\"texts\": [\"a\", \"a\"]}", &answer), wrong,
            "there twice");
    refused(c2t_call(service, "explain", request, NULL, &answer), wrong, "cannot explain");
    refused(c2t_call(service, "ask", request, "{\"question\": \"What?\"}", &answer), wrong,
            "cannot ask");
    CHECK(answer == NULL);
    refused(c2t_describe(service, request, NULL, NULL, &result), wrong, "cannot describe");
    c2t_request_free(request);
    OK(c2t_close(service));
}

/* A service that answers questions. */
void check_ask(void) {
    const int32_t wrong = C2T_ERROR_ARGUMENT;
    const char *each = "{\"question\": \"What cell is it?\"}";
    const char *together = "{\"question\": \"What cell is it?\", \"together\": true}";
    c2t_service *service = open_with(NULL, NULL);
    c2t_request *request = cells(3, 0);
    char *answer, *again;
    OK(c2t_request_set(request, "max_new_tokens", "6"));
    OK(c2t_call(service, "ask", request, each, &answer));
    CHECK(starts(answer, "{\"answers\":[{\"name\":\"cell0\",") && times(answer, "\"text\":\"") == 3);
    CHECK(times(answer, "\"name\":") == 3 && times(answer, "\"max_new_tokens\":6") == 1);
    OK(c2t_call(service, "ask", request, each, &again));
    CHECK(strcmp(answer, again) == 0);
    c2t_text_free(answer);
    c2t_text_free(again);
    OK(c2t_call(service, "ask", request, together, &answer));
    CHECK(times(answer, "\"name\":") == 1 && times(answer, "\"name\":\"together\"") == 1);
    c2t_text_free(answer);
    refused(c2t_call(service, "ask", request, NULL, &answer), wrong, "question");
    refused(c2t_call(service, "embed", request, NULL, &answer), wrong, "max_new_tokens");
    c2t_request_free(request);
    request = cells(3, 0);
    refused(c2t_call(service, "search", request, "{\"texts\": [\"a\"]}", &answer), wrong,
            "cannot search");
    c2t_request_free(request);
    OK(c2t_close(service));
}

/* Numbers under the locale of the environment; what arrives is the test's matter. */
void check_locale(void) {
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
void check_hostile(void) {
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
        if (getenv("METHOD")) {
            char *answer;
            code = c2t_call(service, getenv("METHOD"), request, getenv("PARAMS"), &answer);
            printf("call %d %s\n", (int)code, code ? c2t_last_problem() : answer);
            CHECK((code == C2T_OK) == (answer != NULL));
            c2t_text_free(answer);
            c2t_close(service);
            continue;
        }
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
