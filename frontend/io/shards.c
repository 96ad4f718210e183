/* Index and files of a sharded model. */
#include "shards.h"
#include "file.h"
#include "json.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char INDEX[] = "model.safetensors.index.json", SINGLE[] = "model.safetensors";

/* index: the file that names this one; NULL: none does. */
static dart_status add_file(
    dart_shards *shards, const char *folder, const char *name, const char *index)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return dart_fail(DART_INPUT, "the path of %s is too long", name);
    if (index && !dart_file_exists(path))
        return dart_fail(DART_INPUT,
            "%s names %s, which is not there: the model is not whole, get that file too", index,
            name);
    char *copy = strdup(path);
    if (!copy) return dart_fail(DART_MEMORY, "out of memory: opening %s", path);
    shards->path[shards->files] = copy;
    return dart_safetensors_open(copy, &shards->file[shards->files++]);
}

/* Room for `count` files. */
static dart_status make_room(dart_shards *shards, size_t count)
{
    shards->file = dart_calloc(count, sizeof *shards->file);
    shards->path = dart_calloc(count, sizeof *shards->path);
    return shards->file && shards->path ? DART_OK : DART_MEMORY;
}

/* Inside the folder, and a plain name. */
static bool is_name(const char *name)
{
    return name[0] && !strchr(name, '/') && !strchr(name, '\\') && !strstr(name, "..");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the files, each once, in ascending order; borrowed from `map`. Caller frees *out. */
static dart_status list_files(const char *index, json_t *map, const char ***out, size_t *out_count)
{
    const size_t most = json_object_size(map);
    const char *key, **name = dart_calloc(most, sizeof *name);
    json_t *value;
    size_t count = 0, kept = 0;
    *out = name;
    *out_count = 0;
    if (!name) return DART_MEMORY;
    json_object_foreach(map, key, value)
    {
        const char *file = json_string_value(value);
        if (!file || !is_name(file))
            return dart_fail(DART_INPUT,
                "%s: the file of the tensor '%.80s' is %s%.80s%s; the plain name of a file beside "
                "the index is needed",
                index, key, file ? "'" : "no text", file ? file : "", file ? "'" : "");
        name[count++] = file;
    }
    qsort(name, count, sizeof *name, by_text);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(name[i], name[kept - 1])) name[kept++] = name[i];
    if (kept > DART_SHARDS_MOST)
        return dart_fail(DART_INPUT, "%s: it names %zu files, at most %d are supported", index,
            kept, (int)DART_SHARDS_MOST);
    *out_count = kept;
    return DART_OK;
}

/* Each tensor is where the index says, and nowhere else. */
static dart_status compare(const dart_shards *shards, const char *index, json_t *map)
{
    const char *key;
    json_t *value;
    uint64_t tensors = 0;
    for (uint32_t i = 0; i < shards->files; i++) {
        const char *slash = strrchr(shards->path[i], '/');
        for (uint64_t t = 0; t < shards->file[i].count; t++, tensors++) {
            const char *name = shards->file[i].tensor[t].name;
            const char *file = json_string_value(json_object_get(map, name));
            if (!file || strcmp(file, slash + 1))
                return dart_fail(DART_INPUT,
                    "%s: the tensor '%.80s' lies in %s; the index says %s%.80s", index, name,
                    slash + 1, file ? "it is in " : "nothing of it", file ? file : "");
        }
    }
    if (tensors == json_object_size(map)) return DART_OK;
    json_object_foreach(map, key, value)
    {
        if (!dart_shards_find(shards, key, NULL))
            return dart_fail(DART_INPUT, "%s: the tensor '%.80s' is not in %.80s", index, key,
                json_string_value(value));
    }
    return DART_OK;
}

/* A whole model beside an index whose files are there too: which of the two is meant nobody says,
 * and loaders differ. *out: it is the whole one, as none of the index's files is there. */
static dart_status check_single(
    const char *folder, const char *index, const char *const *name, size_t count, bool *out)
{
    char path[PATH_MAX];
    size_t there = 0;
    bool named = false;
    *out = false;
    snprintf(path, sizeof path, "%s/%s", folder, SINGLE);
    if (!dart_file_exists(path)) return DART_OK;
    for (size_t i = 0; i < count; i++) {
        named |= !strcmp(name[i], SINGLE);
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        there += dart_file_exists(path);
    }
    *out = !there;
    if (named || !there) return DART_OK;
    return dart_fail(DART_INPUT,
        "the folder %s has two models: %s, and %zu files that %s names; move away the one that is "
        "not meant",
        folder, SINGLE, count, strrchr(index, '/') + 1);
}

static dart_status open_all(dart_shards *shards, const char *folder, const char *index)
{
    char *text = NULL, why[DART_JSON_WHY];
    size_t size, count;
    const char **name = NULL;
    json_t *root = NULL;
    bool whole;
    dart_status status;
    DART_GOTO(dart_file_read(index, &text, &size));
    DART_GOTO(dart_json_parse(text, size, index, why, &root));
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || !json_object_size(map)) {
        status = dart_fail(DART_INPUT, "%s: weight_map is missing, empty or not an object", index);
        goto done;
    }
    DART_GOTO(list_files(index, map, &name, &count));
    DART_GOTO(check_single(folder, index, name, count, &whole));
    DART_GOTO(make_room(shards, count));
    if (whole) {
        status = add_file(shards, folder, SINGLE, NULL);
        goto done;
    }
    for (size_t i = 0; i < count; i++) DART_GOTO(add_file(shards, folder, name[i], index));
    status = compare(shards, index, map);
done:
    json_decref(root);
    free(name);
    free(text);
    return status;
}

dart_status dart_shards_open(const char *folder, dart_shards *out)
{
    char index[PATH_MAX], single[PATH_MAX];
    dart_status status;
    *out = (dart_shards){0};
    if ((size_t)snprintf(index, sizeof index, "%s/%s", folder, INDEX) >= sizeof index)
        return dart_fail(DART_INPUT, "cannot read %s: the path is too long", folder);
    snprintf(single, sizeof single, "%s/%s", folder, SINGLE);
    if (dart_file_exists(index)) {
        status = open_all(out, folder, index);
    } else if (dart_file_exists(single)) {
        status = make_room(out, 1);
        if (status == DART_OK) status = add_file(out, folder, SINGLE, NULL);
    } else {
        status = dart_fail(DART_INPUT,
            "the folder %s has neither %s nor %s, which belongs to files of a model in parts; "
            "weights of other formats are converted with save_pretrained(..., "
            "safe_serialization=True)",
            folder, SINGLE, INDEX);
    }
    if (status != DART_OK) dart_shards_close(out);
    return status;
}

void dart_shards_close(dart_shards *shards)
{
    for (uint32_t i = 0; i < shards->files; i++) {
        dart_safetensors_close(&shards->file[i]);
        free(shards->path[i]);
    }
    free(shards->file);
    free(shards->path);
    *shards = (dart_shards){0};
}

const dart_st_tensor *dart_shards_find(
    const dart_shards *shards, const char *name, const char **out_path)
{
    for (uint32_t i = 0; i < shards->files; i++) {
        const dart_st_tensor *tensor = dart_safetensors_find(&shards->file[i], name);
        if (tensor && out_path) *out_path = shards->path[i];
        if (tensor) return tensor;
    }
    return NULL;
}
