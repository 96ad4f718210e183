/* From the files of a pretrained model to a recipe and to values. */
#include "base.h"
#include "adopt.h"
#include "classes.h"
#include "file.h"
#include "packed_rows.h"
#include "recipe_impl.h"
#include "text.h"
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* A training window unless one is given; longer ones cost memory and time. */
enum { WINDOW = 256, LABELLED_WINDOW = 128 };

static bool ends_with(const char *text, const char *tail)
{
    const size_t n = strlen(text), m = strlen(tail);
    return n >= m && !strcmp(text + n - m, tail);
}

bool dart_base_found(const char *path)
{
    char inner[PATH_MAX];
    if (ends_with(path, ".gguf") || ends_with(path, ".bin")) return true;
    return snprintf(inner, sizeof inner, "%s/config.json", path) < (int)sizeof inner &&
           dart_file_exists(inner);
}

/* Whether `folder`, which was found for a name, is called so: $DART_DATA itself may be another. */
static bool is_named(const char *folder, const char *name)
{
    const char *last = strrchr(folder, '/');
    return last && !strcmp(last + 1, name);
}

void dart_base_named(const char *given, char out[PATH_MAX])
{
    char folder[PATH_MAX];
    snprintf(out, PATH_MAX, "%s", given);
    if (!*given || strchr(given, '/') || access(given, F_OK) == 0) return;
    if (dart_data_folder(given, "model.gguf", folder) && is_named(folder, given) &&
        snprintf(out, PATH_MAX, "%s/model.gguf", folder) < PATH_MAX)
        return;
    snprintf(out, PATH_MAX, "%s",
        dart_data_folder(given, "config.json", folder) && is_named(folder, given) ? folder : given);
}

dart_status dart_base_locate(dart_recipe *recipe)
{
    char given[DART_RECIPE_TEXT], path[PATH_MAX];
    DART_TRY(dart_recipe_get(recipe, "base", given, sizeof given));
    dart_base_named(given, path);
    return strcmp(given, path) ? dart_recipe_set(recipe, "base", path) : DART_OK;
}

/* ---- the recipe ---- */

/* What a key has to be. Another value that was given is refused. */
static dart_status fix(dart_recipe *recipe, const char *path, const char *key, const char *format,
    ...) __attribute__((format(printf, 4, 5)));

static dart_status fix(
    dart_recipe *recipe, const char *path, const char *key, const char *format, ...)
{
    char wanted[64], given[512];
    va_list args;
    va_start(args, format);
    vsnprintf(wanted, sizeof wanted, format, args);
    va_end(args);
    if (dart_recipe_has(recipe, key)) {
        DART_TRY(dart_recipe_get(recipe, key, given, sizeof given));
        /* `auto` and `0` leave it to the base. */
        const bool left = !strcmp(given, "auto") || !strcmp(given, "0");
        if (!left && !dart_recipe_same_value(dart_recipe_key(key), given, wanted))
            return dart_fail(DART_INPUT,
                "%s is %s in %s, and cannot be %s; leave it out, the base decides", key, wanted,
                path, given);
    }
    return dart_recipe_set(recipe, key, wanted);
}

/* What a key is unless it was given. */
static dart_status prefer(dart_recipe *recipe, const char *key, const char *value)
{
    return dart_recipe_has(recipe, key) ? DART_OK : dart_recipe_set(recipe, key, value);
}

static dart_status resolve_rope(
    dart_recipe *recipe, const char *path, const dart_pretrained_rope *rope)
{
    static const char *const names[] = {[DART_PRETRAINED_PLAIN] = "none",
        [DART_PRETRAINED_LINEAR] = "linear",
        [DART_PRETRAINED_LLAMA3] = "llama3"};
    if (rope->base <= 0) return fix(recipe, path, "pos", "learned");
    if (rope->scaling == DART_PRETRAINED_FACTORS)
        return dart_fail(DART_INPUT,
            "%s stretches its rotary positions by a number for each pair, which this program does "
            "not compute; give the Hugging Face folder of the model instead",
            path);
    DART_TRY(fix(recipe, path, "pos", "rope"));
    DART_TRY(fix(recipe, path, "rope_base", "%.17g", rope->base));
    DART_TRY(fix(recipe, path, "rope_scaling", "%s", names[rope->scaling]));
    if (rope->scaling == DART_PRETRAINED_PLAIN) return DART_OK;
    DART_TRY(fix(recipe, path, "rope_factor", "%.17g", rope->factor));
    if (rope->scaling != DART_PRETRAINED_LLAMA3) return DART_OK;
    DART_TRY(fix(recipe, path, "rope_low", "%.17g", rope->low));
    DART_TRY(fix(recipe, path, "rope_high", "%.17g", rope->high));
    return fix(recipe, path, "rope_context", "%" PRIu32, rope->original_context);
}

