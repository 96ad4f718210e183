/* Which reader a path is for. */
#include "build.h"
#include "file.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef enum form { HF, GPT2, SENTENCEPIECE, LLAMA2C, GGUF, NOTHING } form;

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool ends(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* What a path names, by what lies there; file: what is read first, folder: where it lies. */
static form find(const char *path, char file[1024], char folder[1024])
{
    static const struct {
        const char *name;
        form form;
    } inside[] = {{"tokenizer.json", HF}, {"vocab.json", GPT2}, {"tokenizer.model", SENTENCEPIECE}};
    struct stat info;
    if (stat(path, &info)) return NOTHING;
    if (S_ISDIR(info.st_mode)) {
        snprintf(folder, 1024, "%s", path);
        for (unsigned i = 0; i < sizeof inside / sizeof *inside; i++) {
            snprintf(file, 1024, "%s/%s", path, inside[i].name);
            if (dart_file_exists(file)) return inside[i].form;
        }
        return NOTHING;
    }
    const char *base = base_of(path);
    snprintf(file, 1024, "%s", path);
    if (base > path + 1)
        snprintf(folder, 1024, "%.*s", (int)(base - path - 1), path);
    else
        snprintf(folder, 1024, "%s", base > path ? "/" : ".");
    if (!strcmp(base, "vocab.json") || !strcmp(base, "merges.txt")) {
        snprintf(file, 1024, "%.900s/vocab.json", folder);
        return GPT2;
    }
    if (ends(base, ".gguf")) return GGUF;
    if (ends(base, ".json")) return HF;
    if (ends(base, ".model")) return SENTENCEPIECE;
    return ends(base, ".bin") ? LLAMA2C : NOTHING;
}

bool dart_tokenizer_found(const char *path)
{
    char file[1024], folder[1024];
    return strlen(path) < 900 && find(path, file, folder) != NOTHING;
}

dart_status dart_tokenizer_open(const char *path, dart_tokenizer **out)
{
    char file[1024], folder[1024], merges[1024];
    struct stat info;
    *out = NULL;
    if (strlen(path) >= 900) return dart_fail(DART_INPUT, "a tokenizer's path is too long");
    if (stat(path, &info))
        return dart_fail(DART_INPUT, "no tokenizer at %s: %s", path, strerror(errno));
    switch (find(path, file, folder)) {
    case HF:
        return dart_read_hf(file, folder, out);
    case GPT2:
        snprintf(merges, sizeof merges, "%.900s/merges.txt", folder);
        return dart_read_gpt2(file, merges, folder, out);
    case SENTENCEPIECE:
        return dart_read_sentencepiece(file, folder, out);
    case LLAMA2C:
        return dart_read_llama2c(file, out);
    case GGUF:
        return dart_read_gguf(file, out);
    case NOTHING:
        break;
    }
    return dart_fail(DART_INPUT,
        "no tokenizer at %s: expected a folder with tokenizer.json, vocab.json and merges.txt or "
        "tokenizer.model, or a file .json, .model, .gguf or .bin",
        path);
}
