/* What a checkpoint of a run holds besides its model, and back: moments, position, the table so
 * far. */
#include "recipe_impl.h"
#include "run.h"
#include "results.h"
#include "save.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Fields of dart_run that are whole numbers. */
#define RUN_FIELDS(X)                                                                              \
    X(step)                                                                                        \
    X(tokens)                                                                                      \
    X(stage_step) X(adam_step) X(at_stage) X(phase_tokens) X(last_pick) X(finished)
#define RUN_REALS(X) X(seconds) X(phase_seconds) X(last_loss)

/* ---- saving ---- */

static json_t *best_json(const dart_best *best, dart_status *status)
{
    json_t *body = json_object();
    dart_json_set(body, "step", json_integer((json_int_t)best->step), status);
    dart_json_set(body, "nll", dart_json_real(best->nll), status);
    return body;
}

static json_t *waiting_json(const dart_waiting *waiting, dart_status *status)
{
    json_t *body = json_object();
    dart_json_set(body, "evaluations", json_integer((json_int_t)waiting->evaluations), status);
    dart_json_set(body, "since", json_integer((json_int_t)waiting->since), status);
    dart_json_set(body, "nll", dart_json_real(waiting->nll), status);
    return body;
}

static json_t *growing_json(const dart_growing *growing, dart_status *status)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < growing->bonds; i++) {
        json_t *one = json_array();
        dart_json_add(one, dart_json_real(growing->score[i].mean), status);
        dart_json_add(one, dart_json_real(growing->score[i].change), status);
        dart_json_add(all, one, status);
    }
    return all;
}

static dart_status state_text(const dart_run *run, char **out)
{
    char id[32];
    dart_status status = DART_OK;
    json_t *body = json_object(), *rows = json_array(), *logs = json_array();
    json_t *rest = json_object(), *moved = json_array();
    dart_json_set(body, "format", json_integer(DART_STATE_FORMAT), &status);
#define X(field) dart_json_set(body, #field, json_integer((json_int_t)run->field), &status);
    RUN_FIELDS(X)
#undef X
    dart_json_set(body, "owed", json_integer(run->owed), &status);
#define X(field) dart_json_set(body, #field, dart_json_real(run->field), &status);
    RUN_REALS(X)
#undef X
    for (int i = 0; i < DART_LOGS; i++)
        dart_json_add(logs, json_integer((json_int_t)run->log_bytes[i]), &status);
    for (uint32_t r = 0; r < run->rows; r++)
        dart_json_add(rows, dart_table_row_json(&run->table[r], &status), &status);
    dart_json_set(body, "log_bytes", logs, &status);
    dart_json_set(rest, "rank", dart_json_real(run->rest.rank), &status);
    dart_json_set(rest, "since", json_integer((json_int_t)run->rest.since), &status);
    dart_json_set(body, "rest", rest, &status);
    if (run->best.step) dart_json_set(body, "best", best_json(&run->best, &status), &status);
    if (run->waiting.evaluations)
        dart_json_set(body, "waiting", waiting_json(&run->waiting, &status), &status);
    if (run->growing.score)
        dart_json_set(body, "scores", growing_json(&run->growing, &status), &status);
    for (uint32_t s = 0; s < run->stages; s++)
        dart_json_add(moved, json_integer((json_int_t)run->moved[s]), &status);
    dart_json_set(body, "moved_steps", moved, &status);
    dart_json_set(
        body, "gate", dart_gate_json(run->bundle.model, &run->bundle.gate, &status), &status);
    dart_json_set(body, "rows", rows, &status);
    dart_json_set(body, "ranks", dart_ranks_json(run->bundle.model, &status), &status);
    dart_json_set(body, "seed", json_integer((json_int_t)run->bundle.set.seed), &status);
    dart_json_set(body, "random_numbers", json_string("philox4x32-10"), &status);
    dart_json_set(body, "data", json_string(run->fingerprint), &status);
    if (*run->bundle.set.base)
        dart_json_set(body, "base", json_string(run->bundle.base.hash), &status);
    dart_json_set(body, "device", json_string(dart_device_id(run->device, id)), &status);
    dart_json_set(body, "driver", dart_json_text(run->device->caps.driver), &status);
    return dart_json_write(
        body, status, JSON_INDENT(1) | JSON_PRESERVE_ORDER, "trainer_state.json", out);
}

/* What the optimizer keeps, as sets of tensors; returns how many. */
static uint32_t moments_of(const dart_run *run, dart_values out[DART_OPTIM_STATES])
{
    const dart_optim *optim = run->bundle.set.optimizer;
    for (uint32_t k = 0; k < optim->states; k++)
        out[k] = (dart_values){
            optim->state[k].prefix, run->moment + k * run->bundle.model->param_words, NULL};
    return optim->states;
}