static dart_status resolve_act(
    dart_recipe *recipe, const char *path, const dart_pretrained_config *c)
{
    static const char *const names[] = {[DART_PRETRAINED_SWIGLU] = "swiglu",
        [DART_PRETRAINED_GELU_TANH] = "gelu",
        [DART_PRETRAINED_GELU_ERF] = "gelu_erf",
        [DART_PRETRAINED_RELU] = "relu"};
    return fix(recipe, path, "act", "%s", names[c->act]);
}

/* The window of training and evaluation. */
static dart_status resolve_context(
    dart_recipe *recipe, const char *path, const dart_pretrained_config *c)
{
    char text[32];
    dart_settings set;
    dart_recipe_settings(recipe, &set);
    const uint32_t window = *set.labels ? LABELLED_WINDOW : WINDOW;
    snprintf(text, sizeof text, "%u", c->context < window ? c->context : window);
    DART_TRY(prefer(recipe, "context", text));
    dart_recipe_settings(recipe, &set);
    if ((uint64_t)set.context > c->context)
        return dart_fail(DART_INPUT,
            "a context of %" PRId64 " is longer than the %u positions of %s; use a smaller "
            "--context",
            set.context, c->context, path);
    if (c->sliding_window && (uint64_t)set.context > c->sliding_window)
        return dart_fail(DART_INPUT,
            "%s looks back %u tokens at most, which this program does not do; use a --context of "
            "at "
            "most %u, where it makes no difference",
            path, c->sliding_window, c->sliding_window);
    return DART_OK;
}

dart_status dart_base_name_labels(dart_recipe *recipe, uint32_t numbers)
{
    char labels[DART_LABELS_TEXT] = "";
    dart_settings set;
    dart_recipe_settings(recipe, &set);
    if (*set.labels || set.unlabelled) return DART_OK;
    const char *named = dart_labelled_labels(set.dataset);
    if (named)
        snprintf(labels, sizeof labels, "%s", named);
    else if (*set.examples && !*set.prompt_column && !*set.completion_column)
        DART_TRY(dart_labels_find(set.examples, set.text_column, labels));
    const bool numbered = !*labels && numbers <= DART_LABELS;
    for (uint32_t i = 0, at = 0; numbered && i < numbers; i++)
        at += (uint32_t)snprintf(labels + at, sizeof labels - at, "%s%u", i ? "," : "", i);
    return *labels ? dart_recipe_set(recipe, "labels", labels) : DART_OK;
}

/* What is classified, and what reads the text for it. */
static dart_status resolve_labels(
    dart_recipe *recipe, const char *path, const dart_pretrained_config *c)
{
    dart_settings set;
    uint32_t count;
    dart_recipe_settings(recipe, &set);
    if (set.unlabelled && c->labels)
        return dart_fail(DART_INPUT,
            "%s scores %u labels and no tokens, and labels: none trains a model of the texts; take "
            "the model that it was made from",
            path, c->labels);
    DART_TRY(dart_base_name_labels(recipe, c->labels));
    dart_recipe_settings(recipe, &set);
    if (!*set.labels) {
        if (!c->post_norm) return DART_OK;
        return dart_fail(DART_INPUT,
            "%s is a model of the kind of %s, which reads a text from both sides and can only "
            "classify it; give data with labels (--dataset glue-rte, or --data with lines of "
            "{\"text\": \"..\", \"label\": ..})",
            path, dart_pretrained_arch_name(c->arch));
    }
    DART_TRY(dart_labels_count(set.labels, &count));
    if (c->labels && c->labels != count)
        return dart_fail(DART_INPUT,
            "%s scores %u labels, and the data have %u (%.200s); take the model that it was made "
            "from, without a classifier",
            path, c->labels, count, set.labels);
    if (!c->post_norm) return DART_OK;
    DART_TRY(fix(recipe, path, "token_types", "%" PRIu32, c->token_types));
    DART_TRY(prefer(recipe, "pooler", c->pooler ? "base" : "new"));
    dart_recipe_settings(recipe, &set);
    if (set.pooler == DART_POOLER_BASE && !c->pooler)
        return dart_fail(DART_INPUT, "%s has no pooler; take --pooler new or none", path);
    return DART_OK;
}

