/* The method `gptq`: from a bundle to one whose chosen matrices are rounded to a packed format. */
#include "compress.h"
#include "decompose.h"
#include "gptq.h"
#include "stop.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rounding {
    const dart_bundle *from; /* borrowed */
    dart_bundle *to;         /* borrowed */
    dart_packed format;
    dart_compress_fate *fate; /* owned [weights]; NETWORK: is rounded */
    dart_covariances moments;
    double *root;     /* owned: of moments; NULL: none yet */
    uint32_t root_of; /* which of them */
    dart_compression *out;
} rounding;

bool dart_compress_rounds(const dart_compress_options *options)
{
    return options->method && !strcmp(options->method, "gptq");
}

static bool format_named(const char *name, dart_packed *out)
{
    for (int f = 0; f < DART_PACKED_FORMATS; f++)
        if (dart_gptq_format((dart_packed)f) &&
            !strcmp(name, dart_packed_info_of((dart_packed)f).name)) {
            *out = (dart_packed)f;
            return true;
        }
    return false;
}

dart_status dart_compress_check_rounding(const dart_compress_options *o)
{
    dart_packed ignored;
    const char *dtype = o->dtype && *o->dtype ? o->dtype : "f32";
    const bool ranks = o->ranks && *o->ranks, metric = o->metric && *o->metric;
    if (o->target != 0 || o->epsilon != 0 || ranks || metric)
        return dart_fail(DART_USAGE,
            "the method 'gptq' rounds every number and leaves none out: leave out %s",
            o->target != 0    ? "--target"
            : o->epsilon != 0 ? "--epsilon"
            : ranks           ? "--ranks"
                              : "--metric, it is near to outputs");
    if (!format_named(dtype, &ignored))
        return dart_fail(DART_USAGE,
            "the method 'gptq' rounds to a format of blocks with a scale each: one of %s "
            "(--base-dtype), got '%.40s'",
            dart_gptq_formats(), dtype);
    if (!o->calibrate || !*o->calibrate)
        return dart_fail(DART_USAGE, "the method 'gptq' is near to the outputs over a text: give "
                                     "one with --calibrate");
    return dart_compress_check_out(o);
}

/* ---- what is rounded ---- */

/* Rows that are no whole blocks stay as they are, as they do where a base is packed. */
static dart_status choose(rounding *c, const dart_compress_options *options)
{
    const dart_packed_info format = dart_packed_info_of(c->format);
    const dart_model *model = c->from->model;
    uint32_t rounded = 0;
    DART_TRY(dart_compress_weights(c->from, options, c->fate));
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_weight *weight = &model->weight[w].weight;
        const int i = (int)w;
        if (c->fate[w] == DART_FATE_OTHER) continue;
        if (i != model->head && (i == model->embedding || i == model->source_embedding))
            return dart_fail(DART_INPUT,
                "modules: %s is a table that nothing is multiplied by, so there are no outputs to "
                "be near to; leave it out",
                weight->name);
        if (weight->in % format.block) c->fate[w] = DART_FATE_KEPT;
        rounded += c->fate[w] == DART_FATE_NETWORK;
    }
    if (rounded) return DART_OK;
    return dart_fail(DART_INPUT,
        "no matrix can be rounded: their rows are no whole blocks of %s, which have %u numbers; "
        "choose another --base-dtype",
        format.name, format.block);
}

/* ---- matrices ---- */

/* The root of the moments that belong to weight w. Neighbours often have the same. */
static dart_status root_of(rounding *c, uint32_t w)
{
    const uint32_t place = c->moments.place[w];
    const dart_covariance *of = &c->moments.of[place];
    double damping;
    if (c->root && c->root_of == place) return DART_OK;
    free(c->root);
    c->root = NULL;
    c->root_of = place;
    return dart_metric_root(of->size, of->sum, &c->root, &damping);
}

/* Of entries and of outputs, relative. */
static dart_status errors_of(const rounding *c, const dart_weight *weight, const float *matrix,
    const float *instead, double *out_error, double *out_output_error)
{
    for (int outputs = 0; outputs < 2; outputs++) {
        const dart_metric metric = {.in = outputs ? c->root : NULL};
        double *out = outputs ? out_output_error : out_error, whole;
        DART_TRY(dart_decompose_error(weight, matrix, instead, metric, out, &whole));
        if (whole > 0) *out /= whole;
    }
    return DART_OK;
}

