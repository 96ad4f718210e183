/* The corpus that a recipe names, a text or sentence pairs, and its streams. */
#include "chat.h"
#include "classes.h"
#include "examples.h"
#include "file.h"
#include "hash.h"
#include "parallel.h"
#include "rng.h"
#include "setup.h"
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

uint32_t dart_source_time(const dart_settings *set)
{
    return (uint32_t)(set->src_context ? set->src_context : set->context);
}

static uint64_t words_of(const dart_sentences *s, uint64_t i)
{
    return s->first[i + 1] - s->first[i];
}

/* Labels of a split, and how many of its pairs do not fit into the recipe's shape. */
static void measure(
    const dart_settings *set, const dart_parallel *p, int split, uint64_t *labels, uint64_t *longer)
{
    const dart_sentences *source = &p->side[DART_SOURCE][split];
    const dart_sentences *target = &p->side[DART_TARGET][split];
    const uint64_t time = (uint64_t)set->context;
    *labels = *longer = 0;
    for (uint64_t i = 0; i < source->count; i++) {
        uint64_t n = words_of(source, i) + 1, m = words_of(target, i) + 1;
        *labels += m < time ? m : time;
        *longer += n > dart_source_time(set) || m > time;
    }
}

static void hash_split(const dart_parallel *p, int split, char out[33])
{
    char text[4 * 32 + 1] = "";
    for (int side = 0; side < DART_SIDES; side++) {
        const dart_sentences *s = &p->side[side][split];
        strcat(text, dart_hash_bytes(s->words, s->first[s->count] * sizeof *s->words).text);
        strcat(text, dart_hash_bytes(s->first, (s->count + 1) * sizeof *s->first).text);
    }
    snprintf(out, 33, "%s", dart_hash_bytes(text, strlen(text)).text);
}

dart_status dart_corpus_pairs(const dart_settings *set, const dart_vocab *vocab, dart_corpus *out)
{
    const dart_parallel_options options = {.dataset = set->dataset,
        .source = set->source_text,
        .target = set->target_text,
        .shared = set->shared_vocab,
        .lowercase = set->lowercase,
        .vocab_limit = (uint32_t)set->vocab_size,
        .min_count = (uint32_t)set->min_count,
        .vocab = {vocab ? &vocab[1] : NULL, vocab ? &vocab[0] : NULL}};
    uint64_t longer[DART_SPLITS];
    *out = (dart_corpus){0};
    if (set->dataset[0] && dart_dataset_name(set->dataset))
        return dart_fail(DART_INPUT,
            "%s is a text in one language; an encoder-decoder needs a parallel data set like %s, "
            "or --source-text and --target-text",
            set->dataset, dart_parallel_at(0));
    dart_parallel *p = dart_calloc(1, sizeof *p);
    if (!p) return DART_MEMORY;
    dart_status status = dart_parallel_open(&options, p);
    if (status != DART_OK) {
        free(p);
        return status;
    }
    out->parallel = p;
    out->vocab = p->vocab[DART_TARGET];
    out->source_vocab = p->vocab[DART_SOURCE];
    snprintf(out->source, sizeof out->source, "%s", p->source);
    for (int split = 0; split < DART_SPLITS; split++) {
        measure(set, p, split, &out->count[split], &longer[split]);
        hash_split(p, split, out->hash[split]);
    }
    const uint64_t cut = longer[DART_VALID] + longer[DART_TEST];
    if (longer[DART_TRAIN] || cut)
        snprintf(out->note, sizeof out->note,
            "longer than %u source or %" PRId64 " target tokens: %" PRIu64 " of %" PRIu64
            " training pairs are left out, %" PRIu64 " of %" PRIu64
            " validation and test pairs are cut",
            dart_source_time(set), set->context, longer[DART_TRAIN],
            p->side[DART_SOURCE][DART_TRAIN].count, cut,
            p->side[DART_SOURCE][DART_VALID].count + p->side[DART_SOURCE][DART_TEST].count);
    return DART_OK;
}

/* `count` sentences of `words` random words each. */
static dart_status random_sentences(
    uint32_t count, uint32_t words, uint32_t vocab, uint64_t stream, dart_sentences *out)
{
    out->count = count;
    out->words = dart_calloc((size_t)count * words, sizeof *out->words);
    out->first = dart_calloc((size_t)count + 1, sizeof *out->first);
    if (!out->words || !out->first) return DART_MEMORY;
    for (uint32_t i = 0; i <= count; i++) out->first[i] = (uint64_t)i * words;
    for (uint64_t i = 0; i < (uint64_t)count * words; i++) {
        uint32_t word[4];
        dart_philox(1, DART_STREAM_TEST, stream << 40 | i, word);
        out->words[i] = (int32_t)(word[0] % vocab);
    }
    return DART_OK;
}

