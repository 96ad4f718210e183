/* Finding a data set or a text, checking that it is the original, cutting it into splits. */
#include "text.h"
#include "classes.h"
#include "data_path.h"
#include "file.h"
#include "names.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FEW_LINES = 40 };

typedef enum form { FILES, LINES, BYTES, MARKS } form;

typedef struct dataset {
    const char *name, *aliases, *folder;
    dart_level level;
    form form;
    const char *file[DART_SPLITS];
    uint64_t bytes[DART_SPLITS], tokens[DART_SPLITS];
} dataset;

static const dataset datasets[] = {
#define DATASET(name, aliases, folder, level, form, train, b0, t0, valid, b1, t1, test, b2, t2)    \
    {#name, aliases, folder, DART_LEVEL_##level, form, {train, valid, test}, {b0, b1, b2},         \
        {t0, t1, t2}},
#include "datasets.def"
#undef DATASET
};
enum { DATASETS = sizeof datasets / sizeof *datasets };

const char *dart_dataset_at(uint32_t index)
{
    return index < DATASETS ? datasets[index].name : NULL;
}

static const dataset *dataset_find(const char *name)
{
    if (dart_is_text_folder(name)) return NULL;
    for (uint32_t i = 0; i < DATASETS; i++)
        if (dart_name_is(datasets[i].name, datasets[i].aliases, name)) return &datasets[i];
    return NULL;
}

/* The row of the same text whose own level is `level`, else the row itself. */
static const dataset *at_level(const dataset *set, dart_level level)
{
    for (uint32_t i = 0; i < DATASETS; i++)
        if (datasets[i].level == level && !strcmp(datasets[i].folder, set->folder))
            return &datasets[i];
    return set;
}

const char *dart_dataset_name(const char *name)
{
    const dataset *found = dataset_find(name);
    return found ? found->name : NULL;
}

/* All bytes of the file s->path[split], with their number. */
static dart_status whole_file(dart_splits *s, int split, uint64_t *out_bytes)
{
    struct stat info;
    uint64_t lines, bytes = 0;
    dart_text *text = &s->text[split];
    size_t n = strlen(s->path[split]);
    *text = (dart_text){.size = UINT64_MAX, .what = s->path[split]};
    /* Only unpacking tells how long packed text is; and what cannot be opened says why. */
    if (stat(s->path[split], &info) || !S_ISREG(info.st_mode) ||
        (n > 3 && !strcmp(s->path[split] + n - 3, ".gz")))
        DART_TRY(dart_text_scan(text, UINT64_MAX, UINT64_MAX, &lines, &bytes));
    else
        bytes = (uint64_t)info.st_size;
    text->size = bytes;
    s->bytes += bytes;
    *out_bytes = bytes;
    return DART_OK;
}

static dart_status find_split(
    const char *folder, const char *file, uint64_t expected, dart_splits *s, int split)
{
    uint64_t bytes;
    if (!dart_data_file(folder, file, s->path[split]))
        return dart_fail(
            DART_INPUT, "the data set in %s lacks the file %s; fetch it again", folder, file);
    DART_TRY(whole_file(s, split, &bytes));
    if (expected && bytes != expected)
        return dart_fail(DART_INPUT,
            "%s is truncated or not the original: %" PRIu64 " bytes expected, got %" PRIu64
            "; fetch it again",
            s->path[split], expected, bytes);
    return DART_OK;
}

/* ---- cutting one text ---- */

/* The first position from `at` on that is not inside a UTF-8 character. */
static dart_status whole_character(const dart_text *all, uint64_t *at)
{
    dart_text tail = *all;
    dart_reader r;
    tail.begin = *at;
    tail.size = all->size - *at;
    DART_TRY(dart_reader_open(&tail, &r));
    dart_status status = dart_reader_fill(&r, 4);
    for (size_t i = 0; status == DART_OK && i < r.size; i++, ++*at)
        if (((unsigned char)r.data[i] & 0xc0) != 0x80) break;
    dart_reader_close(&r);
    return status;
}

/* Byte position and line ends after `part` of 100 of the lines; or of the bytes, when that is asked
 * for or there are few lines. */
static dart_status cut_at(const dart_text *all, uint64_t total_lines, bool by_bytes, unsigned part,
    uint64_t *out_at, uint64_t *out_lines)
{
    if (!by_bytes && total_lines >= FEW_LINES)
        return dart_text_scan(all, total_lines * part / 100, UINT64_MAX, out_lines, out_at);
    uint64_t ignored, at = all->size / 100 * part + all->size % 100 * part / 100;
    if (!by_bytes) DART_TRY(whole_character(all, &at));
    *out_at = at;
    return dart_text_scan(all, UINT64_MAX, at, out_lines, &ignored);
}

/* Cuts what text[DART_TRAIN] holds into 90, 5 and 5 parts of 100. */
static dart_status cut_splits(dart_splits *s, bool by_bytes)
{
    const dart_text all = s->text[DART_TRAIN];
    uint64_t lines = 0, ignored, at[2], before[2];
    if (!by_bytes) DART_TRY(dart_text_scan(&all, UINT64_MAX, UINT64_MAX, &lines, &ignored));
    DART_TRY(cut_at(&all, lines, by_bytes, 90, &at[0], &before[0]));
    DART_TRY(cut_at(&all, lines, by_bytes, 95, &at[1], &before[1]));
    s->text[DART_TRAIN].size = at[0];
    s->text[DART_VALID] =
        (dart_text){.size = at[1] - at[0], .what = all.what, .begin = at[0], .line = before[0]};
    s->text[DART_TEST] =
        (dart_text){.size = all.size - at[1], .what = all.what, .begin = at[1], .line = before[1]};
    return DART_OK;
}

