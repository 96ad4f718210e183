/* Models put to use: tokens to logits, sampling, text, translation, perplexity, BLEU. */
#ifndef DART_PUBLIC_INFER_H
#define DART_PUBLIC_INFER_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- contexts ---- */

/* A model on an open device with the tokens it has read. */
typedef struct dart_context dart_context;

typedef struct dart_context_options {
    size_t size;
    const char *device;  /* NULL: the model's key `device`, "auto" unless it was overridden */
    const char *limits;  /* profile of a smaller device to obey; NULL: the model's key `limits` */
    const char *weights; /* "auto", "cores", "halves", "dense"; NULL: the key `infer_weights` */
    uint32_t context;    /* most tokens it holds; 0: as many as the model was trained with */
    uint32_t best;       /* of a model that translates: translations kept of a sentence; 0: 1 */
} dart_context_options;

/* `llm` stays in memory as long as the context, also if it is closed. options may be NULL. Errors:
 * USAGE, INPUT, MEMORY, DEVICE. Free it. */
DART_API DART_NODISCARD dart_status dart_context_new(
    const dart_llm *llm, const dart_context_options *options, dart_context **out);
/* NULL: nothing to do. The model may have been closed before. */
DART_API void dart_context_free(dart_context *context);

/* Reads `count` tokens after those it holds. Errors: INPUT (none, more than there is room for, an
 * id outside the vocabulary, a model that translates), DEVICE. */
DART_API DART_NODISCARD dart_status dart_context_feed(
    dart_context *context, const int32_t *tokens, size_t count);
/* Of the token that follows the last one fed, (vocab_size) raw scores; NULL before the first.
 * Overwritten by the next feed. */
DART_API const float *dart_context_logits(const dart_context *context);
DART_API uint32_t dart_context_position(const dart_context *context); /* tokens it holds */
DART_API uint32_t dart_context_limit(const dart_context *context);    /* ... at most */
/* Forgets all tokens; keeps device, weights and programs. */
DART_API void dart_context_reset(dart_context *context);
/* Bytes on the device that stay between tokens. */
DART_API uint64_t dart_context_bytes(const dart_context *context);

/* ---- sampling and text ---- */

typedef struct dart_sampling {
    size_t size;
    double temperature; /* 0: the likeliest token */
    double top_p;       /* among the likeliest tokens that sum to this probability; 0, 1: all */
    uint32_t top_k;     /* among so many likeliest tokens; 0: all */
    uint64_t seed;      /* same seed, same tokens before: same token */
    double min_p; /* among tokens of at least this share of the likeliest one's probability; 0: all
                   */
    /* Raw scores of tokens that came before are divided by this where they are above 0, multiplied
     * where they are not; 0, 1: nothing is done. Of the last so many tokens, the prompt's among
     * them; 0: of all. */
    double repeat_penalty;
    uint32_t repeat_last_n;
    uint32_t reserved;
} dart_sampling;

/* A token drawn from the logits. sampling NULL: the likeliest. The order: repetition penalty,
 * temperature, top_k, top_p, min_p. Errors: USAGE (nothing was fed),
 * DIVERGED (logits that are not finite), MEMORY. */
DART_API DART_NODISCARD dart_status dart_context_sample(
    dart_context *context, const dart_sampling *sampling, int32_t *out);

typedef struct dart_generate_options {
    size_t size;
    const char *prompt; /* NULL, "": from the start of a text */
    uint32_t tokens;    /* new ones at most */
    bool echo;          /* writes the prompt's tokens too */
    const dart_sampling *sampling;
    /* When the context is full. NULL or "slide": the newest tokens are read again for each new one;
     * "shift": the newest half is read again, then tokens go on; "stop": the text ends. */
    const char *overflow;
    void *user;                       /* of abort */
    dart_status (*abort)(void *user); /* asked after each token; not DART_OK: the text ends there,
                                         and that is no error */
    /* New text ends before the first of `stops` strings, none of them empty; what may be the
     * beginning of one waits. */
    const char *const *stop;
    uint32_t stops;
    bool ignore_end; /* tokens that end a text (the tokenizer's, those that a pretrained model's
                        files name, its chat template's) do not end it */
    bool reserved[3];
} dart_generate_options;

typedef struct dart_generate_speed {
    size_t size;
    uint64_t prompt_tokens, tokens; /* read before the first new one; made */
    double prompt_seconds, seconds; /* seconds: of all new tokens but the first */
} dart_generate_speed;

/* Resets the context, reads the prompt and writes new text token by token. out_speed may be NULL.
 * Errors: USAGE, INPUT (a prompt that cannot be encoded, a model that translates), DIVERGED,
 * DEVICE, MEMORY, IO (the sink). */
DART_API DART_NODISCARD dart_status dart_context_generate(dart_context *context,
    const dart_generate_options *options, dart_write write, void *user,
    dart_generate_speed *out_speed);

typedef struct dart_message {
    const char *role; /* "system", only as the first; "user", "assistant" */
    const char *text;
} dart_message;

