/* A tiny model on a small text of our own, trained whole: shared by the tests of runs. Each test
 * program makes one folder and removes it. */
#ifndef TINY_RUN_H
#define TINY_RUN_H

#include "dart.h"
#include "file.h"
#include "rng.h"
#include "train.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char tiny_folder[] = "/tmp/dart-run-XXXXXX";

/* Sentences of a small grammar, so that there is something to learn. */
static inline int tiny_set_up(void **state)
{
    static const char *const who[] = {"the cat", "a dog", "the old man", "one bird", "my friend"};
    static const char *const does[] = {"sees", "likes", "finds", "follows"};
    static const char *const what[] = {
        "the river", "a stone", "some bread", "the long road", "a house"};
    (void)state;
    if (!mkdtemp(tiny_folder)) return 1;
    char path[64];
    snprintf(path, sizeof path, "%s/text.txt", tiny_folder);
    FILE *f = fopen(path, "w");
    if (!f) return 1;
    for (unsigned i = 0; i < 600; i++) {
        uint32_t w[4];
        dart_philox(1, DART_STREAM_TEST, i, w);
        fprintf(f, "%s %s %s .\n", who[w[0] % 5], does[w[1] % 4], what[w[2] % 5]);
    }
    return fclose(f);
}

static inline int tiny_tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(tiny_folder) != DART_OK;
}

static inline const char *tiny_path(const char *name)
{
    static char path[8][256];
    static unsigned turn;
    char *out = path[turn++ % 8];
    snprintf(out, 256, "%s/%s", tiny_folder, name);
    return out;
}

/* The tiny recipe with the stages of `stages` (YAML, may be ""). */
static inline dart_recipe *tiny_recipe(const char *out, const char *stages)
{
    dart_recipe *recipe;
    const char *path = tiny_path("recipe.yaml");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
        "model: {layers: 1, d_model: 16, heads: 2, context: 8, dropout: 0.1}\n"
        "method: {linear: tt, rank: 4, linear_modes: 2}\ndata: {text: '%s/text.txt'}\n"
        "train: {batch_size: 4}\nstage: {learning_rate: 1e-2, warmup_steps: 3}\n"
        "run: {device: cpu, save_steps: 10, out: '%s'}\n%s",
        tiny_folder, out, stages);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    if (dart_recipe_load(recipe, path) != DART_OK) fail_msg("%s", dart_error_text());
    return recipe;
}

static inline void tiny_set(dart_recipe *recipe, const char *key, const char *value)
{
    if (dart_recipe_set(recipe, key, value) != DART_OK) fail_msg("%s", dart_error_text());
}

typedef struct tiny_watch {
    uint64_t stop_at; /* 0: never */
    dart_status stop;
    uint64_t steps, total;
    char notes[16384];
} tiny_watch;

static inline void tiny_progress(void *user, const dart_progress *p)
{
    tiny_watch *w = user;
    w->steps = p->step;
    w->total = p->steps;
    if (p->step == w->stop_at) w->stop = DART_INTERRUPTED;
}

static inline dart_status tiny_abort(void *user)
{
    return ((tiny_watch *)user)->stop;
}

static inline void tiny_note(void *user, const char *line)
{
    tiny_watch *w = user;
    size_t used = strlen(w->notes);
    snprintf(w->notes + used, sizeof w->notes - used, "%s\n", line);
}

static inline dart_status tiny_train(dart_recipe *recipe, tiny_watch *w, dart_result *out)
{
    const dart_hooks hooks = {
        .user = w, .progress = tiny_progress, .note = tiny_note, .abort = tiny_abort};
    return dart_train_run(recipe, &hooks, out);
}

/* The whole text of a file below the folder; the caller frees it. */
static inline char *tiny_read(const char *run, const char *name)
{
    char path[400], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/%s/%s", tiny_folder, run, name);
    if (dart_file_read(path, &text, &size) != DART_OK) fail_msg("%s", dart_error_text());
    assert_true(size > 0);
    return text;
}

static inline void tiny_assert_same(const char *a, const char *b, const char *name)
{
    char path[400], *x, *y;
    size_t n, m;
    snprintf(path, sizeof path, "%s/%s/%s", tiny_folder, a, name);
    if (dart_file_read(path, &x, &n) != DART_OK) fail_msg("%s", dart_error_text());
    snprintf(path, sizeof path, "%s/%s/%s", tiny_folder, b, name);
    if (dart_file_read(path, &y, &m) != DART_OK) fail_msg("%s", dart_error_text());
    if (n != m || memcmp(x, y, n)) fail_msg("%s differs between %s and %s", name, a, b);
    assert_true(n > 0);
    free(x);
    free(y);
}

#endif
