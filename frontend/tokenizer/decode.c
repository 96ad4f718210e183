/* The way from ids to text, whole or token by token. */
#include "tokenizer_impl.h"
#include <stdlib.h>
#include <string.h>

/* Where a text stands: what was before decides about blanks. */
typedef struct decoder {
    const dart_tokenizer *in;
    bool skip_special;
    uint64_t tokens;   /* so far */
    uint32_t stripped; /* of the beginning of the fused text */
    bool inside;       /* what is stripped at the beginning is over */
    dart_buffer one, other;
} decoder;

static void decoder_free(decoder *d)
{
    free(d->one.at);
    free(d->other.at);
}

/* Characters that stand for bytes; a text with others is taken as it is. */
static dart_status join_bytes(const dart_buffer *in, dart_buffer *out)
{
    for (size_t at = 0, n; at < in->size; at += n) {
        uint32_t c;
        n = dart_char_next(in->at + at, in->size - at, &c);
        int byte = c == DART_NO_CHAR ? -1 : dart_char_byte(c);
        if (byte < 0) {
            out->size = 0;
            return dart_buffer_add(out, in->at, in->size);
        }
        char b = (char)byte;
        DART_TRY(dart_buffer_add(out, &b, 1));
    }
    return DART_OK;
}

static dart_status join_replace(
    const char *in, size_t bytes, const char *from, const char *to, dart_buffer *out)
{
    const size_t n = strlen(from), m = strlen(to);
    for (size_t at = 0; at < bytes;) {
        const char *found = memmem(in + at, bytes - at, from, n);
        size_t end = found ? (size_t)(found - in) : bytes;
        DART_TRY(dart_buffer_add(out, in + at, end - at));
        if (found) DART_TRY(dart_buffer_add(out, to, m));
        at = end + (found ? n : 0);
    }
    return DART_OK;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

int dart_token_byte(const char *text, size_t bytes)
{
    if (bytes != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    int high = digit(text[3]), low = digit(text[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

static dart_status join_fallback(const dart_buffer *in, dart_buffer *out)
{
    int byte = dart_token_byte(in->at, in->size);
    char b = (char)byte;
    return byte < 0 ? dart_buffer_add(out, in->at, in->size) : dart_buffer_add(out, &b, 1);
}

/* Of one token: both ends. */
static dart_status join_strip(const dart_buffer *in, const dart_join *join, dart_buffer *out)
{
    const size_t n = strlen(join->from);
    size_t begin = 0, end = in->size;
    for (uint32_t i = 0; i < join->left && end - begin >= n; i++, begin += n)
        if (memcmp(in->at + begin, join->from, n)) break;
    for (uint32_t i = 0; i < join->right && end - begin >= n; i++, end -= n)
        if (memcmp(in->at + end - n, join->from, n)) break;
    return dart_buffer_add(out, in->at + begin, end - begin);
}

/* BERT's spaces before marks go. */
static dart_status cleanup(dart_buffer *text, dart_buffer *out)
{
    static const char *const change[][2] = {{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","},
        {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"},
        {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        out->size = 0;
        DART_TRY(join_replace(text->at, text->size, change[i][0], change[i][1], out));
        dart_buffer swap = *text;
        *text = *out;
        *out = swap;
    }
    out->size = 0;
    return dart_buffer_add(out, text->at, text->size);
}

static dart_status join_pieces(dart_buffer *in, const dart_join *join, bool first, dart_buffer *out)
{
    const size_t n = strlen(join->from);
    const bool inner = !first && in->size >= n && !memcmp(in->at, join->from, n);
    if (!first && !inner) DART_TRY(dart_buffer_add(out, " ", 1));
    DART_TRY(dart_buffer_add(out, in->at + (inner ? n : 0), in->size - (inner ? n : 0)));
    if (!join->cleanup) return DART_OK;
    dart_buffer swap = *in;
    *in = *out;
    *out = swap;
    return cleanup(in, out);
}

/* Once the text is one, blanks go from its beginning alone. */
static dart_status strip_begin(decoder *d, const dart_join *join, dart_buffer *out)
{
    const size_t n = strlen(join->from);
    size_t at = 0;
    while (!d->inside && at < d->one.size) {
        d->inside = d->stripped == join->left || d->one.size - at < n ||
                    memcmp(d->one.at + at, join->from, n);
        if (d->inside) break;
        d->stripped++;
        at += n;
    }
    return dart_buffer_add(out, d->one.at + at, d->one.size - at);
}

static dart_status apply(
    decoder *d, const dart_join *join, bool first, bool fused, dart_buffer *out)
{
    dart_buffer *in = &d->one;
    switch (join->kind) {
    case DART_JOIN_BYTES:
        return join_bytes(in, out);
    case DART_JOIN_REPLACE:
        return join_replace(in->at, in->size, join->from, join->to, out);
    case DART_JOIN_FALLBACK:
        return join_fallback(in, out);
    case DART_JOIN_STRIP:
        return fused ? strip_begin(d, join, out) : join_strip(in, join, out);
    case DART_JOIN_META:
        return join_replace(in->at, in->size, join->from, first && join->left ? "" : " ", out);
    case DART_JOIN_PIECES:
        return join_pieces(in, join, first, out);
    case DART_JOIN_FUSE:
        break;
    }
    return dart_buffer_add(out, in->at, in->size);
}

/* The text of one more token to d->one. */
static dart_status next(decoder *d, int32_t id)
{
    const dart_tokenizer *t = d->in;
    size_t bytes;
    d->one.size = 0;
    const char *token = dart_tokenizer_token(t, id, &bytes);
    if (!token)
        return dart_fail(DART_INPUT, "%s: %d is not the id of a token; its ids are 0 to %u",
            t->what, (int)id, (unsigned)(t->table.size - 1));
    if (d->skip_special && (t->flags[id] & DART_TOKEN_SPECIAL)) return DART_OK;
    const bool first = d->tokens++ == 0;
    bool fused = false;
    if (t->no_decoder && !first) DART_TRY(dart_buffer_add(&d->one, " ", 1));
    DART_TRY(dart_buffer_add(&d->one, token, bytes));
    for (uint32_t i = 0; i < t->joins; i++) {
        fused = fused || t->join[i].kind == DART_JOIN_FUSE;
        d->other.size = 0;
        DART_TRY(dart_buffer_add(&d->other, "", 0));
        DART_TRY(apply(d, &t->join[i], first, fused, &d->other));
        dart_buffer swap = d->one;
        d->one = d->other;
        d->other = swap;
    }
    return DART_OK;
}

dart_status dart_tokenizer_decode(const dart_tokenizer *t, const int32_t *ids, size_t count,
    bool skip_special, char **out, size_t *out_bytes)
{
    decoder d = {.in = t, .skip_special = skip_special};
    dart_buffer text = {0};
    dart_status status = DART_OK;
    *out = NULL;
    *out_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        DART_GOTO(next(&d, ids[i]));
        DART_GOTO(dart_buffer_add(&text, d.one.at, d.one.size));
    }
    DART_GOTO(dart_buffer_add(&text, "", 1));
    *out = text.at;
    *out_bytes = text.size - 1;
    text.at = NULL;
done:
    free(text.at);
    decoder_free(&d);
    return status;
}

struct dart_token_stream {
    decoder decoder;
    dart_buffer held, text;
};

dart_status dart_token_stream_open(
    const dart_tokenizer *t, bool skip_special, dart_token_stream **out)
{
    *out = dart_calloc(1, sizeof **out);
    if (!*out) return DART_MEMORY;
    (*out)->decoder = (decoder){.in = t, .skip_special = skip_special};
    return DART_OK;
}

/* Moves what is whole from what is held back to the text. */
static dart_status release(dart_token_stream *s, bool all)
{
    size_t at = 0;
    s->text.size = 0;
    while (at < s->held.size) {
        uint32_t c;
        size_t left = s->held.size - at, n = dart_chars_sound(s->held.at + at, left);
        DART_TRY(dart_buffer_add(&s->text, s->held.at + at, n));
        at += n;
        if (n == left) break;
        if (!all && dart_char_begins(s->held.at + at, left - n)) break;
        at += dart_char_next(s->held.at + at, left - n, &c);
        DART_TRY(dart_buffer_add_char(&s->text, 0xfffd));
    }
    s->held.size -= at;
    memmove(s->held.at, s->held.at + at, s->held.size);
    return DART_OK;
}

dart_status dart_token_stream_next(
    dart_token_stream *s, int32_t id, const char **out, size_t *out_bytes)
{
    *out = "";
    *out_bytes = 0;
    DART_TRY(next(&s->decoder, id));
    if (!s->decoder.one.size) return DART_OK;
    DART_TRY(dart_buffer_add(&s->held, s->decoder.one.at, s->decoder.one.size));
    DART_TRY(release(s, false));
    *out = s->text.at;
    *out_bytes = s->text.size;
    return DART_OK;
}

dart_status dart_token_stream_end(dart_token_stream *s, const char **out, size_t *out_bytes)
{
    *out = "";
    *out_bytes = 0;
    if (!s->held.size) return DART_OK;
    DART_TRY(release(s, true));
    *out = s->text.at;
    *out_bytes = s->text.size;
    return DART_OK;
}

void dart_token_stream_close(dart_token_stream *s)
{
    if (!s) return;
    decoder_free(&s->decoder);
    free(s->held.at);
    free(s->text.at);
    free(s);
}