/* A checkpoint is what one goes on from: values that are no numbers must not replace good ones. */
static dart_status check_finite(const dart_run *run)
{
    const dart_model *model = run->bundle.model;
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        const float *at = run->bundle.param + param->offset;
        const uint64_t words = dart_shape_words(&param->shape);
        if (param->region != DART_REGION_PARAM) continue;
        for (uint64_t i = 0; i < words; i++)
            if (!isfinite(at[i]))
                return dart_fail(DART_DIVERGED,
                    "training diverged at step %" PRIu64 ": %s has values that are not finite; try "
                    "a smaller --learning-rate or more --warmup-steps",
                    run->step, param->name);
    }
    return DART_OK;
}

dart_status dart_run_save(dart_run *run)
{
    enum { MODEL, MOMENTS, STATE, TEXTS };
    const dart_bundle *b = &run->bundle;
    dart_status status = DART_OK;
    char root[DART_RUN_PATH + 32];
    dart_checkpoint_file file[DART_CHECKPOINT_FILES] = {{.name = "model.safetensors"},
        {.name = "optimizer.safetensors"}, {.name = "trainer_state.json"}};
    uint32_t files = TEXTS;
    DART_TRY(dart_metrics_sync(&run->metrics, run->log_bytes));
    DART_TRY(dart_run_pull(run));
    DART_TRY(check_finite(run));
    const dart_values model = {"", b->param, b->frozen};
    dart_values moments[DART_OPTIM_STATES];
    const uint32_t states = moments_of(run, moments);
    DART_GOTO(dart_values_pack(b->model, &model, 1, &file[MODEL].data, &file[MODEL].size));
    DART_GOTO(
        dart_values_pack(b->model, moments, states, &file[MOMENTS].data, &file[MOMENTS].size));
    DART_GOTO(state_text(run, &file[STATE].data));
    file[STATE].size = strlen(file[STATE].data);
    DART_GOTO(dart_bundle_texts(b, file, &files));
    snprintf(root, sizeof root, "%s/checkpoints", run->dir);
    DART_GOTO(dart_checkpoint_write(root, run->step, file, files, (uint32_t)b->set.save_total_limit,
        run->best.step ? run->best.step : DART_CHECKPOINT_NONE, dart_note_of(&run->hooks)));
done:
    for (int i = 0; i < DART_CHECKPOINT_FILES; i++) free(file[i].data);
    return status;
}

/* ---- loading ---- */

/* The field, where it is a whole number from 0 to `most`. */
static dart_status check_field(
    const json_t *body, const char *field, uint64_t most, const char *path)
{
    const json_t *value = json_object_get(body, field);
    const json_int_t n = json_integer_value(value);
    if (json_is_integer(value) && n >= 0 && (uint64_t)n <= most) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s/trainer_state.json: %s is no whole number from 0 to %" PRIu64
        ": the file was changed, or the recipe is of another run",
        path, field, most);
}

static int64_t moved_of(const dart_run *run, const json_t *body, uint32_t s)
{
    const int64_t steps =
        json_integer_value(json_array_get(json_object_get(body, "moved_steps"), s));
    return steps < -(int64_t)run->stage[s].steps || steps > (int64_t)dart_run_steps(run) ? 0
                                                                                         : steps;
}

/* Whether the run has such a place; nothing of the run is changed. */
static dart_status check_position(const dart_run *run, const json_t *body, const char *path)
{
    const json_t *logs = json_object_get(body, "log_bytes");
#define X(field) DART_TRY(check_field(body, #field, INT64_MAX, path));
    RUN_FIELDS(X)
#undef X
    DART_TRY(check_field(body, "finished", 1, path));
    DART_TRY(check_field(body, "at_stage", run->stages, path));
    if (json_object_get(body, "owed")) /* older checkpoints owe nothing */
        DART_TRY(check_field(body, "owed", DART_OWED_ROUNDED, path));
    DART_TRY(check_field(body, "last_pick", run->stages, path));
    const uint32_t at = (uint32_t)json_integer_value(json_object_get(body, "at_stage"));
    if (at < run->stages)
        DART_TRY(check_field(
            body, "stage_step", run->stage[at].steps + (uint64_t)moved_of(run, body, at), path));
    for (size_t i = 0; i < DART_LOGS; i++)
        if (json_integer_value(json_array_get(logs, i)) < 0)
            return dart_fail(
                DART_INPUT, "%s/trainer_state.json: log_bytes has a negative number", path);
    return DART_OK;
}

