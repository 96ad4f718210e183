/* Corpus BLEU: words by the 13a rules, n-grams counted sentence by sentence, one score. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "bleu.h"
#include "file.h"
#include "mem.h"
#include "utf8.h"
#include <inttypes.h>
#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum { ORDERS = DART_BLEU_ORDERS, RULES = 4 };

/* The western part of mteval-v13a.pl: marks and symbols stand alone; a point or comma does unless
 * digits are on both sides; so does a dash behind a digit. */
static const char *const rule_text[RULES][2] = {{"([{-~[-` -&(-+:-@/])", " $1 "},
    {"([^0-9])([.,])", "$1 $2 "}, {"([.,])([^0-9])", " $1 $2"}, {"([0-9])(-)", "$1 $2 "}};

typedef struct word {
    const char *text;
    size_t size;
    uint32_t id;
    UT_hash_handle hh;
} word;

typedef struct ids {
    uint32_t *id; /* owned */
    size_t count, capacity;
} ids;

typedef struct gram {
    uint32_t id[ORDERS];
} gram;

typedef struct grams {
    gram *gram; /* owned */
    size_t count, capacity;
} grams;

typedef struct scorer {
    const dart_bleu_options *options;
    pcre2_code *rule[RULES];
    dart_arena arena; /* words */
    word *table;
    ids words;
    grams one; /* of one reference */
} scorer;

static dart_status scorer_new(const dart_bleu_options *options, scorer *out)
{
    *out = (scorer){.options = options};
    for (int i = 0; i < RULES && !options->raw; i++) {
        int code;
        PCRE2_SIZE at;
        out->rule[i] = pcre2_compile(
            (PCRE2_SPTR)rule_text[i][0], PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
        if (!out->rule[i])
            return dart_fail(code == PCRE2_ERROR_HEAP_FAILED ? DART_MEMORY : DART_FAILED,
                "tokenization rule %d does not compile (%d)", i, code);
    }
    return DART_OK;
}

static void scorer_free(scorer *s)
{
    for (int i = 0; i < RULES; i++) pcre2_code_free(s->rule[i]);
    HASH_CLEAR(hh, s->table);
    dart_arena_free(&s->arena);
    free(s->words.id);
    free(s->one.gram);
}

/* White space as Unicode has it (what Python's str.split splits at). */
static bool is_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Reads one character of valid UTF-8. */
static size_t next(const char *text, size_t size, size_t at, utf8proc_int32_t *code)
{
    return (size_t)utf8proc_iterate(
        (const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(size - at), code);
}

static dart_status check_utf8(const char *line)
{
    size_t size = strlen(line);
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t code;
        size_t n = next(line, size, at, &code);
        if (code < 0)
            return dart_fail(DART_INPUT,
                "not UTF-8 text: byte 0x%02x at byte %zu of the line '%.40s'",
                (unsigned char)line[at], at, line);
        at += n;
    }
    return DART_OK;
}

/* Lower case by Unicode's simple mapping, and the two letters whose full mapping differs: the
 * dotted capital I becomes two characters, a capital sigma at a word's end the final one. */
static char *lower(const char *line)
{
    size_t size = strlen(line), used = 0;
    char *out = dart_calloc(2 * size + 4, 1);
    bool letter = false; /* the last character that is no mark was a letter */
    for (size_t at = 0; out && at < size;) {
        utf8proc_int32_t code, after = 0;
        at += next(line, size, at, &code);
        if (code == 0x3a3 && letter) {
            if (at < size) next(line, size, at, &after);
            utf8proc_category_t kind = utf8proc_category(after);
            bool ends = kind != UTF8PROC_CATEGORY_LU && kind != UTF8PROC_CATEGORY_LL;
            code = ends ? 0x3c2 : 0x3c3;
        }
        utf8proc_category_t kind = utf8proc_category(code);
        letter = kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL;
        if (code == 0x130) {
            memcpy(out + used, "i\xcc\x87", 3);
            used += 3;
        } else {
            used += (size_t)utf8proc_encode_char(
                utf8proc_tolower(code), (utf8proc_uint8_t *)out + used);
        }
    }
    return out;
}

/* Replaces every `from` in place by the shorter `to`. */
static void replace(char *text, const char *from, const char *to)
{
    size_t n = strlen(from), m = strlen(to);
    char *out = text;
    for (const char *at = text; *at;) {
        if (strncmp(at, from, n) == 0) {
            memcpy(out, to, m);
            out += m;
            at += n;
        } else {
            *out++ = *at++;
        }
    }
    *out = 0;
}

/* Words one space apart, in place. */
static void squeeze(char *text)
{
    size_t size = strlen(text), used = 0;
    bool gap = false;
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t code;
        size_t n = next(text, size, at, &code);
        if (is_space(code)) {
            gap = used > 0;
        } else {
            if (gap) text[used++] = ' ';
            gap = false;
            memmove(text + used, text + at, n);
            used += n;
        }
        at += n;
    }
    text[used] = 0;
}