static dart_status resolve_model(
    dart_recipe *recipe, const char *path, const dart_pretrained_config *c)
{
    static const char *const biases[] = {[DART_PRETRAINED_NO_BIAS] = "false",
        [DART_PRETRAINED_QKV_BIAS] = "qkv",
        [DART_PRETRAINED_ALL_BIAS] = "true"};
    const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {{"layers", c->layers}, {"d_model", c->d_model}, {"heads", c->heads},
        {"kv_heads", c->kv_heads}, {"head_dim", c->head_dim}, {"d_ff", c->d_ff},
        {"vocab_size", c->vocab}};
    const char *arch = c->post_norm ? "encoder" : c->arch == DART_PRETRAINED_GPT2 ? "gpt" : "llama";
    DART_TRY(fix(recipe, path, "arch", "%s", arch));
    DART_TRY(resolve_labels(recipe, path, c));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        DART_TRY(fix(recipe, path, sizes[i].key, "%" PRIu32, sizes[i].value));
    DART_TRY(fix(recipe, path, "norm", "%s", c->rms_norm ? "rmsnorm" : "layernorm"));
    DART_TRY(fix(recipe, path, "norm_eps", "%.17g", c->norm_eps));
    DART_TRY(resolve_act(recipe, path, c));
    DART_TRY(resolve_rope(recipe, path, &c->rope));
    DART_TRY(fix(recipe, path, "tied_head", "%s", c->tied ? "true" : "false"));
    DART_TRY(fix(recipe, path, "bias", "%s", biases[c->bias]));
    DART_TRY(fix(recipe, path, "qk_norm", "%s", c->qk_norm ? "true" : "false"));
    return resolve_context(recipe, path, c);
}

/* Fine-tuning is not training from scratch. A dense method is full fine-tuning: everything is
 * trained, at a rate that does not destroy what is there. */
static dart_status resolve_defaults(dart_recipe *recipe, bool tied)
{
    dart_settings set;
    DART_TRY(prefer(recipe, "linear", "lora"));
    DART_TRY(prefer(recipe, "rank", "8"));
    dart_recipe_settings(recipe, &set);
    if (set.linear->adapter && !*set.target_modules) {
        char width[16];
        snprintf(width, sizeof width, "%" PRIu32, set.linear->adapter);
        DART_TRY(prefer(recipe, "adapter_size", width));
        dart_recipe_settings(recipe, &set);
    }
    if (set.linear->targets && !set.adapter_size) {
        DART_TRY(prefer(recipe, "target_modules", set.linear->targets));
        dart_recipe_settings(recipe, &set);
    }
    const bool full =
        !strcmp(set.linear->name, "dense") && !*set.target_modules && !set.adapter_size;
    const char *rest = full ? "dense" : "frozen";
    DART_TRY(prefer(recipe, "embedding", rest));
    if (!tied && !*set.labels) DART_TRY(prefer(recipe, "head", rest));
    DART_TRY(prefer(recipe, "train_vectors", full ? "true" : "false"));
    const bool own = !full && (!set.adapter_size || *set.target_modules);
    if (own && dart_option_named(set.linear->options, "frozen_base"))
        DART_TRY(prefer(recipe, "frozen_base", "true"));
    DART_TRY(prefer(recipe, "dropout", "0"));
    DART_TRY(prefer(recipe, "learning_rate", full ? "5e-5" : "1e-3"));
    DART_TRY(prefer(recipe, "reg", "none"));
    return prefer(recipe, "select", "none");
}

static dart_status check_no_base(const dart_recipe *recipe)
{
    dart_settings set;
    dart_recipe_settings(recipe, &set);
    if (!dart_base_packs(&set)) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s says how a pretrained model is kept, and there is none; give one with --base, or leave "
        "it out",
        set.base_dtype != DART_BASE_DTYPE_F32 ? "base_dtype" : "base_embedding_dtype");
}

