/* What a recipe alone tells: refusals before anything is done, notes about what has no effect. */
#include "setup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "file.h"
#include "recipe_impl.h"

static char path[] = "/tmp/dart-check-XXXXXX";
static char said[2000];

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

static void hear(void *user, const char *line)
{
    (void)user;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

/* A small model and these lines of a recipe. */
static dart_status check(const char *text)
{
    static const char *const small[][2] = {
        {"layers", "2"}, {"d_model", "32"}, {"heads", "2"}, {"context", "16"}, {"rank", "4"}};
    dart_recipe *recipe;
    said[0] = 0;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        assert_int_equal(dart_recipe_set(recipe, small[i][0], small[i][1]), DART_OK);
    assert_int_equal(dart_file_write_sync(path, text, strlen(text)), DART_OK);
    if (*text && dart_recipe_load(recipe, path) != DART_OK) fail_msg("%s", dart_error_text());
    dart_status status = dart_recipe_check(recipe, (dart_note){.line = hear});
    dart_recipe_free(recipe);
    return status;
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says; /* NULL: it is taken */
    } cases[] = {{"", NULL}, {"epochs: 1\nselect: none\n", NULL},
        {"d_model: 30\nheads: 4\n", "heads"}, {"head: tt\ntied_head: true\n", "tied_head: false"},
        {"select: budget\n", "stage 'pick': budget: no budget given"},
        {"select: uniform\nbudget: 0.5\n", NULL},
        {"select: budget\nbudget: 7\n",
            "stage 'pick': a size of 7 parameters is below the minimum"},
        {"linear: dense\nselect: budget\n", NULL},
        {"select: energy\nenergy: 0\n", "stage 'pick': energy share 0"}, {"select: gates\n", NULL},
        {"select: gumbel\n", NULL},
        {"stages: [{name: a, epochs: 1}, {name: b, select: gates}]\n",
            "stage 'b': the rule gates reads ranks from gates"},
        {"stages: [{name: a, epochs: 1, reg: hard-concrete}, {name: b, select: gates}]\n", NULL},
        {"stages: [{name: a, epochs: 1, reg: hard-concrete}, {name: b, select: gumbel}]\n",
            "stage 'b': the rule gumbel reads ranks from gates"},
        {"max_steps: 3\nstages: [{name: a, epochs: 9}, {name: b, max_steps: 1, reg: gumbel}, "
         "{name: c, select: gumbel}]\n",
            NULL},
        {"stages: [{name: a, epochs: 1, reg: gumbel, ordered_dropout: 0.5}]\n",
            "ordered_dropout and the gates of reg gumbel"},
        {"stages: [{name: a, epochs: 1, reg: gumbel, budget: 3}]\n",
            "stage 'a': a size of 3 parameters is below the minimum"},
        {"stages: [{name: idle}]\n", "stage 'idle' has neither epochs nor steps nor select"},
        {"stages: [{name: a, epochs: 0}]\n", "no training steps"},
        {"stages: [{name: a, epochs: 1, lambda_schedule: exponential}]\n", "no lambda_warmup"},
        {"linear: dense\nstages: [{name: a, epochs: 1, until: plateau}]\n",
            "stage 'a' waits for the ranks to stand still"},
        {"rank: 4000\nstrict_rank: true\n", "is above the cap"},
        {"rank: 20\nembedding: tt-embedding\nstrict_rank: true\n", NULL},
        {"arch: encoder-decoder\nembedding: ttm\n", NULL},
        {"arch: llama\nd_model: 30\nheads: 2\n", "even"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_status status = check(cases[i].text);
        if (cases[i].says ? status != DART_INPUT || !strstr(dart_error_text(), cases[i].says)
                          : status != DART_OK)
            fail_msg("case %zu: %d %s", i, (int)status, dart_error_text());
    }
}

static void notes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *notes;
    } cases[] = {{"threshold: 0.2\n", ""}, {"threshold: 0.10\nselect: energy\n", ""},
        {"threshold: 0.2\nselect: energy\n",
            "threshold has no effect, it belongs to selection threshold\n"},
        {"threshold: 0.2\nselect: energy\nrank_measure: count\n", ""},
        {"lora_alpha: 8\nreg_mu: 0.1\nreg: none\n",
            "lora_alpha has no effect, it belongs to method lora, method tt-lora, method "
            "loretta-rep, method lorta\n"
            "reg_mu has no effect, it belongs to penalty bond-nuclear, penalty core-nuclear, "
            "penalty log-det, penalty schatten-p, penalty column-norm, penalty group-lasso, "
            "penalty svt-nuclear\n"},
        {"linear: lora\nlora_alpha: 8\n", ""}, {"beta2: 0.9\nweight_decay: 0\n", ""},
        {"lambda: 0\nsvt_steps: 3\nreg: svt\n",
            "svt_steps has no effect, it belongs to penalty svt, "
            "penalty svt-nuclear\n"},
        {"stages: [{name: a, epochs: 1, reg: svt, svt_steps: 5, tau: 2}, {name: b, epochs: 1, "
         "reg: gumbel}, {name: c, select: gumbel, tau_min: 0.2}]\n",
            "stage 'a': tau has no effect, it belongs to penalty gumbel\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (check(cases[i].text) != DART_OK) fail_msg("case %zu: %s", i, dart_error_text());
        if (strcmp(said, cases[i].notes)) fail_msg("case %zu: %s", i, said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused), cmocka_unit_test(notes)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