dart_status dart_corpus_random(const dart_model_config *c, uint32_t pairs, dart_corpus *out)
{
    *out = (dart_corpus){.vocab = {.size = c->vocab}, .source_vocab = {.size = c->source_vocab}};
    dart_parallel *p = out->parallel = dart_calloc(1, sizeof *p);
    if (!p) return DART_MEMORY;
    p->vocab[DART_SOURCE].size = c->source_vocab;
    p->vocab[DART_TARGET].size = c->vocab;
    for (int split = DART_TRAIN; split <= DART_VALID; split++) {
        uint64_t stream = 2 * (uint64_t)split;
        DART_TRY(random_sentences(
            pairs, c->source_context - 1, c->source_vocab, stream, &p->side[DART_SOURCE][split]));
        DART_TRY(random_sentences(
            pairs, c->context - 1, c->vocab, stream + 1, &p->side[DART_TARGET][split]));
    }
    return DART_OK;
}

dart_status dart_stream_pairs(
    const dart_settings *set, const dart_corpus *corpus, int split, dart_stream *out)
{
    const uint32_t batch = (uint32_t)set->batch_size;
    *out = (dart_stream){.vocab = corpus->vocab.size,
        .batch = batch,
        .time = (uint32_t)set->context,
        .seed = (uint64_t)set->seed};
    dart_pairs *pairs = dart_calloc(1, sizeof *pairs);
    if (!pairs) return DART_MEMORY;
    dart_status status = dart_pairs_new(corpus->parallel, (uint32_t)split, split == DART_TRAIN,
        batch, dart_source_time(set), (uint32_t)set->context, (uint64_t)set->seed, pairs);
    if (status != DART_OK) {
        free(pairs);
        return status;
    }
    out->pairs = pairs;
    /* what does not fill a batch waits for another epoch */
    out->windows = split == DART_TRAIN ? pairs->count / batch * batch : pairs->count;
    return DART_OK;
}

/* Examples of a .jsonl, .csv or .tsv file; out->vocab is there. */
static dart_status read_examples(const dart_settings *set, dart_corpus *out)
{
    const dart_tokenizer *tokenizer = dart_vocab_tokenizer(&out->vocab);
    char why[512] = "";
    dart_chat chat;
    dart_status status = dart_chat_open(
        set->chat_template, tokenizer ? dart_tokenizer_chat_template(tokenizer) : NULL, &chat);
    const bool talks = status == DART_OK;
    /* Which template it would be matters to conversations only. */
    if (status == DART_INPUT && !strcmp(set->chat_template, "auto")) {
        snprintf(why, sizeof why, "%s", dart_error_text());
        status = DART_OK;
    }
    if (status == DART_OK)
        status = dart_examples_read(&(dart_examples_options){.path = set->examples,
                                        .valid = set->valid_examples,
                                        .chat = talks ? &chat : NULL,
                                        .why_no_chat = why,
                                        .prompt_column = set->prompt_column,
                                        .completion_column = set->completion_column,
                                        .text_column = set->text_column,
                                        .time = (uint32_t)set->context,
                                        .learn_prompts = set->learn_prompts},
            out);
    dart_chat_free(&chat);
    return status;
}

/* Texts with labels; out->vocab is there. */
static dart_status read_texts(const dart_settings *set, dart_corpus *out)
{
    if (!*set->examples && !dart_labelled_name(set->dataset))
        return dart_fail(DART_INPUT,
            "a model with labels needs texts that have them: --dataset glue-rte (glue-mrpc, "
            "glue-cola, glue-sst2), or --data with lines of {\"text\": \"..\", \"label\": ..}");
    return dart_classes_read(&(dart_classes_options){.dataset = set->dataset,
                                 .path = set->examples,
                                 .valid = set->valid_examples,
                                 .labels = set->labels,
                                 .text_column = set->text_column,
                                 .time = (uint32_t)set->context,
                                 .framed = set->arch == DART_ARCH_ENCODER},
        out);
}

/* Where a base has its tokenizer: in it, but a checkpoint of llama2.c beside it. */
static dart_status tokenizer_of_base(const dart_settings *set, char out[PATH_MAX])
{
    const char *base = set->base, *name = strrchr(base, '/');
    const size_t length = strlen(base), folder = name ? (size_t)(name + 1 - base) : 0;
    snprintf(out, PATH_MAX, "%s", base);
    if (length < 4 || strcmp(base + length - 4, ".bin") != 0) return DART_OK;
    snprintf(out, PATH_MAX, "%.*stokenizer.bin", (int)folder, base);
    if (dart_file_exists(out)) return DART_OK;
    snprintf(out, PATH_MAX, "%.*stok%" PRId64 ".bin", (int)folder, base, set->vocab_size);
    if (dart_file_exists(out)) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s has no tokenizer in it, and neither tokenizer.bin nor %s lies beside it; name the file "
        "with --tokenizer",
        base, out + folder);
}

