/* Normalizers. Ill-formed bytes stay as they are, and characters on both sides of them do not meet.
 */
#include "tokenizer_impl.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The four forms, of a sound text. */
static dart_status form_run(
    dart_encoder *e, int form, const char *text, size_t bytes, dart_buffer *out)
{
    size_t at = 0;
    /* Characters below U+0300 are in form C already, below U+0080 in all; the one before the first
     * other one may still change with it. */
    const uint8_t most = form == (UTF8PROC_COMPOSE | UTF8PROC_STABLE) ? 0xcb : 0x7f;
    while (at < bytes && (uint8_t)text[at] <= most) at++;
    while (at && at < bytes && ((uint8_t)text[--at] & 0xc0) == 0x80) continue;
    DART_TRY(dart_buffer_add(out, text, at));
    text += at;
    bytes -= at;
    if (!bytes) return DART_OK;
    utf8proc_ssize_t need = (utf8proc_ssize_t)bytes;
    for (int pass = 0; pass < 2; pass++) {
        DART_TRY(
            dart_grow((void **)&e->wide, &e->wide_capacity, (size_t)need + 1, sizeof *e->wide));
        need = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, e->wide,
            (utf8proc_ssize_t)e->wide_capacity, form);
        if (need < 0) return dart_fail(DART_INPUT, "%s", utf8proc_errmsg(need));
        if ((size_t)need <= e->wide_capacity) break;
    }
    need = utf8proc_normalize_utf32(e->wide, need, form);
    if (need < 0) return dart_fail(DART_INPUT, "%s", utf8proc_errmsg(need));
    for (utf8proc_ssize_t i = 0; i < need; i++)
        DART_TRY(dart_buffer_add_char(out, (uint32_t)e->wide[i]));
    return DART_OK;
}

static dart_status replace_run(
    const dart_encoder *e, const dart_norm *norm, const char *text, size_t bytes, dart_buffer *out)
{
    for (size_t at = 0, begin, end; at < bytes; at = end) {
        DART_TRY(dart_regex_next(norm->code, &e->matcher, text, bytes, at, &begin, &end));
        DART_TRY(dart_buffer_add(out, text + at, begin - at));
        if (end > begin) DART_TRY(dart_buffer_add(out, norm->text, strlen(norm->text)));
    }
    return DART_OK;
}

/* Runs of sound bytes by themselves, and what is between them. */
static dart_status each_run(
    dart_encoder *e, const dart_norm *norm, const char *text, size_t bytes, dart_buffer *out)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        uint32_t c;
        n = dart_chars_sound(text + at, bytes - at);
        if (!n) {
            n = dart_char_next(text + at, bytes - at, &c);
            DART_TRY(dart_buffer_add(out, text + at, n));
        } else if (norm->kind == DART_NORM_FORM) {
            DART_TRY(form_run(e, norm->form, text + at, n, out));
        } else {
            DART_TRY(replace_run(e, norm, text + at, n, out));
        }
    }
    return DART_OK;
}

static dart_status lower(const char *text, size_t bytes, dart_buffer *out)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        uint32_t c;
        n = dart_char_next(text + at, bytes - at, &c);
        if (c == DART_NO_CHAR)
            DART_TRY(dart_buffer_add(out, text + at, n));
        else if (c == 0x130) /* the only one that becomes two */
            DART_TRY(dart_buffer_add(out, "i\xcc\x87", 3));
        else
            DART_TRY(dart_buffer_add_char(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c)));
    }
    return DART_OK;
}

/* Marks that BERT leaves out (Mn), or all (M). */
static dart_status drop_marks(const char *text, size_t bytes, bool all, dart_buffer *out)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        uint32_t c;
        n = dart_char_next(text + at, bytes - at, &c);
        utf8proc_category_t kind =
            c == DART_NO_CHAR ? UTF8PROC_CATEGORY_CN : utf8proc_category((utf8proc_int32_t)c);
        bool mark = kind == UTF8PROC_CATEGORY_MN ||
                    (all && (kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_ME));
        if (!mark) DART_TRY(dart_buffer_add(out, text + at, n));
    }
    return DART_OK;
}

