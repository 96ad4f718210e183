/* What a checkpoint of a run holds, and back: weights, moments, position, recipe, vocabulary. */
#include "file.h"
#include "hash.h"
#include "run.h"
#include "safetensors.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };

/* ---- vocabulary ---- */

static char *vocab_text(const dart_vocab *vocab)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < vocab->size && vocab->level != DART_LEVEL_BYTE; i++) {
        /* Word-level text need not be UTF-8; what JSON cannot hold is a list of bytes. */
        json_t *text = json_string(vocab->text[i]);
        if (!text) {
            json_t *bytes = json_array();
            for (const char *c = vocab->text[i]; *c; c++)
                json_array_append_new(bytes, json_integer((unsigned char)*c));
            text = bytes;
        }
        json_array_append_new(list, text);
    }
    json_t *body =
        json_pack("{s:i, s:i, s:b, s:i, s:o}", "format", FORMAT, "level", (int)vocab->level,
            "punctuation", (int)vocab->punctuation, "size", (int)vocab->size, "tokens", list);
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

/* One entry of the list into `out`. */
static bool read_token(json_t *entry, dart_arena *arena, const char **out)
{
    if (json_is_string(entry)) {
        *out = dart_arena_strdup(arena, json_string_value(entry));
        return *out;
    }
    size_t n = json_array_size(entry);
    char *text = dart_arena_alloc(arena, n + 1);
    if (!json_is_array(entry) || !text) return false;
    for (size_t i = 0; i < n; i++) text[i] = (char)json_integer_value(json_array_get(entry, i));
    *out = text;
    return true;
}

static dart_status load_vocab(const dart_checkpoint *checkpoint, const char *name, dart_vocab *out)
{
    dart_status status = DART_OK;
    dart_arena arena = {0};
    const dart_checkpoint_file *file = dart_checkpoint_find(checkpoint, name);
    json_t *body = file ? json_loadb(file->data, file->size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    json_t *list = json_object_get(body, "tokens");
    json_int_t size = json_integer_value(json_object_get(body, "size"));
    json_int_t level = json_integer_value(json_object_get(body, "level"));
    bool bytes = level == DART_LEVEL_BYTE;
    if (!json_is_array(list) || level < DART_LEVEL_WORD || level > DART_LEVEL_BYTE || size < 1 ||
        size > INT32_MAX || (!bytes && (size_t)size != json_array_size(list))) {
        status = dart_fail(DART_INPUT, "%s has no readable %s", checkpoint->path, name);
        goto done;
    }
    const char **text = DART_NEW(&arena, const char *, (size_t)size);
    if (!text) {
        status = DART_MEMORY;
        goto done;
    }
    for (size_t i = 0; !bytes && i < (size_t)size; i++)
        if (!read_token(json_array_get(list, i), &arena, &text[i])) {
            status = dart_fail(
                DART_INPUT, "%s: entry %zu of %s is not a token", checkpoint->path, i, name);
            goto done;
        }
    DART_GOTO(dart_vocab_from((dart_level)level, json_is_true(json_object_get(body, "punctuation")),
        (uint32_t)size, text, out));
done:
    dart_arena_free(&arena);
    json_decref(body);
    return status;
}

dart_status dart_vocab_load(const dart_checkpoint *checkpoint, dart_vocab *out)
{
    return load_vocab(checkpoint, "vocab.json", out);
}

dart_status dart_vocabs_load(const dart_checkpoint *checkpoint, dart_vocab out[2])
{
    DART_TRY(dart_vocab_load(checkpoint, &out[0]));
    if (!dart_checkpoint_find(checkpoint, "vocab_source.json")) return DART_OK;
    dart_status status = load_vocab(checkpoint, "vocab_source.json", &out[1]);
    if (status != DART_OK) dart_vocab_free(&out[0]);
    return status;
}

/* ---- tensors ---- */

enum { NAME = 160 };

typedef struct tensor_list {
    dart_st_write *tensor;
    char (*name)[NAME];
    size_t count;
} tensor_list;

static void list_free(tensor_list *list)
{
    free(list->tensor);
    free(list->name);
}

static dart_status list_new(size_t most, tensor_list *out)
{
    *out = (tensor_list){
        dart_calloc(most, sizeof *out->tensor), dart_calloc(most, sizeof *out->name), 0};
    return out->tensor && out->name ? DART_OK : DART_MEMORY;
}

static void list_add(
    tensor_list *list, const char *prefix, const dart_param *param, const float *data)
{
    dart_st_write *t = &list->tensor[list->count];
    char *name = list->name[list->count++];
    snprintf(name, NAME, "%s%s", prefix, param->name);
    t->name = name;
    t->rank = param->shape.rank;
    for (uint32_t i = 0; i < t->rank; i++) t->dim[i] = param->shape.dim[i];
    t->data = data;
}

static dart_status pack_model(const dart_run *run, char **out, size_t *out_size)
{
    tensor_list list;
    dart_status status = list_new(run->model->params, &list);
    for (uint32_t p = 0; status == DART_OK && p < run->model->params; p++) {
        const dart_param *param = &run->model->param[p];
        const float *region = param->region == DART_REGION_FROZEN ? run->frozen : run->param;
        list_add(&list, "", param, region + param->offset);
    }
    if (status == DART_OK) status = dart_safetensors_pack(list.tensor, list.count, out, out_size);
    list_free(&list);
    return status;
}

static dart_status pack_moments(const dart_run *run, char **out, size_t *out_size)
{
    tensor_list list;
    dart_status status = list_new(2 * (size_t)run->model->params, &list);
    for (uint32_t p = 0; status == DART_OK && p < run->model->params; p++) {
        const dart_param *param = &run->model->param[p];
        if (param->region != DART_REGION_PARAM) continue;
        list_add(&list, "first.", param, run->moment + param->offset);
        list_add(&list, "second.", param, run->moment + run->model->param_words + param->offset);
    }
    if (status == DART_OK) status = dart_safetensors_pack(list.tensor, list.count, out, out_size);
    list_free(&list);
    return status;
}

static dart_status unpack(
    dart_run *run, const dart_checkpoint *checkpoint, const char *name, bool moments)
{
    const dart_model *model = run->model;
    const dart_checkpoint_file *file = dart_checkpoint_find(checkpoint, name);
    dart_safetensors tensors;
    dart_status status = DART_OK;
    if (!file) return dart_fail(DART_INPUT, "the checkpoint %s has no %s", checkpoint->path, name);
    DART_TRY(dart_safetensors_parse(file->data, file->size, name, &tensors));
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        uint64_t words = dart_shape_words(&param->shape);
        char text[NAME];
        if (!moments) {
            float *region = param->region == DART_REGION_FROZEN ? run->frozen : run->param;
            DART_GOTO(dart_safetensors_f32(&tensors, param->name, words, region + param->offset));
            continue;
        }
        if (param->region != DART_REGION_PARAM) continue;
        snprintf(text, sizeof text, "first.%s", param->name);
        DART_GOTO(dart_safetensors_f32(&tensors, text, words, run->moment + param->offset));
        snprintf(text, sizeof text, "second.%s", param->name);
        DART_GOTO(dart_safetensors_f32(
            &tensors, text, words, run->moment + model->param_words + param->offset));
    }
done:
    dart_safetensors_close(&tensors);
    return status;
}