static dart_status apply_rules(const scorer *s, char **text)
{
    for (int i = 0; i < RULES; i++) {
        PCRE2_SIZE size = 3 * strlen(*text) + 4; /* a rule adds two spaces a character at most */
        char *out = dart_calloc(size, 1);
        if (!out) return DART_MEMORY;
        int n = pcre2_substitute(s->rule[i], (PCRE2_SPTR)*text, PCRE2_ZERO_TERMINATED, 0,
            PCRE2_SUBSTITUTE_GLOBAL, NULL, NULL, (PCRE2_SPTR)rule_text[i][1], PCRE2_ZERO_TERMINATED,
            (PCRE2_UCHAR *)out, &size);
        free(*text);
        *text = out;
        if (n < 0)
            return dart_fail(n == PCRE2_ERROR_NOMEMORY ? DART_MEMORY : DART_FAILED,
                "tokenization rule %d failed (%d)", i, n);
    }
    return DART_OK;
}

static dart_status cut_words(const scorer *s, const char *line, char **out)
{
    *out = NULL;
    DART_TRY(check_utf8(line));
    char *text = s->options->lowercase ? lower(line) : NULL;
    size_t size = strlen(text ? text : line);
    char *padded = dart_calloc(size + 3, 1); /* a space before and after, for the rules */
    if (!padded || (s->options->lowercase && !text)) {
        free(text);
        free(padded);
        return DART_MEMORY;
    }
    padded[0] = ' ';
    memcpy(padded + 1, text ? text : line, size);
    padded[size + 1] = ' ';
    free(text);
    *out = padded;
    if (!s->options->raw) {
        static const char *const entity[][2] = {
            {"<skipped>", ""}, {"&quot;", "\""}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}};
        for (size_t i = 0; i < sizeof entity / sizeof *entity; i++)
            replace(padded, entity[i][0], entity[i][1]);
        dart_status status = apply_rules(s, out);
        if (status != DART_OK) {
            free(*out);
            *out = NULL;
            return status;
        }
    }
    squeeze(*out);
    return DART_OK;
}

dart_status dart_bleu_words(const char *line, const dart_bleu_options *options, char **out)
{
    scorer s;
    *out = NULL;
    dart_status status = scorer_new(options, &s);
    if (status == DART_OK) status = cut_words(&s, line, out);
    scorer_free(&s);
    return status;
}

/* Numbers of the words of a line into s->words. */
static dart_status number_words(scorer *s, const char *line)
{
    dart_status status = DART_OK;
    char *text;
    DART_TRY(cut_words(s, line, &text));
    s->words.count = 0;
    for (char *at = text; *at;) {
        size_t n = strcspn(at, " ");
        word *found;
        HASH_FIND(hh, s->table, at, n, found);
        if (!found) {
            found = DART_NEW(&s->arena, word, 1);
            char *copy = DART_NEW(&s->arena, char, n + 1);
            if (!found || !copy) {
                status = DART_MEMORY;
                goto done;
            }
            memcpy(copy, at, n);
            *found = (word){.text = copy, .size = n, .id = HASH_COUNT(s->table)};
            HASH_ADD_KEYPTR(hh, s->table, found->text, found->size, found);
            if (!found->hh.tbl) {
                status = dart_fail(DART_MEMORY, "out of memory: counting words");
                goto done;
            }
        }
        DART_GOTO(dart_grow(
            (void **)&s->words.id, &s->words.capacity, s->words.count + 1, sizeof *s->words.id));
        s->words.id[s->words.count++] = found->id;
        at += n + (at[n] == ' ');
    }
done:
    free(text);
    return status;
}

