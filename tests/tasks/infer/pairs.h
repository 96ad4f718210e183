/* Sentence pairs of our own and the recipe of a small encoder-decoder for them: shared by the tests
 * of translation. */
#ifndef PAIRS_H
#define PAIRS_H

#include "tiny_run.h"

enum { PAIRS = 20, CONTEXT = 8 };

/* Noun phrases and verbs of two invented orders: "a red dog sees b" is "b that a dog red seen". */
static inline int pairs_set_up(void **state)
{
    static const char *const nouns[][2] = {
        {"hund", "dog"}, {"baum", "tree"}, {"mann", "man"}, {"vogel", "bird"}, {"stein", "stone"}};
    static const char *const verbs[][2] = {{"sieht", "sees"}, {"mag", "likes"}};
    static const char *const colours[][2] = {{"roter", "red"}, {"alter", "old"}};
    static const char *const split[] = {"train", "valid", "test"};
    if (tiny_set_up(state)) return 1;
    for (int s = 0; s < 3; s++)
        for (int side = 0; side < 2; side++) {
            char path[128];
            snprintf(
                path, sizeof path, "%s/%s.%s", tiny_folder, split[s], side ? "target" : "source");
            FILE *f = fopen(path, "w");
            if (!f) return 1;
            for (unsigned i = 0; i < (s ? 5 : PAIRS); i++) {
                const char *a = nouns[i % 5][side], *b = nouns[(i + 1 + i / 5) % 5][side];
                const char *verb = verbs[i / 5 % 2][side], *colour = colours[i / 10][side];
                if (i % 3 == 0)
                    fprintf(
                        f, side ? "the %2$s %1$s %3$s\n" : "ein %1$s %2$s %3$s\n", colour, a, verb);
                else
                    fprintf(f, side ? "the %4$s %3$s %1$s the %2$s\n" : "ein %1$s %2$s %3$s %4$s\n",
                        colour, a, verb, b);
            }
            if (fclose(f)) return 1;
        }
    return 0;
}

static inline dart_recipe *recipe_for(const char *out, const char *method, const char *stages)
{
    dart_recipe *recipe;
    const char *path = tiny_path("pairs.yaml");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
        "model: {arch: encoder-decoder, layers: 1, d_model: 32, heads: 2, context: %d, dropout: "
        "0}\n"
        "method: {linear: %s, rank: 12, linear_modes: 2}\ndata: {dataset: '%s', min_count: 1}\n"
        "train: {batch_size: 5}\nstage: {learning_rate: 1e-2, warmup_steps: 5}\n"
        "run: {device: cpu, save_steps: 10, out: '%s'}\n%s",
        CONTEXT, method, tiny_folder, out, stages);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    if (dart_recipe_load(recipe, path) != DART_OK) fail_msg("%s", dart_error_text());
    return recipe;
}

static inline void must(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static inline void train(dart_recipe *recipe, dart_result *out)
{
    static tiny_watch watch;
    watch = (tiny_watch){0};
    must(tiny_train(recipe, &watch, out));
}

#endif