/* ---- position ---- */

/* Fields of dart_run that are whole numbers, and of dart_table_row. */
#define RUN_FIELDS(X)                                                                              \
    X(step)                                                                                        \
    X(tokens) X(stage_step) X(adam_step) X(at_stage) X(phase_tokens) X(last_pick) X(finished)
#define RUN_REALS(X) X(seconds) X(phase_seconds) X(last_loss)
#define ROW_FIELDS(X)                                                                              \
    X(params)                                                                                      \
    X(compressed_params) X(dense_params) X(chain_params) X(rank_min) X(rank_max) X(bleu_sentences)
#define ROW_REALS(X)                                                                               \
    X(compression)                                                                                 \
    X(rank_mean) X(effective_rank) X(valid_ppl) X(test_ppl) X(tokens_per_s) X(seconds) X(test_bleu)

static json_t *real(double value)
{
    json_t *number = json_real(value);
    return number ? number : json_null(); /* NaN has no JSON */
}

static json_t *ranks_json(const dart_model *model)
{
    json_t *all = json_object();
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        if (!weight->layout.bonds) continue;
        json_t *list = json_array();
        for (uint32_t k = 0; k <= weight->layout.chain_cores; k++)
            json_array_append_new(list, json_integer(weight->weight.ranks[k]));
        json_object_set_new(all, weight->weight.name, list);
    }
    return all;
}

