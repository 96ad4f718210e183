/* Recipes (YAML): what is read can be written, and what was written can be read, as the same. */
#include "fuzz.h"
#include "recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dart_recipe *recipe = NULL, *again = NULL;
    const char *path = fuzz_file("recipe.yaml", data, size);
    char *text = NULL;
    fuzz_need(
        dart_recipe_new(&recipe) == DART_OK && dart_recipe_new(&again) == DART_OK, "a recipe");
    if (fuzz_read(dart_recipe_load(recipe, path))) {
        fuzz_need(dart_recipe_text(recipe, true, &text) == DART_OK, "a recipe has no text");
        path = fuzz_file("again.yaml", text, strlen(text));
        fuzz_need(dart_recipe_load(again, path) == DART_OK, "its own text is not read");
        fuzz_need(!dart_recipe_difference(recipe, again), "its own text says something else");
        free(text);
    }
    dart_recipe_free(recipe);
    dart_recipe_free(again);
    return 0;
}
