/* manifest.json of a checkpoint, as it is and with its own checksum made right. */
#include "fuzz.h"
#include "checkpoint.h"
#include "hash.h"
#include "json.h"

static void open_one(const char *manifest, size_t size)
{
    dart_checkpoint checkpoint;
    fuzz_file("step/manifest.json", manifest, size);
    if (fuzz_read(dart_checkpoint_open(fuzz_path("step"), &checkpoint)))
        for (uint32_t i = 0; i < checkpoint.files; i++)
            fuzz_need(!checkpoint.file[i].data[checkpoint.file[i].size], "a file without an end");
    dart_checkpoint_close(&checkpoint);
}

static char *compact(json_t *body)
{
    return json_dumps(body, JSON_COMPACT | JSON_PRESERVE_ORDER);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *body;
    char why[DART_JSON_WHY], *text;
    if (!dart_file_exists(fuzz_path("step")))
        fuzz_need(dart_mkdirs(fuzz_path("step")) == DART_OK, "no folder");
    fuzz_file("step/a", "abc", 3);
    open_one((const char *)data, size);
    if (!fuzz_read(dart_json_parse((const char *)data, size, "input", why, &body))) return 0;
    if (json_is_object(body) && (json_object_del(body, "self"), text = compact(body))) {
        json_object_set_new(body, "self", json_string(dart_hash_bytes(text, strlen(text)).text));
        free(text);
        text = compact(body);
        fuzz_need(text != NULL, "no memory");
        open_one(text, strlen(text));
        free(text);
    }
    json_decref(body);
    return 0;
}
