/* The way from text to ids: added tokens, normalizers, pre-tokenizers, model, template. */
#include "tokenizer_impl.h"
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_MOST = INT32_MAX,
    KEEP_MOST = 1 << 22 /* symbols; what a longer text needed is given back */
};

static void encoder_free(dart_encoder *e)
{
    dart_matcher_free(&e->matcher);
    dart_symbols_free(&e->symbols);
    for (int i = 0; i < 2; i++) free(e->normal[i].at);
    for (int i = 0; i < DART_STEPS; i++) free(e->cut[i].at);
    free(e->piece.at);
    free(e->word);
    free(e->wide);
    free(e);
}

void dart_encoders_free(dart_encoder *first)
{
    while (first) {
        dart_encoder *next = first->next;
        encoder_free(first);
        first = next;
    }
}

/* An encoder that no other call uses: one of before, with the words that it knows, or a new one. */
static dart_status borrow(const dart_tokenizer *t, dart_encoder **out)
{
    dart_tokenizer *shared = (dart_tokenizer *)(uintptr_t)t;
    pthread_mutex_lock(&shared->lock);
    dart_encoder *e = shared->idle;
    if (e) shared->idle = e->next;
    pthread_mutex_unlock(&shared->lock);
    *out = e;
    if (e) return DART_OK;
    e = dart_calloc(1, sizeof *e);
    if (!e) return DART_MEMORY;
    dart_status status = dart_matcher_new(&e->matcher);
    if (status != DART_OK) {
        encoder_free(e);
        return status;
    }
    e->in = t;
    *out = e;
    return DART_OK;
}

static void give_back(const dart_tokenizer *t, dart_encoder *e)
{
    if (e->symbols.id_capacity > KEEP_MOST) {
        encoder_free(e);
        return;
    }
    dart_tokenizer *shared = (dart_tokenizer *)(uintptr_t)t;
    pthread_mutex_lock(&shared->lock);
    e->next = shared->idle;
    shared->idle = e;
    pthread_mutex_unlock(&shared->lock);
}

static dart_status spaces(const dart_cut *cut, const char *text, size_t bytes, dart_buffer *out)
{
    const size_t n = strlen(cut->text);
    out->size = 0;
    for (size_t at = 0; at < bytes;) {
        const char *blank = memchr(text + at, ' ', bytes - at);
        size_t end = blank ? (size_t)(blank - text) : bytes;
        DART_TRY(dart_buffer_add(out, text + at, end - at));
        if (blank) DART_TRY(dart_buffer_add(out, cut->text, n));
        at = end + (blank != NULL);
    }
    return DART_OK;
}

/* The pre-tokenizers from number e->step on, then the model. */
static dart_status cut_from(void *user, const char *text, size_t bytes)
{
    dart_encoder *e = user;
    const dart_tokenizer *t = e->in;
    const uint32_t step = e->step;
    if (step == t->cuts) {
        e->first = false;
        return dart_piece_encode(e, text, bytes);
    }
    const dart_cut *cut = &t->cut[step];
    dart_buffer *own = &e->cut[step];
    const size_t n = cut->text ? strlen(cut->text) : 0;
    e->step++;
    dart_status status = DART_OK;
    switch (cut->kind) {
    case DART_CUT_SPLIT:
        DART_GOTO(dart_split_each(&cut->split, &e->matcher, text, bytes, cut_from, e));
        break;
    case DART_CUT_SPACES:
        DART_GOTO(spaces(cut, text, bytes, own));
        DART_GOTO(cut_from(e, own->at, own->size));
        break;
    case DART_CUT_PREFIX:
        if ((bytes >= n && !memcmp(text, cut->text, n)) || (cut->first && !e->first)) {
            DART_GOTO(cut_from(e, text, bytes));
            break;
        }
        own->size = 0;
        DART_GOTO(dart_buffer_add(own, cut->text, n));
        DART_GOTO(dart_buffer_add(own, text, bytes));
        DART_GOTO(cut_from(e, own->at, own->size));
        break;
    }
done:
    e->step = step;
    return status;
}

/* A text without added tokens. Patterns see sound UTF-8 only; other bytes are pieces of their own.
 */
static dart_status plain(dart_encoder *e, const char *text, size_t bytes)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        uint32_t c;
        n = dart_chars_sound(text + at, bytes - at);
        if (n) {
            e->step = 0;
            DART_TRY(cut_from(e, text + at, n));
            continue;
        }
        while (at + n < bytes) {
            size_t more = dart_char_next(text + at + n, bytes - at - n, &c);
            if (c != DART_NO_CHAR) break;
            n += more;
        }
        e->first = false;
        DART_TRY(dart_piece_encode(e, text + at, n));
    }
    return DART_OK;
}

typedef dart_status part_fn(dart_encoder *e, const char *text, size_t bytes);

