/* A run of a recipe, and before it that of its dense twin where the recipe asks. All
 * that can be known before the first step is checked before anything is created or moved. */
#include "file.h"
#include "folder.h"
#include "origin.h"
#include "hash.h"
#include "protocol.h"
#include "run.h"
#include "adapters.h"
#include "results.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static dart_hash corpus_hash(const dart_corpus *corpus)
{
    char text[(DART_SPLITS + 2) * 33] = "";
    for (int i = 0; i < DART_SPLITS; i++) strcat(text, corpus->hash[i]);
    const dart_vocab *vocab[] = {&corpus->vocab, &corpus->source_vocab};
    if (dart_vocab_hash(vocab[0])) strcat(text, dart_vocab_hash(vocab[0]));
    for (int v = 0; v < 2; v++)
        for (uint32_t i = 0; i < vocab[v]->size; i++) {
            if (!vocab[v]->text || !vocab[v]->text[i]) break;
            char chained[33 + 256];
            int n = snprintf(
                chained, sizeof chained, "%s%s", text + DART_SPLITS * 32, vocab[v]->text[i]);
            strcpy(text + DART_SPLITS * 32, dart_hash_bytes(chained, (size_t)n).text);
        }
    return dart_hash_bytes(text, strlen(text));
}

static dart_status open_streams(dart_run *run)
{
    dart_stream *stream[DART_SPLITS] = {&run->train, &run->valid, &run->test};
    for (int i = 0; i < DART_SPLITS; i++)
        DART_TRY(dart_stream_for(&run->bundle.set, run->corpus, i, stream[i]));
    DART_TRY(dart_recipe_stages(run->bundle.recipe, run->train.windows, run->stage, &run->stages));
    uint64_t total = 0;
    for (uint32_t s = 0; s < run->stages; s++) total += run->stage[s].steps;
    if ((uint64_t)run->bundle.set.max_steps > total)
        dart_run_note(run,
            "max_steps %" PRIu64 " is only a bound on the stages, which come to %" PRIu64 " steps",
            (uint64_t)run->bundle.set.max_steps, total);
    return DART_OK;
}

/* From the newest checkpoint, or from the beginning when there is none yet. */
static dart_status start(const dart_bundle *origin, dart_run *run)
{
    char root[DART_RUN_PATH];
    bool saved;
    DART_TRY(dart_folder_path(root, run->dir, "checkpoints"));
    DART_TRY(dart_checkpoint_exists(root, &saved));
    if (run->bundle.set.resume && saved) {
        DART_TRY(dart_run_load(run, root, run->bundle.set.force));
        dart_run_note(run, "%s: resumed at step %" PRIu64, run->dir, run->step);
        return DART_OK;
    }
    if (run->bundle.set.resume)
        dart_run_note(run, "%s: no checkpoint yet, starting from the beginning", run->dir);
    DART_TRY(dart_run_start(run, origin));
    return origin->model ? DART_OK : dart_run_align(run);
}

static dart_status write_table(
    const char *dir, const dart_table_row *row, uint32_t rows, const dart_protocol *protocol)
{
    char path[DART_RUN_PATH], how[1024];
    DART_TRY(dart_folder_path(path, dir, "table.json"));
    dart_protocol_text(protocol, how, sizeof how);
    return dart_table_save(path, row, rows, how);
}

/* A run as far as it goes without a step: nothing is written. Takes `recipe` over; free the run
 * also after a failure. */
static dart_status open_run(
    dart_training *t, dart_recipe *recipe, const char *dir, const char *row, dart_run *run)
{
    *run = (dart_run){.bundle = {.recipe = recipe,
                          .vocab = &t->corpus.vocab,
                          .source_vocab = &t->corpus.source_vocab},
        .row = row,
        .hooks = t->hooks,
        .device = t->device,
        .corpus = &t->corpus};
    snprintf(run->dir, sizeof run->dir, "%s", dir);
    run->home = run->dir;
    dart_recipe_settings(recipe, &run->bundle.set);
    snprintf(run->fingerprint, sizeof run->fingerprint, "%s", corpus_hash(&t->corpus).text);
    DART_TRY(open_streams(run));
    DART_TRY(start(&t->origin, run));
    return dart_run_check(run);
}

/* Numbers that training changes. */
static uint64_t trained_words(const dart_model *model)
{
    uint64_t words = 0;
    for (uint32_t p = 0; p < model->params; p++)
        if (model->param[p].region == DART_REGION_PARAM && !model->param[p].gate)
            words += dart_shape_words(&model->param[p].shape);
    return words;
}

