/* What a start does to files: nothing where it is refused; work of an earlier run is moved, never
 * deleted; a folder without a whole checkpoint starts from the beginning; what diverged is never
 * saved. */
#include "handles.h"
#include "tiny_run.h"
#include "checkpoint.h"
#include "lock.h"
#include <dirent.h>
#include <sys/stat.h>

static const char two[] = "stages:\n"
                          "  - {name: shrink, max_steps: 8, reg: bond-nuclear, lambda: 0.01}\n"
                          "  - {name: pick, select: threshold, threshold: 0.2}\n"
                          "  - {name: tune, max_steps: 4}\n";

static void expect(dart_status got, dart_status wanted, const char *says)
{
    if (got != wanted || !strstr(dart_error_text(), says))
        fail_msg(
            "status %d, wanted %d with '%s': %s", (int)got, (int)wanted, says, dart_error_text());
}

static dart_status train(dart_recipe *recipe, tiny_watch *w)
{
    static dart_result result;
    *w = (tiny_watch){.stop_at = w->stop_at};
    return tiny_train(recipe, w, &result);
}

/* Names, sizes and first bytes of all that lies below `path`, in no order that matters: a sum. */
static uint64_t print_of(const char *path)
{
    uint64_t sum = 0;
    DIR *folder = opendir(path);
    if (!folder) {
        FILE *f = fopen(path, "rb");
        for (int c; f && (c = fgetc(f)) != EOF;) sum = sum * 1099511628211u + (unsigned)c + 1;
        if (f) fclose(f);
        return sum;
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
        char inner[1024];
        uint64_t name = 7;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        for (const char *c = entry->d_name; *c; c++) name = name * 31 + (unsigned char)*c;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        sum += name * (print_of(inner) + 3);
    }
    closedir(folder);
    return sum;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Names that nothing has never come into a recipe, whatever the stage. */
static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {"select", "reg", "linear"};
    dart_recipe *recipe = tiny_recipe(tiny_path("new"), two), *other;
    for (int i = 0; i < 3; i++) {
        expect(dart_recipe_set(recipe, names[i], "treshold"), DART_USAGE, "known are");
        char text[200];
        snprintf(text, sizeof text, "stages:\n  - {name: a, max_steps: 5}\n  - {name: b, %s: xx}\n",
            names[i]);
        write_file(tiny_path("names.yaml"), text);
        assert_int_equal(dart_recipe_new(&other), DART_OK);
        assert_int_equal(dart_recipe_load(other, tiny_path("names.yaml")), DART_INPUT);
        dart_recipe_free(other);
    }
    dart_recipe_free(recipe);
}

