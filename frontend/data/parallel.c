/* Opening parallel corpora: finding and checking the two texts, counting vocabularies, encoding. */
#include "parallel.h"
#include "data_path.h"
#include "file.h"
#include "names.h"
#include "vocab.h"
#include "text.h"
#include "utf8.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char *const special[DART_SPECIALS] = {"<pad>", "<bos>", "<eos>", "<unk>"};
enum { LONGEST_WORD = 200 }; /* bytes; what dart_vocab takes */
static const char *const split_name[DART_SPLITS] = {"training", "validation", "test"};

typedef struct known {
    const char *name, *aliases, *folder;
    bool punctuation;
    uint64_t lines;
    const char *file[DART_SIDES][DART_SPLITS];
} known;

static const known corpora[] = {
#define PARALLEL(name, aliases, folder, punctuation, lines, s0, s1, s2, t0, t1, t2)                \
    {#name, aliases, folder, punctuation, lines, {{s0, s1, s2}, {t0, t1, t2}}},
#include "parallel.def"
#undef PARALLEL
};
enum { CORPORA = sizeof corpora / sizeof *corpora };

const char *dart_parallel_at(uint32_t index)
{
    return index < CORPORA ? corpora[index].name : NULL;
}

/* A folder of sentences goes before a data set of its name. */
static const known *find_known(const char *name)
{
    char path[PATH_MAX];
    if (dart_is_folder(name) && dart_data_file(name, "train.source", path)) return NULL;
    for (uint32_t i = 0; i < CORPORA; i++)
        if (dart_name_is(corpora[i].name, corpora[i].aliases, name)) return &corpora[i];
    return NULL;
}

const char *dart_parallel_name(const char *name)
{
    const known *found = find_known(name);
    return found ? found->name : NULL;
}

/* One side of one split while it is read. */
typedef struct side_text {
    char *buffer;     /* owned; NULL where a split is a part of the training file */
    const char *data; /* within a buffer */
    size_t size;
    uint64_t lines;
    char what[600];
} side_text;

typedef struct reader {
    side_text text[DART_SIDES][DART_SPLITS];
    bool punctuation;
    char source[512];
} reader;

/* Refuses what is not text in UTF-8, naming the line; the first has the number `line`. */
static dart_status check_text(const side_text *t, uint64_t line)
{
    for (size_t at = 0; at < t->size;) {
        utf8proc_int32_t code;
        utf8proc_ssize_t n = utf8proc_iterate(
            (const utf8proc_uint8_t *)t->data + at, (utf8proc_ssize_t)(t->size - at), &code);
        if (n < 1 || code == 0)
            return dart_fail(DART_INPUT,
                "%s is not UTF-8 text: line %" PRIu64 " has the byte 0x%02x (byte %zu);"
                " convert the file to UTF-8",
                t->what, line, (unsigned char)t->data[at], at);
        line += code == '\n';
        at += (size_t)n;
    }
    return DART_OK;
}

/* The text with every letter in lower case, by the simple (one to one) mapping of Unicode. */
static dart_status lower(const char *data, size_t size, char **out, size_t *out_size)
{
    size_t room, used = 0;
    if (__builtin_mul_overflow(size, (size_t)2, &room)) return DART_MEMORY;
    *out = dart_calloc(room + 4, 1); /* a letter grows by one byte at most */
    if (!*out) return DART_MEMORY;
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t code;
        at += (size_t)utf8proc_iterate(
            (const utf8proc_uint8_t *)data + at, (utf8proc_ssize_t)(size - at), &code);
        used +=
            (size_t)utf8proc_encode_char(utf8proc_tolower(code), (utf8proc_uint8_t *)*out + used);
    }
    *out_size = used;
    return DART_OK;
}

/* Words longer than a vocabulary holds (addresses run together, broken markup: large corpora have
 * them) become <unk>, in place. */
static void drop_long_words(char *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t end = at, blank = 0;
        while (
            end < size && data[end] != '\n' && !(blank = dart_blank_length(data + end, size - end)))
            end++;
        if (end - at > LONGEST_WORD) {
            memset(data + at, ' ', end - at);
            memcpy(data + at, special[DART_UNK], strlen(special[DART_UNK]));
        }
        at = end + (blank ? blank : 1);
    }
}

static uint64_t count_lines(const char *data, size_t size)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < size; i++) lines += data[i] == '\n';
    return lines + (size && data[size - 1] != '\n');
}

