/* A small run with every kind of stage, and what a test sees of it: shared by the tests of whole
 * runs. */
#ifndef SMALL_RUN_H
#define SMALL_RUN_H

#include "backend.h"
#include "checkpoint.h"
#include "dart.h"
#include "file.h"
#include "handles.h"
#include "rng.h"
#include "train.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-train-XXXXXX";
static char text_path[64];

/* A text of our own: sentences of a small grammar, so that there is something to learn. */
static inline void write_text(const char *path, uint64_t seed, unsigned lines)
{
    static const char *const who[] = {"the cat", "a dog", "the old man", "one bird", "my friend"};
    static const char *const does[] = {"sees", "likes", "finds", "follows"};
    static const char *const what[] = {
        "the river", "a stone", "some bread", "the long road", "a house"};
    char *text = malloc(lines * 64);
    size_t n = 0;
    for (unsigned i = 0; i < lines; i++) {
        uint32_t w[4];
        dart_philox(seed, DART_STREAM_TEST, i, w);
        n += (size_t)sprintf(
            text + n, "%s %s %s .\n", who[w[0] % 5], does[w[1] % 4], what[w[2] % 5]);
    }
    assert_int_equal(dart_file_write_sync(path, text, n), DART_OK);
    free(text);
}

static inline int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(text_path, sizeof text_path, "%s/text.txt", folder);
    write_text(text_path, 1, 600);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

static inline const char *in(const char *name)
{
    static char path[8][256];
    static unsigned turn;
    char *out = path[turn++ % 8];
    snprintf(out, 256, "%s/%s", folder, name);
    return out;
}

static inline dart_recipe *tiny(const char *device, const char *out)
{
    static const char *const set[][2] = {{"layers", "1"}, {"d_model", "16"}, {"heads", "2"},
        {"context", "8"}, {"batch_size", "4"}, {"linear", "tt"}, {"rank", "4"},
        {"linear_modes", "2"}, {"max_steps", "24"}, {"warmup_fraction", "0.2"},
        {"tune_fraction", "0.4"}, {"lr", "1e-2"}, {"warmup_steps", "3"}, {"eval_steps", "7"},
        {"spectra_steps", "5"}, {"save_steps", "10"}, {"dropout", "0.1"}};
    dart_recipe *recipe;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        assert_int_equal(dart_recipe_set(recipe, set[i][0], set[i][1]), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "text", text_path), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "device", device), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "out", out), DART_OK);
    return recipe;
}

static inline void set(dart_recipe *recipe, const char *key, const char *value)
{
    assert_int_equal(dart_recipe_set(recipe, key, value), DART_OK);
}

typedef struct watch {
    uint64_t stop_at;
    dart_status stop;
    double first, last;
    uint64_t steps;
    unsigned long count, ours, in_steps, ours_in_steps; /* allocations */
    unsigned notes;
    char text[4096];
} watch;

static inline unsigned long none(void)
{
    return 0;
}
/* Allocations of the process so far, for a test that counts them. */
static unsigned long (*allocations)(void) = none;

static inline void on_progress(void *user, const dart_progress *p)
{
    watch *w = user;
    unsigned long count = allocations(), ours = dart_alloc_count();
    if (!w->steps) w->first = p->loss;
    /* Steps 2..6 lie inside the first stage, without evaluation, spectra or checkpoint between
     * them. */
    if (p->step >= 2 && p->step <= 4) {
        w->in_steps += count - w->count;
        w->ours_in_steps += ours - w->ours;
    }
    w->last = p->loss;
    w->steps = p->step;
    if (p->step == w->stop_at) w->stop = DART_INTERRUPTED;
    w->count = allocations();
    w->ours = dart_alloc_count();
}

static inline dart_status on_abort(void *user)
{
    return ((watch *)user)->stop;
}

static inline void on_note(void *user, const char *line)
{
    watch *w = user;
    size_t used = strlen(w->text);
    w->notes++;
    snprintf(w->text + used, sizeof w->text - used, "%s\n", line);
}

static inline dart_status train(dart_recipe *recipe, watch *w, dart_result *out)
{
    dart_result unused;
    const dart_hooks hooks = {
        .user = w, .progress = on_progress, .note = on_note, .abort = on_abort};
    return dart_train_run(recipe, &hooks, out ? out : &unused);
}

static inline void expect(dart_status got, dart_status wanted, const char *says)
{
    if (got != wanted || !strstr(dart_error_text(), says))
        fail_msg(
            "status %d, wanted %d with '%s': %s", (int)got, (int)wanted, says, dart_error_text());
}

static inline bool present(const char *device)
{
    dart_device *d;
    if (dart_device_open(device, NULL, &d) != DART_OK) return false;
    dart_device_close(d);
    return true;
}

static inline void assert_same_file(const char *a, const char *b, const char *name)
{
    char path[400], *x, *y;
    size_t n, m;
    snprintf(path, sizeof path, "%s/%s", a, name);
    assert_int_equal(dart_file_read(path, &x, &n), DART_OK);
    snprintf(path, sizeof path, "%s/%s", b, name);
    assert_int_equal(dart_file_read(path, &y, &m), DART_OK);
    if (n != m || memcmp(x, y, n)) fail_msg("%s differs between %s and %s", name, a, b);
    assert_true(n > 0);
    free(x);
    free(y);
}

static inline void assert_same_training(const char *a, const char *b)
{
    static const char *const names[] = {"metrics.jsonl",
        "checkpoints/step-00000024/model.safetensors",
        "checkpoints/step-00000024/optimizer.safetensors", "checkpoints/step-00000024/vocab.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_same_file(a, b, names[i]);
}

static inline void assert_same_run(const char *a, const char *b)
{
    assert_same_training(a, b);
    assert_same_file(a, b, "spectra.jsonl");
}

#endif
