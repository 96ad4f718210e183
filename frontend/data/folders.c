/* Where data sets are looked for. */
#include "file.h"
#include "text.h"
#include <stdio.h>
#include <stdlib.h>

bool dart_data_file(const char *folder, const char *file, char out[PATH_MAX])
{
    static const char *const tails[] = {"", ".gz"};
    for (int i = 0; i < 2; i++) {
        int n = snprintf(out, PATH_MAX, "%s/%s%s", folder, file, tails[i]);
        if (n > 0 && n < PATH_MAX && dart_file_exists(out)) return true;
    }
    return false;
}

bool dart_data_folder(const char *folder, const char *file, char out[PATH_MAX])
{
    char cache[PATH_MAX], path[PATH_MAX];
    const char *data = getenv("DART_DATA");
    if (data && data[0]) {
        if ((size_t)snprintf(out, PATH_MAX, "%s/%s", data, folder) < PATH_MAX &&
            dart_data_file(out, file, path))
            return true;
        if ((size_t)snprintf(out, PATH_MAX, "%s", data) < PATH_MAX &&
            dart_data_file(out, file, path))
            return true;
    }
    if (dart_cache_path(cache, sizeof cache) == DART_OK &&
        (size_t)snprintf(out, PATH_MAX, "%s/datasets/%s", cache, folder) < PATH_MAX &&
        dart_data_file(out, file, path))
        return true;
    snprintf(out, PATH_MAX, "../shared/datasets/%s", folder);
    return dart_data_file(out, file, path);
}

/* Of whichever kind is there; JSON where there is none. */
static dart_status split_path(
    const char *folder, const char *split, char out[4096], bool *out_there)
{
    static const char *const kinds[] = {".tsv", ".csv", ".jsonl"};
    *out_there = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !*out_there; i++) {
        if (snprintf(out, 4096, "%s/%s%s", folder, split, kinds[i]) >= 4096)
            return dart_fail(DART_INPUT, "the path %.200s... is too long", folder);
        *out_there = dart_file_exists(out);
    }
    return DART_OK;
}

static const char *const split_names[] = {"train", "valid", "test"};

/* The first of `tails` behind the split's name that is a file there; NULL: none. */
static const char *tail_of(const char *folder, int split, const char *const *tails)
{
    char path[4096], file[32];
    for (; *tails; tails++) {
        snprintf(file, sizeof file, "%s%s", split_names[split], *tails);
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, file) < sizeof path &&
            dart_file_exists(path))
            return *tails;
    }
    return NULL;
}

dart_status dart_split_file(const char *folder, int split, char out[4096])
{
    static const char *const plain[] = {".txt", ".txt.gz", NULL};
    const char *name = split_names[split], *tail;
    bool there;
    DART_TRY(split_path(folder, name, out, &there));
    if (split == DART_TEST && !there) DART_TRY(split_path(folder, "valid", out, &there));
    if (there) return DART_OK;
    tail = tail_of(folder, split, plain);
    if (tail)
        return dart_fail(DART_INPUT,
            "the folder %s has no %s.jsonl, %s.csv or %s.tsv, but %s%s; give --text %s, which "
            "reads plain text",
            folder, name, name, name, name, tail, folder);
    return dart_fail(DART_INPUT, "the folder %s has no %s.jsonl, %s.csv or %s.tsv%s", folder, name,
        name, name, split == DART_VALID ? ", which validation needs" : "");
}

dart_status dart_text_file(const char *folder, int split, char out[PATH_MAX])
{
    static const char *const examples[] = {".jsonl", ".csv", ".tsv", NULL};
    const char *name = split_names[split], *tail;
    char file[32];
    snprintf(file, sizeof file, "%s.txt", name);
    if (dart_data_file(folder, file, out)) return DART_OK;
    tail = tail_of(folder, split, examples);
    if (tail)
        return dart_fail(DART_INPUT,
            "the folder %s has no %s, but %s%s; give --data %s, which reads examples", folder, file,
            name, tail, folder);
    return dart_fail(DART_INPUT,
        "the folder %s has no %s; it needs train.txt, valid.txt and test.txt", folder, file);
}

bool dart_is_text_folder(const char *name)
{
    char path[PATH_MAX];
    return dart_is_folder(name) && dart_data_file(name, "train.txt", path);
}