/* What is between the tokens of a set goes to `part`. */
static dart_status between(dart_encoder *e, const dart_added_set *set, const char *text,
    size_t bytes, bool special, part_fn *part)
{
    for (size_t at = 0; at < bytes;) {
        dart_added_match found = dart_added_next(set, text, bytes, at, special);
        if (found.begin > at) DART_TRY(part(e, text + at, found.begin - at));
        if (!found.token) break;
        DART_TRY(dart_ids_add(e->out, found.token->id));
        e->first = false;
        at = found.end;
    }
    return DART_OK;
}

static dart_status normal(dart_encoder *e, const char *text, size_t bytes, bool special)
{
    if (e->in->norms) DART_TRY(dart_normalize(e, e->in, &text, &bytes));
    return between(e, &e->in->added_normal, text, bytes, special, plain);
}

static dart_status normal_special(dart_encoder *e, const char *text, size_t bytes)
{
    return normal(e, text, bytes, true);
}

static dart_status normal_only(dart_encoder *e, const char *text, size_t bytes)
{
    return normal(e, text, bytes, false);
}

/* Ill-formed bytes as U+FFFD. */
static dart_status replaced(const char *text, size_t bytes, dart_buffer *out)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        uint32_t c;
        n = dart_chars_sound(text + at, bytes - at);
        DART_TRY(dart_buffer_add(out, text + at, n));
        if (n) continue;
        n = dart_char_next(text + at, bytes - at, &c);
        DART_TRY(dart_buffer_add_char(out, 0xfffd));
    }
    return DART_OK;
}

static dart_status encode_text(
    const dart_tokenizer *t, const char *text, size_t bytes, unsigned flags, dart_ids *out)
{
    const bool special = flags & DART_ENCODE_SPECIAL;
    dart_encoder *e;
    dart_buffer sound = {0};
    DART_TRY(borrow(t, &e));
    dart_status status = DART_OK;
    e->out = out;
    e->first = true;
    if ((flags & DART_ENCODE_REPLACE) && dart_chars_sound(text, bytes) < bytes) {
        DART_GOTO(replaced(text, bytes, &sound));
        text = sound.at;
        bytes = sound.size;
    }
    DART_GOTO(between(e, &t->added, text, bytes, special, special ? normal_special : normal_only));
done:
    free(sound.at);
    give_back(t, e);
    return status;
}

static dart_status role(const dart_tokenizer *t, int32_t id, const char *name, dart_ids *out)
{
    if (id < 0) return dart_fail(DART_INPUT, "%s: the tokenizer has no %s token", t->what, name);
    return dart_ids_add(out, id);
}

dart_status dart_tokenizer_encode(
    const dart_tokenizer *t, const char *text, size_t bytes, unsigned flags, dart_ids *out)
{
    if (bytes > TEXT_MOST)
        return dart_fail(DART_INPUT,
            "a text of %zu bytes is too long to be encoded in one call; "
            "give at most 2 GiB at a time",
            bytes);
    const size_t before = out->count;
    dart_ids inner = {0};
    const bool framed = (flags & DART_ENCODE_TEMPLATE) && t->single.parts;
    dart_status status = DART_OK;
    if (flags & DART_ENCODE_BOS) DART_GOTO(role(t, t->roles.bos, "bos", out));
    DART_GOTO(encode_text(t, text, bytes, flags, framed ? &inner : out));
    if (framed) DART_GOTO(dart_tokenizer_join(t, &inner, NULL, out, NULL));
    if (flags & DART_ENCODE_EOS) DART_GOTO(role(t, t->roles.eos, "eos", out));
done:
    free(inner.id);
    if (status != DART_OK) out->count = before;
    return status;
}

static dart_status join_part(const dart_ids *ids, int32_t type, dart_ids *out, dart_ids *types)
{
    for (size_t i = 0; i < ids->count; i++) {
        DART_TRY(dart_ids_add(out, ids->id[i]));
        if (types) DART_TRY(dart_ids_add(types, type));
    }
    return DART_OK;
}

dart_status dart_tokenizer_join(
    const dart_tokenizer *t, const dart_ids *a, const dart_ids *b, dart_ids *out, dart_ids *types)
{
    const dart_template *template = b ? &t->pair : &t->single;
    const size_t before = out->count, before_types = types ? types->count : 0;
    dart_status status = DART_OK;
    if (b && !template->parts)
        return dart_fail(
            DART_INPUT, "%s: the tokenizer has no template for pairs of texts", t->what);
    if (!template->parts) DART_GOTO(join_part(a, 0, out, types));
    for (uint32_t i = 0; i < template->parts; i++) {
        const dart_template_part *part = &template->part[i];
        int32_t id = part->id;
        const dart_ids one = {&id, 1, 1};
        DART_GOTO(join_part(id >= 0 ? &one : part->sequence ? b : a, part->type, out, types));
    }
done:
    if (status == DART_OK) return DART_OK;
    out->count = before;
    if (types) types->count = before_types;
    return status;
}
