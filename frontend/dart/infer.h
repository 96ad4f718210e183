/* Models put to use: text, translation, perplexity, BLEU. */
#ifndef DART_PUBLIC_INFER_H
#define DART_PUBLIC_INFER_H

#include "recipe.h"
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- text ---- */

typedef struct dart_generate_speed {
    uint64_t prompt_tokens, tokens; /* read before the first new one; made */
    double prompt_seconds, seconds; /* seconds: of all new tokens but the first */
    uint64_t bytes;                 /* resident on the device */
} dart_generate_speed;
typedef struct dart_generate_options {
    const char *prompt;
    uint32_t tokens, top_k;
    double temperature, top_p;
    uint64_t seed;
    /* When the context is full. NULL or "slide": the newest `context` tokens are read again for
     * each token; "shift": the newest half is read again, then tokens go on; "stop": the text ends.
     */
    const char *overflow;
    dart_generate_speed *speed; /* NULL, or filled */
} dart_generate_options;
DART_API DART_NODISCARD dart_status dart_generate(const char *model_path,
    const dart_recipe *overrides, const dart_generate_options *options, FILE *out);

/* ---- translation ---- */

/* Beam and length penalty are recipe keys. */
typedef enum { DART_TRANSLATE_LINES, DART_TRANSLATE_VALID, DART_TRANSLATE_TEST } dart_translate_of;
typedef struct dart_translate_options {
    dart_translate_of split; /* the lines of `in`, or the sources of a split of the run's data */
    uint32_t best; /* LINES: translations of each; above 1 printed as "n ||| text ||| score" */
    bool words;    /* LINES: words one space apart instead of text */
} dart_translate_options;
enum { DART_BLEU_ORDERS = 4 };

typedef struct dart_bleu_options {
    size_t size;
    bool lowercase;
    bool raw; /* words are what stands between white space; false: tokenizer 13a */
} dart_bleu_options;

typedef struct dart_bleu {
    size_t size;
    double score, precision[DART_BLEU_ORDERS]; /* out of 100 */
    double brevity;                            /* penalty, 0 .. 1 */
    uint64_t correct[DART_BLEU_ORDERS], total[DART_BLEU_ORDERS];
    uint64_t hypothesis_words, reference_words, sentences;
    uint32_t references;
    char signature[128]; /* how it was counted, in sacreBLEU's words */
} dart_bleu;

/* Corpus BLEU of a file with one sentence a line against one or several reference files; the figure
 * sacreBLEU gives (Papineni et al. 2002; Post 2018). options may be NULL. Errors: INPUT (line
 * counts that differ, bytes that are not UTF-8, no lines), IO, MEMORY. */
DART_API DART_NODISCARD dart_status dart_bleu_files(const char *hypothesis,
    const char *const *references, uint32_t count, const dart_bleu_options *options,
    dart_bleu *out);
/* A line of `out` for each; an empty one for an empty one. out_bleu: of a split, with sentences 0
 * for LINES. INPUT: the model does not translate, a line that is not UTF-8 (its number). */
DART_API DART_NODISCARD dart_status dart_translate(const char *model_path,
    const dart_recipe *overrides, const dart_hooks *hooks, const dart_translate_options *options,
    FILE *in, FILE *out, dart_bleu *out_bleu);

/* ---- perplexity ---- */

/* How perplexities were measured: over all tokens of a split, each scored once. */
typedef struct dart_protocol {
    const char *unit; /* what a token is: "word", "character", "byte"; static; "": unknown */
    char data[512];   /* where the text came from */
    uint32_t context, stride; /* tokens of a window, and how far apart windows start */
    uint32_t source_context;  /* translation: tokens of a source sentence at most; 0: a text */
    uint64_t valid_tokens, test_tokens;
} dart_protocol;
/* The same in one sentence without a full stop; "" where no text was read. Cut at `size` bytes. */
DART_API void dart_protocol_text(const dart_protocol *protocol, char *out, size_t size);

typedef struct dart_eval_result {
    size_t size;
    double valid_ppl, test_ppl; /* exp of nll */
    double valid_nll, test_nll; /* mean negative log likelihood of a token, in nats */
    double seconds;
    uint64_t valid_tokens, test_tokens;
    dart_protocol protocol;
} dart_eval_result;

/* model_path: a run directory or a checkpoint directory. */
DART_API DART_NODISCARD dart_status dart_eval(const char *model_path, const dart_recipe *overrides,
    const dart_hooks *hooks, dart_eval_result *out);

#ifdef __cplusplus
}
#endif
#endif