static int by_ids(const void *a, const void *b)
{
    const gram *x = a, *y = b;
    for (int i = 0; i < ORDERS; i++)
        if (x->id[i] != y->id[i]) return x->id[i] < y->id[i] ? -1 : 1;
    return 0;
}

/* The n-grams of s->words, sorted; unused places of a gram are UINT32_MAX. */
static dart_status make_grams(const scorer *s, size_t n, grams *out)
{
    size_t count = s->words.count >= n ? s->words.count - n + 1 : 0;
    DART_TRY(dart_grow((void **)&out->gram, &out->capacity, count + 1, sizeof *out->gram));
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < ORDERS; k++)
            out->gram[i].id[k] = k < n ? s->words.id[i + k] : UINT32_MAX;
    out->count = count;
    qsort(out->gram, count, sizeof *out->gram, by_ids);
    return DART_OK;
}

static size_t run_of(const grams *g, size_t at)
{
    size_t n = 1;
    while (at + n < g->count && by_ids(&g->gram[at], &g->gram[at + n]) == 0) n++;
    return n;
}

/* For every gram of the hypothesis the most that any reference has of it, at most its own number:
 * raises most[i] for the first of each run of equal grams. */
static void match(const grams *own, const grams *reference, size_t *most)
{
    for (size_t i = 0, j = 0; i < own->count;) {
        size_t n = run_of(own, i), m = 0;
        while (j < reference->count && by_ids(&reference->gram[j], &own->gram[i]) < 0) j++;
        if (j < reference->count && by_ids(&reference->gram[j], &own->gram[i]) == 0)
            m = run_of(reference, j);
        m = m < n ? m : n;
        if (m > most[i]) most[i] = m;
        i += n;
    }
}

/* Adds one sentence to the sums in `out`. */
static dart_status add_sentence(scorer *s, const char *hypothesis, uint32_t references,
    const char *const *const *reference, uint64_t at, dart_bleu *out)
{
    dart_status status = DART_OK;
    grams own[ORDERS] = {0};
    size_t *most = NULL, length;
    uint64_t closest = 0;
    DART_GOTO(number_words(s, hypothesis));
    length = s->words.count;
    for (size_t n = 0; n < ORDERS; n++) DART_GOTO(make_grams(s, n + 1, &own[n]));
    most = dart_calloc(ORDERS * (length + 1), sizeof *most);
    if (!most) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t k = 0; k < references; k++) {
        DART_GOTO(number_words(s, reference[k][at]));
        uint64_t words = s->words.count;
        uint64_t near = closest > length ? closest - length : length - closest;
        uint64_t far = words > length ? words - length : length - words;
        if (k == 0 || far < near || (far == near && words < closest)) closest = words;
        for (size_t n = 0; n < ORDERS; n++) {
            DART_GOTO(make_grams(s, n + 1, &s->one));
            match(&own[n], &s->one, most + n * (length + 1));
        }
    }
    out->hypothesis_words += length;
    out->reference_words += closest;
    for (size_t n = 0; n < ORDERS; n++) {
        out->total[n] += own[n].count;
        for (size_t i = 0; i < own[n].count; i++) out->correct[n] += most[n * (length + 1) + i];
    }
done:
    for (size_t n = 0; n < ORDERS; n++) free(own[n].gram);
    free(most);
    return status;
}

/* Precisions, brevity penalty and score from the sums. An order without a match counts as half,
 * then a quarter ... of a match (mteval's smoothing); an order without n-grams ends the list and
 * makes the score 0, as does a text without a matching word. */
