/* Recipes: the option table, YAML in and out, derived stages, refusals with file and line. */
#include "comma_locale.h"
#include "file.h"
#include "method.h"
#include "optim.h"
#include "recipe_impl.h"
#include "reg.h"
#include "select.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[] = "/tmp/dart-recipe-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? 1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static dart_recipe *load(const char *text)
{
    dart_recipe *recipe;
    assert_int_equal(dart_file_write_sync(path, text, strlen(text)), DART_OK);
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    dart_status status = dart_recipe_load(recipe, path);
    if (status != DART_OK) {
        assert_int_equal(status, DART_INPUT);
        dart_recipe_free(recipe);
        return NULL;
    }
    return recipe;
}

/* Every default is a valid value of its row, and no two rows share a spelling. */
static void test_table(void **state)
{
    (void)state;
    dart_recipe *recipe;
    char value[256];
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    uint32_t n = 0;
    for (const dart_option *o; (o = dart_option_at(n)); n++) {
        assert_true(strlen(o->help) > 4);
        assert_int_equal(dart_recipe_set(recipe, o->key, o->fallback), DART_OK);
        assert_int_equal(dart_recipe_get(recipe, o->key, value, sizeof value), DART_OK);
        assert_string_equal(value, o->fallback);
        for (const char *at = o->aliases; *at;) {
            char alias[64];
            size_t m = strcspn(at, ",");
            snprintf(alias, sizeof alias, "%.*s", (int)m, at);
            assert_int_equal(dart_recipe_set(recipe, alias, o->fallback), DART_OK);
            for (uint32_t k = 0; dart_option_at(k); k++)
                assert_true(strcmp(dart_option_at(k)->key, alias) != 0);
            at += m + (at[m] == ',');
        }
    }
    assert_true(n >= 50);
    dart_recipe_free(recipe);
}

/* Rows of one kind of plug-in: each is in the table, once, and an option that several have is one
 * row. */
static uint32_t check_rows(const char *plugin, const dart_option_row *const *rows,
    const dart_option_row **seen, uint32_t count)
{
    for (uint32_t n = 0; rows && rows[n]; n++) {
        assert_true(n < DART_MAX_OPTIONS);
        const dart_option_row *row = rows[n];
        int at = dart_recipe_key(row->key);
        if (at < 0 || dart_recipe_row_at(at)->row != row)
            fail_msg("%s: option %s is not in the table, or in another row", plugin, row->key);
        double value;
        assert_int_equal(dart_option_read(row, row->fallback, &value), DART_OK);
        uint32_t k = 0;
        while (k < count && seen[k] != row) k++;
        if (k == count) seen[count++] = row;
        assert_true(count < DART_PLUGIN_OPTIONS);
    }
    return count;
}

