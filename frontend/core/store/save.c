/* A bundle as files: what every checkpoint holds of it, and a run directory that nobody trained. */
#include "save.h"
#include "file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

dart_status dart_bundle_texts(
    const dart_bundle *bundle, dart_checkpoint_file *file, uint32_t *files)
{
    const dart_tokenizer *tokenizer = dart_vocab_tokenizer(bundle->vocab);
    dart_checkpoint_file *next = file + *files;
    strcpy(next[0].name, "recipe.yaml");
    strcpy(next[1].name, "model.json");
    strcpy(next[2].name, "vocab.json");
    *files += 3;
    DART_TRY(dart_recipe_text(bundle->recipe, true, &next[0].data));
    DART_TRY(dart_model_text(bundle->model, &next[1].data));
    DART_TRY(dart_vocab_text(bundle->vocab, &next[2].data));
    if (bundle->source_vocab->size) {
        strcpy(next[3].name, "vocab_source.json");
        *files += 1;
        DART_TRY(dart_vocab_text(bundle->source_vocab, &next[3].data));
    } else if (tokenizer) {
        strcpy(next[3].name, "tokenizer.json");
        strcpy(next[4].name, "tokenizer_config.json");
        *files += 2;
        DART_TRY(dart_tokenizer_texts(tokenizer, &next[3].data, &next[4].data));
    }
    for (dart_checkpoint_file *f = next; f < file + *files; f++) f->size = strlen(f->data);
    return DART_OK;
}

static dart_status state_text(const dart_bundle *bundle, char **out)
{
    dart_status status = DART_OK;
    json_t *body = json_object();
    dart_json_set(body, "format", json_integer(DART_STATE_FORMAT), &status);
    dart_json_set(body, "step", json_integer(0), &status);
    dart_json_set(body, "gate", json_null(), &status);
    dart_json_set(body, "ranks", dart_ranks_json(bundle->model, &status), &status);
    dart_json_set(body, "data", json_string(""), &status); /* of no text */
    if (*bundle->set.base) dart_json_set(body, "base", json_string(bundle->base.hash), &status);
    return dart_json_write(
        body, status, JSON_INDENT(1) | JSON_PRESERVE_ORDER, "trainer_state.json", out);
}

dart_status dart_bundle_save(const dart_bundle *bundle, const char *dir, dart_note note)
{
    dart_checkpoint_file file[DART_CHECKPOINT_FILES] = {
        {.name = "model.safetensors"}, {.name = "trainer_state.json"}};
    char root[4096], recipe[4096];
    uint32_t files = 2;
    dart_status status = DART_OK;
    const dart_values values = {"", bundle->param, bundle->frozen};
    const bool made = !dart_file_exists(dir);
    if (snprintf(root, sizeof root, "%s/checkpoints", dir) >= (int)sizeof root - 64)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", dir);
    snprintf(recipe, sizeof recipe, "%s/recipe.yaml", dir);
    DART_GOTO(dart_values_pack(bundle->model, &values, 1, &file[0].data, &file[0].size));
    DART_GOTO(state_text(bundle, &file[1].data));
    file[1].size = strlen(file[1].data);
    DART_GOTO(dart_bundle_texts(bundle, file, &files));
    DART_GOTO(dart_mkdirs(root));
    DART_GOTO(dart_checkpoint_write(root, 0, file, files, 2, DART_CHECKPOINT_NONE, note));
    status = dart_recipe_save(bundle->recipe, recipe);
    /* It may be there, and only its folder could not be synced. */
    if (status != DART_OK) (void)unlink(recipe);
done:
    if (status != DART_OK && dart_remove_tree(root) != DART_OK)
        dart_note_line(note, "%s is left behind, it could not be removed", root);
    if (status != DART_OK && made) (void)rmdir(dir);
    for (uint32_t i = 0; i < DART_CHECKPOINT_FILES; i++) free(file[i].data);
    return status;
}