static char *state_text(const dart_run *run)
{
    char id[32];
    json_t *body = json_object(), *rows = json_array(), *logs = json_array();
    json_object_set_new(body, "format", json_integer(FORMAT));
#define X(field) json_object_set_new(body, #field, json_integer((json_int_t)run->field));
    RUN_FIELDS(X)
#undef X
#define X(field) json_object_set_new(body, #field, real(run->field));
    RUN_REALS(X)
#undef X
    for (int i = 0; i < DART_LOGS; i++)
        json_array_append_new(logs, json_integer((json_int_t)run->log_bytes[i]));
    for (uint32_t r = 0; r < run->rows; r++) {
        const dart_table_row *row = &run->table[r];
        json_t *entry = json_pack("{s:s}", "name", row->name);
#define X(field) json_object_set_new(entry, #field, json_integer((json_int_t)row->field));
        ROW_FIELDS(X)
#undef X
#define X(field) json_object_set_new(entry, #field, real(row->field));
        ROW_REALS(X)
#undef X
        json_array_append_new(rows, entry);
    }
    json_object_set_new(body, "log_bytes", logs);
    json_object_set_new(body, "rest",
        json_pack("{s:f, s:I}", "rank", run->rest.rank, "since", (json_int_t)run->rest.since));
    json_t *moved = json_array();
    for (uint32_t s = 0; s < run->stages; s++)
        json_array_append_new(moved, json_integer((json_int_t)run->moved[s]));
    json_object_set_new(body, "moved_steps", moved);
    json_object_set_new(body, "gate", dart_run_gate_json(run));
    json_object_set_new(body, "rows", rows);
    json_object_set_new(body, "ranks", ranks_json(run->model));
    json_object_set_new(body, "seed", json_integer((json_int_t)run->set.seed));
    json_object_set_new(body, "random_numbers", json_string("philox4x32-10"));
    json_object_set_new(body, "data", json_string(run->fingerprint));
    json_object_set_new(body, "device", json_string(dart_device_id(run->device, id)));
    json_object_set_new(body, "driver", json_string(run->device->caps.driver));
    char *text = json_dumps(body, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(body);
    return text;
}

static void read_position(dart_run *run, json_t *body)
{
#define X(field)                                                                                   \
    run->field = (__typeof__(run->field))json_integer_value(json_object_get(body, #field));
    RUN_FIELDS(X)
#undef X
#define X(field) run->field = json_number_value(json_object_get(body, #field));
    RUN_REALS(X)
#undef X
    for (size_t i = 0; i < DART_LOGS; i++)
        run->log_bytes[i] =
            (uint64_t)json_integer_value(json_array_get(json_object_get(body, "log_bytes"), i));
    json_t *rest = json_object_get(body, "rest"), *moved = json_object_get(body, "moved_steps");
    run->rest.rank = json_number_value(json_object_get(rest, "rank"));
    run->rest.since = (uint64_t)json_integer_value(json_object_get(rest, "since"));
    for (uint32_t s = 0; s < run->stages; s++) {
        run->moved[s] = json_integer_value(json_array_get(moved, s));
        if (run->moved[s] < -(int64_t)run->stage[s].steps) run->moved[s] = 0;
        run->stage[s].steps += (uint64_t)run->moved[s];
    }
    json_t *rows = json_object_get(body, "rows");
    run->rows = 0;
    for (size_t r = 0; r < json_array_size(rows) && r < DART_TABLE_ROWS; r++) {
        json_t *entry = json_array_get(rows, r);
        const char *name = json_string_value(json_object_get(entry, "name"));
        dart_table_row *row = &run->table[run->rows++];
        *row = (dart_table_row){0};
        snprintf(row->name, sizeof row->name, "%s", name ? name : "");
#define X(field)                                                                                   \
    row->field = (__typeof__(row->field))json_integer_value(json_object_get(entry, #field));
        ROW_FIELDS(X)
#undef X
#define X(field) row->field = json_number_value(json_object_get(entry, #field));
        ROW_REALS(X)
#undef X
    }
}

/* The ranks of every weight; names the first one that the fresh model `model` does not have. */
static dart_status read_ranks(
    json_t *body, const dart_model *model, const char *path, uint32_t (*out)[DART_MAX_CORES + 1])
{
    json_t *all = json_object_get(body, "ranks");
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        if (!weight->layout.bonds) continue;
        json_t *list = json_object_get(all, weight->weight.name);
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

dart_status dart_run_save(dart_run *run)
{
    dart_status status = DART_OK;
    char root[DART_RUN_PATH + 32];
    dart_checkpoint_file file[6] = {{.name = "model.safetensors"},
        {.name = "optimizer.safetensors"}, {.name = "trainer_state.json"}, {.name = "recipe.yaml"},
        {.name = "vocab.json"}, {.name = "vocab_source.json"}};
    DART_TRY(dart_metrics_sync(&run->metrics, run->log_bytes));
    DART_TRY(dart_run_pull(run));
    DART_GOTO(pack_model(run, &file[0].data, &file[0].size));
    DART_GOTO(pack_moments(run, &file[1].data, &file[1].size));
    file[2].data = state_text(run);
    DART_GOTO(dart_recipe_text(run->recipe, true, &file[3].data));
    file[4].data = vocab_text(&run->corpus->vocab);
    const uint32_t files = run->corpus->source_vocab.size ? 6 : 5;
    if (files == 6) file[5].data = vocab_text(&run->corpus->source_vocab);
    if (!file[2].data || !file[4].data || (files == 6 && !file[5].data)) {
        status = dart_fail(DART_MEMORY, "out of memory: writing a checkpoint");
        goto done;
    }
    for (uint32_t i = 2; i < files; i++) file[i].size = strlen(file[i].data);
    snprintf(root, sizeof root, "%s/checkpoints", run->dir);
    DART_GOTO(
        dart_checkpoint_write(root, run->step, file, files, (uint32_t)run->set.save_total_limit));
done:
    for (int i = 0; i < 6; i++) free(file[i].data);
    return status;
}

dart_status dart_run_load(
    dart_run *run, const dart_checkpoint *checkpoint, bool with_state, bool force)
{
    dart_status status = DART_OK;
    uint32_t(*ranks)[DART_MAX_CORES + 1] = NULL;
    const dart_checkpoint_file *file = dart_checkpoint_find(checkpoint, "trainer_state.json");
    json_t *body = file ? json_loadb(file->data, file->size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *data = json_string_value(json_object_get(body, "data"));
    if (!body || json_integer_value(json_object_get(body, "format")) != FORMAT || !data) {
        status = dart_fail(DART_INPUT, "%s has no readable trainer_state.json", checkpoint->path);
        goto done;
    }
    if (with_state && !force && strcmp(data, run->fingerprint)) {
        status = dart_fail(DART_INPUT,
            "the text or its vocabulary changed since %s was written; restore it, or use --force",
            checkpoint->path);
        goto done;
    }
    DART_GOTO(dart_run_gate_read(run, json_object_get(body, "gate"), checkpoint->path));
    const dart_run_gate gate = run->gate;
    run->gate = (dart_run_gate){0}; /* which ranks they lie on is not known yet */
    DART_GOTO(dart_run_model(run, NULL));
    ranks = dart_calloc(run->model->weights, sizeof *ranks);
    if (!ranks) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(read_ranks(body, run->model, checkpoint->path, ranks));
    run->gate = gate;
    DART_GOTO(dart_run_model(run, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks));
    DART_GOTO(unpack(run, checkpoint, "model.safetensors", false));
    if (!with_state) {
        status = dart_run_gate_strip(run, NULL);
        goto done;
    }
    DART_GOTO(unpack(run, checkpoint, "optimizer.safetensors", true));
    read_position(run, body);
    if (run->at_stage > run->stages) {
        status = dart_fail(DART_INPUT, "the checkpoint %s is at stage %u of %u", checkpoint->path,
            run->at_stage + 1, run->stages);
        goto done;
    }
done:
    free(ranks);
    json_decref(body);
    return status;
}

static void forward_note(void *user, const char *line)
{
    const dart_hooks *hooks = user;
    if (hooks->note) hooks->note(hooks->user, line);
}

dart_status dart_model_open(const char *model_path, const dart_recipe *overrides,
    const dart_hooks *hooks, dart_checkpoint *out_checkpoint, dart_recipe **out_recipe)
{
    dart_status status = DART_OK;
    char path[4096 + 32];
    dart_hooks none = {0};
    if (hooks) none = *hooks;
    *out_recipe = NULL;
    *out_checkpoint = (dart_checkpoint){0};
    if (snprintf(path, sizeof path, "%s/manifest.json", model_path) >= (int)sizeof path)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", model_path);
    if (dart_file_exists(path)) {
        DART_TRY(dart_checkpoint_open(model_path, out_checkpoint));
    } else {
        snprintf(path, sizeof path, "%s/checkpoints", model_path);
        if (!dart_file_exists(path))
            return dart_fail(DART_INPUT,
                "%s is neither a run directory nor a checkpoint; give the path that train printed",
                model_path);
        DART_TRY(dart_checkpoint_newest(path, forward_note, &none, out_checkpoint));
    }
    snprintf(path, sizeof path, "%s/recipe.yaml", out_checkpoint->path);
    DART_GOTO(dart_recipe_new(out_recipe));
    DART_GOTO(dart_recipe_load(*out_recipe, path));
    if (overrides) DART_GOTO(dart_recipe_overlay(*out_recipe, overrides));
done:
    if (status != DART_OK) {
        dart_checkpoint_close(out_checkpoint);
        dart_recipe_free(*out_recipe);
        *out_recipe = NULL;
    }
    return status;
}
