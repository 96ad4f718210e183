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

dart_status dart_split_file(const char *folder, int split, char out[4096])
{
    static const char *const names[] = {"train", "valid", "test"};
    bool there;
    DART_TRY(split_path(folder, names[split], out, &there));
    if (split == DART_TEST && !there) DART_TRY(split_path(folder, names[DART_VALID], out, &there));
    return DART_OK;
}