dart_status dart_tokenizer_for(const dart_settings *set, dart_vocab *out)
{
    char of_base[PATH_MAX];
    const char *path = set->tokenizer;
    *out = (dart_vocab){0};
    if (!*path) {
        DART_TRY(tokenizer_of_base(set, of_base));
        path = of_base;
    }
    if (!*path) return DART_OK;
    DART_TRY(dart_vocab_open(path, out));
    if (!*set->base || out->size == set->vocab_size) return DART_OK;
    if (out->size > set->vocab_size) {
        const uint32_t size = out->size;
        dart_vocab_free(out);
        return dart_fail(DART_INPUT,
            "the tokenizer %s has %u tokens, more than the %" PRId64 " rows of the embedding of %s",
            path, size, set->vocab_size, set->base);
    }
    out->size = (uint32_t)set->vocab_size; /* rows that no token has */
    return DART_OK;
}

dart_status dart_corpus_for(const dart_settings *set, const dart_vocab *vocab, dart_corpus *out)
{
    dart_corpus_options options = {.dataset = set->dataset,
        .text = set->text,
        .vocab_limit = (uint32_t)set->vocab_size,
        .vocab = vocab};
    static const dart_level levels[] = {[DART_TEXT_LEVEL_AUTO] = DART_LEVEL_AUTO,
        [DART_TEXT_LEVEL_WORD] = DART_LEVEL_WORD,
        [DART_TEXT_LEVEL_CHAR] = DART_LEVEL_CHAR,
        [DART_TEXT_LEVEL_BYTE] = DART_LEVEL_BYTE};
    dart_vocab own = {0};
    dart_status status = DART_OK;
    *out = (dart_corpus){0};
    options.level = levels[set->level];
    if (set->arch == DART_ARCH_ENCODER_DECODER) return dart_corpus_pairs(set, vocab, out);
    if (set->dataset[0] && dart_parallel_name(set->dataset))
        return dart_fail(DART_INPUT,
            "%s is a parallel data set; translate it with --arch encoder-decoder", set->dataset);
    if (*set->dataset && dart_labelled_name(set->dataset) && !*set->labels)
        return dart_fail(DART_INPUT,
            "%s are texts with labels; fine-tune a model that is trained already on them "
            "(--base)%s",
            set->dataset, set->unlabelled ? ", without labels: none" : "");
    if (!vocab) DART_TRY(dart_tokenizer_for(set, &own));
    if (own.size) options.vocab = &own;
    if (*set->examples || *set->labels) {
        if (!options.vocab)
            DART_GOTO(dart_fail(DART_INPUT,
                "examples need a tokenizer: give a model to fine-tune (--base), or --tokenizer"));
        if (options.vocab->shared)
            dart_vocab_share(options.vocab, &out->vocab);
        else
            DART_GOTO(dart_vocab_from(options.vocab->level, options.vocab->punctuation,
                options.vocab->size, options.vocab->text, &out->vocab));
        status = *set->labels ? read_texts(set, out) : read_examples(set, out);
        goto done;
    }
    if (set->token_file == DART_TOKEN_CACHE_TRUE) options.token_file = DART_TOKEN_FILE_ALWAYS;
    if (set->token_file == DART_TOKEN_CACHE_FALSE) options.token_file = DART_TOKEN_FILE_NEVER;
    status = dart_corpus_open(&options, out);
done:
    dart_vocab_free(&own);
    return status;
}

dart_status dart_stream_for(
    const dart_settings *set, const dart_corpus *corpus, int split, dart_stream *out)
{
    if (corpus->parallel) return dart_stream_pairs(set, corpus, split, out);
    return dart_stream_open(corpus, split,
        &(dart_stream_options){.training = split == DART_TRAIN,
            .batch = (uint32_t)set->batch_size,
            .time = (uint32_t)set->context,
            .stride = (uint32_t)set->eval_stride,
            .seed = (uint64_t)set->seed,
            .pack = dart_settings_pack(set),
            .types = set->arch == DART_ARCH_ENCODER ? (uint32_t)set->token_types : 0,
            .last = set->arch != DART_ARCH_ENCODER,
            .by_length = split == DART_TRAIN ? set->group_by_length : set->length_shapes > 1},
        out);
}