/* Refused before the first step, whatever the stage, and with nothing made, moved or removed: in a
 * new folder, over an old run with --force, and where the user's recipe lies. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *stages;
        dart_status status;
        const char *says;
    } cases[] = {{"heads", "3", two, DART_INPUT, "heads"},
        {"device", "vulkan:77", two, DART_USAGE, "vulkan:77"},
        {"limits", "emu-none", two, DART_USAGE, "emu-floor"},
        {"text", "/nonesuch.txt", two, DART_INPUT, "no such file"},
        {"context", "5000", two, DART_INPUT, "fewer than one window"},
        {"rank", "4",
            "stages:\n  - {name: a, max_steps: 5}\n  - {name: b, select: budget, budget: 10}\n",
            DART_INPUT, "stage 'b': a size of 10"},
        {"rank", "4", "stages:\n  - {name: a, max_steps: 5}\n  - {name: b, select: budget}\n",
            DART_INPUT, "budget"},
        {"rank", "4", "stages:\n  - {name: a, max_steps: 5}\n  - {name: b, select: gates}\n",
            DART_INPUT, "gates"},
        {"rank", "4",
            "stages:\n  - {name: a, max_steps: 5, reg: hard-concrete}\n"
            "  - {name: b, select: gumbel}\n",
            DART_INPUT, "gumbel"},
        {"linear", "dense",
            "stages:\n  - {name: a, max_steps: 5}\n"
            "  - {name: b, max_steps: 5, until: plateau}\n",
            DART_INPUT, "the model has none"}};
    tiny_watch w = {0};
    dart_recipe *recipe = tiny_recipe(tiny_path("old"), two);
    assert_int_equal(train(recipe, &w), DART_OK);
    dart_recipe_free(recipe);
    assert_int_equal(mkdir(tiny_path("mine"), 0777), 0);
    write_file(tiny_path("mine/recipe.yaml"), "# my own words\n");
    const uint64_t old = print_of(tiny_path("old")), mine = print_of(tiny_path("mine"));
    static const char *const twin[] = {"false", "true"};
    unsigned refused = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 4; k++, refused++) {
            const char *const out[] = {"new", "old", "mine", "new"};
            recipe = tiny_recipe(tiny_path(out[k]), cases[i].stages);
            if (!cases[i].stages[0]) tiny_set(recipe, "max_steps", "20");
            tiny_set(recipe, cases[i].key, cases[i].value);
            tiny_set(recipe, "force", "true");
            tiny_set(recipe, "dense_twin", twin[k == 3]);
            expect(train(recipe, &w), cases[i].status, cases[i].says);
            assert_int_equal(w.steps, 0);
            dart_recipe_free(recipe);
            if (dart_file_exists(tiny_path("new"))) fail_msg("case %zu made its folder", i);
            assert_true(print_of(tiny_path("old")) == old);
            assert_true(print_of(tiny_path("mine")) == mine);
        }
    printf("%u starts refused, nothing touched\n", refused);
    assert_false(dart_file_exists(tiny_path("old.bak-1")));
}

/* --force moves the earlier run aside, also where its recipe is gone; what is not ours stays. */
static void test_force(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_recipe *recipe = tiny_recipe(tiny_path("again"), two);
    assert_int_equal(train(recipe, &w), DART_OK);
    const uint64_t first = print_of(tiny_path("again/checkpoints"));
    write_file(tiny_path("again/notes.txt"), "mine");
    expect(train(recipe, &w), DART_INPUT, "already holds a run");
    tiny_set(recipe, "force", "true");
    tiny_set(recipe, "seed", "2");
    assert_int_equal(unlink(tiny_path("again/recipe.yaml")), 0);
    assert_int_equal(train(recipe, &w), DART_OK);
    assert_non_null(strstr(w.notes, "again is now in"));
    assert_true(print_of(tiny_path("again.bak-1/checkpoints")) == first);
    assert_true(dart_file_exists(tiny_path("again/notes.txt")));
    const uint64_t second = print_of(tiny_path("again/checkpoints"));
    assert_true(second != first); /* step 12 is the new run's, not the old one's */
    tiny_set(recipe, "seed", "3");
    assert_int_equal(train(recipe, &w), DART_OK);
    assert_true(print_of(tiny_path("again.bak-2/checkpoints")) == second);
    assert_true(dart_file_exists(tiny_path("again.bak-2/recipe.yaml")));
    dart_eval_result e;
    assert_int_equal(
        handle_eval(tiny_path("again.bak-1/checkpoints/step-00000012"), NULL, &e), DART_OK);
    dart_recipe_free(recipe);
}

/* `train --config D/recipe.yaml --out D` keeps what the user wrote. */
static void test_own_recipe(void **state)
{
    (void)state;
    static const char words[] = "# my own words\nmax_steps: 3\n";
    tiny_watch w = {0};
    assert_int_equal(mkdir(tiny_path("own"), 0777), 0);
    write_file(tiny_path("own/recipe.yaml"), words);
    dart_recipe *recipe = tiny_recipe(tiny_path("own"), two);
    assert_int_equal(train(recipe, &w), DART_OK);
    assert_non_null(strstr(w.notes, "recipe.yaml.bak-1"));
    char *text = tiny_read("own", "recipe.yaml.bak-1");
    assert_string_equal(text, words);
    free(text);
    assert_false(dart_file_exists(tiny_path("own.bak-1")));
    dart_recipe_free(recipe);
}

/* Killed before or during the first save: the same command, --resume, and both start from the
 * beginning and come to what an undisturbed run comes to. */