dart_status dart_base_resolve(dart_recipe *recipe)
{
    char path[PATH_MAX], whole[PATH_MAX];
    dart_pretrained *model;
    DART_TRY(dart_base_locate(recipe));
    DART_TRY(dart_recipe_get(recipe, "base", path, sizeof path));
    if (!*path) return check_no_base(recipe);
    DART_TRY(dart_pretrained_open(path, &model));
    const dart_pretrained_config *c = dart_pretrained_config_of(model);
    dart_status status = resolve_model(recipe, path, c);
    if (status == DART_OK) status = resolve_defaults(recipe, c->tied);
    dart_pretrained_close(model);
    DART_TRY(status);
    if (!realpath(path, whole)) return dart_fail(DART_INPUT, "cannot find %s any more", path);
    return dart_recipe_set(recipe, "base", whole);
}

/* ---- values ---- */

typedef struct filling {
    const dart_pretrained *base;
    const dart_model *model;
    float *param, *frozen;
    XXH3_state_t *hash;
    dart_base_report *out;
} filling;

static float *place_of(const filling *f, const dart_param *param)
{
    return (param->region == DART_REGION_FROZEN ? f->frozen : f->param) + param->offset;
}

static dart_status read_all(
    const filling *f, const char *name, uint64_t first, uint64_t rows, uint64_t columns, float *to)
{
    DART_TRY(dart_pretrained_read(f->base, name, first, rows, to));
    XXH3_128bits_update(f->hash, to, rows * columns * sizeof *to);
    return DART_OK;
}

/* What a base may lack keeps its initial values. */
static bool is_new(const filling *f, const char *name)
{
    const bool pooler = !strncmp(name, "pooler", 6);
    return (pooler && f->model->config.new_pooler) ||
           ((pooler || !strncmp(name, "classifier", 10)) && !dart_pretrained_find(f->base, name));
}

static dart_status fill_vector(const filling *f, const dart_param *param)
{
    const uint32_t columns = param->shape.rank > 1 ? param->shape.dim[1] : 1;
    if (is_new(f, param->name)) return DART_OK;
    /* roberta's first rows of positions belong to no text */
    const bool positions = (int)(param - f->model->param) == f->model->positions;
    const uint64_t first = positions ? dart_pretrained_config_of(f->base)->first_position : 0;
    return read_all(f, param->name, first, param->shape.dim[0], columns, place_of(f, param));
}

/* A matrix that is packed as it is: some rows at a time, and what its file has in the very format
 * is not rounded again. */
static dart_status fill_packed(const filling *f, const dart_param *param, const char *name)
{
    enum { PIECE = 1 << 16 };
    const dart_pretrained_tensor *t = dart_pretrained_find(f->base, name);
    const uint32_t all = param->shape.dim[0], columns = param->shape.dim[1];
    const uint32_t most = columns < PIECE ? PIECE / columns : 1;
    const dart_packed format = dart_dtype_format(param->type);
    const uint32_t pitch = dart_packed_pitch(format, columns);
    uint32_t *to = (uint32_t *)(void *)place_of(f, param);
    dart_packed like;
    dart_status status = DART_OK;
    float *piece = dart_calloc((size_t)most * columns, sizeof *piece);
    if (!piece) return DART_MEMORY;
    const bool same =
        t && !t->transposed && dart_packed_like(t->format->id, &like) && like == format;
    for (uint32_t first = 0; first < all && status == DART_OK; first += most) {
        const uint32_t rows = all - first < most ? all - first : most;
        status = dart_pretrained_read(f->base, name, first, rows, piece);
        if (status != DART_OK) break;
        XXH3_128bits_update(f->hash, piece, (size_t)rows * columns * sizeof *piece);
        uint32_t *words = to + (size_t)first * pitch;
        for (uint32_t r = 0; same && r < rows; r++)
            dart_packed_take(format, t->data + dart_pretrained_row(t, first + r) * t->stride,
                columns, words + (size_t)r * pitch);
        if (!same) status = dart_packed_encode(format, piece, rows, columns, name, words);
    }
    free(piece);
    return status;
}

/* Lengths of rows are those of the matrix as it is kept. */
static dart_status fill_lengths(const filling *f, uint32_t w)
{
    const dart_model_weight *weight = &f->model->weight[w];
    float *tensor[DART_MAX_CORES + 2], *unpacked = NULL;
    if (!dart_network_of(&weight->weight, &weight->layout).rescaled) return DART_OK;
    if (dart_model_packed(f->model, w))
        DART_TRY(dart_base_unpack(f->model, w, f->frozen, &unpacked));
    dart_model_tensors(f->model, w, f->param, f->frozen, unpacked, tensor);
    const dart_status status = dart_method_lengths(&weight->weight, &weight->layout, tensor);
    free(unpacked);
    return status;
}

