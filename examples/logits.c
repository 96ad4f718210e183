/* Opens a trained model, reads a text and prints the five likeliest next tokens.
 * usage: logits MODEL [TEXT] */
#include <dart.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 4096, SHOWN = 5 };

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, dart_last_error());
    return 1;
}

/* A token as text; what is before it decides about spaces. */
static void print_token(const dart_llm *llm, int32_t before, int32_t id)
{
    char text[256];
    size_t size;
    if (dart_llm_decode(llm, before, &id, 1, text, sizeof text, &size) != DART_OK) size = 0;
    printf("'%.*s'", (int)size, text);
}

static void print_model(const dart_llm *llm)
{
    static const char *const keys[] = {"arch", "layers", "d_model", "parameters", "vocab_size"};
    char value[128];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (dart_llm_config_value(llm, keys[i], value, sizeof value) == DART_OK)
            printf("%s %s%s", keys[i], value, i + 1 < sizeof keys / sizeof *keys ? ", " : "\n");
    for (size_t i = 0; i < dart_llm_tensor_count(llm) && i < SHOWN; i++) {
        dart_tensor_info info = {.size = sizeof info};
        if (dart_llm_tensor_at(llm, i, &info) != DART_OK) return;
        printf("%-40s %s (", info.name, info.dtype);
        for (uint32_t d = 0; d < info.rank; d++)
            printf("%s%llu", d ? ", " : "", (unsigned long long)info.shape[d]);
        printf(")\n");
    }
}

static void print_likeliest(const dart_llm *llm, const float *logits, int32_t before)
{
    const uint32_t size = dart_llm_vocab_size(llm);
    double top = logits[0], sum = 0, bound = INFINITY;
    for (uint32_t i = 0; i < size; i++) top = logits[i] > top ? logits[i] : top;
    for (uint32_t i = 0; i < size; i++) sum += exp(logits[i] - top);
    for (int shown = 0; shown < SHOWN; shown++) {
        uint32_t best = size;
        for (uint32_t i = 0; i < size; i++)
            if (logits[i] < bound && (best == size || logits[i] > logits[best])) best = i;
        if (best == size) return;
        bound = logits[best];
        print_token(llm, before, (int32_t)best);
        printf(" %.4f\n", exp(logits[best] - top) / sum);
    }
}

int main(int argc, char **argv)
{
    const char *text = argc > 2 ? argv[2] : "the";
    int32_t tokens[MOST_TOKENS];
    size_t count;
    dart_llm *llm;
    dart_context *context;
    if (argc < 2) {
        fprintf(stderr, "usage: logits MODEL [TEXT]\n");
        return 2;
    }
    if (dart_llm_open(argv[1], NULL, &llm) != DART_OK) return fail("open");
    print_model(llm);
    if (dart_llm_encode(llm, text, strlen(text), tokens, MOST_TOKENS, &count) != DART_OK)
        return fail("encode");
    if (!count) tokens[count++] = dart_llm_special(llm, DART_SPECIAL_START);
    if (dart_context_new(llm, NULL, &context) != DART_OK) return fail("context");
    if (count > dart_context_limit(context)) count = dart_context_limit(context);
    if (dart_context_feed(context, tokens, count) != DART_OK) return fail("feed");
    print_likeliest(llm, dart_context_logits(context), tokens[count - 1]);
    dart_context_free(context);
    dart_llm_close(llm);
    return 0;
}
