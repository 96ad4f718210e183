/* Corpora: finding a data set, reading and splitting text, building vocabulary and tokens. */
#include "file.h"
#include "vocab.h"
#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { DEFAULT_TEXT_VOCAB = 10000, FEW_LINES = 40 };

typedef struct dataset {
    const char *name, *aliases;
    dart_level level;
    const char *file[DART_SPLITS];
    uint64_t bytes[DART_SPLITS];
} dataset;

static const dataset datasets[] = {
#define DATASET(name, aliases, level, train, b0, valid, b1, test, b2)                              \
    {#name, aliases, DART_LEVEL_##level, {train, valid, test}, {b0, b1, b2}},
#include "datasets.def"
#undef DATASET
};
enum { DATASETS = sizeof datasets / sizeof *datasets };

const char *dart_dataset_at(uint32_t index)
{
    return index < DATASETS ? datasets[index].name : NULL;
}

static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; *at;) {
        size_t m = strcspn(at, ",");
        if (m == n && !strncasecmp(at, name, n)) return true;
        at += m + (at[m] == ',');
    }
    return false;
}

static const dataset *dataset_find(const char *name)
{
    for (uint32_t i = 0; i < DATASETS; i++)
        if (!strcasecmp(datasets[i].name, name) || listed(datasets[i].aliases, name))
            return &datasets[i];
    return NULL;
}

const char *dart_dataset_name(const char *name)
{
    const dataset *found = dataset_find(name);
    return found ? found->name : NULL;
}

typedef struct splits {
    char *buffer[DART_SPLITS]; /* owned */
    dart_text text[DART_SPLITS];
    char what[DART_SPLITS][600];
} splits;

/* "<folder>/<file>" or the same with .gz; false if neither is there. */
static bool locate(const char *folder, const char *file, char out[PATH_MAX])
{
    static const char *const tails[] = {"", ".gz"};
    for (int i = 0; i < 2; i++) {
        int n = snprintf(out, PATH_MAX, "%s/%s%s", folder, file, tails[i]);
        if (n > 0 && n < PATH_MAX && dart_file_exists(out)) return true;
    }
    return false;
}

static bool find_folder(const dataset *set, char out[PATH_MAX])
{
    char cache[PATH_MAX], path[PATH_MAX];
    const char *data = getenv("DART_DATA");
    if (data && data[0]) {
        if ((size_t)snprintf(out, PATH_MAX, "%s/%s", data, set->name) < PATH_MAX &&
            locate(out, set->file[0], path))
            return true;
        if ((size_t)snprintf(out, PATH_MAX, "%s", data) < PATH_MAX &&
            locate(out, set->file[0], path))
            return true;
    }
    if (dart_cache_dir(cache, sizeof cache) == DART_OK &&
        (size_t)snprintf(out, PATH_MAX, "%s/datasets/%s", cache, set->name) < PATH_MAX &&
        locate(out, set->file[0], path))
        return true;
    snprintf(out, PATH_MAX, "../shared/datasets/%s", set->name);
    return locate(out, set->file[0], path);
}

static dart_status read_split(
    const char *folder, const char *file, uint64_t expected, splits *s, uint32_t split)
{
    char path[PATH_MAX];
    size_t size;
    if (!locate(folder, file, path))
        return dart_fail(
            DART_INPUT, "the data set in %s lacks the file %s; fetch it again", folder, file);
    DART_TRY(dart_file_read(path, &s->buffer[split], &size));
    if (expected && size != expected)
        return dart_fail(DART_INPUT,
            "%s is truncated or not the original: %" PRIu64
            " bytes expected, got %zu; fetch it again",
            path, expected, size);
    snprintf(s->what[split], sizeof s->what[split], "%.590s", path);
    s->text[split] = (dart_text){s->buffer[split], size, s->what[split]};
    return DART_OK;
}

/* Byte position after `part` of 100 of the lines (or of the bytes, when there are few lines). */
static size_t cut_at(const char *data, size_t size, unsigned part)
{
    size_t lines = 0, seen = 0;
    for (size_t i = 0; i < size; i++) lines += data[i] == '\n';
    if (lines < FEW_LINES) {
        size_t at = size / 100 * part + size % 100 * part / 100;
        while (at < size && ((unsigned char)data[at] & 0xc0) == 0x80)
            at++; /* not inside a character */
        return at;
    }
    size_t wanted = lines * part / 100;
    for (size_t i = 0; i < size; i++) {
        seen += data[i] == '\n';
        if (seen == wanted) return i + 1;
    }
    return size;
}

/* Cuts what text[DART_TRAIN] holds into 90, 5 and 5 parts of 100. */
static void cut_splits(splits *s)
{
    dart_text all = s->text[DART_TRAIN];
    size_t first = cut_at(all.data, all.size, 90), second = cut_at(all.data, all.size, 95);
    s->text[DART_TRAIN].size = first;
    s->text[DART_VALID] = (dart_text){all.data + first, second - first, all.what};
    s->text[DART_TEST] = (dart_text){all.data + second, all.size - second, all.what};
}

