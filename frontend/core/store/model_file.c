/* A model's files in a checkpoint. */
#include "model_file.h"
#include "safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- vocabulary ---- */

/* Word-level text need not be UTF-8; what JSON cannot hold is a list of bytes. */
static json_t *token_json(const char *token, dart_status *status)
{
    json_t *text = json_string(token);
    if (text) return text;
    json_t *bytes = json_array();
    for (const char *c = token; *c; c++)
        dart_json_add(bytes, json_integer((unsigned char)*c), status);
    return bytes;
}

dart_status dart_vocab_text(const dart_vocab *vocab, char **out)
{
    dart_status status = DART_OK;
    json_t *list = json_array(), *body = json_object();
    for (uint32_t i = 0; i < vocab->size && vocab->text && vocab->level != DART_LEVEL_BYTE; i++)
        dart_json_add(list, token_json(vocab->text[i], &status), &status);
    dart_json_set(body, "format", json_integer(DART_STATE_FORMAT), &status);
    dart_json_set(body, "level", json_integer(vocab->level), &status);
    dart_json_set(body, "punctuation", json_boolean(vocab->punctuation), &status);
    dart_json_set(body, "size", json_integer(vocab->size), &status);
    dart_json_set(body, "tokens", list, &status);
    if (dart_vocab_hash(vocab))
        dart_json_set(body, "tokenizer", json_string(dart_vocab_hash(vocab)), &status);
    return dart_json_write(body, status, JSON_COMPACT, "a vocabulary", out);
}

/* One entry of the list into `out`. */
static dart_status read_token(json_t *entry, dart_arena *arena, const char **out)
{
    if (json_is_string(entry)) {
        *out = dart_arena_strdup(arena, json_string_value(entry));
        return *out ? DART_OK : DART_MEMORY;
    }
    if (!json_is_array(entry)) return DART_INPUT;
    size_t n = json_array_size(entry);
    char *text = dart_arena_alloc(arena, n + 1);
    if (!text) return DART_MEMORY;
    for (size_t i = 0; i < n; i++) text[i] = (char)json_integer_value(json_array_get(entry, i));
    *out = text;
    return DART_OK;
}

/* A JSON file of the checkpoint; *out NULL: missing or not JSON. */
static dart_status parse_file(const dart_checkpoint *checkpoint, const char *name, json_t **out)
{
    char why[DART_JSON_WHY];
    const dart_checkpoint_file *file = dart_checkpoint_find(checkpoint, name);
    *out = NULL;
    if (!file) return DART_OK;
    dart_status status = dart_json_parse(file->data, file->size, name, why, out);
    return status == DART_INPUT ? DART_OK : status;
}

/* A tokenizer, whose own files lie beside vocab.json. */
static dart_status load_tokenizer(
    const dart_checkpoint *checkpoint, json_t *body, uint32_t size, dart_vocab *out)
{
    const char *hash = json_string_value(json_object_get(body, "tokenizer"));
    if (!dart_checkpoint_find(checkpoint, "tokenizer.json"))
        return dart_fail(DART_INPUT, "the checkpoint %s has no tokenizer.json", checkpoint->path);
    DART_TRY(dart_vocab_open(checkpoint->path, out));
    if (hash && !strcmp(hash, dart_vocab_hash(out)) && size >= out->size) {
        out->size = size;
        return DART_OK;
    }
    dart_vocab_free(out);
    return dart_fail(
        DART_INPUT, "%s: tokenizer.json is not the one of vocab.json", checkpoint->path);
}