static dart_status read_side(const char *path, bool lowercase, side_text *t)
{
    size_t size;
    snprintf(t->what, sizeof t->what, "%.590s", path);
    DART_TRY(dart_file_read(path, &t->buffer, &size));
    const size_t mark = dart_utf8_mark(t->buffer, size);
    t->data = t->buffer + mark;
    t->size = size - mark;
    DART_TRY(check_text(t, 1));
    drop_long_words(t->buffer, size);
    if (lowercase) {
        char *lowered;
        DART_TRY(lower(t->data, t->size, &lowered, &t->size));
        free(t->buffer);
        t->buffer = lowered;
        t->data = lowered;
    }
    t->lines = count_lines(t->data, t->size);
    return DART_OK;
}

/* The first `lines` lines of what is left of `from` become `part`. */
static void take_lines(side_text *from, uint64_t lines, side_text *part)
{
    size_t at = 0;
    for (uint64_t seen = 0; at < from->size && seen < lines; at++) seen += from->data[at] == '\n';
    part->data = from->data;
    part->size = at;
    part->lines = lines;
    memcpy(part->what, from->what, sizeof part->what);
    from->data += at;
    from->size -= at;
    from->lines -= lines;
}

static dart_status unequal(const side_text *a, const side_text *b)
{
    return dart_fail(DART_INPUT,
        "%s has %" PRIu64 " lines and %s has %" PRIu64
        "; line n of one must translate line n of the other: add or remove what is missing",
        a->what, a->lines, b->what, b->lines);
}

/* Two files, cut 90/5/5 by lines. */
static dart_status read_files(const dart_parallel_options *o, reader *r)
{
    const char *path[DART_SIDES] = {o->source, o->target};
    side_text whole[DART_SIDES];
    for (int side = 0; side < DART_SIDES; side++)
        DART_TRY(read_side(path[side], o->lowercase, &r->text[side][DART_TRAIN]));
    for (int side = 0; side < DART_SIDES; side++) whole[side] = r->text[side][DART_TRAIN];
    if (whole[0].lines != whole[1].lines) return unequal(&whole[0], &whole[1]);
    uint64_t lines = whole[0].lines, part = lines / 20 ? lines / 20 : lines > 2;
    for (int side = 0; side < DART_SIDES; side++) {
        side_text rest = whole[side];
        take_lines(&rest, lines - 2 * part, &r->text[side][DART_TRAIN]);
        take_lines(&rest, part, &r->text[side][DART_VALID]);
        take_lines(&rest, part, &r->text[side][DART_TEST]);
    }
    r->punctuation = true;
    snprintf(r->source, sizeof r->source, "%.250s, %.250s", o->source, o->target);
    return DART_OK;
}

static dart_status read_folder(
    const char *folder, const char *const file[DART_SPLITS], int side, bool lowercase, reader *r)
{
    for (int split = 0; split < DART_SPLITS; split++) {
        char path[PATH_MAX];
        if (!dart_data_file(folder, file[split], path))
            return dart_fail(DART_INPUT,
                "the parallel corpus in %s lacks the file %s; it has one file a side and split",
                folder, file[split]);
        DART_TRY(read_side(path, lowercase, &r->text[side][split]));
    }
    return DART_OK;
}

static const char *name_at(const void *context, uint32_t index)
{
    (void)context;
    return dart_parallel_at(index);
}

static dart_status read_known(const dart_parallel_options *o, reader *r)
{
    char folder[PATH_MAX], fetch[512];
    const known *set = find_known(o->dataset);
    if (!set)
        return dart_name_unknown(DART_INPUT, "parallel data set", o->dataset, name_at, NULL,
            ", or give a folder with train.source, train.target, valid.source ... test.target, or "
            "two files (--source, --target)");
    if (!dart_data_folder(set->folder, set->file[DART_SOURCE][DART_TRAIN], folder))
        return dart_fail(DART_INPUT,
            "the data set %s is not on this machine; run `%s %s`, or put its file %s into "
            "$DART_DATA/%s or ~/.cache/dart-llm/datasets/%s",
            set->name, dart_fetch_command(fetch), set->folder, set->file[DART_SOURCE][DART_TRAIN],
            set->folder, set->folder);
    for (int side = 0; side < DART_SIDES; side++)
        DART_TRY(read_folder(folder, set->file[side], side, o->lowercase, r));
    const side_text *train = &r->text[DART_SOURCE][DART_TRAIN];
    if (set->lines && train->lines != set->lines)
        return dart_fail(DART_INPUT,
            "%s is truncated or not the original: %" PRIu64 " lines expected, got %" PRIu64
            "; fetch it again",
            train->what, set->lines, train->lines);
    r->punctuation = set->punctuation;
    snprintf(r->source, sizeof r->source, "%s (%.400s)", set->name, folder);
    return DART_OK;
}