/* The assistant's next message in a conversation, which is put into words by the template that the
 * model's key `chat_template` names. What the context holds of it is not read again. Where it has
 * no room for all messages and an answer (a quarter of it, or options->tokens if these are fewer),
 * the oldest questions with their answers are left out, never the system's; out_left (may be NULL):
 * how many messages. options (may be NULL): tokens 0 are as many as there is room for, at which the
 * answer ends; prompt, echo and overflow are not read; abort ends a long reading too, with its
 * status. Errors: USAGE, INPUT (a role that there is not, messages in an order that the template
 * does not have, no template, a last message that is too long, a model that translates), DIVERGED,
 * DEVICE, MEMORY, IO (the sink). */
DART_API DART_NODISCARD dart_status dart_context_chat(dart_context *context,
    const dart_message *messages, size_t count, const dart_generate_options *options,
    dart_write write, void *user, size_t *out_left, dart_generate_speed *out_speed);

/* ---- translation ---- */

/* Translation `rank` (0: the best) of sentence `index` of the call. score: log probability over the
 * length penalty. Returns 0 to go on; anything else ends the call with IO. */
typedef int (*dart_translated)(
    void *user, size_t index, uint32_t rank, const char *text, double score);

typedef struct dart_translate_options {
    size_t size;
    bool words;     /* words one space apart, as the model makes them, instead of text */
    uint64_t first; /* number of the first sentence, for sentences about errors; 0: 1 */
} dart_translate_options;

/* Sentences that a context translates at once: as many in a call cost the least time each. 0: a
 * model that does not translate. */
DART_API uint32_t dart_context_batch(const dart_context *context);
/* Beam search with the model's keys beam and length_penalty. An empty sentence has an empty
 * translation. out_cut (may be NULL): sentences that were longer than the model reads and were cut.
 * Errors: INPUT (a model that does not translate, a sentence that is not UTF-8), DEVICE, MEMORY, IO
 * (the callback). */
DART_API DART_NODISCARD dart_status dart_context_translate(dart_context *context,
    const char *const *sentences, size_t count, const dart_translate_options *options,
    dart_translated translated, void *user, uint64_t *out_cut);

enum { DART_BLEU_ORDERS = 4 };

typedef struct dart_bleu_options {
    size_t size;
    bool lowercase;
    bool raw; /* words are what stands between white space; false: tokenizer 13a */
    bool reserved[6];
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
/* Translates the sources of a split of the data that the model was trained on ("valid", "test"),
 * writes a line for each and scores them. hooks (may be NULL): news about the data. Errors: as
 * dart_context_translate; USAGE (another split); INPUT too where the data are not to be had. */
DART_API DART_NODISCARD dart_status dart_context_bleu(dart_context *context, const char *split,
    const dart_hooks *hooks, dart_write write, void *user, dart_bleu *out);

/* ---- perplexity ---- */

/* How perplexities were measured: over all tokens of a split, each scored once. */
typedef struct dart_protocol {
    const char *unit; /* what a token is: "word", "character", "byte"; static; "": unknown */
    char data[512];   /* where the text came from */
    uint32_t context, stride; /* tokens of a window, and how far apart windows start */
    uint32_t source_context;  /* translation: tokens of a source sentence at most; 0: a text */
    uint64_t valid_tokens, test_tokens;
    uint64_t valid_texts, test_texts; /* with labels; 0: no classifier */
} dart_protocol;
/* The same in one sentence without a full stop; "" where no text was read. Cut at `size` bytes. */
DART_API void dart_protocol_text(const dart_protocol *protocol, char *out, size_t size);

/* How well a classifier labels texts. */
typedef struct dart_class_scores {
    uint64_t texts;  /* 0: no classifier */
    double accuracy; /* part of them that got the right label */
    double f1;       /* of two labels, of the second one; of more, the mean over the labels */
    double matthews; /* correlation (Matthews 1975; of several labels, Gorodkin 2004); 0 where all
                        texts have or were given one label */
} dart_class_scores;

typedef struct dart_eval_result {
    size_t size;
    double valid_ppl, test_ppl; /* exp of nll */
    double valid_nll, test_nll; /* mean negative log likelihood of a token (of a classifier, of a
                                   text's label), in nats */
    double seconds;
    uint64_t valid_tokens, test_tokens;
    dart_protocol protocol;
    dart_class_scores valid, test;
    /* parts of the tokens that were the likeliest of all (next-token accuracy), and that were among
     * the five likeliest; one that ties with others counts as behind them. 0: a classifier */
    double valid_top1, valid_top5, test_top1, test_top5;
} dart_eval_result;

/* Perplexity on the validation and test split of the data that the model was trained on, or that
 * its keys were overridden with, on the device of the key `device`. hooks may be NULL. Errors:
 * INPUT (data that are not to be had or do not fit), DEVICE, MEMORY; INTERRUPTED, TERMINATED. */
DART_API DART_NODISCARD dart_status dart_llm_evaluate(
    const dart_llm *llm, const dart_hooks *hooks, dart_eval_result *out);

#ifdef __cplusplus
}
#endif
#endif
