/* What the handles of dart.h hold. */
#ifndef DART_LLM_H
#define DART_LLM_H

#include "bundle.h"
#include <stdatomic.h>

enum { DART_LLM_FACTS = 16 };

/* What the stored model says of itself, before the recipe's keys. */
typedef struct dart_fact {
    const char *key; /* static */
    uint64_t value;
} dart_fact;

struct dart_llm {
    dart_bundle bundle;
    char *path; /* owned, as it was given */
    dart_fact fact[DART_LLM_FACTS];
    uint32_t facts;
    const char **key; /* owned [keys]: path, facts, keys of the recipe that are no fact */
    size_t keys;
    atomic_uint *users; /* owned: the caller, and contexts, whose devices may read its words */
};

/* The same model for one user more, who closes it too. */
dart_llm *dart_llm_keep(const dart_llm *llm);

/* Ids of a text without the <eos> that word level puts behind an unfinished line. *out is
 * malloc'ed. what: names the text in sentences. */
DART_NODISCARD dart_status dart_llm_ids(const dart_llm *llm, const char *text, size_t size,
    const char *what, int32_t **out, uint64_t *out_count);

#endif
