/* What a context holds; private to this room. */
#ifndef DART_CONTEXT_H
#define DART_CONTEXT_H

#include "ends.h"
#include "infer.h"
#include "llm.h"
#include "sample.h"
#include "translate.h"

struct dart_context {
    dart_llm *llm;              /* kept open */
    dart_device *device;        /* owned */
    dart_infer *infer;          /* owned; NULL: a model that translates */
    dart_speaker speaker;       /* of a model that translates, from its first sentence on */
    uint32_t best;              /* translations of a sentence */
    dart_candidate *candidates; /* owned [vocabulary], scratch */
    dart_ids text;              /* owned: tokens since the last reset */
    dart_ends ends;
};

/* INPUT: a model that translates. */
DART_NODISCARD dart_status dart_context_reads(const dart_context *context);

#endif
