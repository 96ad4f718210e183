/* A trained model as a handle: what dart/model.h declares. */
#include "llm.h"
#include "caller.h"
#include "packed_rows.h"
#include "parallel.h"
#include "words.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static dart_status list_keys(dart_llm *llm)
{
    const dart_bundle *b = &llm->bundle;
    const dart_model_config *c = &b->model->config;
    uint64_t total, compressed, dense;
    uint32_t options = 0;
    dart_model_count(b->model, &total, &compressed, &dense);
    const dart_fact facts[] = {{"parameters", total}, {"compressed_parameters", compressed},
        {"dense_parameters", dense}, {"vocab_size", b->vocab->size},
        {"source_vocab_size", b->source_vocab->size}, {"context", c->context},
        {"src_context", c->source_context}, {"layers", c->layers}, {"enc_layers", c->enc_layers},
        {"d_model", c->d_model}, {"d_ff", c->d_ff}, {"heads", c->heads}, {"kv_heads", c->kv_heads}};
    _Static_assert(sizeof facts / sizeof *facts <= DART_LLM_FACTS, "as many have room");
    llm->facts = sizeof facts / sizeof *facts;
    memcpy(llm->fact, facts, sizeof facts);
    while (dart_option_at(options)) options++;
    llm->key = dart_calloc(1 + llm->facts + options, sizeof *llm->key);
    if (!llm->key) return DART_MEMORY;
    llm->key[llm->keys++] = "path";
    for (uint32_t i = 0; i < llm->facts; i++) llm->key[llm->keys++] = facts[i].key;
    for (uint32_t i = 0; i < options; i++) {
        const dart_option *o = dart_option_at(i);
        bool taken = strcmp(o->section, "model") && strcmp(o->section, "method") &&
                     strcmp(o->section, "data");
        for (uint32_t k = 0; k < llm->facts && !taken; k++) taken = !strcmp(o->key, facts[k].key);
        if (!taken) llm->key[llm->keys++] = o->key;
    }
    return DART_OK;
}

bool dart_llm_pretrained(const char *given)
{
    char path[PATH_MAX];
    if (!given) return false;
    dart_base_named(given, path);
    return dart_base_found(path);
}

dart_status dart_llm_open(const char *path, const dart_llm_options *options, dart_llm **out)
{
    DART_IN_C_LOCALE;
    dart_status status = DART_OK;
    dart_llm_options o;
    *out = NULL;
    DART_TRY(dart_options_take(options, sizeof o, "dart_llm_options", &o));
    dart_llm *llm = dart_calloc(1, sizeof *llm);
    if (!llm) return DART_MEMORY;
    DART_GOTO(dart_bundle_open(path, o.overrides, (dart_note){o.note, o.user}, &llm->bundle));
    llm->path = dart_calloc(strlen(path) + 1, 1);
    if (!llm->path) DART_GOTO(DART_MEMORY);
    memcpy(llm->path, path, strlen(path));
    llm->users = dart_calloc(1, sizeof *llm->users);
    if (!llm->users) DART_GOTO(DART_MEMORY);
    atomic_init(llm->users, 1);
    DART_GOTO(list_keys(llm));
    *out = llm;
    llm = NULL;
done:
    dart_llm_close(llm);
    return status;
}

dart_llm *dart_llm_keep(const dart_llm *llm)
{
    atomic_fetch_add(llm->users, 1);
    return (dart_llm *)(uintptr_t)llm;
}

void dart_llm_close(dart_llm *llm)
{
    if (!llm || (llm->users && atomic_fetch_sub(llm->users, 1) > 1)) return;
    free(llm->users);
    dart_bundle_free(&llm->bundle);
    free(llm->path);
    free(llm->key);
    free(llm);
}

/* ---- configuration ---- */

size_t dart_llm_config_count(const dart_llm *llm)
{
    return llm->keys;
}

const char *dart_llm_config_key(const dart_llm *llm, size_t index)
{
    return index < llm->keys ? llm->key[index] : NULL;
}

static const char *key_at(const void *context, uint32_t index)
{
    return dart_llm_config_key(context, index);
}