/* First values that a method chooses by the matrix beside which they stand. */
static dart_status fill_start(const filling *f, uint32_t w)
{
    const dart_weight *weight = &f->model->weight[w].weight;
    const size_t words = (size_t)weight->out * weight->in;
    float *matrix = dart_calloc(words, sizeof *matrix), *unpacked = NULL;
    dart_status status = matrix ? DART_OK : DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(dart_pretrained_read(f->base, weight->name, 0, weight->out, matrix));
    if (dart_model_packed(f->model, w)) unpacked = dart_calloc(words, sizeof *unpacked);
    if (dart_model_packed(f->model, w) && !unpacked)
        status = DART_MEMORY;
    else
        status = dart_model_adopt(f->model, w, matrix, f->param, f->frozen, unpacked, NULL);
done:
    free(matrix);
    free(unpacked);
    return status;
}

/* A weight whose method keeps the matrix as it is takes it without a copy. */
static dart_status fill_weight(const filling *f, uint32_t w)
{
    const dart_model_weight *weight = &f->model->weight[w];
    const dart_layout *layout = &weight->layout;
    const dart_param *packed = dart_model_packed(f->model, w);
    const uint32_t rows = weight->weight.out, columns = weight->weight.in;
    float *unpacked = NULL;
    double error = 0;
    if (is_new(f, weight->weight.name)) return DART_OK;
    if (!layout->takes_apart && layout->tensors && layout->padded_out == rows &&
        !strcmp(layout->tensor[0].name, "weight")) {
        DART_TRY(packed ? fill_packed(f, packed, weight->weight.name)
                        : read_all(f, weight->weight.name, 0, rows, columns,
                              place_of(f, &f->model->param[weight->first_param])));
        if (layout->follows) DART_TRY(fill_start(f, w));
        return fill_lengths(f, w);
    }
    dart_status status = DART_OK;
    float *matrix = dart_calloc((size_t)rows * columns, sizeof *matrix);
    if (packed) unpacked = dart_calloc((size_t)rows * columns, sizeof *unpacked);
    if (!matrix || (packed && !unpacked)) status = DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(read_all(f, weight->weight.name, 0, rows, columns, matrix));
    DART_GOTO(dart_model_adopt(f->model, w, matrix, f->param, f->frozen, unpacked, &error));
    if (packed)
        status = dart_packed_encode(dart_dtype_format(packed->type), unpacked, rows, columns,
            weight->weight.name, (uint32_t *)(void *)place_of(f, packed));
    if (packed && status == DART_OK) status = fill_lengths(f, w);
done:
    free(matrix);
    free(unpacked);
    /* Rounding of f32 is no loss. */
    if (error > f->out->error && error > 1e-5) {
        f->out->error = error;
        snprintf(f->out->worst, sizeof f->out->worst, "%s", weight->weight.name);
    }
    return status;
}

static dart_status fill(const filling *f)
{
    for (uint32_t p = 0; p < f->model->params; p++) {
        const dart_param *param = &f->model->param[p];
        if (param->weight < 0 && !param->gate && !param->added) DART_TRY(fill_vector(f, param));
    }
    for (uint32_t w = 0; w < f->model->weights; w++)
        if (!f->model->weight[w].added) DART_TRY(fill_weight(f, w));
    return DART_OK;
}

dart_status dart_base_fill(
    const char *path, const dart_model *model, float *param, float *frozen, dart_base_report *out)
{
    dart_pretrained *base;
    *out = (dart_base_report){0};
    DART_TRY(dart_pretrained_open(path, &base));
    filling f = {base, model, param, frozen, XXH3_createState(), out};
    dart_status status = f.hash ? DART_OK : DART_MEMORY;
    if (f.hash) {
        XXH3_128bits_reset(f.hash);
        status = fill(&f);
        const XXH128_hash_t hash = XXH3_128bits_digest(f.hash);
        snprintf(out->hash, sizeof out->hash, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64,
            (uint64_t)hash.low64);
    }
    XXH3_freeState(f.hash);
    dart_pretrained_close(base);
    return status;
}
