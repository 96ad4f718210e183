/* Trains a small byte model on a text file, step by step, from tokens in memory: a penalty pushes
 * ranks down, a selection cuts them, some steps tune what is left.
 * usage: train TEXT OUT [DEVICE] */
#include <dart.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, dart_last_error());
    return 1;
}

static void print_note(void *user, const char *line)
{
    (void)user;
    printf("%s\n", line);
}

/* The bytes of a file as ids; NULL: it cannot be read. */
static int32_t *read_bytes(const char *path, uint64_t *out_count)
{
    FILE *file = fopen(path, "rb");
    uint64_t count = 0, room = 0;
    int32_t *ids = NULL;
    for (int c; file && (c = fgetc(file)) != EOF;) {
        if (count == room) {
            room = room ? 2 * room : 4096;
            int32_t *grown = realloc(ids, room * sizeof *ids);
            if (!grown) break;
            ids = grown;
        }
        ids[count++] = c;
    }
    if (file) fclose(file);
    *out_count = count;
    return ids;
}

static int set_recipe(dart_recipe *recipe, const char *out, const char *device)
{
    const char *const keys[][2] = {{"level", "byte"}, {"layers", "2"}, {"d_model", "64"},
        {"heads", "2"}, {"context", "32"}, {"batch_size", "8"}, {"linear", "tt"}, {"rank", "8"},
        {"reg", "bond-nuclear"}, {"lambda_reg", "0.01"}, {"threshold", "0.1"},
        {"learning_rate", "3e-3"}, {"max_steps", "60"}, {"out", out}, {"device", device}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (dart_recipe_set(recipe, keys[i][0], keys[i][1]) != DART_OK) return 1;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: train TEXT OUT [DEVICE]\n");
        return 2;
    }
    uint64_t count;
    int32_t *ids = read_bytes(argv[1], &count);
    if (!ids || count < 4096) {
        fprintf(stderr, "%s: no text of 4096 bytes or more\n", argv[1]);
        return 1;
    }
    const uint64_t part = count / 20; /* validation and test: 5 % each */
    const dart_tokens tokens = {.size = sizeof tokens,
        .vocab = 256,
        .tokens = {ids, ids + count - 2 * part, ids + count - part},
        .count = {count - 2 * part, part, part}};
    const dart_hooks hooks = {.size = sizeof hooks, .note = print_note};
    dart_recipe *recipe;
    dart_trainer *trainer;
    if (dart_recipe_new(&recipe) != DART_OK) return fail("recipe");
    if (set_recipe(recipe, argv[2], argc > 3 ? argv[3] : "cpu")) return fail("recipe");
    if (dart_trainer_new(recipe, &tokens, &hooks, &trainer) != DART_OK) return fail("trainer");
    while (!dart_trainer_done(trainer)) {
        dart_step step = {.size = sizeof step};
        if (dart_trainer_step(trainer, &step) != DART_OK) return fail("step");
        if (step.step % 10 == 0)
            printf("%s: step %llu of %llu, loss %.3f\n", step.stage, (unsigned long long)step.step,
                (unsigned long long)step.steps, step.loss);
    }
    const char *path;
    if (dart_trainer_save(trainer, &path) != DART_OK) return fail("save");
    const dart_result *result = dart_trainer_result(trainer);
    for (uint32_t i = 0; i < dart_result_rows(result); i++) {
        const dart_table_row *row = dart_result_row(result, i);
        printf("%-24s %8llu parameters, ranks up to %2u, test perplexity %.2f\n", row->name,
            (unsigned long long)row->params, row->rank_max, row->test_ppl);
    }
    printf("%s\n", path);
    dart_trainer_free(trainer);
    dart_recipe_free(recipe);
    free(ids);
    return 0;
}
