/* What a recipe (or a trained model's) becomes before anything runs: graph, plan,
 * memory, ranks, paths.
 */
#include "adapters.h"
#include "inspect.h"
#include "bundle.h"
#include "memstream.h"
#include "setup.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_VOCAB = 10000 };

/* A model and the session that would run it, without memory on the device. */
typedef struct view {
    dart_bundle bundle;
    dart_corpus corpus; /* of a fresh model */
    dart_device *device;
    dart_session *session;
} view;

static void view_close(view *v)
{
    dart_session_free(v->session);
    dart_device_close(v->device);
    dart_bundle_free(&v->bundle);
    dart_corpus_free(&v->corpus);
}

/* A fresh model without values: its vocabulary is as set, or the corpus's, or 10,000 for a recipe
 * that names none. */
static dart_status fresh_model(const dart_recipe *recipe, dart_corpus *corpus, dart_bundle *b)
{
    dart_model_config config;
    DART_TRY(dart_recipe_copy(recipe, &b->recipe));
    DART_TRY(dart_adapters_resolve(b->recipe));
    DART_TRY(dart_base_resolve(b->recipe));
    DART_TRY(dart_recipe_check(b->recipe, (dart_note){0}));
    dart_recipe_settings(b->recipe, &b->set);
    if (*b->set.dataset || *b->set.text || *b->set.source_text)
        DART_TRY(dart_corpus_for(&b->set, NULL, corpus));
    else
        corpus->vocab.size = corpus->source_vocab.size =
            b->set.vocab_size ? (uint32_t)b->set.vocab_size : DEFAULT_VOCAB;
    b->vocab = &corpus->vocab;
    b->source_vocab = &corpus->source_vocab;
    DART_TRY(dart_bundle_config(b, &config));
    return dart_model_new(&config, NULL, &b->model);
}

dart_status dart_inspect_open(
    const dart_recipe *recipe, const char *model_path, dart_corpus *corpus, dart_bundle *out)
{
    dart_settings given;
    dart_recipe_settings(recipe, &given);
    if (!model_path && *given.init_from) model_path = given.init_from;
    return model_path ? dart_bundle_open(model_path, recipe, (dart_note){0}, out)
                      : fresh_model(recipe, corpus, out);
}

static dart_status view_open(
    const dart_recipe *recipe, const char *model_path, bool graphs, view *v)
{
    dart_session_options options;
    dart_bundle *b = &v->bundle;
    DART_TRY(dart_inspect_open(recipe, model_path, &v->corpus, b));
    DART_TRY(dart_device_for(&b->set, &v->device));
    if (!graphs) return DART_OK;
    DART_TRY(dart_session_options_from(&b->set, b->vocab->size, &options));
    options.train = options.eval = true;
    options.logits = false;
    options.shapes = 1; /* the programs of the full shape say all */
    return dart_session_new(NULL, &v->device->caps, b->model, &options, &v->session);
}

/* ---- memory ---- */

static double mib(uint64_t words, uint32_t word)
{
    return (double)words * word / 1048576;
}

static json_t *part_json(
    const char *name, const dart_plan_stats *s, const dart_caps *caps, dart_status *status)
{
    json_t *kernels = json_object();
    for (uint32_t k = 0; k < DART_KERNELS; k++) {
        if (s->launches_by_kernel[k])
            dart_json_set(kernels, dart_kernel_info_of((dart_kernel)k)->name,
                json_integer(s->launches_by_kernel[k]), status);
    }
    uint64_t word = caps->word;
    return json_pack("{s:s, s:I, s:I, s:f, s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:f, s:f, s:f, s:o}",
        "program", name, "planned_bytes", (json_int_t)(s->planned_words * word), "bound_bytes",
        (json_int_t)(s->bound_words * word), "ratio",
        s->bound_words ? (double)s->planned_words / (double)s->bound_words : 1.0, "bound_at",
        s->bound_at, "region_bytes", (json_int_t)(s->region_words * word), "largest_binding_bytes",
        (json_int_t)(s->largest_binding_words * word), "binding_limit_bytes",
        (json_int_t)caps->max_binding, "windows", (int)s->windows, "launches", (int)s->launches,
        "barriers", (int)s->barriers, "flops", s->flops, "longest_dispatch_seconds",
        s->longest_seconds, "submission_seconds", caps->submit_s, "launches_by_kernel", kernels);
}

static dart_status memory_json(const view *v, json_t **out)
{
    dart_status status = DART_OK;
    json_t *list = json_array();
    for (int p = 0; p < DART_PARTS; p++) {
        const dart_plan *plan = v->session->part[p].plan;
        if (plan)
            dart_json_add(list,
                part_json(dart_part_name(p), dart_plan_stats_of(plan), &v->device->caps, &status),
                &status);
    }
    *out = list;
    return dart_json_made(status, "the memory of a model");
}