static void test_rows_of_plugins(void **state)
{
    (void)state;
    const dart_option_row *seen[DART_PLUGIN_OPTIONS];
    uint32_t count = 0, rows = 0;
    for (uint32_t i = 0; dart_method_at(i); i++)
        count = check_rows(dart_method_at(i)->name, dart_method_at(i)->options, seen, count);
    for (uint32_t i = 0; dart_optim_at(i); i++)
        count = check_rows(dart_optim_at(i)->name, dart_optim_at(i)->options, seen, count);
    for (uint32_t i = 0; dart_reg_at(i); i++) {
        const dart_reg *reg = dart_reg_at(i);
        count = check_rows(reg->name, reg->options, seen, count);
        /* what shared code reads of them */
        assert_true(!reg->mu || dart_option_among(reg->options, &dart_row_reg_mu));
        assert_true(!reg->penalty || dart_option_among(reg->options, &dart_row_reg_weighting));
        assert_true(!reg->prox || dart_option_among(reg->options, reg->prox_steps));
        if (!reg->gate) continue;
        assert_true(dart_option_among(reg->options, &dart_row_gate_rate));
        assert_true(dart_option_among(reg->options, &dart_row_budget));
        assert_true(dart_option_among(reg->options, &dart_row_min_rank));
        assert_true(dart_option_among(reg->options, &dart_row_target_loss) == reg->gate->driven);
        assert_true(
            dart_option_among(reg->options, &dart_row_gate_candidates) == reg->gate->by_candidate);
        assert_true(dart_option_among(reg->options, &dart_row_tau) == reg->gate->by_candidate);
    }
    for (uint32_t i = 0; dart_select_at(i); i++) {
        const dart_select *rule = dart_select_at(i);
        count = check_rows(rule->name, rule->options, seen, count);
        assert_true(rule->observe || dart_option_among(rule->options, &dart_row_min_rank));
        assert_true(!rule->observe || (dart_option_among(rule->options, &dart_row_budget) &&
                                          dart_option_among(rule->options, rule->every)));
        assert_true(!rule->gate || dart_reg_find(rule->gate)->gate);
    }
    for (int i = 0; i < dart_recipe_rows(); i++) rows += dart_recipe_row_at(i)->of_plugin;
    assert_int_equal(rows, count);
    assert_true(count > 15 && dart_recipe_rows() < DART_RECIPE_OPTIONS);
    const dart_option *last = NULL;
    for (uint32_t i = 0; dart_option_at(i); last = dart_option_at(i++)) /* sections hang together */
        for (uint32_t k = 0; last && strcmp(last->section, dart_option_at(i)->section) && k < i;
             k++)
            assert_string_not_equal(dart_option_at(k)->section, dart_option_at(i)->section);
}

static void test_set(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        dart_status status;
        const char *says;
    } cases[] = {
        {"learning-rate", "3e-4", DART_OK, ""},
        {"learning_rate", "0.001", DART_OK, ""},
        {"lr", "1e10", DART_OK, ""},
        {"num-epochs", "50", DART_OK, ""},
        {"tied-head", "true", DART_OK, ""},
        {"strict_rank", "yes", DART_OK, ""},
        {"learning_rat", "1", DART_USAGE, "did you mean 'learning_rate'?"},
        {"batchsize", "1", DART_USAGE, "did you mean 'batch_size'?"},
        {"lamda", "1", DART_USAGE, "did you mean 'lambda_reg'?"},
        {"treshold", "1", DART_USAGE, "did you mean 'threshold'?"},
        {"", "1", DART_USAGE, "unknown option"},
        {"layers", "two", DART_USAGE, "whole number"},
        {"layers", "2.5", DART_USAGE, "whole number"},
        {"layers", "", DART_USAGE, "whole number"},
        {"layers", "0", DART_USAGE, "between 1 and"},
        {"layers", "99999999999999999999", DART_USAGE, "whole number"},
        {"lr", "fast", DART_USAGE, "needs a number"},
        {"lr", "nan", DART_USAGE, "needs a number"},
        {"lr", "inf", DART_USAGE, "needs a number"},
        {"lr", "-1", DART_USAGE, "between"},
        {"dropout", "1", DART_USAGE, "between"},
        {"arch", "bert", DART_USAGE, "one of gpt|llama"},
        {"arch", "gp", DART_USAGE, "one of gpt|llama"},
        {"select", "budget", DART_OK, ""},
        {"select", "none", DART_OK, ""},
        {"reg", "", DART_OK, ""},
        {"select", "treshold", DART_USAGE,
            "unknown selection 'treshold'; known are threshold, energy, tail-norm, budget, "
            "uniform, random, gates, gumbel, increlora, none; did you mean 'threshold'?"},
        {"reg", "nuclear", DART_USAGE, "unknown penalty 'nuclear'; known are bond-nuclear, "},
        {"linear", "none", DART_USAGE, "unknown method for linear 'none'; known are dense, lora, "},
        {"head", "", DART_USAGE, "unknown method for head ''"},
        {"optimizer", "adam", DART_USAGE, "did you mean 'adamw'?"},
        {"lora-alpha", "8", DART_OK, ""},
        {"mu", "2", DART_USAGE, "reg_mu must be between 0 and 1"},
        {"budget_scale", "logs", DART_USAGE, "one of absolute|relative|log"},
        {"resume", "maybe", DART_USAGE, "true or false"},
        {"text", "a\nb", DART_USAGE, "control character"},
    };
    dart_recipe *recipe;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_status status = dart_recipe_set(recipe, cases[i].key, cases[i].value);
        if (status != cases[i].status || (status && !strstr(dart_error_text(), cases[i].says)))
            fail_msg("%s=%s: %d %s", cases[i].key, cases[i].value, (int)status, dart_error_text());
    }
    dart_settings set;
    dart_recipe_settings(recipe, &set);
    assert_true(
        set.learning_rate == 1e10 && set.epochs == 50 && set.strict_rank && set.layers == 4);
    assert_int_equal(set.tied_head, DART_TIED_HEAD_TRUE);
    dart_recipe_free(recipe);
}

