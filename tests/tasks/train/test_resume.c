/* Runs that stop and go on: bit for bit the undisturbed run, after signals, a full disk and a
 * damaged checkpoint. */
#include "full_disk.h"
#include "small_run.h"

static unsigned resumes;

/* Stopped after step k and resumed: weights, moments, metrics and spectra equal the undisturbed
 * run's bytes. */
static void resume_everywhere(
    const char *device, const char *key, const char *value, unsigned stride)
{
    char whole[64], part[64];
    static unsigned turn;
    snprintf(whole, sizeof whole, "whole-%u", ++turn);
    watch w = {0};
    dart_recipe *recipe = tiny(device, in(whole));
    set(recipe, key, value);
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    dart_recipe_free(recipe);
    for (uint64_t k = 1; k < 24; k += stride) {
        snprintf(part, sizeof part, "part-%u-%llu", turn, (unsigned long long)k);
        recipe = tiny(device, in(part));
        set(recipe, key, value);
        w = (watch){.stop_at = k};
        assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
        /* a step that was in flight behind it is kept */
        assert_true(w.steps == k || (w.steps == k + 1 && strcmp(device, "cpu")));
        set(recipe, "resume", "true");
        w = (watch){.stop_at = k + 5};
        dart_status status =
            train(recipe, &w, NULL); /* and once more, in the middle of what is left */
        /* at the last step it stops the evaluations that come after it */
        assert_int_equal(status, k + 5 <= 24 ? DART_INTERRUPTED : DART_OK);
        w = (watch){0};
        assert_int_equal(train(recipe, &w, NULL), DART_OK);
        assert_same_run(in(whole), in(part));
        assert_int_equal(dart_remove_tree(in(part)), DART_OK);
        dart_recipe_free(recipe);
        resumes++;
    }
}

static void test_resume(void **state)
{
    (void)state;
    resume_everywhere("cpu", "layers", "1", 1);
    resume_everywhere("cpu", "gradient_accumulation_steps", "2", 6);
    resume_everywhere("cpu", "weights", "blocks.*.attn.[qv] lora rank=2, *.mlp.up dense", 6);
    resume_everywhere("cpu", "weights",
        "*.q tt-lora rank=2 out_modes=8x2 in_modes=2x8, *.v loretta-rep rank=2 loretta_r=3, "
        "*.k frozen, *.up dota rank=2 modes=2, *.down ttm rank=2 modes=2 frozen_base=true",
        6);
    resume_everywhere("cpu", "optimizer", "muon", 6);
    static const char *const others[] = {"opencl:0", "vulkan:0"};
    for (int i = 0; i < 2; i++)
        if (present(others[i]))
            resume_everywhere(others[i], "layers", "1", 1);
        else
            printf("%s is not on this machine: %s\n", others[i], dart_error_text());
    printf("%u runs stopped and resumed bit for bit\n", resumes);
    assert_true(resumes >= 27); /* the cpu alone; every step of every device that is there */
}

typedef struct counted {
    unsigned calls, stop_at;
} counted;

static dart_status stop_at_call(void *user)
{
    counted *c = user;
    return ++c->calls >= c->stop_at ? DART_TERMINATED : DART_OK;
}

/* Stopped at any question, most of which come between batches of an evaluation: before and after a
 * selection, among the rows at the end, in a step's own. */