static void memory_text(const view *v, FILE *out)
{
    const dart_caps *caps = &v->device->caps;
    uint64_t total, compressed, dense;
    char id[32];
    dart_model_count(v->bundle.model, &total, &compressed, &dense);
    fprintf(out, "model: %" PRIu64 " parameters", total);
    if (compressed)
        fprintf(out, ", %" PRIu64 " in compressed layers (%" PRIu64 " dense, ratio %.2f)",
            compressed, dense, (double)dense / (double)compressed);
    fprintf(out, "\ndevice: %s, %s\n", dart_device_id(v->device, id), caps->name);
    for (int p = 0; p < DART_PARTS; p++) {
        if (!v->session->part[p].plan) continue;
        const dart_plan_stats *s = dart_plan_stats_of(v->session->part[p].plan);
        fprintf(out, "%s: %" PRIu32 " launches, %" PRIu32 " barriers, %.3f GFLOP\n",
            dart_part_name(p), s->launches, s->barriers, 1e-9 * s->flops);
        fprintf(out,
            "  planned peak %.2f MiB in %" PRIu32
            " window%s, lower bound %.2f MiB (at %s), ratio %.3f\n",
            mib(s->planned_words, caps->word), s->windows, s->windows == 1 ? "" : "s",
            mib(s->bound_words, caps->word), s->bound_at,
            s->bound_words ? (double)s->planned_words / (double)s->bound_words : 1.0);
        fprintf(out,
            "  regions (parameters, gradients, moments, inputs) %.2f MiB; largest binding %.2f MiB "
            "of ",
            mib(s->region_words, caps->word), mib(s->largest_binding_words, caps->word));
        if (caps->max_binding)
            fprintf(out, "%.0f MiB allowed\n", (double)caps->max_binding / 1048576);
        else
            fprintf(out, "any size\n");
        fprintf(out, "  longest dispatch about %.3g ms; ", 1e3 * s->longest_seconds);
        if (caps->submit_s > 0)
            fprintf(out, "submissions are cut at %.3g ms\n", 1e3 * caps->submit_s);
        else
            fprintf(out, "submissions may take any time\n");
    }
}

/* ---- graph and plan: text that parses back; JSON wraps it by program ---- */

static dart_status programs(const view *v, bool plan, bool json, FILE *out)
{
    json_t *object = json_object();
    dart_status status = DART_OK, made = DART_OK;
    for (int p = 0; p < DART_PARTS; p++) {
        const dart_graph_program *part = &v->session->part[p];
        if (!part->plan) continue;
        char *text = NULL;
        size_t size = 0;
        FILE *to = dart_memstream_open(&text, &size);
        if (!to) DART_GOTO(DART_MEMORY);
        if (plan)
            dart_plan_print(part->plan, to);
        else
            dart_graph_print(part->graph, to);
        DART_GOTO(dart_memstream_close(to, "a program", &text));
        if (json)
            dart_json_set(object, dart_part_name(p), json_string(text), &made);
        else
            fprintf(out, "# %s\n%s", dart_part_name(p), text);
        free(text);
    }
    if (json) DART_GOTO(dart_json_print(json_incref(object), made, JSON_INDENT(2), out));
done:
    json_decref(object);
    return status;
}

dart_status dart_inspect_print(
    const dart_recipe *recipe, const char *model_path, const char *what, bool json, FILE *out)
{
    static const char *const known[] = {"graph", "plan", "memory", "ranks", "paths"};
    size_t k = 0;
    while (k < 5 && strcmp(what, known[k]) != 0) k++;
    if (k == 5)
        return dart_fail(
            DART_USAGE, "inspect knows graph, plan, memory, ranks and paths, not '%s'", what);
    view v = {0};
    json_t *result = NULL;
    dart_status status = DART_OK;
    DART_GOTO(view_open(recipe, model_path, k < 3, &v));
    if (k < 2) {
        status = programs(&v, k == 1, json, out);
        goto done;
    }
    dart_cost cost = dart_cost_for(&v.device->caps);
    uint32_t rows = (uint32_t)(v.bundle.set.batch_size * v.bundle.set.context);
    if (k == 2 && !json) memory_text(&v, out);
    if (k == 2 && json) DART_GOTO(memory_json(&v, &result));
    if (k == 3) DART_GOTO(dart_inspect_ranks(v.bundle.model, &result));
    if (k == 4) DART_GOTO(dart_inspect_paths(v.bundle.model, rows, &cost, &result));
    if (json)
        status = dart_json_print(
            json_incref(result), DART_OK, JSON_INDENT(2) | JSON_REAL_PRECISION(9), out);
    else if (k > 2)
        (k == 3 ? dart_inspect_ranks_text : dart_inspect_paths_text)(result, out);
done:
    json_decref(result);
    view_close(&v);
    return status;
}