static dart_status read_all(const dart_parallel_options *o, reader *r)
{
    static const char *const file[DART_SIDES][DART_SPLITS] = {
        {"train.source", "valid.source", "test.source"},
        {"train.target", "valid.target", "test.target"}};
    bool source = o->source && o->source[0], target = o->target && o->target[0];
    if (source != target)
        return dart_fail(DART_INPUT, "translation needs both files: --source and --target");
    if (source) {
        DART_TRY(read_files(o, r));
    } else if (!o->dataset || !o->dataset[0]) {
        return dart_fail(DART_INPUT,
            "no parallel corpus: name a data set (--dataset multi30k-de-en) or two files "
            "(--source, --target)");
    } else if (!find_known(o->dataset) && dart_is_folder(o->dataset)) {
        for (int side = 0; side < DART_SIDES; side++)
            DART_TRY(read_folder(o->dataset, file[side], side, o->lowercase, r));
        snprintf(r->source, sizeof r->source, "%.500s", o->dataset);
    } else {
        DART_TRY(read_known(o, r));
    }
    for (int split = 0; split < DART_SPLITS; split++) {
        const side_text *a = &r->text[DART_SOURCE][split], *b = &r->text[DART_TARGET][split];
        if (a->lines != b->lines) return unequal(a, b);
        if (a->lines == 0)
            return dart_fail(
                DART_INPUT, "%s: the %s split has no sentences", a->what, split_name[split]);
    }
    return DART_OK;
}

/* Words of the training text, most frequent first, behind the special ones. */
static dart_status count_words(const dart_parallel_options *o, bool punctuation, const char *what,
    const char *data, size_t size, dart_vocab *out)
{
    dart_status status = DART_OK;
    const dart_text text = {data, size, what};
    dart_vocab all;
    DART_TRY(dart_vocab_count(DART_LEVEL_WORD, punctuation, 0, 1, &text, &all));
    const char **kept = dart_calloc((size_t)all.size + DART_SPECIALS, sizeof *kept);
    uint64_t *count = dart_calloc((size_t)all.size + DART_SPECIALS, sizeof *count);
    if (!kept || !count) {
        status = DART_MEMORY;
        goto done;
    }
    uint32_t n = DART_SPECIALS;
    for (int i = 0; i < DART_SPECIALS; i++) kept[i] = special[i];
    for (uint32_t i = 0; i < all.size; i++) {
        int is = 0;
        while (is < DART_SPECIALS && strcmp(all.text[i], special[is]) != 0) is++;
        bool rare = o->min_count && all.count[i] < o->min_count;
        if (is == DART_EOS) continue;
        if (is < DART_SPECIALS || rare || (o->vocab_limit && n >= o->vocab_limit)) {
            count[DART_UNK] += all.count[i];
            continue;
        }
        kept[n] = all.text[i];
        count[n++] = all.count[i];
    }
    DART_GOTO(dart_vocab_from(DART_LEVEL_WORD, punctuation, n, kept, out));
    memcpy(out->count, count, n * sizeof *count);
done:
    free(kept);
    free(count);
    dart_vocab_free(&all);
    return status;
}

static dart_status make_vocabularies(
    const dart_parallel_options *o, const reader *r, dart_parallel *out)
{
    const side_text *side[DART_SIDES] = {
        &r->text[DART_SOURCE][DART_TRAIN], &r->text[DART_TARGET][DART_TRAIN]};
    if (o->vocab[DART_SOURCE] && o->vocab[DART_TARGET]) {
        for (int s = 0; s < DART_SIDES; s++) {
            const dart_vocab *v = o->vocab[s];
            for (uint32_t i = 0; i < DART_SPECIALS; i++)
                if (v->size <= i || !v->text[i] || strcmp(v->text[i], special[i]) != 0)
                    return dart_fail(DART_INPUT,
                        "the vocabulary is not one of a translation model: entry %u is not %s", i,
                        special[i]);
            DART_TRY(dart_vocab_from(v->level, v->punctuation, v->size, v->text, &out->vocab[s]));
        }
        return DART_OK;
    }
    if (!out->shared) {
        for (int s = 0; s < DART_SIDES; s++)
            DART_TRY(count_words(
                o, r->punctuation, side[s]->what, side[s]->data, side[s]->size, &out->vocab[s]));
        return DART_OK;
    }
    /* One text made of both, with a line end between them. */
    size_t a = side[0]->size, b = side[1]->size, size;
    if (__builtin_add_overflow(a, b, &size) || __builtin_add_overflow(size, (size_t)1, &size))
        return DART_MEMORY;
    char *both = dart_calloc(size, 1);
    if (!both) return DART_MEMORY;
    memcpy(both, side[0]->data, a);
    both[a] = '\n';
    memcpy(both + a + 1, side[1]->data, b);
    dart_status status =
        count_words(o, r->punctuation, side[0]->what, both, size, &out->vocab[DART_SOURCE]);
    free(both);
    DART_TRY(status);
    const dart_vocab *v = &out->vocab[DART_SOURCE];
    DART_TRY(dart_vocab_from(v->level, v->punctuation, v->size, v->text, &out->vocab[DART_TARGET]));
    memcpy(out->vocab[DART_TARGET].count, v->count, v->size * sizeof *v->count);
    return DART_OK;
}

