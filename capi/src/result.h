/* What a service says of the cells of a request. */
#ifndef C2T_RESULT_H
#define C2T_RESULT_H

#include "base/json.h"

/* Turn an answer into a result, which takes the document over where it is C2T_OK.
 * C2T_ERROR_PROTOCOL: it is no answer to a request of so many cells. */
int32_t c2t_result_make(json_document *answer, size_t cells, c2t_result **result);

#endif
