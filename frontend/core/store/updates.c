/* What adapters add to a pretrained model: read and put beside each other. */
#include "updates.h"
#include "c_locale.h"
#include "file.h"
#include "option.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dart_updates_free(dart_updates *a)
{
    for (uint32_t i = 0; i < a->count; i++) {
        free(a->update[i].b);
        free(a->update[i].a);
    }
    free(a->update);
    for (int i = 0; i < DART_ADAPTER_PARTS; i++) free(a->head.part[i]);
    *a = (dart_updates){0};
}

dart_update *dart_updates_find(const dart_updates *a, const char *name)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (!strcmp(a->update[i].name, name)) return &a->update[i];
    return NULL;
}

/* ---- adding ---- */

static void scale_into(dart_update *u)
{
    for (size_t i = 0; i < (size_t)u->out * u->rank; i++) u->b[i] = (float)(u->scale * u->b[i]);
    u->scale = 1;
}

/* Both as one of the sum of their ranks: (B B') and (A; A'). */
static dart_status join(dart_update *u, dart_update *other)
{
    const uint32_t rank = u->rank + other->rank;
    float *b = dart_calloc((size_t)u->out * rank, sizeof *b);
    float *a = dart_calloc((size_t)rank * u->in, sizeof *a);
    if (!a || !b) {
        free(a);
        free(b);
        return DART_MEMORY;
    }
    scale_into(u);
    scale_into(other);
    for (uint32_t i = 0; i < u->out; i++) {
        memcpy(b + (size_t)i * rank, u->b + (size_t)i * u->rank, u->rank * sizeof *b);
        memcpy(b + (size_t)i * rank + u->rank, other->b + (size_t)i * other->rank,
            other->rank * sizeof *b);
    }
    memcpy(a, u->a, (size_t)u->rank * u->in * sizeof *a);
    memcpy(a + (size_t)u->rank * u->in, other->a, (size_t)other->rank * u->in * sizeof *a);
    free(u->a);
    free(u->b);
    u->a = a;
    u->b = b;
    u->rank = rank;
    return DART_OK;
}

/* A rank above that of any matrix of this shape: the product itself, beside an identity. */
static dart_status shorten(dart_update *u)
{
    const uint32_t rank = u->out < u->in ? u->out : u->in;
    if (u->rank <= rank) return DART_OK;
    float *product = dart_calloc((size_t)u->out * u->in, sizeof *product);
    float *identity = dart_calloc((size_t)rank * rank, sizeof *identity);
    if (!product || !identity) {
        free(product);
        free(identity);
        return DART_MEMORY;
    }
    for (uint32_t i = 0; i < u->out; i++)
        for (uint32_t j = 0; j < u->in; j++) {
            double sum = 0;
            for (uint32_t k = 0; k < u->rank; k++)
                sum += (double)u->b[(size_t)i * u->rank + k] * u->a[(size_t)k * u->in + j];
            product[(size_t)i * u->in + j] = (float)sum;
        }
    for (uint32_t k = 0; k < rank; k++) identity[(size_t)k * rank + k] = 1;
    free(u->a);
    free(u->b);
    u->b = u->out == rank ? identity : product;
    u->a = u->out == rank ? product : identity;
    u->rank = rank;
    return DART_OK;
}

/* Takes other->b and other->a over, also after a failure. */
static dart_status add(dart_updates *a, dart_update *other)
{
    dart_update *u = dart_updates_find(a, other->name);
    dart_status status =
        u ? join(u, other)
          : dart_grow((void **)&a->update, &a->room, a->count + 1, sizeof *a->update);
    if (status != DART_OK || u) {
        free(other->b);
        free(other->a);
        return status == DART_OK ? shorten(u) : status;
    }
    a->update[a->count++] = *other;
    return shorten(&a->update[a->count - 1]);
}

/* ---- heads of classifiers ---- */

static dart_status begin_head(dart_updates *a, const char *path, uint32_t labels)
{
    if (a->head.labels)
        return dart_fail(DART_INPUT,
            "%s holds the head of a classifier, and so does one of the adapters before it; only "
            "one of them can be taken",
            path);
    a->head.labels = labels;
    return DART_OK;
}

