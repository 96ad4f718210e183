/* Values of options: lines of key and value, as flags and the environment give them. */
#include "fuzz.h"
#include "recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dart_recipe *recipe = NULL;
    dart_settings settings;
    char *text = fuzz_text(data, size), *out;
    fuzz_need(dart_recipe_new(&recipe) == DART_OK, "a recipe");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *value = strchr(line, ' ');
        if (value) *value++ = 0;
        (void)fuzz_read(dart_recipe_set(recipe, line, value ? value : ""));
    }
    dart_recipe_settings(recipe, &settings);
    fuzz_need(dart_recipe_text(recipe, true, &out) == DART_OK, "a recipe has no text");
    free(out);
    free(text);
    dart_recipe_free(recipe);
    return 0;
}