static void test_no_checkpoint_yet(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_recipe *recipe = tiny_recipe(tiny_path("whole"), two);
    assert_int_equal(train(recipe, &w), DART_OK);
    dart_recipe_free(recipe);
    for (int resume = 0; resume < 2; resume++) {
        const char *name = resume ? "killed-resumed" : "killed";
        char path[300];
        snprintf(path, sizeof path, "%s/%s/checkpoints/step-00000010.tmp.1", tiny_folder, name);
        assert_int_equal(dart_mkdirs(path), DART_OK);
        recipe = tiny_recipe(tiny_path(name), two);
        snprintf(path, sizeof path, "%s/%s/recipe.yaml", tiny_folder, name);
        assert_int_equal(dart_recipe_save(recipe, path), DART_OK);
        snprintf(path, sizeof path, "%s/%s/metrics.jsonl", tiny_folder, name);
        write_file(path, "{\"step\":1}\n");
        if (resume) tiny_set(recipe, "resume", "true");
        if (train(recipe, &w) != DART_OK) fail_msg("%s", dart_error_text());
        if (resume) assert_non_null(strstr(w.notes, "starting from the beginning"));
        tiny_assert_same("whole", name, "metrics.jsonl");
        tiny_assert_same("whole", name, "checkpoints/step-00000012/model.safetensors");
        dart_recipe_free(recipe);
    }
}

/* A model that came apart in its last step is said to have diverged, and is not saved; nor is one
 * between two steps. */
static void test_diverged(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_checkpoint c;
    for (int k = 0; k < 2; k++) {
        dart_recipe *recipe = tiny_recipe(tiny_path(k ? "late" : "apart"), "");
        tiny_set(recipe, "lr", k ? "1e-3" : "1e3");
        /* 0 / 0 in the rows of tokens that no batch has had yet: the loss does not see it at once
         */
        tiny_set(recipe, "adam_eps", k ? "0" : "1e-8");
        tiny_set(recipe, "tied_head", "false");
        tiny_set(recipe, "warmup_steps", "0");
        tiny_set(recipe, "max_grad_norm", "0");
        tiny_set(recipe, "select", "none");
        tiny_set(recipe, "reg", "none");
        tiny_set(recipe, "linear", k ? "tt" : "dense");
        tiny_set(recipe, "max_steps", k ? "9" : "1");
        tiny_set(recipe, "save_steps", "1");
        expect(train(recipe, &w), DART_DIVERGED, "diverged");
        assert_int_equal(w.steps, 1);
        const char *root = tiny_path(k ? "late/checkpoints" : "apart/checkpoints");
        assert_true(dart_checkpoint_newest(root, (dart_note){0}, NULL, NULL, &c) != DART_OK);
        assert_false(dart_file_exists(tiny_path(k ? "late/table.json" : "apart/table.json")));
        dart_recipe_free(recipe);
    }
}

/* A folder in which another process works is left alone; one that nobody named is made at once, and
 * goes where the start is refused. */
static void test_in_use(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_lock lock;
    dart_recipe *recipe = tiny_recipe(tiny_path("used"), two);
    assert_int_equal(train(recipe, &w), DART_OK);
    assert_false(dart_file_exists(tiny_path("used/.lock")));
    assert_int_equal(dart_lock_take(tiny_path("used"), &lock), DART_OK);
    const uint64_t before = print_of(tiny_path("used"));
    tiny_set(recipe, "resume", "true");
    expect(train(recipe, &w), DART_INPUT, "is in use by process");
    assert_int_equal(dart_recipe_set(recipe, "resume", "false"), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "force", "true"), DART_OK);
    expect(train(recipe, &w), DART_INPUT, "is in use by process");
    assert_true(print_of(tiny_path("used")) == before);
    dart_lock_drop(&lock);
    assert_int_equal(train(recipe, &w), DART_OK);
    char home[4096];
    assert_non_null(getcwd(home, sizeof home));
    assert_int_equal(chdir(tiny_path("")), 0);
    assert_int_equal(dart_recipe_set(recipe, "out", ""), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "device", "vulkan:77"), DART_OK);
    assert_int_not_equal(train(recipe, &w), DART_OK);
    assert_int_equal(rmdir("runs"), 0); /* nothing is in it */
    assert_int_equal(dart_recipe_set(recipe, "device", "cpu"), DART_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(train(recipe, &w), DART_OK);
    assert_int_equal(chdir(home), 0);
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_force), cmocka_unit_test(test_own_recipe),
        cmocka_unit_test(test_no_checkpoint_yet), cmocka_unit_test(test_diverged),
        cmocka_unit_test(test_in_use)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