/* What validation had shown; a step that is none, or none yet, is as if nothing had been seen. */
static void read_validation(dart_run *run, const json_t *body)
{
    const json_t *best = json_object_get(body, "best"), *waiting = json_object_get(body, "waiting");
    const json_int_t step = json_integer_value(json_object_get(best, "step"));
    run->best = (dart_best){0};
    if (step > 0 && (uint64_t)step <= run->step)
        run->best = (dart_best){(uint64_t)step, dart_json_number(best, "nll")};
    run->waiting = (dart_waiting){
        .evaluations = (uint64_t)json_integer_value(json_object_get(waiting, "evaluations")),
        .since = (uint64_t)json_integer_value(json_object_get(waiting, "since")),
        .nll = dart_json_number(waiting, "nll")};
}

/* Scores of the stage at hand; none where it did not grow, or had made no step. */
static dart_status read_growing(dart_run *run, const json_t *body, const char *path)
{
    const json_t *all = json_object_get(body, "scores");
    dart_run_grow_end(run);
    if (!all) return DART_OK;
    DART_TRY(dart_run_grow_bind(run));
    bool sound = json_array_size(all) == run->growing.bonds;
    for (uint32_t i = 0; sound && i < run->growing.bonds; i++) {
        const json_t *mean = json_array_get(json_array_get(all, i), 0);
        const json_t *change = json_array_get(json_array_get(all, i), 1);
        const dart_score score = {json_number_value(mean), json_number_value(change)};
        sound =
            json_is_number(mean) && json_is_number(change) && score.mean >= 0 && score.change >= 0;
        run->growing.score[i] = score;
    }
    if (sound) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s/trainer_state.json: scores are not two numbers from 0 on for each of %u bonds: the "
        "file was changed, or the recipe is of another run",
        path, run->growing.bonds);
}