static const char full[] = "model:  {arch: gpt, layers: 6, d_model: 256, heads: 4, context: 128}\n"
                           "method: {linear: tt, rank: 32, embedding: tt-embedding, head: tt}\n"
                           "data:   {dataset: ptb}\n"
                           "seed: 7\n"
                           "out: 'it''s here: #1'\n"
                           "stages:\n"
                           "  - {name: warmup, epochs: 2, lr: 3e-4}\n"
                           "  - {name: shrink, epochs: 8, reg: bond-nuclear, lambda: 0.02}\n"
                           "  - {name: pick,   select: threshold, delta: 0.2}\n"
                           "  - {name: tune,   steps: 40, lr: 1e-4}\n";

static void test_yaml(void **state)
{
    (void)state;
    dart_recipe *recipe = load(full);
    assert_non_null(recipe);
    dart_stage stage[DART_MAX_STAGES];
    uint32_t stages;
    assert_int_equal(dart_recipe_stages(recipe, 800, stage, &stages), DART_OK);
    assert_int_equal(stages, 4);
    assert_int_equal(stage[0].steps, 200); /* 2 * 800 / batch 8 */
    assert_int_equal(stage[1].steps, 800);
    assert_int_equal(stage[2].steps, 0);
    assert_int_equal(stage[3].steps, 40);
    assert_true(!stage[0].pick && !stage[1].pick && stage[2].pick && !stage[3].pick);
    assert_null(stage[0].set.reg);
    assert_string_equal(stage[1].set.reg->name, "bond-nuclear");
    assert_true(stage[1].set.lambda_reg == 0.02);
    assert_true(dart_settings_option(&stage[2].set, &dart_row_threshold) == 0.2);
    assert_true(stage[0].set.learning_rate == 3e-4 && stage[3].set.learning_rate == 1e-4);
    assert_true(stage[1].set.learning_rate == 2e-3);
    assert_int_equal(stage[3].set.seed, 7);

    /* What is saved loads back to the same, twice over. */
    char *first, *second;
    assert_int_equal(dart_recipe_text(recipe, true, &first), DART_OK);
    dart_recipe *again = load(first);
    assert_non_null(again);
    assert_null(dart_recipe_difference(recipe, again));
    assert_int_equal(dart_recipe_text(again, true, &second), DART_OK);
    assert_string_equal(first, second);
    char out[64];
    assert_int_equal(dart_recipe_get(again, "out", out, sizeof out), DART_OK);
    assert_string_equal(out, "it's here: #1");
    assert_int_equal(dart_recipe_set(again, "device", "null"), DART_OK);
    assert_null(dart_recipe_difference(recipe, again)); /* the run section changes no results */
    assert_int_equal(dart_recipe_set(again, "beta2", "950e-3"), DART_OK);
    assert_int_equal(dart_recipe_set(again, "strict_rank", "no"), DART_OK);
    assert_null(dart_recipe_difference(recipe, again)); /* the same number in other words */
    assert_int_equal(dart_recipe_set(again, "beta2", "0.9"), DART_OK);
    assert_string_equal(dart_recipe_difference(recipe, again), "beta2");
    free(first);
    free(second);

    assert_int_equal(dart_recipe_set(recipe, "max_steps", "104"), DART_OK);
    assert_int_equal(dart_recipe_stages(recipe, 800, stage, &stages), DART_OK);
    assert_int_equal(stage[0].steps + stage[1].steps + stage[2].steps + stage[3].steps, 104);
    assert_int_equal(stage[0].steps, 20);

    assert_int_equal(dart_recipe_twin(again), DART_OK);
    assert_int_equal(dart_recipe_stages(again, 800, stage, &stages), DART_OK);
    assert_int_equal(stages, 3);
    assert_int_equal(stage[0].steps + stage[1].steps + stage[2].steps, 1040);
    for (uint32_t i = 0; i < stages; i++) {
        assert_null(stage[i].set.reg);
        assert_string_equal(stage[i].set.linear->name, "dense");
        assert_false(stage[i].pick);
    }
    dart_recipe_free(recipe);
    dart_recipe_free(again);
}