dart_status dart_vocab_load(const dart_checkpoint *checkpoint, const char *name, dart_vocab *out)
{
    dart_status status = DART_OK;
    dart_arena arena = {0};
    json_t *body;
    DART_TRY(parse_file(checkpoint, name, &body));
    json_t *list = json_object_get(body, "tokens");
    json_int_t size = json_integer_value(json_object_get(body, "size"));
    json_int_t level = json_integer_value(json_object_get(body, "level"));
    bool bytes = level == DART_LEVEL_BYTE;
    if (level == DART_LEVEL_TOKEN && size > 0 && size < INT32_MAX) {
        status = load_tokenizer(checkpoint, body, (uint32_t)size, out);
        goto done;
    }
    if (!json_is_array(list) || level < DART_LEVEL_WORD || level > DART_LEVEL_BYTE || size < 1 ||
        size != (bytes ? 256 : (json_int_t)json_array_size(list))) {
        status = dart_fail(DART_INPUT, "%s has no readable %s", checkpoint->path, name);
        goto done;
    }
    const char **text = DART_NEW(&arena, const char *, (size_t)size);
    if (!text) {
        status = DART_MEMORY;
        goto done;
    }
    for (size_t i = 0; !bytes && i < (size_t)size; i++) {
        status = read_token(json_array_get(list, i), &arena, &text[i]);
        if (status == DART_INPUT)
            status = dart_fail(
                DART_INPUT, "%s: entry %zu of %s is not a token", checkpoint->path, i, name);
        if (status != DART_OK) goto done;
    }
    DART_GOTO(dart_vocab_from((dart_level)level, json_is_true(json_object_get(body, "punctuation")),
        (uint32_t)size, text, out));
done:
    dart_arena_free(&arena);
    json_decref(body);
    return status;
}

/* ---- tensors ---- */

enum { NAME = 160 };

/* Where the tensor stands in the set; NULL: the set has none of its region, or it is not stored. */
static float *place_of(const dart_values *set, const dart_param *param)
{
    if (param->of_base) return NULL;
    float *region = param->region == DART_REGION_FROZEN ? set->frozen : set->param;
    return region ? region + param->offset : NULL;
}

dart_status dart_values_pack(
    const dart_model *model, const dart_values *set, uint32_t sets, char **out, size_t *out_size)
{
    dart_status status = DART_OK;
    const size_t most = (size_t)sets * model->params;
    size_t count = 0;
    dart_st_write *tensor = dart_calloc(most, sizeof *tensor);
    char(*name)[NAME] = dart_calloc(most, sizeof *name);
    if (!tensor || !name) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < most; i++) {
        const dart_param *param = &model->param[i / sets];
        const dart_values *values = &set[i % sets];
        const float *data = place_of(values, param);
        if (!data) continue;
        snprintf(name[count], NAME, "%s%s", values->prefix, param->name);
        tensor[count] =
            (dart_st_write){.name = name[count], .rank = param->shape.rank, .data = data};
        for (uint32_t k = 0; k < param->shape.rank; k++) tensor[count].dim[k] = param->shape.dim[k];
        count++;
    }
    status = dart_safetensors_pack(tensor, count, out, out_size);
done:
    free(tensor);
    free(name);
    return status;
}

dart_status dart_values_unpack(const dart_model *model, const dart_checkpoint *checkpoint,
    const char *name, const dart_values *set, uint32_t sets)
{
    const dart_checkpoint_file *file = dart_checkpoint_find(checkpoint, name);
    dart_safetensors tensors;
    dart_status status = DART_OK;
    if (!file) return dart_fail(DART_INPUT, "the checkpoint %s has no %s", checkpoint->path, name);
    DART_TRY(dart_safetensors_parse(file->data, file->size, name, &tensors));
    for (uint32_t i = 0; i < sets * model->params; i++) {
        const dart_param *param = &model->param[i / sets];
        const dart_values *values = &set[i % sets];
        float *data = place_of(values, param);
        char text[NAME];
        if (!data) continue;
        snprintf(text, sizeof text, "%s%s", values->prefix, param->name);
        DART_GOTO(dart_safetensors_f32(&tensors, text, dart_shape_words(&param->shape), data));
    }
done:
    dart_safetensors_close(&tensors);
    return status;
}

/* ---- state ---- */

dart_status dart_state_parse(const dart_checkpoint *checkpoint, json_t **out)
{
    DART_TRY(parse_file(checkpoint, "trainer_state.json", out));
    if (json_integer_value(json_object_get(*out, "format")) == DART_STATE_FORMAT &&
        json_is_string(json_object_get(*out, "data")))
        return DART_OK;
    json_decref(*out);
    *out = NULL;
    return dart_fail(DART_INPUT, "%s has no readable trainer_state.json", checkpoint->path);
}