static bool looks_like_words(const dart_text *text)
{
    size_t n = text->size < 1 << 20 ? text->size : 1 << 20, spaces = 0, odd = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text->data[i];
        spaces += isspace(c) != 0;
        odd += c < 32 && !isspace(c);
    }
    return odd == 0 && spaces * 16 > n && spaces * 2 < n;
}

static dart_status open_splits(
    const dart_corpus_options *o, splits *s, dart_level *level, bool *punctuation, char source[512])
{
    char folder[PATH_MAX];
    struct stat info;
    if (o->text && o->text[0]) {
        size_t size;
        DART_TRY(dart_file_read(o->text, &s->buffer[DART_TRAIN], &size));
        snprintf(s->what[DART_TRAIN], sizeof s->what[DART_TRAIN], "%.590s", o->text);
        snprintf(source, 512, "%.500s", o->text);
        s->text[DART_TRAIN] = (dart_text){s->buffer[DART_TRAIN], size, s->what[DART_TRAIN]};
        if (size == 0)
            return dart_fail(DART_INPUT, "%s is empty; there is nothing to train on", o->text);
        *punctuation = true;
        cut_splits(s);
        return DART_OK;
    }
    if (!o->dataset || !o->dataset[0])
        return dart_fail(
            DART_INPUT, "no data: name a data set (--dataset ptb) or a file (--text FILE)");
    if (strchr(o->dataset, '/') && !stat(o->dataset, &info) && S_ISDIR(info.st_mode)) {
        static const char *const file[DART_SPLITS] = {"train.txt", "valid.txt", "test.txt"};
        for (uint32_t i = 0; i < DART_SPLITS; i++)
            DART_TRY(read_split(o->dataset, file[i], 0, s, i));
        snprintf(source, 512, "%.500s", o->dataset);
        return DART_OK;
    }
    const dataset *set = dataset_find(o->dataset);
    if (!set) {
        char names[256] = "";
        size_t used = 0;
        for (uint32_t i = 0; i < DATASETS && used < sizeof names; i++)
            used += (size_t)snprintf(
                names + used, sizeof names - used, "%s%s", i ? ", " : "", datasets[i].name);
        return dart_fail(DART_INPUT,
            "unknown data set '%s'; known are %s, or give a folder with train.txt, valid.txt and "
            "test.txt",
            o->dataset, names);
    }
    if (!find_folder(set, folder))
        return dart_fail(DART_INPUT,
            "the data set %s is not on this machine; run `datasets/fetch %s`, or put its file %s "
            "into "
            "$DART_DATA/%s or ~/.cache/dart-llm/datasets/%s",
            set->name, set->name, set->file[0], set->name, set->name);
    for (uint32_t i = 0; i < DART_SPLITS; i++)
        if (set->file[i][0]) DART_TRY(read_split(folder, set->file[i], set->bytes[i], s, i));
    if (!set->file[DART_VALID][0]) cut_splits(s);
    if (*level == DART_LEVEL_AUTO) *level = set->level;
    snprintf(source, 512, "%s (%.480s)", set->name, folder);
    return DART_OK;
}

dart_status dart_corpus_open(const dart_corpus_options *options, dart_corpus *out)
{
    static const char *const split_name[DART_SPLITS] = {"training", "validation", "test"};
    dart_status status = DART_OK;
    splits s = {0};
    dart_level level = options->level;
    bool punctuation = false;
    *out = (dart_corpus){0};
    DART_GOTO(open_splits(options, &s, &level, &punctuation, out->source));
    if (options->vocab) {
        const dart_vocab *v = options->vocab;
        DART_GOTO(dart_vocab_from(v->level, v->punctuation, v->size, v->text, &out->vocab));
    } else {
        uint32_t limit = options->vocab_limit;
        if (!limit && punctuation) limit = DEFAULT_TEXT_VOCAB;
        if (level == DART_LEVEL_AUTO)
            level = looks_like_words(&s.text[DART_TRAIN]) ? DART_LEVEL_WORD : DART_LEVEL_BYTE;
        DART_GOTO(dart_vocab_count(level, punctuation, limit, DART_SPLITS, s.text, &out->vocab));
    }
    for (uint32_t i = 0; i < DART_SPLITS; i++) {
        DART_GOTO(dart_vocab_encode(&out->vocab, s.text[i].data, s.text[i].size, s.text[i].what,
            &out->tokens[i], &out->count[i]));
        if (out->count[i] < 2) {
            status = dart_fail(DART_INPUT,
                "%s: the %s split has no text (%" PRIu64 " tokens); use more text", s.text[i].what,
                split_name[i], out->count[i]);
            goto done;
        }
    }
done:
    for (uint32_t i = 0; i < DART_SPLITS; i++) free(s.buffer[i]);
    if (status != DART_OK) dart_corpus_free(out);
    return status;
}

void dart_corpus_free(dart_corpus *corpus)
{
    for (uint32_t i = 0; i < DART_SPLITS; i++) free(corpus->tokens[i]);
    dart_vocab_free(&corpus->vocab);
    *corpus = (dart_corpus){0};
}