/* Every value that is taken comes back from the file as it was. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a", " ", "'", "\"", "#", ":", ": ", "- ", "-", "{", "}",
        "[", "]", ",", "&x", "*x", "!t", "|", ">", "%", "@", "`", "\t", "\n", "\r", "\x01", "\x7f",
        "\xc2\x85", "\xc2\xa0", "\xe2\x80\xa8", "\xef\xbb\xbf", "\xef\xbf\xbe", "\xff", "\xc3",
        "\xc3\xbc", "\xf0\x9f\x98\x80", "~", "null", "true", "1", "?", "? ", "---", "...", "\\",
        "$"};
    enum { PIECES = sizeof pieces / sizeof *pieces, TRIALS = 3000 };
    static const char *const numbers[] = {
        "1", "+1", " 1", "01", "1.", ".5", "0.50", "5e-1", "0x1p-1", "1 ", "1_0", "1e0"};
    uint32_t taken = 0, seed = 12345;
    for (int trial = 0; trial < TRIALS + (int)(sizeof numbers / sizeof *numbers); trial++) {
        dart_recipe *recipe;
        char value[600] = "", again[600], *text;
        const char *key = trial < TRIALS ? "text" : "learning_rate";
        if (trial >= TRIALS) strcpy(value, numbers[trial - TRIALS]);
        for (uint32_t n = 0; trial < TRIALS && n < 1 + seed % 6; n++) {
            seed = seed * 1664525 + 1013904223;
            strcat(value, pieces[(seed >> 8) % PIECES]);
        }
        assert_int_equal(dart_recipe_new(&recipe), DART_OK);
        if (dart_recipe_set(recipe, key, value) == DART_OK) {
            taken++;
            assert_int_equal(dart_recipe_text(recipe, true, &text), DART_OK);
            dart_recipe *loaded = load(text);
            if (!loaded) fail_msg("'%s' does not come back: %s", value, dart_error_text());
            assert_int_equal(dart_recipe_get(loaded, key, again, sizeof again), DART_OK);
            if (trial < TRIALS) assert_string_equal(again, value);
            assert_null(dart_recipe_difference(recipe, loaded));
            dart_recipe_free(loaded);
            free(text);
        }
        dart_recipe_free(recipe);
    }
    print_message("%u of %d values were taken\n", taken, TRIALS);
    assert_true(taken > TRIALS / 4);

    dart_recipe *recipe;
    char longest[DART_RECIPE_TEXT + 1];
    memset(longest, '1', sizeof longest);
    longest[DART_RECIPE_TEXT] = 0;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "text", longest), DART_USAGE);
    assert_non_null(strstr(dart_error_text(), "the value of text is longer than 2047 bytes"));
    assert_int_equal(dart_recipe_set(recipe, "text", longest + 1), DART_OK);
    dart_recipe_free(recipe);
}

/* A host with a comma in its numbers reads and writes the same recipes. */
static void test_comma_locale(void **state)
{
    (void)state;
    if (!comma_locale()) skip();
    dart_recipe *recipe = load(full);
    dart_settings set;
    char *text;
    assert_non_null(recipe);
    dart_recipe_settings(recipe, &set);
    assert_true(set.learning_rate == 2e-3 && set.min_lr_ratio == 0.05);
    assert_true(dart_settings_option(&set, &dart_row_threshold) == 0.1);
    assert_int_equal(dart_recipe_set(recipe, "lr", "0.25"), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "lr", "0,25"), DART_USAGE);
    assert_int_equal(
        dart_recipe_stage_number(recipe, &recipe->stage[0], "epochs", 1.0 / 3), DART_OK);
    assert_int_equal(dart_recipe_text(recipe, true, &text), DART_OK);
    assert_non_null(strstr(text, "epochs: 0.333333333,"));
    dart_recipe *again = load(text);
    assert_non_null(again);
    assert_null(dart_recipe_difference(recipe, again));
    assert_int_equal(dart_recipe_set(recipe, "lr", "-1"), DART_USAGE);
    assert_non_null(strstr(dart_error_text(), "between 0 and 1e+30, got -1"));
    assert_int_equal(dart_recipe_set(recipe, "reg_p", "0.0001"), DART_USAGE);
    assert_non_null(strstr(dart_error_text(), "between 0.001 and 1"));
    comma_locale_leave();
    free(text);
    dart_recipe_free(again);
    dart_recipe_free(recipe);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "empty"},
        {"just words\n", "key: value"},
        {"- a\n- b\n", "key: value"},
        {"seed: 1\nlamda_reg: 0.1\n", ":2:1: unknown key 'lamda_reg'; did you mean 'lambda_reg'?"},
        {"model:\n  layer: 3\n", ":2:3: unknown key 'layer'; did you mean 'layers'?"},
        {"stages:\n  - {name: a, epoch: 1}\n",
            ":2:15: unknown key 'epoch'; did you mean 'epochs'?"},
        {"stages:\n  - {name: a, epochs: 1, heads: 2}\n", "holds for the whole run"},
        {"stages: 3\n", "stages is a list"},
        {"stages: [3]\n", "a stage is written"},
        {"stages:\n  - {name: '', epochs: 1}\n", "1 to 47 letters"},
        {"seed: 1\nseed: 2\n", ":2:1: the key 'seed' is there twice"},
        {"train: {seed: 1}\nseed: 2\n", "there twice"},
        {"layers: many\n", ":1:9: layers needs a whole number, got 'many'"},
        {"layers: 100000\n", "between 1 and 512"},
        {"layers: {a: 1}\n", "layers needs a single value here"},
        {"text: [[1]]\n", "text needs a single value here"},
        {"[1]: 2\n", "a key must be a word"},
        {"a: [1\n", "not YAML"},
        {"a: 'x\n", "not YAML"},
        {"\t- x: 1\n", "not YAML"},
        {"seed: 1\n---\nseed: 2\n", "second document"},
        {"seed: *nowhere\n", ":1:7: there is no anchor &nowhere before *nowhere"},
        {"lr: 1\nlearning-rate: 2\n", ":2:1: the key 'learning-rate' is there twice"},
        {"stages: []\nstages: []\n", ":2:1: the key 'stages' is there twice"},
        {"stages:\n  - {name: a, name: b}\n", ":2:15: the key 'name' is there twice"},
        {"reg: nuclear\n", ":1:6: unknown penalty 'nuclear'; known are "},
        {"resume: 7\n", "true or false"},
    };
    unsigned n = sizeof cases / sizeof *cases;
    for (unsigned i = 0; i < n; i++) {
        dart_recipe *recipe = load(cases[i].text);
        if (recipe || !strstr(dart_error_text(), cases[i].says))
            fail_msg("case %u: %s", i, recipe ? "accepted" : dart_error_text());
    }
    dart_recipe *recipe;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    assert_int_equal(dart_recipe_load(recipe, "/nonesuch.yaml"), DART_INPUT);
    dart_recipe_free(recipe);

    recipe = load("stages: [{name: idle}]\n");
    dart_stage stage[DART_MAX_STAGES];
    uint32_t stages;
    assert_non_null(recipe);
    assert_int_equal(dart_recipe_stages(recipe, 10, stage, &stages), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "idle"));
    dart_recipe_free(recipe);
}