static dart_status read_position(dart_run *run, json_t *body, const char *path)
{
    DART_TRY(check_position(run, body, path));
#define X(field)                                                                                   \
    run->field = (__typeof__(run->field))json_integer_value(json_object_get(body, #field));
    RUN_FIELDS(X)
#undef X
#define X(field) run->field = dart_json_number(body, #field);
    RUN_REALS(X)
#undef X
    run->owed = (uint32_t)json_integer_value(json_object_get(body, "owed"));
    for (size_t i = 0; i < DART_LOGS; i++)
        run->log_bytes[i] =
            (uint64_t)json_integer_value(json_array_get(json_object_get(body, "log_bytes"), i));
    json_t *rest = json_object_get(body, "rest");
    run->rest.rank = dart_json_number(rest, "rank");
    run->rest.since = (uint64_t)json_integer_value(json_object_get(rest, "since"));
    read_validation(run, body);
    for (uint32_t s = 0; s < run->stages; s++) run->moved[s] = moved_of(run, body, s);
    for (uint32_t s = 0; s < run->stages; s++) run->stage[s].steps += (uint64_t)run->moved[s];
    DART_TRY(read_growing(run, body, path));
    json_t *rows = json_object_get(body, "rows");
    run->rows = 0;
    for (size_t r = 0; r < json_array_size(rows) && r < DART_TABLE_ROWS; r++)
        dart_table_row_read(json_array_get(rows, r), &run->table[run->rows++]);
    return DART_OK;
}

dart_status dart_run_load_step(dart_run *run, const char *root, uint64_t step)
{
    dart_checkpoint checkpoint;
    dart_bundle *b = &run->bundle;
    const dart_values model = {"", b->param, b->frozen};
    dart_values moments[DART_OPTIM_STATES];
    dart_gate_config config;
    dart_model_gate gate;
    json_t *state = NULL;
    const uint32_t states = moments_of(run, moments);
    dart_status status = dart_checkpoint_at(root, step, &checkpoint);
    DART_GOTO(status);
    DART_GOTO(dart_state_parse(&checkpoint, &state));
    DART_GOTO(dart_gate_read(state, checkpoint.path, &config, &gate));
    /* What cannot be read leaves the host copies half done; those of the device are whole. */
    DART_GOTO(dart_values_unpack(b->model, &checkpoint, "model.safetensors", &model, 1));
    DART_GOTO(dart_values_unpack(b->model, &checkpoint, "optimizer.safetensors", moments, states));
    b->gate = gate;
    status = dart_session_write(run->session, b->param, b->frozen, run->moment);
done:
    json_decref(state);
    dart_checkpoint_close(&checkpoint);
    return status;
}

/* Stages of the recipe that the checkpoint was written with. */
static dart_status stages_before(const dart_run *run, const dart_checkpoint *checkpoint,
    dart_recipe **out_recipe, dart_stage stage[DART_MAX_STAGES], uint32_t *out_count)
{
    char path[sizeof checkpoint->path + 32];
    snprintf(path, sizeof path, "%s/recipe.yaml", checkpoint->path);
    DART_TRY(dart_recipe_new(out_recipe));
    DART_TRY(dart_recipe_load(*out_recipe, path));
    return dart_recipe_stages(*out_recipe, run->train.windows, stage, out_count);
}

/* Going on with other settings: stages that are over cannot be changed any more, and a change that
 * changes nothing is none. */
static dart_status check_changes(
    const dart_run *run, const dart_checkpoint *checkpoint, const json_t *body)
{
    dart_recipe *recipe = NULL;
    dart_stage *before = dart_calloc(DART_MAX_STAGES, sizeof *before);
    dart_status status = before ? DART_OK : DART_MEMORY;
    uint32_t count = 0;
    bool changed = false;
    const json_int_t at = json_integer_value(json_object_get(body, "at_stage"));
    const bool finished = json_integer_value(json_object_get(body, "finished")) != 0;
    if (status == DART_OK) status = stages_before(run, checkpoint, &recipe, before, &count);
    if (status != DART_OK) goto done;
    for (uint32_t s = 0; s < count && s < run->stages; s++) {
        const char *key = dart_settings_difference(&before[s].set, &run->stage[s].set);
        if (before[s].steps != run->stage[s].steps) key = "max_steps";
        if (!key) continue;
        changed = true;
        if (finished)
            DART_GOTO(dart_fail(DART_INPUT,
                "the run in %s is finished, so %s of stage '%s' cannot be changed any more; train "
                "anew with --force alone",
                run->dir, key, before[s].name));
        if ((json_int_t)s < at)
            DART_GOTO(dart_fail(DART_INPUT,
                "stage '%s' is over in %s, so its %s cannot be changed any more; change a stage to "
                "come, or train anew with --force alone",
                before[s].name, run->dir, key));
    }
    changed |= count != run->stages;
    const char *key = dart_recipe_difference(recipe, run->bundle.recipe);
    const int row = key ? dart_recipe_key(key) : -1;
    if (row >= 0 && !changed && !strcmp(dart_recipe_row_at(row)->option.section, "stage"))
        status = dart_fail(DART_INPUT,
            "%s changes nothing: the run in %s has its stages in recipe.yaml; write it with a "
            "stage "
            "to come in front, like %s.%s",
            key, run->dir, run->stage[run->stages - 1].name, key);
done:
    dart_recipe_free(recipe);
    free(before);
    return status;
}

typedef struct loading {
    dart_run *run;
    bool force, changed; /* changed: the data, which no older checkpoint will change back */
} loading;

/* dart_checkpoint_load. Position last: what comes before it may be tried again. */
static dart_status load(void *user, const dart_checkpoint *checkpoint)
{
    loading *l = user;
    dart_run *run = l->run;
    json_t *state;
    dart_values moments[DART_OPTIM_STATES];
    DART_TRY(dart_state_parse(checkpoint, &state));
    dart_status status = DART_OK;
    const char *data = json_string_value(json_object_get(state, "data"));
    if (!*data) {
        l->changed = true;
        status = dart_fail(DART_FAILED,
            "%s was not trained: it is what compress made; begin a run of its own with it, "
            "--init-from %s --out ANOTHER",
            checkpoint->path, run->dir);
        goto done;
    }
    l->changed = !l->force && strcmp(data, run->fingerprint);
    if (l->changed) {
        status = dart_fail(DART_FAILED,
            "the text or its vocabulary changed since %s was written; restore it, or use --force",
            checkpoint->path);
        goto done;
    }
    if (l->force) {
        status = check_changes(run, checkpoint, state);
        l->changed = status == DART_INPUT;
        if (l->changed) status = DART_FAILED;
        DART_GOTO(status);
    }
    DART_GOTO(dart_bundle_read(&run->bundle, checkpoint, state));
    free(run->moment);
    run->moment = dart_calloc(
        run->bundle.set.optimizer->states * run->bundle.model->param_words, sizeof *run->moment);
    if (!run->moment) {
        status = DART_MEMORY;
        goto done;
    }
    const uint32_t states = moments_of(run, moments);
    DART_GOTO(dart_values_unpack(
        run->bundle.model, checkpoint, "optimizer.safetensors", moments, states));
    status = read_position(run, state, checkpoint->path);
done:
    json_decref(state);
    return status;
}

dart_status dart_run_load(dart_run *run, const char *root, bool force)
{
    dart_checkpoint checkpoint;
    loading l = {.run = run, .force = force};
    dart_status status =
        dart_checkpoint_newest(root, dart_note_of(&run->hooks), load, &l, &checkpoint);
    dart_checkpoint_close(&checkpoint);
    return l.changed && status == DART_FAILED ? DART_INPUT : status;
}
