/* Whole calls through the public handles, as the tests of several rooms need them. */
#ifndef HANDLES_H
#define HANDLES_H

#include "dart.h"
#include <stdlib.h>
#include <string.h>

/* Perplexities of the model at `path`. */
static inline dart_status handle_eval(
    const char *path, const dart_recipe *overrides, dart_eval_result *out)
{
    dart_llm *llm;
    const dart_llm_options o = {.size = sizeof o, .overrides = overrides};
    dart_status status = dart_llm_open(path, &o, &llm);
    out->size = sizeof *out;
    if (status == DART_OK) status = dart_llm_evaluate(llm, NULL, out);
    dart_llm_close(llm);
    return status;
}

typedef struct handle_text {
    char *text; /* owned; NULL: nothing came */
    size_t size, calls;
} handle_text;

static inline int handle_take(void *user, const char *text, size_t size)
{
    handle_text *t = user;
    char *grown = realloc(t->text, t->size + size + 1);
    if (!grown) return 1;
    t->text = grown;
    memcpy(t->text + t->size, text, size);
    t->text[t->size += size] = 0;
    t->calls++;
    return 0;
}

/* Text of the model at `path`, prompt and all. */
static inline dart_status handle_generate(const char *path, const char *prompt, uint32_t tokens,
    const dart_sampling *how, handle_text *out)
{
    dart_llm *llm;
    dart_context *context = NULL;
    const dart_generate_options o = {
        .size = sizeof o, .prompt = prompt, .tokens = tokens, .echo = true, .sampling = how};
    dart_status status = dart_llm_open(path, NULL, &llm);
    *out = (handle_text){0};
    if (status == DART_OK) status = dart_context_new(llm, NULL, &context);
    if (status == DART_OK) status = dart_context_generate(context, &o, handle_take, out, NULL);
    dart_context_free(context);
    dart_llm_close(llm);
    return status;
}

#endif