/* What is given beside a recipe acts, or is refused with the spelling that acts. */
static void test_override(void **state)
{
    (void)state;
    dart_stage stage[DART_MAX_STAGES];
    uint32_t count;
    dart_recipe *r = load("stages:\n  - {name: shrink, max_steps: 4, lambda_reg: 0.1}\n"
                          "  - {name: tune, max_steps: 6}\n");
    assert_non_null(r);
    const struct {
        const char *key, *value, *says;
    } refused[] = {{"lambda_reg", "0.5", "write shrink.lambda_reg"},
        {"epochs", "2", "write shrink.epochs"}, {"shrnk.lambda_reg", "0.5", "shrink"},
        {"tune.layers", "3", "holds for the whole run"}, {"tune.lr", "fast", "learning_rate"},
        {"tune.lambda", "-1", "lambda_reg"}, {"tune.nothing", "1", "nothing"},
        {"max_steps", "11", "come to 10 steps"}, {"max_steps", "11", "write tune.max_steps"}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_not_equal(dart_recipe_override(r, refused[i].key, refused[i].value), DART_OK);
        if (!strstr(dart_error_text(), refused[i].says)) fail_msg("%s", dart_error_text());
    }
    /* a bound that binds */
    assert_int_equal(dart_recipe_override(r, "max_steps", "5"), DART_OK);
    assert_int_equal(dart_recipe_stages(r, 1, stage, &count), DART_OK);
    assert_true(stage[0].steps == 2 && stage[1].steps == 3);
    assert_int_equal(dart_recipe_override(r, "shrink.lambda-reg", "0.5"), DART_OK);
    assert_int_equal(dart_recipe_override(r, "tune.max_steps", "60"), DART_OK);
    assert_int_equal(dart_recipe_override(r, "learning-rate", "0.25"), DART_OK);
    assert_int_equal(dart_recipe_override(r, "model.layers", "3"), DART_OK);
    assert_int_equal(dart_recipe_stages(r, 1, stage, &count), DART_OK);
    assert_true(stage[0].set.lambda_reg == 0.5 && stage[1].set.lambda_reg != 0.5);
    assert_int_equal(stage[1].steps, 60);
    assert_true(stage[1].set.learning_rate == 0.25 && stage[1].set.layers == 3);
    /* given before there are stages: kept until there are, also over another recipe */
    dart_recipe *early;
    assert_int_equal(dart_recipe_new(&early), DART_OK);
    assert_int_equal(dart_recipe_override(early, "tune.max_steps", "70"), DART_OK);
    assert_int_equal(dart_recipe_overlay(r, early), DART_OK);
    assert_int_equal(dart_recipe_stages(r, 1, stage, &count), DART_OK);
    assert_int_equal(stage[1].steps, 70);
    assert_int_equal(dart_recipe_override(early, "nope.max_steps", "70"), DART_OK);
    assert_int_equal(dart_recipe_overlay(r, early), DART_USAGE);
    assert_non_null(strstr(dart_error_text(), "unknown stage 'nope'"));
    dart_recipe_free(early);
    dart_recipe_free(r);
}

