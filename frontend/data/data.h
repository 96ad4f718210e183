/* Text to vocabulary to tokens to batches. */
#ifndef DART_DATA_H
#define DART_DATA_H

#include "mem.h"
#include "tokenizer.h"

typedef enum dart_level {
    DART_LEVEL_AUTO,
    DART_LEVEL_WORD,
    DART_LEVEL_CHAR,
    DART_LEVEL_BYTE,
    DART_LEVEL_TOKEN /* of a tokenizer that others made */
} dart_level;
enum { DART_TRAIN, DART_VALID, DART_TEST, DART_SPLITS };

typedef struct dart_vocab {
    dart_level level;
    bool punctuation;  /* word level: punctuation marks are words */
    uint32_t size;     /* ids are 0..size-1, most frequent first, equal counts by bytes */
    const char **text; /* [size], UTF-8; byte level: NULL entries; tokenizers: NULL */
    uint64_t *count;   /* [size] in the training split; tokenizers: NULL */
    uint32_t start;    /* what comes before the first token of a split: <eos>, a line end, or 0 */
    uint32_t unknown;  /* id of <unk>, UINT32_MAX if there is none */
    /* of tokenizers: what its template puts before a text, what ends one; -1: nothing */
    int32_t first, end;
    struct dart_vocab_tokenizer *shared; /* NULL: no tokenizer */
    struct dart_vocab_index *index;
    dart_arena arena;
} dart_vocab;

void dart_vocab_free(dart_vocab *vocab); /* zeroes it */
/* A vocabulary as it was saved: `text` in the order of the ids (NULL for byte level). INPUT:
 * duplicates. */
DART_NODISCARD dart_status dart_vocab_from(
    dart_level level, bool punctuation, uint32_t size, const char *const *text, dart_vocab *out);
/* Ids of a text; unknown tokens become <unk>. *out_ids is malloc'ed. INPUT: a token outside the
 * vocabulary when there is no <unk>, bytes that are not UTF-8, a binary file. `what` names the text
 * in sentences. */
DART_NODISCARD dart_status dart_vocab_encode(const dart_vocab *vocab, const char *text, size_t size,
    const char *what, int32_t **out_ids, uint64_t *out_count);
/* The same of a piece of a text, onto the end of a list. special: special tokens that are written
 * in the text are meant as such (tokenizers). */
DART_NODISCARD dart_status dart_vocab_append(const dart_vocab *vocab, const char *text,
    size_t bytes, bool special, const char *what, dart_ids *out);
/* Puts what a tokenizer's template has before every text to the front of a list, unless it begins
 * with that. MEMORY. */
DART_NODISCARD dart_status dart_vocab_begin(
    const dart_vocab *vocab, dart_ids *ids, bool *out_added);
/* What a tokenizer's model goes on from: what its template puts before a text, then the text, with
 * special tokens meant as such; never nothing. */
DART_NODISCARD dart_status dart_vocab_prompt(
    const dart_vocab *vocab, const char *text, size_t bytes, dart_ids *out);
/* A tokenizer as a vocabulary: `path` as in dart_tokenizer_open. */
DART_NODISCARD dart_status dart_vocab_open(const char *path, dart_vocab *out);
/* Another one with the same tokenizer; each is freed by itself. */
void dart_vocab_share(const dart_vocab *vocab, dart_vocab *out);
const dart_tokenizer *dart_vocab_tokenizer(const dart_vocab *vocab); /* NULL: none */
/* How many ids have a token: fewer than `size` where the embedding has more rows than the
 * tokenizer has tokens. */
uint32_t dart_vocab_tokens(const dart_vocab *vocab);
const char *dart_vocab_hash(const dart_vocab *vocab); /* of a tokenizer's tokens; NULL: none */

/* Text of ids as they come. */
typedef struct dart_detok {
    const dart_vocab *vocab; /* borrowed */
    struct dart_token_stream *stream;
    int32_t before;
    char word[256];
} dart_detok;
/* skip_special: special tokens of a tokenizer are not written. */
DART_NODISCARD dart_status dart_detok_open(
    const dart_vocab *vocab, bool skip_special, dart_detok *out);
/* What can be written now: bytes of a character that is not whole yet wait. Valid until the next
 * call. */
DART_NODISCARD dart_status dart_detok_next(
    dart_detok *text, int32_t id, const char **out, size_t *out_bytes);
DART_NODISCARD dart_status dart_detok_end(dart_detok *text, const char **out, size_t *out_bytes);
void dart_detok_close(dart_detok *text);

