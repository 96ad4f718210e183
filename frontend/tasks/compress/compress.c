/* From a model to one whose chosen matrices are tensor networks, as a run directory. */
#include "compress.h"
#include "decompose.h"
#include "save.h"
#include "setup.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As a recipe can ask for it: as large as bonds are anywhere. */
enum { FULL_RANK = 4096 };

typedef struct compressing {
    const dart_compress_options *options;
    dart_note note;
    dart_compression *out;
    const char *method; /* as recipes name it */
    dart_compress_ranks how;
    dart_compress_metric metric;
    const dart_bundle *from; /* borrowed */
    dart_bundle to;
    dart_model *full;                      /* owned: the networks at full ranks, without values */
    dart_compress_fate *fate;              /* owned [weights] */
    double *(*sigma)[DART_CHAIN_MAX];      /* owned [weights] */
    uint32_t (*ranks)[DART_MAX_CORES + 1]; /* owned [weights] */
    dart_covariances moments;              /* where there is a text to calibrate with */
    double *root[2];                       /* owned: of inputs, and of gradients; NULL: none */
    uint32_t root_of[2];                   /* which of the moments each is the root of */
} compressing;

/* ---- what is asked for ---- */

static dart_status check_metric(compressing *c)
{
    static const char *const names[] = {[DART_NEAR_ENTRIES] = "entries",
        [DART_NEAR_OUTPUTS] = "outputs",
        [DART_NEAR_LOSS] = "loss"};
    const dart_compress_options *o = c->options;
    const bool text = o->calibrate && *o->calibrate;
    int metric = text ? DART_NEAR_OUTPUTS : DART_NEAR_ENTRIES;
    if (o->metric && *o->metric) {
        for (metric = DART_NEAR_LOSS; metric >= 0 && strcmp(o->metric, names[metric]);) metric--;
        if (metric < 0)
            return dart_fail(
                DART_USAGE, "unknown metric '%.40s'; known are entries, outputs, loss", o->metric);
        if (text != (metric != DART_NEAR_ENTRIES))
            return dart_fail(DART_USAGE, "the metric '%s' %s", o->metric,
                text ? "reads no text: leave out --calibrate"
                     : "is measured over a text: give one with --calibrate");
    }
    c->metric = (dart_compress_metric)metric;
    return DART_OK;
}

static dart_status check_options(compressing *c)
{
    static const struct {
        const char *name, *method;
    } methods[] = {{"svd", "lowrank"}, {"tt", "tt"}, {"ttm", "ttm"}};
    static const char *const ranks[] = {[DART_RANKS_UNIFORM] = "uniform",
        [DART_RANKS_FOUND] = "found",
        [DART_RANKS_THRESHOLD] = "threshold"};
    const dart_compress_options *o = c->options;
    const char *method = o->method && *o->method ? o->method : "svd";
    const char *how = o->ranks && *o->ranks ? o->ranks : "uniform";
    if (dart_compress_rounds(o)) return dart_compress_check_rounding(o);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(method, methods[i].name)) c->method = methods[i].method;
    if (!c->method)
        return dart_fail(
            DART_USAGE, "unknown method '%.40s'; known are svd, tt, ttm, gptq", method);
    if (o->dtype && *o->dtype)
        return dart_fail(DART_USAGE,
            "the method '%s' rounds no numbers: leave out the format %.40s", method, o->dtype);
    for (int i = DART_RANKS_UNIFORM; i <= DART_RANKS_THRESHOLD; i++)
        if (!strcmp(how, ranks[i])) c->how = (dart_compress_ranks)i;
    if (c->how == DART_RANKS_EPSILON)
        return dart_fail(
            DART_USAGE, "unknown ranks '%.40s'; known are uniform, found, threshold", how);
    if ((o->target != 0) == (o->epsilon != 0))
        return dart_fail(DART_USAGE,
            "compression needs either a target (--target 4x: so many times smaller) or an error "
            "(--epsilon 0.1: of each matrix)%s",
            o->target != 0 ? ", not both" : "");
    if (o->target != 0 && !(o->target > 1 && o->target <= 1e6))
        return dart_fail(DART_USAGE, "a target of %g is none: expected above 1, to 1e6", o->target);
    if (o->epsilon != 0 && !(o->epsilon > 0 && o->epsilon < 1))
        return dart_fail(
            DART_USAGE, "an epsilon of %g is none: expected above 0, below 1", o->epsilon);
    if (o->epsilon != 0 && o->ranks && *o->ranks)
        return dart_fail(DART_USAGE,
            "--ranks says how a target is shared out; with an epsilon each matrix has its own");
    if (o->epsilon != 0) c->how = DART_RANKS_EPSILON;
    DART_TRY(check_metric(c));
    return dart_compress_check_out(o);
}

dart_status dart_compress_check(const dart_compress_options *options)
{
    compressing c = {.options = options};
    return check_options(&c);
}

