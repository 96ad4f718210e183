/* What tokenizer.ggml.pre and token_type of GGUF files mean. Private to this room. */
#ifndef DART_GGUF_PRE_H
#define DART_GGUF_PRE_H

#include <stdbool.h>

enum { DART_GGUF_PRES = 4 };

typedef struct dart_gguf_pre {
    const char *name, *alias; /* alias: of models that cut in the same way, or "" */
    const char *rules;        /* as tokenizer.json would have them */
    bool ignore_merges, bos;
} dart_gguf_pre;

extern const dart_gguf_pre dart_gguf_pres[DART_GGUF_PRES];

/* tokenizer.ggml.token_type */
enum {
    DART_GGUF_NORMAL = 1,
    DART_GGUF_UNKNOWN,
    DART_GGUF_CONTROL,
    DART_GGUF_USER,
    DART_GGUF_UNUSED,
    DART_GGUF_BYTE
};

#endif