/* In what the base is kept, where that is not f32. */
static void tell_base(const dart_run *run)
{
    uint64_t kept, whole;
    uint32_t packed, plain;
    char rest[96] = "";
    dart_base_bytes(run->bundle.model, &kept, &whole, &packed, &plain);
    if (!dart_base_packs(&run->bundle.set)) return;
    if (plain)
        snprintf(rest, sizeof rest,
            "; %u stay f32 (asked for, no whole blocks a row, or another format in the file)",
            plain);
    dart_run_note(run, "%u matrices of the base are packed, %.1f MiB instead of %.1f%s", packed,
        (double)kept / 0x1p20, (double)whole / 0x1p20, rest);
}

/* What the run is, before its first step. */
static void introduce(const dart_run *run)
{
    const dart_corpus *c = run->corpus;
    char id[32], params[64], compressed[64], trained[64], train[64], valid[64], vocab[64],
        steps[64];
    dart_table_row row = {0};
    dart_row_counts(run->bundle.model, &row);
    dart_count_text(params, row.params);
    dart_count_text(compressed, row.compressed_params);
    dart_count_text(train, c->count[DART_TRAIN]);
    dart_count_text(valid, c->count[DART_VALID]);
    dart_count_text(vocab, c->vocab.size);
    dart_count_text(steps, dart_run_steps(run) - run->step);
    if (*run->bundle.set.base) dart_run_note(run, "fine-tuning %s", run->bundle.set.base);
    if (*run->bundle.set.base) tell_base(run);
    if (*run->bundle.set.init_from)
        dart_run_note(run, "going on from %s", run->bundle.set.init_from);
    if (*run->bundle.base.worst)
        dart_run_note(run, "%s is off by %.2g of its norm at the start: its method cannot hold it",
            run->bundle.base.worst, run->bundle.base.error);
    dart_count_text(trained, trained_words(run->bundle.model));
    const bool part = run->bundle.model->frozen_words > 0;
    const char *count = part ? trained : row.compressed_params ? compressed : "";
    dart_run_note(run, "%s on %s (%s): %s parameters%s%s%s", run->row,
        dart_device_id(run->device, id), run->device->caps.name, params, *count ? ", " : "", count,
        part     ? " of them trained"
        : *count ? " of them compressed"
                 : "");
    dart_run_note(run, "data: %s, %s tokens to train on, %s to validate, a vocabulary of %s",
        c->source, train, valid, vocab);
    dart_run_note(run, "%s steps to make, in %s", steps, run->dir);
}

/* Its logs, and what comes before its first step. */
static dart_status begin_run(dart_run *run)
{
    DART_TRY(dart_metrics_open(run->dir, run->log_bytes, &run->metrics));
    if (!run->log_bytes[DART_LOG_METRICS])
        dart_run_log_ranks(run, run->bundle.model, run->bundle.model, "start", NULL);
    if (!run->finished) {
        dart_run_log_device(run);
        introduce(run);
    }
    return dart_run_begin(run);
}

dart_status dart_training_finish(dart_training *t, const dart_run *run)
{
    dart_result *out = t->out;
    DART_TRY(write_table(run->dir, run->table, run->rows, &out->protocol));
    for (uint32_t i = 0; i < run->rows && out->rows < DART_TABLE_ROWS; i++)
        out->row[out->rows++] = run->table[i];
    out->steps += run->step;
    out->final_loss = run->last_loss;
    return DART_OK;
}

/* All its steps, its logs and its table. */
static dart_status train_run(dart_training *t, dart_run *run)
{
    run->ahead = true;
    DART_TRY(begin_run(run));
    while (!run->finished) DART_TRY(dart_run_next(run));
    return dart_training_finish(t, run);
}

/* A run whose programs stand on the device, which shows whether it fits. */
static dart_status bind_run(dart_run *run)
{
    return run->finished ? DART_OK : dart_run_bind(run);
}

/* The recipe of the dense twin; it lives in a folder of its own in the run's. */
static dart_status twin_of(const dart_recipe *recipe, const dart_folder *folder, dart_folder *out,
    dart_recipe **out_recipe)
{
    *out = (dart_folder){.resume = folder->resume, .inside = true};
    DART_TRY(dart_folder_path(out->dir, folder->dir, "dense-twin"));
    DART_TRY(dart_recipe_copy(recipe, out_recipe));
    dart_status status = dart_recipe_twin(*out_recipe);
    if (status == DART_OK) status = dart_recipe_set(*out_recipe, "out", out->dir);
    if (status != DART_OK) dart_recipe_free(*out_recipe);
    return status;
}

/* Both runs are checked, then the twin is trained; the folders are made ready on the way. */
static dart_status train_twin(
    dart_training *t, dart_folder *folder, const dart_recipe *recipe, dart_run *run)
{
    const dart_note note = dart_note_of(&t->hooks);
    dart_recipe *own, *twin;
    dart_folder inner;
    if (!folder->resume) {
        DART_TRY(dart_recipe_copy(recipe, &own));
        DART_TRY(open_run(t, own, folder->dir, "TT", run));
        dart_run_free(run);
    }
    DART_TRY(twin_of(recipe, folder, &inner, &twin));
    DART_TRY(open_run(t, twin, inner.dir, "dense twin", run));
    run->home = folder->dir;
    DART_TRY(bind_run(run));
    DART_TRY(dart_folder_prepare(folder, recipe, note));
    DART_TRY(dart_folder_prepare(&inner, run->bundle.recipe, note));
    return train_run(t, run);
}

