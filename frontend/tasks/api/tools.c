/* Devices, measurements, inspection, sweeps: what dart/device.h and dart/tools.h declare. */
#include "bench.h"
#include "bleu.h"
#include "export.h"
#include "inspect.h"
#include "kernels_task.h"
#include "names.h"
#include "caller.h"
#include "compress.h"
#include "parallel.h"
#include "selftest.h"
#include "setup.h"
#include "stop.h"
#include "sweep.h"
#include "tuning.h"
#include <stdlib.h>
#include <string.h>

void dart_set_abort(dart_status (*abort)(void *user), void *user)
{
    dart_stop_set((dart_stop){abort, user});
}

dart_status dart_export(const char *path, const dart_recipe *overrides,
    const dart_export_options *options, const dart_hooks *hooks, dart_export_result *out)
{
    DART_IN_C_LOCALE;
    dart_export_options o;
    dart_export_result result = {0};
    dart_bundle bundle = {0};
    DART_TRY(dart_answer_clear(out, "dart_export_result"));
    DART_TRY(dart_options_take(options, sizeof o, "dart_export_options", &o));
    const dart_note note = dart_note_of(hooks);
    dart_status status = dart_bundle_open(path, overrides, note, &bundle);
    if (status == DART_OK) status = dart_export_bundle(&bundle, path, &o, note, &result);
    dart_bundle_free(&bundle);
    if (status == DART_OK) dart_answer_give(out, &result, sizeof result);
    return status;
}

/* ---- models made smaller ---- */

/* What is rounded is a base again, and no run: base_dtype is for bases. */
static dart_status round_bundle(const dart_bundle *from, const char *path,
    const dart_compress_options *options, dart_note note, dart_compression *out)
{
    const dart_export_options e = {.size = sizeof e, .format = "hf", .out = options->out};
    dart_export_result written;
    dart_bundle to = {0};
    DART_TRY(dart_export_check(from, path, &e));
    dart_status status = dart_compress_round(from, options, note, &to, out);
    if (status == DART_OK) status = dart_export_bundle(&to, path, &e, note, &written);
    dart_bundle_free(&to);
    return status;
}

dart_status dart_compress(const char *path, const dart_recipe *overrides,
    const dart_compress_options *options, const dart_hooks *hooks, dart_compression **out)
{
    DART_IN_C_LOCALE;
    dart_compress_options o;
    *out = NULL;
    DART_TRY(dart_options_take(options, sizeof o, "dart_compress_options", &o));
    dart_bundle bundle = {0};
    dart_recipe *over = NULL;
    const bool rounds = dart_compress_rounds(&o);
    if (rounds && overrides && dart_recipe_has(overrides, "base_embedding_dtype"))
        return dart_fail(DART_USAGE,
            "the method 'gptq' takes the model as its file has it: leave out base_embedding_dtype "
            "here, and give it where the result is the base");
    DART_TRY(dart_compress_check(&o)); /* opening a model takes longer */
    dart_compression *result = dart_calloc(1, sizeof *result);
    if (!result) return DART_MEMORY;
    dart_status status = overrides ? dart_recipe_copy(overrides, &over) : DART_OK;
    if (status == DART_OK && over) dart_recipe_unset(over, "base"); /* it is `path` */
    if (status == DART_OK && over && rounds) dart_recipe_unset(over, "base_dtype");
    if (status == DART_OK) status = dart_bundle_open(path, over, dart_note_of(hooks), &bundle);
    dart_recipe_free(over);
    if (status == DART_OK)
        status = rounds ? round_bundle(&bundle, path, &o, dart_note_of(hooks), result)
                        : dart_compress_bundle(&bundle, &o, dart_note_of(hooks), result);
    dart_bundle_free(&bundle);
    if (status == DART_OK)
        *out = result;
    else
        dart_compression_free(result);
    return status;
}

uint32_t dart_compression_rows(const dart_compression *compression)
{
    return compression->rows;
}

const dart_compress_row *dart_compression_row(const dart_compression *compression, uint32_t index)
{
    return index < compression->rows ? &compression->row[index] : NULL;
}

void dart_compression_size(
    const dart_compression *compression, uint64_t *out_before, uint64_t *out_after)
{
    *out_before = compression->before;
    *out_after = compression->after;
}

void dart_compression_free(dart_compression *compression)
{
    if (!compression) return;
    free(compression->row);
    free(compression);
}

/* ---- devices ---- */

struct dart_device_list {
    dart_device_info *info; /* owned [count] */
    size_t count;
};

dart_status dart_devices(const char *limits, dart_device_list **out)
{
    DART_IN_C_LOCALE;
    dart_device_list *list = *out = dart_calloc(1, sizeof *list);
    if (!list) return DART_MEMORY;
    dart_status status = dart_device_infos(limits, &list->info, &list->count);
    if (status == DART_OK) return DART_OK;
    free(list);
    *out = NULL;
    return status;
}

size_t dart_device_list_count(const dart_device_list *list)
{
    return list->count;
}

const dart_device_info *dart_device_list_at(const dart_device_list *list, size_t index)
{
    return index < list->count ? &list->info[index] : NULL;
}