static void stop_in_evaluations(const char *key, const char *value, unsigned stride)
{
    unsigned stops = 0;
    dart_result whole, result;
    dart_recipe *recipe = tiny("cpu", in("calls-whole"));
    set(recipe, key, value);
    counted c = {.stop_at = UINT32_MAX};
    const dart_hooks hooks = {.user = &c, .abort = stop_at_call};
    assert_int_equal(dart_train_run(recipe, &hooks, &whole), DART_OK);
    const unsigned all = c.calls;
    assert_true(all > 24 + 3 * 4); /* steps, and batches of evaluations */
    for (unsigned n = 1; n < all; n += stride) {
        set(recipe, "out", in("calls-part"));
        set(recipe, "resume", "false");
        c = (counted){.stop_at = n};
        expect(dart_train_run(recipe, &hooks, &result), DART_TERMINATED, "go on with --resume");
        assert_int_equal(c.calls, n); /* it is asked no more */
        set(recipe, "resume", "true");
        c = (counted){.stop_at = 9};
        while (dart_train_run(recipe, &hooks, &result) != DART_OK) {
            assert_int_equal(c.calls, c.stop_at);
            c = (counted){.stop_at = 9 + ++stops % 40};
        }
        assert_same_run(in("calls-whole"), in("calls-part"));
        assert_int_equal(result.rows, whole.rows);
        for (uint32_t r = 0; r < whole.rows; r++) {
            assert_string_equal(result.row[r].name, whole.row[r].name);
            assert_true(result.row[r].test_ppl == whole.row[r].test_ppl);
            assert_true(result.row[r].valid_ppl == whole.row[r].valid_ppl);
        }
        assert_int_equal(dart_remove_tree(in("calls-part")), DART_OK);
    }
    dart_recipe_free(recipe);
    assert_int_equal(dart_remove_tree(in("calls-whole")), DART_OK);
}

static void test_stop_in_evaluations(void **state)
{
    (void)state;
    stop_in_evaluations("rank", "4", 5);
    stop_in_evaluations("select", "none", 11);
    stop_in_evaluations("eval_selections", "false", 11);
}

/* A run with a dense twin, stopped inside the twin and again inside the run itself. */
static void test_resume_twin(void **state)
{
    (void)state;
    dart_result whole, part;
    watch w = {0};
    dart_recipe *recipe = tiny("cpu", in("twin-whole"));
    set(recipe, "dense_twin", "true");
    assert_int_equal(train(recipe, &w, &whole), DART_OK);
    set(recipe, "out", in("twin-part"));
    w = (watch){.stop_at = 9};
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    dart_recipe_free(recipe);
    /* --resume and --out are enough: the rest is known. */
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    set(recipe, "out", in("twin-part"));
    set(recipe, "resume", "true");
    w = (watch){.stop_at = 13}; /* of the twin, which is what comes next */
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    w = (watch){.stop_at = 5}; /* of the run */
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    w = (watch){0};
    assert_int_equal(train(recipe, &w, &part), DART_OK);
    assert_same_run(in("twin-whole"), in("twin-part"));
    assert_int_equal(part.rows, 4);
    for (int i = 0; i < 4; i++) assert_true(whole.row[i].test_ppl == part.row[i].test_ppl);
    dart_recipe_free(recipe);
}

/* What was good stays when a later save fails; the run goes on from there when there is room again.
 */
static void test_disk_full(void **state)
{
    (void)state;
    dart_recipe *recipe = tiny("cpu", in("full"));
    watch w = {.stop_at = 8};
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    const struct rlimit before = full_disk(12000); /* room for the logs, not for the weights */
    set(recipe, "resume", "true");
    w = (watch){0};
    dart_status status = train(recipe, &w, NULL);
    room_again(before);
    expect(status, DART_IO, "disk is full");
    dart_checkpoint c;
    assert_int_equal(
        dart_checkpoint_newest(in("full/checkpoints"), (dart_note){0}, NULL, NULL, &c), DART_OK);
    assert_int_equal(c.step, 8);
    dart_checkpoint_close(&c);
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    dart_recipe_free(recipe);
    recipe = tiny("cpu", in("not-full"));
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    assert_same_run(in("full"), in("not-full"));
    dart_recipe_free(recipe);
}

static void flip(const char *path, size_t at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, (long)at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, (long)at, SEEK_SET);
    fputc(c ^ 4, f);
    fclose(f);
}