/* How token `id` of a vocabulary that is no tokenizer is written after `before` (-1: nothing
 * before): a space first, a line end for <eos> ... */
void dart_vocab_decode(
    const dart_vocab *vocab, int32_t before, int32_t id, char out[256], size_t *out_size);

/* Documents of a split, one a row of a batch: documents.h. */
typedef struct dart_documents {
    uint64_t count, labels; /* labels: tokens that are learnt */
    uint64_t *first;        /* owned [count + 1]: where documents begin in ids */
    int32_t *ids;           /* owned */
    uint8_t *learn;         /* owned: whether a token is a label */
    size_t first_room, ids_room, learn_room;
} dart_documents;

/* Texts of a split with their labels, one a row of a batch: labelled.h. */
typedef struct dart_labelled {
    uint64_t count;
    uint64_t *first; /* owned [count + 1]: where texts begin in ids */
    int32_t *ids;    /* owned */
    uint8_t *types;  /* owned: the segment of each token */
    int32_t *label;  /* owned [count] */
    size_t first_room, ids_room, types_room, label_room;
} dart_labelled;

typedef struct dart_corpus {
    dart_vocab vocab;
    const int32_t *tokens[DART_SPLITS]; /* in memory, or in the map of a token file */
    uint64_t count[DART_SPLITS];
    char hash[DART_SPLITS][33]; /* XXH3-128 of the ids of each split */
    char source[512];           /* where the text came from */
    char note[640];             /* news for the user: a token file was made; "" mostly */
    int32_t *owned[DART_SPLITS];
    bool in_documents; /* splits are documents, count their labels; tokens are NULL then */
    dart_documents documents[DART_SPLITS]; /* owned */
    bool in_labelled; /* splits are texts with labels, count their tokens; tokens are NULL then */
    dart_labelled labelled[DART_SPLITS]; /* owned */
    void *map;                           /* NULL: in memory */
    size_t map_bytes;
    /* Sentence pairs instead of a text (parallel.h): `vocab` is the target's, `count` are labels.
     */
    struct dart_parallel *parallel; /* owned, with both vocabularies; NULL: a text */
    dart_vocab source_vocab;        /* size 0: a text */
} dart_corpus;

/* Where tokens are kept: in memory, or in a file of the cache folder that is made once and then
 * mapped, so that resident memory does not grow with the text. The tokens are the same. */
typedef enum dart_token_file {
    DART_TOKEN_FILE_AUTO, /* a file for more than 32 MiB of text; memory if it cannot be written */
    DART_TOKEN_FILE_ALWAYS,
    DART_TOKEN_FILE_NEVER
} dart_token_file;

typedef struct dart_corpus_options {
    const char *dataset; /* a known name, or a folder with train.txt, valid.txt, test.txt; "" if
                            text is given */
    const char *text;    /* a file, cut 90/5/5 by lines; "" if dataset is given */
    dart_level
        level; /* AUTO: the data set's own; for a text: words if it looks like words, else bytes */
    uint32_t vocab_limit; /* word level: at most so many entries, the rest is <unk>; 0: the default
                             (none for a data set, 10,000 for a text) */
    const dart_vocab
        *vocab; /* NULL, or a vocabulary to use (from a checkpoint) instead of counting one */
    dart_token_file token_file;
} dart_corpus_options;

/* Data sets are looked for in $DART_DATA, the cache folder, and ../shared/datasets beside the
 * working directory. INPUT: not found (the sentence says how to get it), truncated, not the
 * original, empty, binary, not UTF-8 at word and character level (byte, line). */
DART_NODISCARD dart_status dart_corpus_open(const dart_corpus_options *options, dart_corpus *out);
/* Tokens that the caller has in memory and keeps there. level: AUTO is WORD. text: [vocab], NULL:
 * made-up names. INPUT: ids outside the vocabulary, texts that are empty or there twice, fewer than
 * two tokens in a split. */
DART_NODISCARD dart_status dart_corpus_from(dart_level level, uint32_t vocab,
    const char *const *text, const int32_t *const tokens[DART_SPLITS],
    const uint64_t count[DART_SPLITS], dart_corpus *out);
void dart_corpus_free(dart_corpus *corpus);
/* The canonical name of a data set ("PTB" -> "ptb"), NULL if it is not a known one. */
const char *dart_dataset_name(const char *name);
/* NULL past the end. */
const char *dart_dataset_at(uint32_t index);
/* "word", "character", "byte" */
const char *dart_level_unit(dart_level level);

/* ---- batches ---- */

