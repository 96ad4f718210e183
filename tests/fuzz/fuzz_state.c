/* trainer_state.json of a sound checkpoint: training goes on from it for one step, or refuses. */
#include "fuzz.h"
#include "checkpoint.h"
#include "recipe.h"
#include "train.h"

static dart_checkpoint kept; /* as training wrote it */

static dart_recipe *recipe_of(bool resume)
{
    static const char text[] = "model: {layers: 1, d_model: 4, heads: 1, context: 4, dropout: 0}\n"
                               "method: {linear: tt, rank: 2, linear_modes: 2}\n"
                               "train: {batch_size: 1}\nrun: {device: cpu, spectra_steps: 0}\n"
                               "stages:\n  - {name: a, max_steps: 2, reg: bond-nuclear}\n"
                               "  - {name: b, select: threshold}\n  - {name: c, max_steps: 1}\n";
    dart_recipe *recipe;
    fuzz_need(
        dart_recipe_new(&recipe) == DART_OK &&
            dart_recipe_load(recipe, fuzz_file("tiny.yaml", text, sizeof text - 1)) == DART_OK,
        "no recipe");
    fuzz_need(dart_recipe_set(recipe, "text", fuzz_path("text.txt")) == DART_OK &&
                  dart_recipe_set(recipe, "out", fuzz_path("run")) == DART_OK &&
                  dart_recipe_set(recipe, "resume", resume ? "true" : "false") == DART_OK,
        "no recipe");
    return recipe;
}

static dart_status stop(void *user)
{
    (void)user;
    return DART_INTERRUPTED;
}

static void train_once(void)
{
    char text[600] = "";
    dart_recipe *recipe;
    dart_result *result = calloc(1, sizeof *result);
    for (int i = 0; i < 40; i++) strcat(text, i % 3 ? "a core .\n" : "the rank\n");
    fuzz_file("text.txt", text, strlen(text));
    recipe = recipe_of(false);
    fuzz_need(dart_train_run(recipe, NULL, result) == DART_OK, "training failed");
    fuzz_need(dart_checkpoint_newest(
                  fuzz_path("run/checkpoints"), (dart_note){0}, NULL, NULL, &kept) == DART_OK,
        "no checkpoint");
    dart_recipe_free(recipe);
    free(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!kept.files) train_once();
    const char *root = fuzz_path("run/checkpoints");
    dart_checkpoint_file file[DART_CHECKPOINT_FILES];
    dart_result *result = calloc(1, sizeof *result);
    const dart_hooks hooks = {.abort = stop};
    memcpy(file, kept.file, sizeof file);
    for (uint32_t i = 0; i < kept.files; i++)
        if (!strcmp(file[i].name, "trainer_state.json"))
            file[i].data = (char *)(uintptr_t)data, file[i].size = size;
    fuzz_need(dart_remove_tree(root) == DART_OK &&
                  dart_checkpoint_write(root, kept.step, file, kept.files, 2, DART_CHECKPOINT_NONE,
                      (dart_note){0}) == DART_OK,
        "no checkpoint");
    dart_recipe *recipe = recipe_of(true);
    const dart_status status = dart_train_run(recipe, &hooks, result);
    if (status != DART_INTERRUPTED && status != DART_DIVERGED) (void)fuzz_read(status);
    dart_recipe_free(recipe);
    free(result);
    return 0;
}