void dart_device_list_free(dart_device_list *list)
{
    if (!list) return;
    free(list->info);
    free(list);
}

dart_status dart_selftest(
    const char *device, const char *limits, dart_write write, void *user, dart_selftest_result *out)
{
    DART_IN_C_LOCALE;
    FILE *sink = NULL;
    dart_selftest_result result = {0};
    DART_TRY(dart_answer_clear(out, "dart_selftest_result"));
    if (write) DART_TRY(dart_sink_open(write, user, &sink));
    dart_status status = dart_selftest_print(device, limits, sink, &result);
    if (sink) status = dart_sink_close(sink, status);
    if (status == DART_OK) dart_answer_give(out, &result, sizeof result);
    return status;
}

/* ---- names ---- */

const char *dart_dataset_name_at(uint32_t index)
{
    uint32_t texts = 0;
    while (dart_dataset_at(texts)) texts++;
    return index < texts ? dart_dataset_at(index) : dart_parallel_at(index - texts);
}

const char *dart_nearest_name(const char *word, dart_name_list at, const void *context)
{
    return dart_name_nearest(word, at, context);
}

/* ---- inspection, measurements, scores ---- */

dart_status dart_inspect(const dart_recipe *recipe, const char *model_path, const char *what,
    bool json, dart_write write, void *user)
{
    DART_IN_C_LOCALE;
    FILE *sink;
    DART_TRY(dart_sink_open(write, user, &sink));
    return dart_sink_close(sink, dart_inspect_print(recipe, model_path, what, json, sink));
}

dart_status dart_bench(
    const dart_recipe *recipe, const dart_bench_options *options, dart_write write, void *user)
{
    DART_IN_C_LOCALE;
    FILE *sink;
    dart_bench_options o;
    DART_TRY(dart_options_take(options, sizeof o, "dart_bench_options", &o));
    DART_TRY(dart_sink_open(write, user, &sink));
    return dart_sink_close(sink, dart_bench_print(recipe, &o, sink));
}

dart_status dart_kernels_make(
    const dart_recipe *recipe, const dart_kernels_options *options, dart_kernels **out)
{
    DART_IN_C_LOCALE;
    dart_kernels_options o;
    *out = NULL;
    DART_TRY(dart_options_take(options, sizeof o, "dart_kernels_options", &o));
    return dart_kernels_new(recipe, &o, out);
}

dart_status dart_tune(const dart_recipe *recipe, const dart_tune_options *options,
    const dart_hooks *hooks, dart_tuning **out)
{
    DART_IN_C_LOCALE;
    dart_tune_options o;
    dart_hooks h;
    *out = NULL;
    DART_TRY(dart_options_take(options, sizeof o, "dart_tune_options", &o));
    DART_TRY(dart_options_take(hooks, sizeof h, "dart_hooks", &h));
    return dart_tuning_new(recipe, &o, &h, out);
}

dart_status dart_tune_kept(const dart_recipe *recipe, dart_tuning **out)
{
    DART_IN_C_LOCALE;
    return dart_tuning_kept(recipe, out);
}

dart_status dart_tune_export(const dart_recipe *recipe, const char *path)
{
    DART_IN_C_LOCALE;
    return dart_tuning_export(recipe, path);
}

dart_status dart_tune_import(
    const dart_recipe *recipe, const char *path, bool force, uint32_t *out_classes)
{
    DART_IN_C_LOCALE;
    return dart_tuning_import(recipe, path, force, out_classes);
}

dart_status dart_tune_clear(const dart_recipe *recipe)
{
    DART_IN_C_LOCALE;
    return dart_tuning_clear(recipe);
}

dart_status dart_bleu_files(const char *hypothesis, const char *const *references, uint32_t count,
    const dart_bleu_options *options, dart_bleu *out)
{
    DART_IN_C_LOCALE;
    dart_bleu_options o;
    dart_bleu bleu;
    DART_TRY(dart_answer_clear(out, "dart_bleu"));
    DART_TRY(dart_options_take(options, sizeof o, "dart_bleu_options", &o));
    DART_TRY(dart_bleu_of_files(hypothesis, references, count, &o, &bleu));
    dart_answer_give(out, &bleu, sizeof bleu);
    return DART_OK;
}

/* ---- sweeps ---- */

dart_status dart_sweep(const char *path, const dart_sweep_options *options,
    const dart_sweep_hooks *hooks, dart_sweep_result *out)
{
    DART_IN_C_LOCALE;
    dart_sweep_options o;
    dart_sweep_hooks h;
    dart_sweep_result result = {0};
    DART_TRY(dart_answer_clear(out, "dart_sweep_result"));
    DART_TRY(dart_options_take(options, sizeof o, "dart_sweep_options", &o));
    DART_TRY(dart_options_take(hooks, sizeof h, "dart_sweep_hooks", &h));
    dart_status status = dart_sweep_all(path, &o, &h, &result);
    dart_answer_give(out, &result, sizeof result); /* also of a sweep that was stopped */
    return status;
}