json_t *dart_ranks_json(const dart_model *model, dart_status *status)
{
    json_t *all = json_object();
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        const bool lost = weight->weight.ranks[0] == DART_RANKS_LOST;
        if (!weight->layout.bonds && !lost) continue;
        json_t *list = json_array();
        for (uint32_t k = 0; !lost && k <= weight->layout.chain_cores; k++)
            dart_json_add(list, json_integer(weight->weight.ranks[k]), status);
        dart_json_set(all, weight->weight.name, list, status);
    }
    return all;
}

dart_status dart_ranks_read(
    json_t *state, const dart_model *model, const char *path, uint32_t (*out)[DART_MAX_CORES + 1])
{
    json_t *all = json_object_get(state, "ranks");
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        if (!weight->layout.bonds) continue;
        json_t *list = json_object_get(all, weight->weight.name);
        if (json_is_array(list) && !json_array_size(list) &&
            dart_layout_spare(&weight->weight, &weight->layout)) {
            out[w][0] = DART_RANKS_LOST;
            continue;
        }
        if (json_array_size(list) != weight->layout.chain_cores + 1)
            return dart_fail(DART_INPUT,
                "the checkpoint %s does not fit the recipe: it has no ranks for %s", path,
                weight->weight.name);
        for (uint32_t k = 0; k <= weight->layout.chain_cores; k++) {
            json_int_t rank = json_integer_value(json_array_get(list, k));
            if (rank < 1 || rank > 1 << 24)
                return dart_fail(DART_INPUT,
                    "the checkpoint %s has a rank of %" JSON_INTEGER_FORMAT, path, rank);
            out[w][k] = (uint32_t)rank;
        }
    }
    return DART_OK;
}

#define GATE_COUNTS(X) X(full) X(target) X(min_rank)
#define GATE_REALS(X) X(l1) X(l2) X(first) X(size) X(loss)

json_t *dart_gate_json(const dart_model *model, const dart_model_gate *g, dart_status *status)
{
    const dart_gate_config *config = &model->config.gate;
    if (!config->on) return json_null();
    json_t *body = json_object();
    dart_json_set(body, "reg", json_string(g->reg ? g->reg->name : ""), status);
    dart_json_set(body, "candidates", json_integer(config->candidates), status);
#define X(field) dart_json_set(body, #field, json_integer((json_int_t)g->field), status);
    GATE_COUNTS(X)
#undef X
    dart_json_set(body, "steps", json_integer((json_int_t)g->state.steps), status);
#define X(field) dart_json_set(body, #field, dart_json_real(g->state.field), status);
    GATE_REALS(X)
#undef X
    return body;
}

dart_status dart_gate_read(
    json_t *state, const char *path, dart_gate_config *out_config, dart_model_gate *g)
{
    json_t *body = json_object_get(state, "gate");
    *out_config = (dart_gate_config){0};
    *g = (dart_model_gate){0};
    if (!json_is_object(body)) return DART_OK;
    const char *name = json_string_value(json_object_get(body, "reg"));
    if (name && name[0]) {
        g->reg = dart_reg_find(name);
        if (!g->reg || !g->reg->gate)
            return dart_fail(
                DART_INPUT, "the checkpoint %s has gates of an unknown kind '%.60s'", path, name);
    }
    json_int_t candidates = json_integer_value(json_object_get(body, "candidates"));
    *out_config = (dart_gate_config){.on = true,
        .trained = g->reg,
        .scaled = g->reg && g->reg->gate->scaled,
        .candidates =
            candidates > 0 && candidates <= DART_GATE_CANDIDATES ? (uint32_t)candidates : 0};
    if (g->reg && g->reg->gate->by_candidate != (out_config->candidates > 0))
        return dart_fail(
            DART_INPUT, "the checkpoint %s has gates without their candidate ranks", path);
#define X(field) g->field = (__typeof__(g->field))json_integer_value(json_object_get(body, #field));
    GATE_COUNTS(X)
#undef X
    g->state.steps = (uint64_t)json_integer_value(json_object_get(body, "steps"));
#define X(field) g->state.field = dart_json_number(body, #field);
    GATE_REALS(X)
#undef X
    return DART_OK;
}