static void has_value(const dart_recipe *recipe, const char *key, const char *wanted)
{
    char value[256];
    assert_int_equal(dart_recipe_get(recipe, key, value, sizeof value), DART_OK);
    assert_string_equal(value, wanted);
}

/* Data that are named beside a recipe take the place of its own, whichever key either uses; of two
 * that are named so nobody knows which one is meant. */
static void test_sources(void **state)
{
    (void)state;
    static const char *const key[] = {"dataset", "text", "examples", "source_text"};
    for (int own = 0; own < 4; own++)
        for (int other = 0; other < 4; other++) {
            dart_recipe *flags, *r, *run;
            assert_int_equal(dart_recipe_new(&r), DART_OK);
            assert_int_equal(dart_recipe_set(r, key[own], "old"), DART_OK);
            assert_int_equal(dart_recipe_set(r, "valid_examples", "old"), DART_OK);
            assert_int_equal(dart_recipe_set(r, "target_text", "old"), DART_OK);
            assert_int_equal(dart_recipe_copy(r, &run), DART_OK);
            assert_int_equal(dart_recipe_override(r, key[other], "new"), DART_OK);
            assert_int_equal(dart_recipe_new(&flags), DART_OK);
            assert_int_equal(dart_recipe_override(flags, key[other], "new"), DART_OK);
            assert_int_equal(dart_recipe_overlay(run, flags), DART_OK);
            for (int k = 0; k < 4; k++) {
                has_value(r, key[k], k == other ? "new" : "");
                has_value(run, key[k], k == other ? "new" : "");
            }
            has_value(run, "valid_examples", "");
            has_value(run, "target_text", "");
            const dart_status status = dart_recipe_override(r, key[own], "third");
            assert_int_equal(status, own == other ? DART_OK : DART_USAGE);
            if (own != other)
                assert_non_null(strstr(dart_error_text(), "both say what the data are"));
            dart_recipe_free(flags);
            dart_recipe_free(run);
            dart_recipe_free(r);
        }
    /* what belongs to them stays, given before or after */
    dart_recipe *r;
    assert_int_equal(dart_recipe_new(&r), DART_OK);
    assert_int_equal(dart_recipe_override(r, "valid_file", "v"), DART_OK);
    assert_int_equal(dart_recipe_override(r, "data", "d"), DART_OK);
    has_value(r, "valid_examples", "v");
    dart_recipe_free(r);
}