static dart_status choose_weights(compressing *c)
{
    const dart_model *model = c->from->model;
    DART_TRY(dart_compress_weights(c->from, c->options, c->fate));
    for (uint32_t w = 0; w < model->weights && c->metric == DART_NEAR_LOSS; w++) {
        const int i = (int)w;
        const bool table = i == model->embedding || i == model->source_embedding;
        if (c->fate[w] == DART_FATE_NETWORK && (table || i == model->head))
            return dart_fail(DART_INPUT, /* their gradients by outputs are not measured */
                "modules: the metric 'loss' is one of linear layers, and %s is a table or the "
                "head; leave it out, or take the metric 'outputs'",
                model->weight[w].weight.name);
    }
    return DART_OK;
}

/* ---- matrices ---- */

static dart_status config_of(
    const dart_bundle *from, const dart_recipe *recipe, dart_model_config *out)
{
    dart_settings set;
    dart_recipe_settings(recipe, &set);
    return dart_config_for(&set, from->vocab, from->source_vocab, out);
}

/* The root of moments, made anew where it is not the last one that was made. */
static dart_status root_of(
    compressing *c, uint32_t w, const uint32_t *places, bool gradients, const double **out)
{
    const uint32_t place = places ? places[w] : DART_NO_COVARIANCE;
    double damping;
    *out = NULL;
    if (place == DART_NO_COVARIANCE) return DART_OK;
    if (!c->root[gradients] || c->root_of[gradients] != place) {
        const dart_covariance *of = &c->moments.of[place];
        free(c->root[gradients]);
        c->root[gradients] = NULL;
        DART_TRY(dart_metric_root(of->size, of->sum, &c->root[gradients], &damping));
        c->root_of[gradients] = place;
        if (damping > 0 && !c->to.model) /* told once */
            dart_note_line(c->note,
                "the %s of %s are not independent over the text: %g of their mean square was "
                "added to each",
                gradients ? "gradients by outputs" : "inputs",
                c->from->model->weight[w].weight.name, damping);
    }
    *out = c->root[gradients];
    return DART_OK;
}

/* The metric of weight w. Neighbours often have the same inputs. */
static dart_status metric_of(compressing *c, uint32_t w, dart_metric *out)
{
    DART_TRY(root_of(c, w, c->moments.place, false, &out->in));
    return root_of(c, w, c->moments.gradient, true, &out->out);
}

/* The networks at full ranks, and, where ranks are chosen by them, the spectra of their bonds. */
static dart_status look(compressing *c)
{
    dart_recipe *recipe;
    dart_model_config config;
    DART_TRY(dart_compress_recipe(c->from, c->method, c->fate, FULL_RANK, &recipe));
    dart_status status = config_of(c->from, recipe, &config);
    if (status == DART_OK) status = dart_model_new(&config, NULL, &c->full);
    dart_recipe_free(recipe);
    DART_TRY(status);
    for (uint32_t w = 0; w < c->full->weights; w++) {
        const dart_model_weight *weight = &c->full->weight[w];
        dart_metric metric;
        float *matrix;
        if (c->fate[w] != DART_FATE_NETWORK || c->how == DART_RANKS_UNIFORM) continue;
        DART_TRY(metric_of(c, w, &metric));
        DART_TRY(dart_compress_matrix(c->from, w, &matrix));
        status =
            dart_decompose_spectra(&weight->weight, &weight->layout, matrix, metric, c->sigma[w]);
        free(matrix);
        DART_TRY(status);
    }
    return DART_OK;
}

static void ranks_text(const dart_model_weight *weight, char out[64])
{
    size_t used = 0;
    for (uint32_t k = 1; k < weight->layout.chain_cores && used < 64; k++)
        used += (size_t)snprintf(
            out + used, 64 - used, "%s%u", k > 1 ? "/" : "", weight->weight.ranks[k]);
}

/* What `instead` does in the place of `matrix`. */
static dart_status measure_errors(const compressing *c, const dart_model_weight *weight,
    const float *matrix, const float *instead, dart_metric metric, dart_compress_row *row)
{
    const dart_metric inputs = {.in = metric.in};
    double whole;
    DART_TRY(dart_decompose_error(
        &weight->weight, matrix, instead, (dart_metric){0}, &row->error, &whole));
    if (whole > 0) row->error /= whole;
    if (!metric.in) return DART_OK;
    DART_TRY(
        dart_decompose_error(&weight->weight, matrix, instead, inputs, &row->output_error, &whole));
    if (whole > 0) row->output_error /= whole;
    if (!metric.out) return DART_OK;
    DART_TRY(dart_decompose_error(&weight->weight, matrix, instead, metric, &row->loss_rise, NULL));
    row->loss_rise /= (double)c->moments.rows; /* both moments are sums over so many */
    row->loss_rise *= 0.5 * row->loss_rise;
    return DART_OK;
}