/* One batch as the graph reads it. All three arrays are owned by the stream and reused. */
typedef struct dart_batch {
    uint32_t batch, time;
    int32_t *tokens; /* (batch, time) */
    int32_t *labels; /* (batch * time); -1: padding */
    int32_t *index;  /* (vocab + 1 + batch * time): see shaders/scatter.k */
    int32_t *starts; /* (batch, time): where each position's document begins; NULL: not packed */
    /* Of texts with labels, else NULL; labels are (batch) then, -1: no text. */
    int32_t *lengths;     /* (batch): tokens of each text */
    int32_t *at;          /* (batch): the position of each text's first or last token */
    int32_t *at_index;    /* (batch * time + 1 + batch), as index */
    int32_t *types;       /* (batch, time): segments */
    int32_t *types_index; /* (types + 1 + batch * time) */
    uint64_t predicted;   /* labels that are not -1 */
} dart_batch;

typedef struct dart_stream {
    const int32_t *tokens;           /* borrowed */
    const dart_documents *documents; /* borrowed; NULL: a running text, else tokens are not used */
    const dart_labelled *labelled;   /* borrowed; NULL: no labels */
    uint64_t count;
    uint32_t vocab, start, batch, time;
    uint32_t types;  /* labelled: segments that the model tells apart, at least 1 */
    bool last;       /* labelled: a text's state is its last token's, else its first's */
    bool by_length;  /* labelled, as in dart_stream_options */
    uint32_t stride; /* evaluation: positions that a window adds to the one before; 1..time */
    uint64_t seed;
    uint64_t windows;     /* windows or documents an epoch (training), or in all (evaluation) */
    uint64_t order_epoch; /* whose order is in `order`; UINT64_MAX: none yet */
    uint32_t *order;      /* owned [windows]; labelled texts by length: [texts] */
    /* labelled texts by length, owned: [texts], and training [texts / batch] */
    uint32_t *spare, *group;
    /* of documents: row r of an epoch has those at place [place[r], place[r + 1]) of `laid` */
    uint32_t *place, *laid; /* owned [rows + 1], [documents] */
    uint64_t rows;
    uint32_t *cursor;  /* owned [vocab]; labelled: at least batch * time + 1 and types too */
    bool shift;        /* the tiling offset changes with the epoch */
    bool mapped;       /* tokens are pages of a file: those read are given back now and then */
    uint64_t resident; /* mapped: bytes read since they were given back, at most */
    struct dart_pairs *pairs; /* owned; batches of sentence pairs, drawn through parallel.h */
    dart_batch data;
} dart_stream;

typedef struct dart_stream_options {
    bool training; /* else evaluation */
    uint32_t batch, time;
    uint32_t stride; /* evaluation; 0: time */
    uint64_t seed;   /* training */
    bool pack;       /* documents: several in a row, as many as have room */
    uint32_t types;  /* as in dart_stream */
    bool last;
    /* Texts with labels. Training: those of about one length come together; evaluation: from the
     * shortest to the longest instead of in the order of the file. */
    bool by_length;
} dart_stream_options;

/* A stream over a split of a corpus, for training (dart_stream_train) or for evaluation
 * (dart_stream_eval). INPUT: fewer tokens than one training window. Nothing is allocated after. */
DART_NODISCARD dart_status dart_stream_open(
    const dart_corpus *corpus, int split, const dart_stream_options *options, dart_stream *out);
/* The same over any ids. `vocab`: row count of the embedding that the scatter index is for (>=
 * every id + 1); `start`: see dart_vocab. INPUT: a token id out of range too. */
DART_NODISCARD dart_status dart_stream_new(const int32_t *tokens, uint64_t count, bool training,
    uint32_t vocab, uint32_t start, uint32_t batch, uint32_t time, uint64_t seed, dart_stream *out);
void dart_stream_free(dart_stream *stream);
/* Training batch number `at` (0, 1, ...): windows at*batch .. of the endless sequence of epochs. */
const dart_batch *dart_stream_train(dart_stream *stream, uint64_t at);
/* Evaluation batch number `at` of dart_stream_eval_batches. Each token of the split is a label
 * once: window 0 scores its first `time` tokens, each further window starts `stride` tokens later
 * and scores its last `stride`; all other labels are -1. */
const dart_batch *dart_stream_eval(dart_stream *stream, uint64_t at);
uint64_t dart_stream_eval_batches(const dart_stream *stream);
/* index for any (rows) ids in 0..vocab-1: counting sort, stable. cursor: [vocab] scratch. */
void dart_scatter_index(
    const int32_t *ids, uint32_t rows, uint32_t vocab, uint32_t *cursor, int32_t *index);

#endif