static dart_status take_head(dart_updates *a, const dart_adapter *adapter, const char *path)
{
    const uint32_t labels = dart_adapter_labels(adapter);
    if (!labels) return DART_OK;
    DART_TRY(begin_head(a, path, labels));
    if (labels < 2 || labels > DART_LABELS)
        return dart_fail(DART_INPUT, "%s scores %u labels, and a classifier here has 2 to %d", path,
            labels, DART_LABELS);
    for (int i = 0; i < DART_ADAPTER_PARTS; i++) {
        const uint64_t words = dart_adapter_part_words(adapter, (dart_adapter_part)i);
        if (!words) continue;
        a->head.part[i] = dart_calloc(words, sizeof(float));
        a->head.words[i] = words;
        if (!a->head.part[i]) return DART_MEMORY;
        DART_TRY(dart_adapter_read_part(adapter, (dart_adapter_part)i, a->head.part[i]));
    }
    if (dart_pretrained_config_of(a->model)->post_norm)
        a->head.pooler = a->head.part[DART_ADAPTER_POOLER] ? "new" : "base";
    return DART_OK;
}

static dart_status copy_matrix(
    dart_update_head *head, dart_adapter_part part, const dart_bundle *b, int w)
{
    const dart_weight *weight = &b->model->weight[w].weight;
    head->words[part] = (uint64_t)weight->out * weight->in;
    return dart_bundle_matrix(b, (uint32_t)w, &head->part[part]);
}

static dart_status copy_vector(
    dart_update_head *head, dart_adapter_part part, const dart_bundle *b, int param)
{
    if (param < 0) return DART_OK;
    const dart_param *from = &b->model->param[param];
    const uint64_t words = dart_param_words(from);
    float *to = dart_calloc(words, sizeof *to);
    if (!to) return DART_MEMORY;
    memcpy(to, b->param + from->offset, words * sizeof *to);
    head->part[part] = to;
    head->words[part] = words;
    return DART_OK;
}

static dart_status take_run_head(dart_updates *a, const dart_bundle *b, const char *path)
{
    const dart_model *model = b->model;
    const dart_model_config *c = &model->config;
    dart_update_head *head = &a->head;
    if (!c->labels) return DART_OK;
    DART_TRY(begin_head(a, path, c->labels));
    snprintf(head->names, sizeof head->names, "%s", b->set.labels);
    DART_TRY(copy_matrix(head, DART_ADAPTER_CLASSIFIER, b, model->classifier));
    DART_TRY(copy_vector(head, DART_ADAPTER_CLASSIFIER_BIAS, b, model->classifier_bias));
    if (c->encoder) head->pooler = c->new_pooler ? "new" : c->pooler ? "base" : "none";
    if (!c->new_pooler) return DART_OK;
    DART_TRY(copy_matrix(head, DART_ADAPTER_POOLER, b, model->pooler));
    return copy_vector(head, DART_ADAPTER_POOLER_BIAS, b, model->pooler_bias);
}

/* Whether a run trained the weight, or the vector, as a part of its head. */
static bool in_head(const dart_model *model, int weight, int param)
{
    const bool pooler = model->config.new_pooler;
    if (weight >= 0) return weight == model->classifier || (pooler && weight == model->pooler);
    return param == model->classifier_bias || (pooler && param == model->pooler_bias);
}

/* ---- reading ---- */

static dart_status take_peft(dart_updates *a, const char *path, double scale)
{
    dart_adapter *adapter;
    uint32_t count;
    dart_status status = DART_OK;
    DART_TRY(dart_adapter_open(path, a->model, &adapter));
    const dart_adapter_pair *pair = dart_adapter_pairs(adapter, &count);
    if (!a->files && scale == 1) {
        a->rank = dart_adapter_rank(adapter);
        a->alpha = dart_adapter_alpha(adapter, &a->rslora);
    }
    for (uint32_t i = 0; i < count; i++) {
        dart_update u = {.out = pair[i].out,
            .in = pair[i].in,
            .rank = pair[i].rank,
            .scale = scale * pair[i].scale,
            .b = dart_calloc((size_t)pair[i].out * pair[i].rank, sizeof *u.b),
            .a = dart_calloc((size_t)pair[i].rank * pair[i].in, sizeof *u.a)};
        snprintf(u.name, sizeof u.name, "%s", pair[i].name);
        status = u.a && u.b ? dart_adapter_read(adapter, i, u.b, u.a) : DART_MEMORY;
        if (status != DART_OK) {
            free(u.a);
            free(u.b);
            goto done;
        }
        DART_GOTO(add(a, &u));
    }
    status = take_head(a, adapter, path);
done:
    dart_adapter_close(adapter);
    return status;
}