dart_status dart_sentence_encode(const dart_vocab *vocab, const char *text, size_t size,
    const char *what, int32_t **out_ids, uint64_t *out_count)
{
    DART_TRY(dart_vocab_encode(vocab, text, size, what, out_ids, out_count));
    if (*out_count) --*out_count; /* the <eos> of the line end */
    for (uint64_t i = 0; i < *out_count; i++)
        if ((*out_ids)[i] < DART_UNK) (*out_ids)[i] = DART_UNK; /* "<bos>" written in a text */
    return DART_OK;
}

dart_status dart_sentence_read(const dart_vocab *vocab, bool lowercase, const char *text,
    const char *what, uint64_t line, int32_t **out_ids, uint64_t *out_count)
{
    side_text t = {.data = text, .size = strlen(text)};
    char *copy = NULL;
    snprintf(t.what, sizeof t.what, "%.580s", what);
    DART_TRY(check_text(&t, line));
    if (lowercase) {
        DART_TRY(lower(t.data, t.size, &copy, &t.size));
    } else {
        copy = dart_calloc(t.size + 1, 1);
        if (!copy) return DART_MEMORY;
        memcpy(copy, text, t.size);
    }
    drop_long_words(copy, t.size);
    dart_status status = dart_sentence_encode(vocab, copy, t.size, what, out_ids, out_count);
    free(copy);
    return status;
}

static dart_status encode_side(
    const dart_vocab *vocab, const side_text *t, bool keep_text, dart_sentences *out)
{
    size_t capacity = 0;
    out->first = dart_calloc(t->lines + 1, sizeof *out->first);
    out->line = dart_calloc(t->lines + 1, sizeof *out->line);
    if (keep_text) out->text = dart_calloc(t->size + 1, 1);
    if (!out->first || !out->line || (keep_text && !out->text)) return DART_MEMORY;
    for (size_t at = 0; at < t->size; out->count++) {
        const char *end = memchr(t->data + at, '\n', t->size - at);
        size_t size = end ? (size_t)(end - (t->data + at)) : t->size - at;
        int32_t *ids;
        uint64_t n, used = out->first[out->count];
        DART_TRY(dart_sentence_encode(vocab, t->data + at, size, t->what, &ids, &n));
        dart_status status =
            dart_grow((void **)&out->words, &capacity, used + n + 1, sizeof *out->words);
        if (status == DART_OK && n) memcpy(out->words + used, ids, n * sizeof *ids);
        free(ids);
        DART_TRY(status);
        out->first[out->count + 1] = used + n;
        if (keep_text) {
            uint64_t to = out->line[out->count];
            memcpy(out->text + to, t->data + at, size);
            out->line[out->count + 1] = to + size + 1;
        }
        at += size + (end != NULL);
    }
    return DART_OK;
}

dart_status dart_parallel_open(const dart_parallel_options *options, dart_parallel *out)
{
    dart_status status = DART_OK;
    *out = (dart_parallel){.shared = options->shared, .lowercase = options->lowercase};
    reader *r = dart_calloc(1, sizeof *r);
    if (!r) return DART_MEMORY;
    DART_GOTO(read_all(options, r));
    memcpy(out->source, r->source, sizeof out->source);
    DART_GOTO(make_vocabularies(options, r, out));
    for (int side = 0; side < DART_SIDES; side++)
        for (int split = 0; split < DART_SPLITS; split++)
            DART_GOTO(encode_side(&out->vocab[side], &r->text[side][split], split != DART_TRAIN,
                &out->side[side][split]));
done:
    for (int side = 0; side < DART_SIDES; side++)
        for (int split = 0; split < DART_SPLITS; split++) free(r->text[side][split].buffer);
    free(r);
    if (status != DART_OK) dart_parallel_free(out);
    return status;
}

void dart_parallel_free(dart_parallel *corpus)
{
    for (int side = 0; side < DART_SIDES; side++) {
        for (int split = 0; split < DART_SPLITS; split++) {
            dart_sentences *s = &corpus->side[side][split];
            free(s->words);
            free(s->first);
            free(s->text);
            free(s->line);
        }
        dart_vocab_free(&corpus->vocab[side]);
    }
    *corpus = (dart_parallel){0};
}