static void test_damaged_checkpoint(void **state)
{
    (void)state;
    dart_recipe *recipe = tiny("cpu", in("damaged"));
    watch w = {.stop_at = 22};
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED); /* steps 20 and 22 are kept */
    flip(in("damaged/checkpoints/step-00000022/model.safetensors"), 3000);
    dart_eval_result e;
    expect(handle_eval(in("damaged/checkpoints/step-00000022"), NULL, &e), DART_INPUT,
        "model.safetensors");
    set(recipe, "resume", "true");
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    assert_non_null(strstr(w.text, "do not have the checksum"));
    assert_non_null(strstr(w.text, "resumed at step 20"));
    dart_recipe_free(recipe);
    recipe = tiny("cpu", in("sound"));
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    assert_same_run(in("damaged"), in("sound"));
    dart_recipe_free(recipe);
}

/* The newest step verifies but says too little: the one before it is taken, and that is told. */
static void test_step_that_does_not_load(void **state)
{
    (void)state;
    dart_checkpoint c;
    dart_recipe *recipe = tiny("cpu", in("wordless"));
    watch w = {.stop_at = 22};
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    assert_int_equal(dart_checkpoint_open(in("wordless/checkpoints/step-00000022"), &c), DART_OK);
    for (uint32_t i = 0; i < c.files; i++) {
        if (strcmp(c.file[i].name, "trainer_state.json")) continue;
        char *ranks = strstr(c.file[i].data, "\"ranks\"");
        assert_non_null(ranks);
        memcpy(ranks, "\"rungs\"", 7);
    }
    assert_int_equal(dart_checkpoint_write(in("wordless/checkpoints"), 22, c.file, c.files, 2,
                         DART_CHECKPOINT_NONE, (dart_note){0}),
        DART_OK);
    dart_checkpoint_close(&c);
    set(recipe, "resume", "true");
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    assert_non_null(strstr(w.text, "it has no ranks for"));
    assert_non_null(strstr(w.text, "resumed at step 20"));
    dart_recipe_free(recipe);
    recipe = tiny("cpu", in("wordy"));
    w = (watch){0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    assert_same_run(in("wordless"), in("wordy"));
    dart_recipe_free(recipe);
}

/* A place that the run does not have, beyond what 32 bits hold too: refused as bad input, and the
 * step before it is taken. */
static void test_place_past_the_end(void **state)
{
    (void)state;
    static const struct {
        const char *field, *value;
    } forged[] = {{"at_stage", "4294967295"}, {"at_stage", "9"}, {"at_stage", "4294967296"},
        {"at_stage", "-1"}, {"stage_step", "1000"}, {"last_pick", "9"}, {"step", "\"two\""}};
    dart_checkpoint c;
    dart_recipe *recipe = tiny("cpu", in("whole"));
    watch w = {0};
    assert_int_equal(train(recipe, &w, NULL), DART_OK);
    dart_recipe_free(recipe);
    recipe = tiny("cpu", in("forged"));
    for (size_t k = 0; k < sizeof forged / sizeof *forged; k++) {
        char text[8192], key[32], sentence[64];
        w = (watch){.stop_at = 22};
        assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
        assert_int_equal(dart_checkpoint_open(in("forged/checkpoints/step-00000022"), &c), DART_OK);
        dart_checkpoint_file file[8];
        memcpy(file, c.file, c.files * sizeof *file);
        snprintf(key, sizeof key, "\"%s\": ", forged[k].field);
        for (uint32_t i = 0; i < c.files; i++) {
            if (strcmp(file[i].name, "trainer_state.json")) continue;
            const char *at = strstr(file[i].data, key), *end = at ? strchr(at, ',') : NULL;
            assert_true(at && end && file[i].size + 32 < sizeof text);
            int n = snprintf(text, sizeof text, "%.*s%s%s%.*s", (int)(at - file[i].data),
                file[i].data, key, forged[k].value, (int)(file[i].data + file[i].size - end), end);
            file[i].data = text;
            file[i].size = (size_t)n;
        }
        assert_int_equal(dart_checkpoint_write(in("forged/checkpoints"), 22, file, c.files, 2,
                             DART_CHECKPOINT_NONE, (dart_note){0}),
            DART_OK);
        dart_checkpoint_close(&c);
        set(recipe, "resume", "true");
        w = (watch){0};
        assert_int_equal(train(recipe, &w, NULL), DART_OK);
        snprintf(sentence, sizeof sentence, "%s is no whole number", forged[k].field);
        if (!strstr(w.text, sentence)) fail_msg("%s %s: %s", key, forged[k].value, w.text);
        assert_non_null(strstr(w.text, "resumed at step 20"));
        assert_same_run(in("forged"), in("whole"));
        set(recipe, "resume", "false");
        assert_int_equal(dart_remove_tree(in("forged")), DART_OK);
    }
    dart_recipe_free(recipe);
}

/* SIGTERM has its own code; a run that finished stays finished. */
static void on_progress_term(void *user, const dart_progress *p)
{
    watch *w = user;
    w->steps = p->step;
    if (p->step == 4) w->stop = DART_TERMINATED;
}

static void test_signals(void **state)
{
    (void)state;
    watch w = {0};
    dart_recipe *recipe = tiny("cpu", in("signals"));
    const dart_hooks hooks = {.user = &w, .progress = on_progress_term, .abort = on_abort};
    dart_result result, again;
    assert_int_equal(dart_train_run(recipe, &hooks, &result), DART_TERMINATED);
    set(recipe, "resume", "true");
    w = (watch){0};
    assert_int_equal(train(recipe, &w, &result), DART_OK);
    w = (watch){0};
    assert_int_equal(train(recipe, &w, &again), DART_OK);
    assert_int_equal(w.steps, 0); /* nothing left to do */
    assert_int_equal(result.rows, again.rows);
    assert_memory_equal(result.row, again.row, sizeof result.row);
    dart_recipe_free(recipe);
}

static dart_status resumed_with(const char *out, const char *key, const char *value, watch *w)
{
    dart_recipe *recipe;
    *w = (watch){0};
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    set(recipe, "out", out);
    set(recipe, "resume", "true");
    set(recipe, "force", "true");
    assert_int_equal(dart_recipe_override(recipe, key, value), DART_OK);
    dart_status status = train(recipe, w, NULL);
    dart_recipe_free(recipe);
    return status;
}

/* Going on with other settings acts on stages to come, or is refused; it is never passed over. */
static void test_changed_settings(void **state)
{
    (void)state;
    watch w = {.stop_at = 9}; /* of 20: warmup 4, shrink 8, pick, tune 8 */
    dart_recipe *recipe = tiny("cpu", in("changed"));
    set(recipe, "max_steps", "20");
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    dart_recipe_free(recipe);
    expect(resumed_with(in("changed"), "max_steps", "60", &w), DART_INPUT, "changes nothing");
    expect(resumed_with(in("changed"), "warmup.max_steps", "60", &w), DART_INPUT,
        "stage 'warmup' is over");
    expect(resumed_with(in("changed"), "shrink.max_steps", "3", &w), DART_INPUT, "stage_step");
    expect(resumed_with(in("changed"), "tone.max_steps", "3", &w), DART_USAGE, "unknown stage");
    assert_int_equal(w.steps, 0);
    /* 0.010 is 1e-2: nothing to change, and nothing refused */
    w = (watch){.stop_at = 11};
    recipe = tiny("cpu", in("changed"));
    set(recipe, "max_steps", "20");
    set(recipe, "lr", "0.010");
    set(recipe, "resume", "true");
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    dart_recipe_free(recipe);
    assert_int_equal(resumed_with(in("changed"), "tune.max_steps", "30", &w), DART_OK);
    assert_int_equal(w.steps, 20 - 8 + 30);
    expect(resumed_with(in("changed"), "tune.max_steps", "40", &w), DART_INPUT, "is finished");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_resume),
        cmocka_unit_test(test_stop_in_evaluations), cmocka_unit_test(test_resume_twin),
        cmocka_unit_test(test_disk_full), cmocka_unit_test(test_damaged_checkpoint),
        cmocka_unit_test(test_step_that_does_not_load), cmocka_unit_test(test_place_past_the_end),
        cmocka_unit_test(test_signals), cmocka_unit_test(test_changed_settings)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