static void strip(const dart_norm *norm, const char **text, size_t *bytes)
{
    uint32_t c;
    while (norm->left && *bytes) {
        size_t n = dart_char_next(*text, *bytes, &c);
        if (!dart_char_space(c)) break;
        *text += n;
        *bytes -= n;
    }
    while (norm->right && *bytes) {
        size_t n = 1;
        while (n < *bytes && n < 4 && ((uint8_t)(*text)[*bytes - n] & 0xc0) == 0x80) n++;
        if (dart_char_next(*text + *bytes - n, n, &c) != n || !dart_char_space(c)) break;
        *bytes -= n;
    }
}

static bool chinese(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static bool control(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r') return false;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
        return true;
    default:
        return false;
    }
}

/* BERT's cleaning: control characters go, white space is a blank, blanks around each ideograph. */
static dart_status clean(const dart_norm *norm, const char *text, size_t bytes, dart_buffer *out)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        uint32_t c;
        n = dart_char_next(text + at, bytes - at, &c);
        if (c == DART_NO_CHAR) {
            if (!norm->clean) DART_TRY(dart_buffer_add(out, text + at, n));
            continue;
        }
        if (norm->clean && (c == 0 || c == 0xfffd || control(c))) continue;
        if (norm->clean && dart_char_space(c))
            DART_TRY(dart_buffer_add(out, " ", 1));
        else if (norm->chinese && chinese(c)) {
            DART_TRY(dart_buffer_add(out, " ", 1));
            DART_TRY(dart_buffer_add_char(out, c));
            DART_TRY(dart_buffer_add(out, " ", 1));
        } else
            DART_TRY(dart_buffer_add(out, text + at, n));
    }
    return DART_OK;
}

/* One after the other, from one buffer to the other. */
static dart_status bert(dart_encoder *e, const dart_norm *norm, const char **text, size_t *bytes,
    dart_buffer **to, dart_buffer **other)
{
    static const dart_norm apart = {
        .kind = DART_NORM_FORM, .form = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE};
    for (int step = 0; step < 4; step++) {
        dart_buffer *out = *to;
        out->size = 0;
        if (step == 0) DART_TRY(clean(norm, *text, *bytes, out));
        if (step == 1 && norm->accents) DART_TRY(each_run(e, &apart, *text, *bytes, out));
        if (step == 2 && norm->accents) DART_TRY(drop_marks(*text, *bytes, false, out));
        if (step == 3 && norm->lower) DART_TRY(lower(*text, *bytes, out));
        if (step && !(step == 3 ? norm->lower : norm->accents)) continue;
        *text = out->at;
        *bytes = out->size;
        *to = *other;
        *other = out;
    }
    return DART_OK;
}

dart_status dart_normalize(
    dart_encoder *e, const dart_tokenizer *t, const char **text, size_t *bytes)
{
    dart_buffer *out = &e->normal[0], *other = &e->normal[1];
    for (uint32_t i = 0; i < t->norms; i++) {
        const dart_norm *norm = &t->norm[i];
        out->size = 0;
        switch (norm->kind) {
        case DART_NORM_STRIP:
            strip(norm, text, bytes);
            continue;
        case DART_NORM_BERT:
            DART_TRY(bert(e, norm, text, bytes, &out, &other));
            continue;
        case DART_NORM_FORM:
        case DART_NORM_REPLACE:
            DART_TRY(each_run(e, norm, *text, *bytes, out));
            break;
        case DART_NORM_LOWER:
            DART_TRY(lower(*text, *bytes, out));
            break;
        case DART_NORM_ACCENTS:
            DART_TRY(drop_marks(*text, *bytes, true, out));
            break;
        case DART_NORM_PREPEND:
            if (!*bytes) continue;
            DART_TRY(dart_buffer_add(out, norm->text, strlen(norm->text)));
            DART_TRY(dart_buffer_add(out, *text, *bytes));
            break;
        }
        *text = out->at;
        *bytes = out->size;
        dart_buffer *swap = out;
        out = other;
        other = swap;
    }
    return DART_OK;
}
