/* Which format, and whether its folder may be written. */
#include "export.h"
#include "file.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    dart_status (*write)(const dart_exporting *e);
    bool dtype;   /* takes the option */
    bool classes; /* takes classifiers */
} formats[] = {{"peft", dart_export_peft, false, true}, {"hf", dart_export_hf, true, true},
    {"gguf", dart_export_gguf, true, false}, {"gguf-lora", dart_export_gguf_lora, false, false}};
enum { FORMATS = sizeof formats / sizeof *formats };

/* After a failure nothing is left of what was written into a folder that was empty. */
static void remove_files(const char *path, bool folder_too)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "adapter_config.json", "adapter_model.safetensors", "model.gguf",
        "adapter.gguf"};
    char name[4096];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(name, sizeof name, "%s/%s", path, names[i]);
        unlink(name);
    }
    if (folder_too) rmdir(path);
}

/* What can be known before anything is written; e->base may be NULL still. */
static dart_status check(const dart_exporting *e, int *out_format)
{
    const dart_export_options *options = e->options;
    const dart_bundle *bundle = e->bundle;
    const char *from = e->from;
    int format = 0;
    while (format < FORMATS && strcmp(options->format, formats[format].name)) format++;
    if (format == FORMATS)
        return dart_fail(DART_USAGE, "unknown format '%.40s'; known are peft, hf, gguf, gguf-lora",
            options->format);
    if (options->dtype && *options->dtype && !formats[format].dtype)
        return dart_fail(
            DART_USAGE, "--dtype is for --format hf and gguf; adapters are written in F32");
    if (options->rank && formats[format].dtype)
        return dart_fail(DART_USAGE,
            "--max-rank is for --format peft and gguf-lora; a whole model has no pairs");
    if (!options->out || !*options->out)
        return dart_fail(DART_USAGE, "an export needs a folder to write (--out)");
    if (strlen(options->out) > 3900)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", options->out);
    if (bundle->source_vocab->size)
        return dart_fail(DART_INPUT,
            "%s translates, and other programs have no model like it; only models of one text are "
            "exported",
            from);
    if (bundle->model->config.adapter)
        return dart_fail(DART_INPUT,
            "%s has adapters behind its layers, with an activation between, which no file of "
            "another "
            "program has a place for",
            from);
    if (bundle->model->config.labels && !formats[format].classes)
        return dart_fail(DART_INPUT,
            "%s is a classifier, which a file of llama.cpp's has no place for; use --format hf or "
            "peft",
            from);
    *out_format = format;
    return dart_folder_vacant(options->out);
}

dart_status dart_export_check(
    const dart_bundle *bundle, const char *from, const dart_export_options *options)
{
    dart_exporting e = {.bundle = bundle, .options = options, .from = from};
    dart_pretrained *base = NULL;
    dart_pretrained_arch arch;
    int format;
    DART_TRY(check(&e, &format));
    if (*bundle->set.base) DART_TRY(dart_pretrained_open(bundle->set.base, &base));
    e.base = base;
    const dart_status status = dart_export_arch(&e, &arch);
    dart_pretrained_close(base);
    return status;
}

dart_status dart_export_bundle(const dart_bundle *bundle, const char *from,
    const dart_export_options *options, dart_note note, dart_export_result *out)
{
    dart_exporting e = {
        .bundle = bundle, .options = options, .from = from, .note = note, .out = out};
    dart_pretrained *base = NULL;
    int format;
    *out = (dart_export_result){0};
    DART_TRY(check(&e, &format));
    if (*bundle->set.base) DART_TRY(dart_pretrained_open(bundle->set.base, &base));
    e.base = base;
    const bool made = !dart_file_exists(options->out);
    dart_status status = bundle->model->config.labels ? dart_export_classifier(&e) : DART_OK;
    if (status == DART_OK) status = dart_mkdirs(options->out);
    if (status == DART_OK) status = formats[format].write(&e);
    if (status != DART_OK) remove_files(options->out, made);
    dart_pretrained_close(base);
    return status;
}
