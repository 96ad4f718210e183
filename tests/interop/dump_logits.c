/* Logits of a model for given tokens, for comparison with other programs' loaders:
 *   dump_logits [--adapter PATH[=SCALE],...] MODEL DEVICE ID...
 * writes (tokens, vocabulary) f32 to standard output: row i are the scores of what follows token i.
 */
#include <dart.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, dart_last_error());
    return 1;
}

int main(int argc, char **argv)
{
    dart_recipe *recipe;
    dart_llm *llm;
    dart_context *context;
    const char *adapter = argc > 2 && !strcmp(argv[1], "--adapter") ? argv[2] : NULL;
    if (adapter) {
        argv += 2;
        argc -= 2;
    }
    if (argc < 4) {
        fprintf(stderr, "usage: dump_logits [--adapter LIST] MODEL DEVICE ID...\n");
        return 2;
    }
    if (dart_recipe_new(&recipe) != DART_OK ||
        dart_recipe_set(recipe, "device", argv[2]) != DART_OK ||
        (adapter && dart_recipe_set(recipe, "adapter", adapter) != DART_OK))
        return fail("device or adapter");
    const char *context_length = getenv("DUMP_CONTEXT"); /* of a pretrained model; else 256 */
    if (context_length && dart_recipe_set(recipe, "context", context_length) != DART_OK)
        return fail("DUMP_CONTEXT");
    const char *kept = getenv("DUMP_BASE_DTYPE");
    if (kept && dart_recipe_set(recipe, "base_dtype", kept) != DART_OK)
        return fail("DUMP_BASE_DTYPE");
    const dart_llm_options options = {.size = sizeof options, .overrides = recipe};
    if (dart_llm_open(argv[1], &options, &llm) != DART_OK) return fail(argv[1]);
    if (dart_context_new(llm, NULL, &context) != DART_OK) return fail("context");
    for (int i = 3; i < argc; i++) {
        const int32_t id = atoi(argv[i]);
        if (dart_context_feed(context, &id, 1) != DART_OK) return fail("feed");
        fwrite(dart_context_logits(context), sizeof(float), dart_llm_vocab_size(llm), stdout);
    }
    dart_context_free(context);
    dart_llm_close(llm);
    dart_recipe_free(recipe);
    return fflush(stdout) != 0;
}