/* `matrix` of weight w becomes what it is rounded to. */
static dart_status round_weight(rounding *c, uint32_t w, float *matrix, dart_compress_row *row)
{
    const dart_weight *weight = &c->from->model->weight[w].weight;
    const size_t count = (size_t)weight->out * weight->in;
    float *plain = dart_calloc(count, sizeof *plain), *rounded = dart_calloc(count, sizeof *plain);
    dart_status status = plain && rounded ? DART_OK : DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(root_of(c, w));
    DART_GOTO(dart_gptq(c->format, weight->out, weight->in, matrix,
        c->moments.of[c->moments.place[w]].sum, weight->name, plain, rounded));
    DART_GOTO(errors_of(c, weight, matrix, rounded, &row->error, &row->output_error));
    DART_GOTO(errors_of(c, weight, matrix, plain, &row->plain_error, &row->plain_output_error));
    snprintf(row->dtype, sizeof row->dtype, "%s", dart_packed_info_of(c->format).name);
    memcpy(matrix, rounded, count * sizeof *matrix);
done:
    free(plain);
    free(rounded);
    return status;
}

/* Weight w of the model that comes out, and its row where somebody asked for it. */
static dart_status make_weight(rounding *c, uint32_t w)
{
    const dart_weight *weight = &c->to->model->weight[w].weight;
    dart_status status = DART_OK;
    float *matrix;
    DART_TRY(dart_compress_matrix(c->from, w, &matrix));
    if (c->fate[w] != DART_FATE_OTHER) {
        dart_compress_row *row = &c->out->row[c->out->rows++];
        dart_compress_row_begin(weight, row);
        if (c->fate[w] == DART_FATE_NETWORK) DART_GOTO(round_weight(c, w, matrix, row));
    }
    status = dart_model_adopt(c->to->model, w, matrix, c->to->param, c->to->frozen, NULL, NULL);
done:
    free(matrix);
    return status;
}

/* Everything in it is frozen. */
static dart_status make_model(rounding *c)
{
    dart_bundle *to = c->to;
    uint64_t ignored[2];
    dart_compress_fate *none = dart_calloc(c->from->model->weights, sizeof *none);
    if (!none) return DART_MEMORY;
    const dart_status status = dart_compress_recipe(c->from, "frozen", none, 1, &to->recipe);
    free(none);
    DART_TRY(status);
    dart_recipe_settings(to->recipe, &to->set);
    DART_TRY(dart_bundle_model(to, NULL, NULL));
    DART_TRY(dart_bundle_begin(to));
    dart_compress_vectors(c->from, to);
    for (uint32_t w = 0; w < to->model->weights; w++) {
        DART_TRY(dart_stop_asked());
        DART_TRY(make_weight(c, w));
    }
    to->set.base = c->from->set.base;
    dart_model_count(to->model, &c->out->after, &ignored[0], &ignored[1]);
    c->out->before = c->out->after;
    return DART_OK;
}

dart_status dart_compress_round(const dart_bundle *from, const dart_compress_options *options,
    dart_note note, dart_bundle *to, dart_compression *out)
{
    rounding c = {.from = from, .to = to, .out = out};
    const uint32_t weights = from->model->weights;
    dart_status status = DART_OK;
    *to = (dart_bundle){.vocab = from->vocab, .source_vocab = from->source_vocab};
    *out = (dart_compression){0};
    DART_TRY(dart_compress_check_rounding(options));
    DART_TRY(dart_compress_check_model(from));
    if (!dart_vocab_tokenizer(from->vocab))
        return dart_fail(DART_INPUT,
            "the model's words are no tokenizer of another model's, and the method 'gptq' makes a "
            "pretrained model, which needs one");
    (void)format_named(options->dtype, &c.format);
    c.fate = dart_calloc(weights, sizeof *c.fate);
    out->row = dart_calloc(weights, sizeof *out->row);
    if (!c.fate || !out->row) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(choose(&c, options));
    DART_GOTO(dart_compress_calibrate(from, options, c.fate, false, note, &c.moments));
    status = make_model(&c);
done:
    free(c.fate);
    free(c.root);
    dart_covariances_free(&c.moments);
    return status;
}