/* Everything that training changed has to be in pairs, or in the head of a classifier. */
static dart_status check_run(const dart_bundle *b, const char *path)
{
    for (uint32_t p = 0; p < b->model->params; p++) {
        const dart_param *param = &b->model->param[p];
        const bool core =
            param->weight >= 0 && dart_layout_reduced(&b->model->weight[param->weight].layout);
        if (param->region == DART_REGION_PARAM && !core &&
            !in_head(b->model, param->weight, (int)p))
            return dart_fail(DART_INPUT,
                "%s trained %s too, which no adapter holds: open that run itself", path,
                param->name);
    }
    return DART_OK;
}

static dart_status take_weight(
    dart_updates *a, const dart_bundle *b, uint32_t w, const char *path, double scale)
{
    const dart_model_weight *weight = &b->model->weight[w];
    float *tensor[DART_MAX_CORES + 2];
    dart_update u = {.out = weight->weight.out, .in = weight->weight.in, .scale = scale};
    snprintf(u.name, sizeof u.name, "%s", weight->weight.name);
    dart_model_tensors(b->model, w, b->param, b->frozen, NULL, tensor);
    if (!weight->layout.takes_apart && !dart_network_of(&weight->weight, &weight->layout).rescaled)
        DART_TRY(dart_method_pair(&weight->weight, &weight->layout, tensor, &u.rank, &u.b, &u.a));
    if (u.rank) return add(a, &u);
    return dart_fail(DART_INPUT,
        "%s: the method %s of %s is no LoRA pair as it is; export the run first (--format peft) "
        "and "
        "give that folder",
        path, weight->weight.method->name, u.name);
}

static dart_status take_run(dart_updates *a, const char *path, double scale)
{
    dart_recipe *over = NULL;
    dart_bundle b = {0};
    dart_status status = DART_OK;
    if (!dart_file_exists(path))
        return dart_fail(DART_INPUT,
            "there is no adapter at %s; a folder with adapter_config.json (PEFT), or a run is "
            "expected",
            path);
    DART_GOTO(dart_recipe_new(&over));
    DART_GOTO(dart_recipe_set(over, "base", a->base));
    DART_GOTO(dart_bundle_stored(path, over, a->note, &b));
    DART_GOTO(check_run(&b, path));
    for (uint32_t w = 0; w < b.model->weights; w++)
        if (dart_layout_reduced(&b.model->weight[w].layout) && !in_head(b.model, (int)w, -1))
            DART_GOTO(take_weight(a, &b, w, path, scale));
    status = take_run_head(a, &b, path);
done:
    dart_bundle_free(&b);
    dart_recipe_free(over);
    return status;
}

/* "PATH=SCALE" or a path alone; the text is cut. */
static dart_status read_scale(char *text, double *out)
{
    static const dart_option_row row = {
        .key = "the scale of an adapter", .kind = DART_OPTION_FLOAT, .least = -1e6, .most = 1e6};
    char *equals = strrchr(text, '=');
    *out = 1;
    if (!equals || dart_adapter_found(text)) return DART_OK;
    *equals = 0;
    return dart_option_read(&row, equals + 1, out);
}

dart_status dart_updates_read(dart_updates *a, const char *list, char *places)
{
    char text[DART_RECIPE_TEXT], whole[PATH_MAX], *rest = NULL;
    size_t used = 0;
    snprintf(text, sizeof text, "%s", list);
    for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        double scale;
        DART_TRY(read_scale(one, &scale));
        DART_TRY((dart_adapter_found(one) ? take_peft : take_run)(a, one, scale));
        if (a->files++) a->rank = 0;
        if (!places) continue;
        if (!realpath(one, whole)) return dart_fail(DART_INPUT, "cannot find %s any more", one);
        char number[64] = "";
        if (scale != 1) snprintf(number, sizeof number, "=%.40s", one + strlen(one) + 1);
        if (used < DART_RECIPE_TEXT)
            used += (size_t)snprintf(
                places + used, DART_RECIPE_TEXT - used, "%s%s%s", used ? "," : "", whole, number);
    }
    if (places && used >= DART_RECIPE_TEXT) places[0] = 0;
    if (!a->files) return dart_fail(DART_USAGE, "adapter names no folder");
    return DART_OK;
}
