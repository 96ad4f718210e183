/* What a tokenizer is made of: a pipeline from text to ids and one back. Private to this room. */
#ifndef DART_TOKENIZER_IMPL_H
#define DART_TOKENIZER_IMPL_H

#include "added.h"
#include "chars.h"
#include "merges.h"
#include "split.h"
#include "table.h"
#include "tokenizer.h"
#include <pthread.h>

enum { DART_STEPS = 24 /* of one kind in a tokenizer */ };

/* ---- normalizers: text to text ---- */
typedef enum dart_norm_kind {
    DART_NORM_FORM, /* one of the four forms of Unicode */
    DART_NORM_LOWER,
    DART_NORM_STRIP,
    DART_NORM_ACCENTS, /* combining marks go */
    DART_NORM_REPLACE,
    DART_NORM_PREPEND,
    DART_NORM_BERT
} dart_norm_kind;

typedef struct dart_norm {
    dart_norm_kind kind;
    int form;                            /* FORM: options of utf8proc */
    pcre2_code *code;                    /* REPLACE; owned */
    const char *text;                    /* REPLACE, PREPEND */
    bool left, right;                    /* STRIP */
    bool clean, chinese, accents, lower; /* BERT */
} dart_norm;

/* ---- pre-tokenizers: text to pieces that no token crosses ---- */
typedef enum dart_cut_kind {
    DART_CUT_SPLIT,
    DART_CUT_SPACES, /* blanks become `text` */
    DART_CUT_PREFIX  /* `text` goes before what does not begin with it */
} dart_cut_kind;

typedef struct dart_cut {
    dart_cut_kind kind;
    dart_split split; /* owned */
    const char *text;
    bool first; /* PREFIX: at the beginning of the whole text alone */
} dart_cut;

/* ---- decoders: tokens to text ---- */
typedef enum dart_join_kind {
    DART_JOIN_BYTES,    /* characters that stand for bytes */
    DART_JOIN_REPLACE,  /* `from` becomes `to` */
    DART_JOIN_FALLBACK, /* <0x41> is a byte */
    DART_JOIN_FUSE,     /* from here on the text is one */
    DART_JOIN_STRIP,    /* up to `left`, `right` times `from` at the ends */
    DART_JOIN_META,     /* `from` is a blank, at the beginning nothing (`left`) */
    DART_JOIN_PIECES    /* WordPiece: a blank before what does not begin with `from` */
} dart_join_kind;

typedef struct dart_join {
    dart_join_kind kind;
    const char *from, *to;
    uint32_t left, right;
    bool cleanup;
} dart_join;

/* ---- templates: what stands around the sequences ---- */
typedef struct dart_template_part {
    int32_t id;       /* -1: a sequence */
    uint8_t sequence; /* 0 or 1 */
    int32_t type;
} dart_template_part;
typedef struct dart_template {
    dart_template_part *part;
    uint32_t parts; /* 0: there is no template */
} dart_template;

typedef enum dart_model_kind { DART_MODEL_BPE, DART_MODEL_PIECES } dart_model_kind;

/* How sections of tokenizer.json were written; NULL where there is none. */
typedef struct dart_tokenizer_source {
    const char *normalizer, *pre_tokenizer, *post_processor, *decoder;
} dart_tokenizer_source;

struct dart_tokenizer {
    dart_arena arena;
    const char *what; /* the file, in sentences */
    dart_tokenizer_source source;

    dart_token_table table;
    uint8_t *flags; /* [table.size] DART_TOKEN_... */

    dart_model_kind model;
    dart_merges merges;
    uint32_t *merge; /* [3 * merge_count] left, right, made in the order of the file, for saving */
    uint32_t merge_count;
    bool byte_level; /* the model sees bytes as characters of GPT-2's alphabet */
    bool fallback, fuse_unknown, ignore_merges;
    const char *mark; /* pieces may be cut before it without changing anything; NULL: not known */
    const char *prefix, *suffix; /* of inner parts of words, of last ones; "" */
    int32_t unknown;             /* what the model makes of unknown characters; -1: nothing */
    uint32_t word_most;          /* WordPiece: characters of a word */
    int32_t byte_id[256];        /* of what stands for a byte: byte-level, or <0x00>; -1: none */
    int32_t ascii_id[128];       /* of single characters */

    dart_added_set added, added_normal; /* found in the text; in the normalized text */
    dart_added *added_token;            /* all, for saving */
    uint32_t added_count;

    dart_norm norm[DART_STEPS];
    dart_cut cut[DART_STEPS];
    dart_join join[DART_STEPS];
    uint32_t norms, cuts, joins;
    bool no_decoder; /* tokens are parted by blanks */
    dart_template single, pair;

    dart_token_roles roles;
    const char *chat_template;

    pthread_mutex_t lock;
    struct dart_encoder *idle; /* owned; encoders that no call uses now */
};

enum {
    DART_TOKEN_MODEL = 1,  /* of the model's vocabulary */
    DART_TOKEN_ADDED = 2,  /* matched in the text before everything else */
    DART_TOKEN_SPECIAL = 4 /* left out of texts on demand */
};

/* ---- words.c ---- */
/* What one call of encode works with; kept for the next one, with the words it has seen. */
typedef struct dart_encoder {
    struct dart_encoder *next;
    const struct dart_tokenizer *in;
    dart_matcher matcher;
    dart_symbols symbols;
    struct dart_word *word; /* words and their ids */
    dart_buffer normal[2], cut[DART_STEPS], piece;
    int32_t *wide; /* characters for utf8proc */
    size_t wide_capacity;
    uint32_t step; /* of the pre-tokenizers */
    bool first;    /* nothing of the text came before */
    dart_ids *out;
} dart_encoder;
/* The ids of a piece, in full, to encoder->out. */
DART_NODISCARD dart_status dart_piece_encode(dart_encoder *encoder, const char *text, size_t bytes);
DART_NODISCARD dart_status dart_ids_add(dart_ids *ids, int32_t id);

/* ---- normalize.c ---- */
/* *text, *bytes become what the normalizers make of them; in buffers of the encoder. */
DART_NODISCARD dart_status dart_normalize(
    dart_encoder *encoder, const dart_tokenizer *tokenizer, const char **text, size_t *bytes);

/* ---- decode.c ---- */
int dart_token_byte(const char *text, size_t bytes); /* of <0x41>; -1: something else */
/* ---- encode.c ---- */
void dart_encoders_free(dart_encoder *first);

/* ---- rules.c: sections of tokenizer.json; `json` may be NULL ---- */
struct json_t;
extern const char dart_gpt2_pattern[];
DART_NODISCARD dart_status dart_rules_normalizer(
    dart_tokenizer *tokenizer, const struct json_t *json);
DART_NODISCARD dart_status dart_rules_cut(dart_tokenizer *tokenizer, const struct json_t *json);
DART_NODISCARD dart_status dart_rules_join(dart_tokenizer *tokenizer, const struct json_t *json);
DART_NODISCARD dart_status dart_rules_template(
    dart_tokenizer *tokenizer, const struct json_t *json);

#endif