/* What others call a method is taken everywhere, and kept under its own name. */
static void test_alias(void **state)
{
    (void)state;
    static const char *const keys[] = {"method", "linear", "embedding", "head"};
    dart_recipe *r = load("method: {linear: full, \"blocks.0.*\": full}\n");
    dart_settings set;
    dart_role role[DART_MAX_ROLES];
    uint32_t count;
    assert_non_null(r);
    has_value(r, "linear", "dense");
    dart_recipe_settings(r, &set);
    assert_ptr_equal(set.linear, dart_method_find("dense"));
    assert_int_equal(dart_settings_roles(&set, role, &count), DART_OK);
    assert_true(count > 0 && role[0].method == set.linear);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(dart_recipe_set(r, keys[i], "tt"), DART_OK);
        assert_int_equal(dart_recipe_set(r, keys[i], "full"), DART_OK);
        has_value(r, keys[i], "dense");
    }
    const dart_option *option = NULL;
    for (uint32_t i = 0; (option = dart_option_at(i)) && strcmp(option->key, "linear") != 0;) i++;
    assert_non_null(option);
    assert_non_null(strstr(option->type, "|full"));
    dart_recipe_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_alias), cmocka_unit_test(test_rows_of_plugins),
        cmocka_unit_test(test_set), cmocka_unit_test(test_yaml), cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_comma_locale), cmocka_unit_test(test_override),
        cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