static void score(dart_bleu *b)
{
    double sum = 0, half = 1;
    bool defined = b->correct[0] > 0;
    b->brevity = 1;
    if (b->hypothesis_words < b->reference_words)
        b->brevity = b->hypothesis_words
                         ? exp(1 - (double)b->reference_words / (double)b->hypothesis_words)
                         : 0;
    for (int n = 0; n < ORDERS && b->correct[0]; n++) {
        if (!b->total[n]) {
            defined = false;
            break;
        }
        if (!b->correct[n]) half *= 2;
        double matches = b->correct[n] ? (double)b->correct[n] : 1 / half;
        b->precision[n] = 100 * matches / (double)b->total[n];
        sum += log(b->precision[n]);
    }
    b->score = defined ? b->brevity * exp(sum / ORDERS) : 0;
}

dart_status dart_bleu_lines(uint64_t count, const char *const *hypothesis, uint32_t references,
    const char *const *const *reference, const dart_bleu_options *options, dart_bleu *out)
{
    dart_status status = DART_OK;
    scorer s = {0};
    *out = (dart_bleu){.references = references, .sentences = count};
    if (!count || !references)
        return dart_fail(DART_INPUT, "BLEU needs at least one sentence and one reference");
    DART_GOTO(scorer_new(options, &s));
    for (uint64_t i = 0; i < count; i++)
        DART_GOTO(add_sentence(&s, hypothesis[i], references, reference, i, out));
    score(out);
    snprintf(out->signature, sizeof out->signature,
        "nrefs:%u|case:%s|eff:no|tok:%s|smooth:exp|version:dart-" DART_VERSION, references,
        options->lowercase ? "lc" : "mixed", options->raw ? "none" : "13a");
done:
    scorer_free(&s);
    return status;
}

/* ---- files ---- */

typedef struct lines {
    char *data;        /* owned; line ends are 0 */
    const char **line; /* owned */
    uint64_t count;
} lines;

static dart_status read_lines(const char *path, lines *out)
{
    size_t size;
    DART_TRY(dart_file_read(path, &out->data, &size));
    for (size_t i = 0; i < size; i++) {
        if (!out->data[i])
            return dart_fail(DART_INPUT, "%s is not text (a zero byte at byte %zu)", path, i);
        out->count += out->data[i] == '\n';
    }
    out->count += size && out->data[size - 1] != '\n';
    out->line = dart_calloc(out->count + 1, sizeof *out->line);
    if (!out->line) return DART_MEMORY;
    char *at = out->data + dart_utf8_mark(out->data, size);
    for (uint64_t i = 0; i < out->count; i++) {
        out->line[i] = at;
        char *end = strchr(at, '\n');
        if (!end) break;
        *end = 0;
        at = end + 1;
    }
    return DART_OK;
}

dart_status dart_bleu_of_files(const char *hypothesis, const char *const *references,
    uint32_t count, const dart_bleu_options *options, dart_bleu *out)
{
    dart_status status = DART_OK;
    lines *text = dart_calloc((size_t)count + 1, sizeof *text);
    const char *const **reference = dart_calloc((size_t)count + 1, sizeof *reference);
    *out = (dart_bleu){0};
    if (!text || !reference) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(read_lines(hypothesis, &text[count]));
    for (uint32_t k = 0; k < count; k++) {
        DART_GOTO(read_lines(references[k], &text[k]));
        reference[k] = text[k].line;
        if (text[k].count != text[count].count) {
            status = dart_fail(DART_INPUT,
                "%s has %" PRIu64 " lines and %s has %" PRIu64
                "; line n of one must be a translation of the same sentence as line n of the other",
                references[k], text[k].count, hypothesis, text[count].count);
            goto done;
        }
    }
    DART_GOTO(dart_bleu_lines(text[count].count, text[count].line, count, reference, options, out));
done:
    for (uint32_t k = 0; text && k <= count; k++) {
        free(text[k].data);
        free(text[k].line);
    }
    free(text);
    free(reference);
    return status;
}