/* Folder, data and device; nothing is written. *recipe: to be freed also after a failure. */
static dart_status open_training(
    dart_training *t, const dart_recipe *given, dart_corpus *corpus, dart_recipe **recipe)
{
    dart_folder *folder = &t->folder;
    dart_settings set;
    *t->out = (dart_result){0};
    dart_recipe *known;
    DART_TRY(dart_recipe_copy(given, &known));
    dart_status status = dart_adapters_resolve(known);
    if (status == DART_OK) status = dart_origin_resolve(known);
    if (status == DART_OK) status = dart_folder_choose(known, folder, recipe);
    dart_recipe_free(known);
    DART_TRY(status);
    DART_TRY(dart_origin_resolve(*recipe));
    DART_TRY(dart_recipe_check(*recipe, dart_note_of(&t->hooks)));
    dart_recipe_settings(*recipe, &set);
    if (*set.init_from) {
        if (set.dense_twin)
            return dart_fail(DART_INPUT,
                "a run that begins with another one (init_from) has no dense twin to compare with; "
                "leave dense_twin out");
        DART_TRY(dart_bundle_open(set.init_from, NULL, dart_note_of(&t->hooks), &t->origin));
    }
    if (corpus) {
        t->corpus = *corpus;
        *corpus = (dart_corpus){0};
    } else {
        DART_TRY(dart_corpus_for(&set, t->origin.stored, &t->corpus));
    }
    if (t->corpus.note[0]) dart_note_line(dart_note_of(&t->hooks), "%s", t->corpus.note);
    dart_protocol_for(&set, &t->corpus, &t->out->protocol);
    DART_TRY(dart_device_for(&set, &t->device));
    snprintf(t->out->run_dir, sizeof t->out->run_dir, "%s", folder->dir);
    dart_device_id(t->device, t->out->device);
    return DART_OK;
}

/* The run itself, on the device, with its folder made ready; takes *recipe over. */
static dart_status open_main(
    dart_training *t, dart_folder *folder, dart_recipe **recipe, bool prepared, dart_run *run)
{
    dart_recipe *own = *recipe;
    dart_settings set;
    *recipe = NULL;
    dart_recipe_settings(own, &set);
    const char *row = *set.base ? set.linear->name : dart_settings_compress(&set) ? "TT" : "dense";
    DART_TRY(open_run(t, own, folder->dir, row, run));
    if (prepared) return DART_OK;
    DART_TRY(bind_run(run));
    return dart_folder_prepare(folder, run->bundle.recipe, dart_note_of(&t->hooks));
}

dart_status dart_training_open(const dart_recipe *given, dart_corpus *corpus,
    const dart_hooks *hooks, dart_result *out, dart_training *t, dart_run *run)
{
    dart_status status = DART_OK;
    dart_recipe *recipe = NULL;
    *t = (dart_training){.hooks = *hooks, .out = out};
    *run = (dart_run){0};
    DART_GOTO(open_training(t, given, corpus, &recipe));
    DART_GOTO(open_main(t, &t->folder, &recipe, false, run));
    status = begin_run(run);
done:
    dart_recipe_free(recipe);
    return status;
}

void dart_training_close(dart_training *t, dart_run *run)
{
    dart_run_free(run);
    dart_folder_release(&t->folder);
    dart_corpus_free(&t->corpus);
    dart_bundle_free(&t->origin);
    dart_device_close(t->device);
    t->device = NULL;
}

dart_status dart_train_run(const dart_recipe *given, const dart_hooks *hooks, dart_result *out)
{
    dart_status status = DART_OK;
    dart_training t = {.hooks = hooks ? *hooks : (dart_hooks){0}, .out = out};
    dart_recipe *recipe = NULL;
    dart_run run = {0};
    dart_settings set;
    DART_GOTO(open_training(&t, given, NULL, &recipe));
    dart_recipe_settings(recipe, &set);
    const bool twin = set.dense_twin && dart_settings_compress(&set);
    if (twin) {
        DART_GOTO(train_twin(&t, &t.folder, recipe, &run));
        dart_run_free(&run);
    }
    DART_GOTO(open_main(&t, &t.folder, &recipe, twin, &run));
    DART_GOTO(train_run(&t, &run));
    status = write_table(t.folder.dir, out->row, out->rows, &out->protocol);
done:
    dart_recipe_free(recipe);
    dart_training_close(&t, &run);
    return status;
}