/* ---- levels ---- */

/* Words if the beginning of the training text looks like words, else bytes. */
static dart_status guess_level(const dart_text *text, dart_level *out)
{
    dart_reader r;
    DART_TRY(dart_reader_open(text, &r));
    dart_status status = dart_reader_fill(&r, DART_READER_BLOCK / 2);
    size_t n = r.size, spaces = 0, odd = 0, zero = n;
    for (size_t i = 0; status == DART_OK && i < n; i++) {
        unsigned char c = (unsigned char)r.data[i];
        spaces += isspace(c) != 0;
        odd += c < 32 && !isspace(c);
        if (!c && zero == n) zero = i;
    }
    *out = odd == 0 && spaces * 16 > n && spaces * 2 < n ? DART_LEVEL_WORD : DART_LEVEL_BYTE;
    dart_reader_close(&r);
    if (status == DART_OK && zero < n)
        return dart_fail(DART_INPUT,
            "%s is a binary file, not text (a zero byte at byte %zu); give a text, or train on its "
            "bytes with --level byte",
            text->what, zero);
    return status;
}

/* ---- where text comes from ---- */

static void name_from(dart_splits *s, const char *path)
{
    size_t n = strlen(path);
    while (n && path[n - 1] == '/') n--;
    size_t from = n;
    while (from && path[from - 1] != '/') from--;
    snprintf(s->name, sizeof s->name, "%.*s", (int)(n - from > 63 ? 63 : n - from), path + from);
}

static dart_status find_user_folder(const char *folder, dart_splits *s)
{
    uint64_t bytes;
    for (int i = 0; i < DART_SPLITS; i++) {
        DART_TRY(dart_text_file(folder, i, s->path[i]));
        DART_TRY(whole_file(s, i, &bytes));
    }
    snprintf(s->source, sizeof s->source, "%.500s", folder);
    name_from(s, folder);
    return DART_OK;
}

static dart_status find_text(const char *path, dart_splits *s)
{
    uint64_t bytes;
    if (dart_is_folder(path)) return find_user_folder(path, s);
    if ((size_t)snprintf(s->path[DART_TRAIN], PATH_MAX, "%s", path) >= PATH_MAX)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", path);
    snprintf(s->source, sizeof s->source, "%.500s", path);
    name_from(s, path);
    DART_TRY(whole_file(s, DART_TRAIN, &bytes));
    if (bytes == 0) return dart_fail(DART_INPUT, "%s is empty; there is nothing to train on", path);
    s->punctuation = true;
    return cut_splits(s, false);
}

static const char *name_at(const void *context, uint32_t index)
{
    (void)context;
    return index < DATASETS ? dart_dataset_at(index) : dart_labelled_at(index - DATASETS);
}

static dart_status unknown_dataset(const char *name)
{
    if (strchr(name, '/'))
        return dart_fail(DART_INPUT,
            "the data set folder %s is not there; give a folder with train.txt, valid.txt and "
            "test.txt",
            name);
    return dart_name_unknown(DART_INPUT, "data set", name, name_at, NULL,
        ", or give a folder with train.txt, valid.txt and test.txt");
}

static dart_status find_dataset(const dataset *set, dart_level level, dart_splits *s)
{
    char folder[PATH_MAX], fetch[512];
    if (!dart_data_folder(set->folder, set->file[0], folder))
        return dart_fail(DART_INPUT,
            "the data set %s is not on this machine; run `%s %s`, or put its file %s into "
            "$DART_DATA/%s or ~/.cache/dart-llm/datasets/%s",
            set->name, dart_fetch_command(fetch), set->name, set->file[0], set->folder,
            set->folder);
    snprintf(s->source, sizeof s->source, "%s (%.480s)", set->name, folder);
    snprintf(s->name, sizeof s->name, "%s", set->name);
    for (int i = 0; i < DART_SPLITS; i++)
        if (set->file[i][0]) DART_TRY(find_split(folder, set->file[i], set->bytes[i], s, i));
    if (set->form == LINES || set->form == BYTES) DART_TRY(cut_splits(s, set->form == BYTES));
    for (int i = 0; i < DART_SPLITS; i++) {
        if (level == set->level) s->tokens[i] = set->tokens[i];
        s->text[i].underscore = set->form == MARKS && level == DART_LEVEL_CHAR;
    }
    return DART_OK;
}

dart_status dart_splits_find(const dart_corpus_options *options, dart_splits *out)
{
    const char *name = options->dataset;
    const dataset *set = name ? dataset_find(name) : NULL;
    *out = (dart_splits){.level = options->vocab ? options->vocab->level : options->level};
    if (options->text && options->text[0]) {
        DART_TRY(find_text(options->text, out));
    } else if (!name || !name[0]) {
        return dart_fail(
            DART_INPUT, "no data: name a data set (--dataset ptb) or a file (--text FILE)");
    } else if (!set && dart_is_folder(name)) {
        DART_TRY(find_user_folder(name, out));
    } else if (!set) {
        return unknown_dataset(name);
    } else {
        if (out->level == DART_LEVEL_AUTO) out->level = set->level;
        set = at_level(set, out->level);
        DART_TRY(find_dataset(set, out->level, out));
    }
    if (out->level == DART_LEVEL_AUTO) DART_TRY(guess_level(&out->text[DART_TRAIN], &out->level));
    return DART_OK;
}
