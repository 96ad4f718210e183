/* tokenizer.model of SentencePiece: a protobuf message of pieces, settings of training and of the
 * normalizer, of which the fields that matter here are read. Models of kind BPE. */
#include "build.h"
#include "file.h"
#include <stdlib.h>
#include <string.h>

/* One field of a message. */
typedef struct field {
    uint32_t number, wire;
    uint64_t value;   /* of wire types 0, 1 and 5 */
    const char *data; /* of wire type 2 */
    size_t bytes;
} field;

typedef struct message {
    const char *at, *end;
} message;

static bool read_varint(message *m, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (m->at == m->end) return false;
        uint8_t byte = (uint8_t)*m->at++;
        if (shift < 64) *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

static bool read_fixed(message *m, size_t bytes, uint64_t *out)
{
    *out = 0;
    if ((size_t)(m->end - m->at) < bytes) return false;
    for (size_t i = 0; i < bytes; i++) *out |= (uint64_t)(uint8_t)m->at[i] << (8 * i);
    m->at += bytes;
    return true;
}

/* INPUT: cut off, or no protobuf. */
static dart_status next_field(const char *what, message *m, field *out)
{
    uint64_t tag, n;
    *out = (field){0};
    bool sound = read_varint(m, &tag);
    out->number = (uint32_t)(tag >> 3);
    out->wire = tag & 7;
    if (sound && out->wire == 0)
        sound = read_varint(m, &out->value);
    else if (sound && (out->wire == 1 || out->wire == 5))
        sound = read_fixed(m, out->wire == 1 ? 8 : 4, &out->value);
    else if (sound && out->wire == 2) {
        sound = read_varint(m, &n) && n <= (size_t)(m->end - m->at);
        if (sound) {
            out->data = m->at;
            out->bytes = (size_t)n;
            m->at += n;
        }
    } else
        sound = false;
    if (sound) return DART_OK;
    return dart_fail(DART_INPUT, "%s is not a whole SentencePiece model", what);
}

typedef struct piece {
    const char *text;
    size_t bytes;
    float score;
    uint32_t kind; /* 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte */
} piece;

typedef struct model {
    const char *what;
    piece *piece; /* owned */
    size_t pieces, capacity;
    uint64_t text_bytes;
    uint32_t kind; /* 1 unigram, 2 BPE, 3 words, 4 characters */
    bool fallback, suffix;
    int64_t unk, bos, eos, pad;
    bool prefix, squeeze, escape; /* of the normalizer */
    size_t charsmap;              /* bytes of its table */
} model;

static dart_status read_piece(model *m, field whole)
{
    message inner = {whole.data, whole.data + whole.bytes};
    DART_TRY(dart_grow((void **)&m->piece, &m->capacity, m->pieces + 1, sizeof *m->piece));
    piece *to = &m->piece[m->pieces++];
    *to = (piece){.text = "", .kind = 1};
    while (inner.at < inner.end) {
        field one;
        DART_TRY(next_field(m->what, &inner, &one));
        if (one.number == 1 && one.wire == 2) {
            to->text = one.data;
            to->bytes = one.bytes;
        }
        if (one.number == 2 && one.wire == 5) {
            uint32_t bits = (uint32_t)one.value;
            memcpy(&to->score, &bits, sizeof bits);
        }
        if (one.number == 3 && one.wire == 0) to->kind = (uint32_t)one.value;
    }
    m->text_bytes += to->bytes;
    return DART_OK;
}

static dart_status read_trainer(model *m, field whole)
{
    message inner = {whole.data, whole.data + whole.bytes};
    while (inner.at < inner.end) {
        field one;
        DART_TRY(next_field(m->what, &inner, &one));
        if (one.wire != 0) continue;
        const int64_t id = (int32_t)one.value;
        if (one.number == 3) m->kind = (uint32_t)one.value;
        if (one.number == 24) m->suffix = one.value != 0;
        if (one.number == 35) m->fallback = one.value != 0;
        if (one.number == 40) m->unk = id;
        if (one.number == 41) m->bos = id;
        if (one.number == 42) m->eos = id;
        if (one.number == 43) m->pad = id;
    }
    return DART_OK;
}

static dart_status read_normalizer(model *m, field whole)
{
    message inner = {whole.data, whole.data + whole.bytes};
    while (inner.at < inner.end) {
        field one;
        DART_TRY(next_field(m->what, &inner, &one));
        if (one.number == 2 && one.wire == 2) m->charsmap = one.bytes;
        if (one.wire != 0) continue;
        if (one.number == 3) m->prefix = one.value != 0;
        if (one.number == 4) m->squeeze = one.value != 0;
        if (one.number == 5) m->escape = one.value != 0;
    }
    return DART_OK;
}

static dart_status read_model(model *m, const char *text, size_t size)
{
    message all = {text, text + size};
    while (all.at < all.end) {
        field one;
        DART_TRY(next_field(m->what, &all, &one));
        if (one.wire != 2) continue;
        if (one.number == 1) DART_TRY(read_piece(m, one));
        if (one.number == 2) DART_TRY(read_trainer(m, one));
        if (one.number == 3) DART_TRY(read_normalizer(m, one));
    }
    static const char *const kinds[] = {"of no kind", "unigram", "BPE", "word", "character"};
    if (m->kind != 2)
        return dart_fail(DART_INPUT, "%s is a %s model of SentencePiece; only BPE is supported",
            m->what, kinds[m->kind < 5 ? m->kind : 0]);
    if (m->charsmap)
        return dart_fail(DART_INPUT,
            "%s: a normalizer with a table of characters (nmt_nfkc and the "
            "like) is not supported; expected identity",
            m->what);
    if (m->suffix || !m->escape)
        return dart_fail(DART_INPUT,
            "%s: white space that is not written as a mark before words is "
            "not supported",
            m->what);
    if (!m->pieces) return dart_fail(DART_INPUT, "%s has no pieces", m->what);
    return DART_OK;
}

static dart_status role(const model *m, const char *name, int64_t id, int32_t *out)
{
    if (id >= (int64_t)m->pieces)
        return dart_fail(DART_INPUT, "%s: %s is %lld, and there are %zu pieces", m->what, name,
            (long long)id, m->pieces);
    *out = id < 0 ? -1 : (int32_t)id;
    return DART_OK;
}

static dart_status build_pieces(dart_tokenizer *t, const model *m)
{
    float *score = dart_calloc(m->pieces, sizeof *score);
    dart_added *added = dart_calloc(m->pieces, sizeof *added);
    uint32_t count = 0;
    dart_status status = score && added ? DART_OK : DART_MEMORY;
    if (status != DART_OK) goto done;
    DART_GOTO(dart_build_size(t, m->pieces, m->text_bytes));
    for (size_t i = 0; i < m->pieces; i++) {
        const piece *one = &m->piece[i];
        score[i] = one->score;
        DART_GOTO(dart_build_token(t, (int64_t)i, one->text, one->bytes,
            one->kind == 1 || one->kind == 4 ? DART_TOKEN_MODEL : 0));
        if (one->kind < 2 || one->kind > 4) continue;
        added[count++] = (dart_added){.text = t->table.text[i].at,
            .bytes = (uint32_t)one->bytes,
            .id = (int32_t)i,
            .special = one->kind != 4};
    }
    DART_GOTO(dart_build_scores(t, score));
    DART_GOTO(dart_build_added(t, added, count));
done:
    free(score);
    free(added);
    return status;
}

static dart_status build(dart_tokenizer *t, const model *m)
{
    DART_TRY(build_pieces(t, m));
    DART_TRY(role(m, "unk_id", m->unk, &t->roles.unk));
    DART_TRY(role(m, "bos_id", m->bos, &t->roles.bos));
    DART_TRY(role(m, "eos_id", m->eos, &t->roles.eos));
    DART_TRY(role(m, "pad_id", m->pad, &t->roles.pad));
    t->unknown = t->roles.unk;
    t->fallback = m->fallback;
    t->fuse_unknown = true;
    DART_TRY(dart_build_spm_rules(t, m->prefix, m->squeeze, t->roles.bos, -1));
    return dart_build_finish(t);
}

dart_status dart_read_sentencepiece(const char *path, const char *folder, dart_tokenizer **out)
{
    char *text;
    size_t size;
    dart_tokenizer *t = NULL;
    model m = {.what = path,
        .kind = 1,
        .unk = 0,
        .bos = 1,
        .eos = 2,
        .pad = -1,
        .prefix = true,
        .squeeze = true,
        .escape = true};
    *out = NULL;
    DART_TRY(dart_file_read(path, &text, &size));
    dart_status status = DART_OK;
    DART_GOTO(read_model(&m, text, size));
    DART_GOTO(dart_build_begin(path, &t));
    DART_GOTO(build(t, &m));
    DART_GOTO(dart_read_config(t, folder));
    *out = t;
    t = NULL;
done:
    free(m.piece);
    free(text);
    dart_tokenizer_close(t);
    return status;
}