dart_status dart_llm_config_value(const dart_llm *llm, const char *key, char *out, size_t size)
{
    size_t at = 0;
    while (at < llm->keys && strcmp(key, llm->key[at])) at++;
    if (size) out[0] = 0;
    if (at == llm->keys) {
        const char *near = dart_nearest_name(key, key_at, llm);
        return dart_fail(DART_USAGE, "a model has no key '%.60s'%s%s%s", key,
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    if (at == 0)
        snprintf(out, size, "%s", llm->path);
    else if (at <= llm->facts)
        snprintf(out, size, "%" PRIu64, llm->fact[at - 1].value);
    else
        return dart_recipe_get(llm->bundle.recipe, key, out, size);
    return DART_OK;
}

/* ---- tensors ---- */

size_t dart_llm_tensor_count(const dart_llm *llm)
{
    return llm->bundle.model->params;
}

static dart_status tensor(const dart_llm *llm, size_t index, const dart_param **out)
{
    const dart_model *model = llm->bundle.model;
    if (index >= model->params)
        return dart_fail(
            DART_USAGE, "tensor %zu was asked for, and there are %u", index, model->params);
    *out = &model->param[index];
    return DART_OK;
}

dart_status dart_llm_tensor_at(const dart_llm *llm, size_t index, dart_tensor_info *out)
{
    _Static_assert((int)DART_TENSOR_RANK >= (int)DART_MAX_RANK, "shapes fit");
    const dart_param *param = NULL;
    dart_tensor_info info = {.dtype = "F32"};
    DART_TRY(dart_answer_clear(out, "dart_tensor_info"));
    DART_TRY(tensor(llm, index, &param));
    info.name = param->name;
    info.rank = param->shape.rank;
    for (uint32_t i = 0; i < info.rank; i++) info.shape[i] = param->shape.dim[i];
    info.elements = dart_shape_words(&param->shape);
    info.trainable = param->region == DART_REGION_PARAM;
    dart_answer_give(out, &info, sizeof info);
    return DART_OK;
}

static const char *tensor_name(const void *context, uint32_t index)
{
    const dart_model *model = context;
    return index < model->params ? model->param[index].name : NULL;
}

dart_status dart_llm_tensor_find(const dart_llm *llm, const char *name, size_t *out_index)
{
    const dart_model *model = llm->bundle.model;
    for (*out_index = 0; *out_index < model->params; ++*out_index)
        if (!strcmp(model->param[*out_index].name, name)) return DART_OK;
    const char *near = dart_nearest_name(name, tensor_name, model);
    *out_index = 0;
    return dart_fail(DART_INPUT, "%s has no tensor '%.100s'%s%s%s", llm->path, name,
        near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

dart_status dart_llm_tensor_read(const dart_llm *llm, size_t index, float *out, size_t room)
{
    const dart_param *param = NULL;
    DART_TRY(tensor(llm, index, &param));
    const uint64_t words = dart_shape_words(&param->shape);
    if (room < words)
        return dart_fail(DART_USAGE, "%s has %" PRIu64 " elements, and there is room for %zu",
            param->name, words, room);
    const dart_bundle *b = &llm->bundle;
    const float *region = param->region == DART_REGION_FROZEN ? b->frozen : b->param;
    if (dart_dtype_packed(param->type)) {
        dart_packed_decode(dart_dtype_format(param->type),
            (const uint32_t *)(const void *)(region + param->offset), param->shape.dim[0],
            param->shape.dim[1], out);
        return DART_OK;
    }
    memcpy(out, region + param->offset, words * sizeof *out);
    return DART_OK;
}

/* ---- vocabulary ---- */

uint32_t dart_llm_vocab_size(const dart_llm *llm)
{
    return llm->bundle.vocab->size;
}

int32_t dart_llm_special(const dart_llm *llm, dart_special which)
{
    const dart_vocab *vocab = llm->bundle.vocab;
    const bool pairs = llm->bundle.source_vocab->size > 0;
    switch (which) {
    case DART_SPECIAL_START:
        return pairs ? DART_BOS : (int32_t)vocab->start;
    case DART_SPECIAL_END:
        if (pairs) return DART_EOS;
        if (vocab->shared) return vocab->end;
        for (uint32_t i = 0; vocab->level == DART_LEVEL_WORD && i < vocab->size; i++)
            if (!strcmp(vocab->text[i], "<eos>")) return (int32_t)i;
        return -1;
    case DART_SPECIAL_UNKNOWN:
        return pairs ? DART_UNK : vocab->unknown == UINT32_MAX ? -1 : (int32_t)vocab->unknown;
    }
    return -1;
}

dart_status dart_llm_ids(const dart_llm *llm, const char *text, size_t size, const char *what,
    int32_t **out, uint64_t *out_count)
{
    const dart_vocab *vocab = llm->bundle.vocab;
    const bool pairs = llm->bundle.source_vocab->size > 0;
    *out = NULL;
    *out_count = 0;
    if (!size) return DART_OK;
    if (pairs) return dart_sentence_encode(vocab, text, size, what, out, out_count);
    DART_TRY(dart_vocab_encode(vocab, text, size, what, out, out_count));
    if (vocab->level == DART_LEVEL_WORD && *out_count && text[size - 1] != '\n') --*out_count;
    return DART_OK;
}

dart_status dart_llm_encode(const dart_llm *llm, const char *text, size_t size, int32_t *out,
    size_t room, size_t *out_count)
{
    int32_t *ids;
    uint64_t count;
    *out_count = 0;
    DART_TRY(dart_llm_ids(llm, text, size, "the text", &ids, &count));
    if (count && room) memcpy(out, ids, (count < room ? count : room) * sizeof *ids);
    free(ids);
    *out_count = count;
    return DART_OK;
}

/* Text of ids behind `before`: what both give without what it gives alone. */
static dart_status decode_tokens(const dart_vocab *vocab, int32_t before, const int32_t *ids,
    size_t count, char *out, size_t room, size_t *out_size)
{
    dart_status status = DART_OK;
    char *text = NULL, *head = NULL;
    size_t size = 0, skip = 0;
    const dart_tokenizer *tokenizer = dart_vocab_tokenizer(vocab);
    int32_t *all = dart_calloc(count + 1, sizeof *all);
    if (!all) return DART_MEMORY;
    all[0] = before;
    memcpy(all + 1, ids, count * sizeof *ids);
    if (before >= 0) DART_GOTO(dart_tokenizer_decode(tokenizer, all, 1, false, &head, &skip));
    DART_GOTO(dart_tokenizer_decode(
        tokenizer, before < 0 ? ids : all, count + (before >= 0), false, &text, &size));
    if (skip > size || (head && memcmp(head, text, skip))) skip = 0;
    *out_size = size - skip;
    if (room) memcpy(out, text + skip, *out_size < room ? *out_size : room);
done:
    if (status == DART_INPUT) status = dart_fail(DART_USAGE, "%s", dart_error_text());
    free(text);
    free(head);
    free(all);
    return status;
}

dart_status dart_llm_decode(const dart_llm *llm, int32_t before, const int32_t *ids, size_t count,
    char *out, size_t room, size_t *out_size)
{
    const dart_vocab *vocab = llm->bundle.vocab;
    *out_size = 0;
    if (before >= (int64_t)vocab->size)
        return dart_fail(
            DART_USAGE, "token %d is outside the vocabulary of %u", before, vocab->size);
    if (dart_vocab_tokenizer(vocab))
        return decode_tokens(vocab, before, ids, count, out, room, out_size);
    for (size_t i = 0; i < count; i++, before = ids[i - 1]) {
        char text[256];
        size_t n;
        if (ids[i] < 0 || (uint32_t)ids[i] >= vocab->size)
            return dart_fail(
                DART_USAGE, "token %d is outside the vocabulary of %u", ids[i], vocab->size);
        dart_vocab_decode(vocab, before, ids[i], text, &n);
        if (*out_size < room)
            memcpy(out + *out_size, text, n < room - *out_size ? n : room - *out_size);
        *out_size += n;
    }
    return DART_OK;
}