/* Weight w of the compressed model, and its row where somebody asked for it. */
static dart_status make_weight(compressing *c, uint32_t w)
{
    const dart_model_weight *weight = &c->to.model->weight[w];
    dart_metric metric;
    float *tensor[DART_MAX_CORES + 2], *matrix, *instead = NULL;
    dart_status status = DART_OK;
    DART_TRY(metric_of(c, w, &metric));
    DART_TRY(dart_compress_matrix(c->from, w, &matrix));
    if (c->fate[w] != DART_FATE_NETWORK) {
        DART_GOTO(dart_model_adopt(c->to.model, w, matrix, c->to.param, c->to.frozen, NULL, NULL));
    } else {
        dart_model_tensors(c->to.model, w, c->to.param, c->to.frozen, NULL, tensor);
        DART_GOTO(dart_decompose(&weight->weight, &weight->layout, matrix, metric, tensor));
    }
    if (c->fate[w] == DART_FATE_OTHER) goto done;
    dart_compress_row *row = &c->out->row[c->out->rows++];
    dart_compress_row_begin(&weight->weight, row);
    if (metric.in) row->output_error = 0;
    if (metric.out) row->loss_rise = 0;
    if (c->fate[w] == DART_FATE_KEPT) goto done;
    ranks_text(weight, row->ranks);
    row->after = dart_layout_words(&weight->layout, false);
    instead = dart_calloc(row->before, sizeof *instead);
    if (!instead) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_method_merge(&weight->weight, &weight->layout, tensor, instead));
    status = measure_errors(c, weight, matrix, instead, metric, row);
done:
    free(matrix);
    free(instead);
    return status;
}

static dart_status make_model(compressing *c)
{
    dart_bundle *to = &c->to;
    uint64_t ignored[2];
    uint32_t rank = 1; /* a model that is fresh of the recipe has room for the ranks of this one */
    for (uint32_t w = 0; w < c->full->weights; w++)
        for (uint32_t k = 0; k <= DART_MAX_CORES; k++)
            if (c->ranks[w][k] > rank) rank = c->ranks[w][k];
    *to = (dart_bundle){.vocab = c->from->vocab, .source_vocab = c->from->source_vocab};
    DART_TRY(dart_compress_recipe(c->from, c->method, c->fate, rank, &to->recipe));
    DART_TRY(dart_recipe_set(to->recipe, "out", c->options->out));
    dart_recipe_settings(to->recipe, &to->set);
    DART_TRY(dart_bundle_model(to, (const uint32_t(*)[DART_MAX_CORES + 1]) c->ranks, NULL));
    DART_TRY(dart_bundle_begin(to));
    dart_compress_vectors(c->from, to);
    for (uint32_t w = 0; w < to->model->weights; w++) DART_TRY(make_weight(c, w));
    dart_model_count(to->model, &c->out->after, &ignored[0], &ignored[1]);
    c->out->before = c->out->after;
    for (uint32_t i = 0; i < c->out->rows; i++)
        c->out->before += c->out->row[i].before - c->out->row[i].after;
    return DART_OK;
}

static dart_status allocate(compressing *c)
{
    const uint32_t weights = c->from->model->weights;
    c->fate = dart_calloc(weights, sizeof *c->fate);
    c->sigma = dart_calloc(weights, sizeof *c->sigma);
    c->ranks = dart_calloc(weights, sizeof *c->ranks);
    c->out->row = dart_calloc(weights, sizeof *c->out->row);
    return c->fate && c->sigma && c->ranks && c->out->row ? DART_OK : DART_MEMORY;
}

static void close_all(compressing *c)
{
    for (uint32_t w = 0; c->sigma && w < c->from->model->weights; w++)
        for (int k = 0; k < DART_CHAIN_MAX; k++) free(c->sigma[w][k]);
    free(c->sigma);
    free(c->ranks);
    free(c->fate);
    free(c->root[0]);
    free(c->root[1]);
    dart_covariances_free(&c->moments);
    dart_model_free(c->full);
    dart_bundle_free(&c->to);
}

dart_status dart_compress_bundle(const dart_bundle *from, const dart_compress_options *options,
    dart_note note, dart_compression *out)
{
    compressing c = {.options = options, .from = from, .note = note, .out = out};
    dart_status status = DART_OK;
    *out = (dart_compression){0};
    DART_TRY(check_options(&c));
    DART_TRY(dart_compress_check_model(from));
    DART_GOTO(allocate(&c));
    DART_GOTO(choose_weights(&c));
    if (c.metric != DART_NEAR_ENTRIES)
        DART_GOTO(dart_compress_calibrate(
            c.from, options, c.fate, c.metric == DART_NEAR_LOSS, note, &c.moments));
    DART_GOTO(look(&c));
    DART_GOTO(dart_compress_choose(c.full, c.sigma, c.how, c.metric == DART_NEAR_LOSS,
        options->target != 0 ? options->target : options->epsilon, c.fate, c.ranks));
    DART_GOTO(make_model(&c));
    status = dart_bundle_save(&c.to, options->out, note);
done:
    close_all(&c);
    return status;
}
