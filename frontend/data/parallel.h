/* Parallel corpora: two texts, one sentence a line, line n of one translates line n of the other;
 * to two vocabularies, sentence pairs and batches of one static shape. */
#ifndef DART_PARALLEL_H
#define DART_PARALLEL_H

#include "data.h"

/* The first ids of both vocabularies. */
enum { DART_PAD, DART_BOS, DART_EOS, DART_UNK, DART_SPECIALS };
enum { DART_SOURCE, DART_TARGET, DART_SIDES };

/* The sentences of one side of one split. Sentence i is words[first[i] .. first[i + 1]), without
 * <bos> and <eos>; its line as it stood in the file (lower-cased if the corpus is) is the
 * string text + line[i]; kept for validation and test. */
typedef struct dart_sentences {
    uint64_t count;
    int32_t *words;  /* owned [first[count]] */
    uint64_t *first; /* owned [count + 1] */
    char *text;      /* owned, lines that end with a 0 byte; NULL for the training split */
    uint64_t *line;  /* owned [count + 1] */
} dart_sentences;

typedef struct dart_parallel {
    dart_vocab vocab[DART_SIDES]; /* word level; ids 0..3 are <pad> <bos> <eos> <unk>; with `shared`
                                     both hold the same words */
    bool shared;
    bool lowercase; /* sentences were lower-cased before they were cut into words */
    dart_sentences side[DART_SIDES][DART_SPLITS];
    char source[512]; /* where the text came from */
} dart_parallel;

typedef struct dart_parallel_options {
    const char *dataset; /* a known name, or a folder with train.source, train.target, valid.source
                            ... test.target; "" if files are given */
    const char *source, *target; /* two files, cut 90/5/5 by lines; "" if dataset is given */
    bool shared;                 /* one vocabulary counted on both sides */
    bool lowercase;
    uint32_t vocab_limit; /* entries a side, the special ones included; 0: no limit */
    uint32_t min_count;   /* rarer words are <unk>; 0 and 1: none are */
    const dart_vocab *vocab[DART_SIDES]; /* both NULL, or vocabularies to use (from a checkpoint) */
} dart_parallel_options;

/* INPUT: not found (the sentence says how to get it), unequal line counts, bytes that are not
 * UTF-8, an empty split, an empty line in the training text counts as an empty sentence. */
DART_NODISCARD dart_status dart_parallel_open(
    const dart_parallel_options *options, dart_parallel *out);
void dart_parallel_free(dart_parallel *corpus); /* zeroes it */
/* Ids of one sentence, without <bos> and <eos>; *out_ids is malloc'ed. */
DART_NODISCARD dart_status dart_sentence_encode(const dart_vocab *vocab, const char *text,
    size_t size, const char *what, int32_t **out_ids, uint64_t *out_count);
/* The same for one line of a text that has not been checked: not UTF-8 is INPUT, a sentence that
 * names the line; lower-cased first if asked. */
DART_NODISCARD dart_status dart_sentence_read(const dart_vocab *vocab, bool lowercase,
    const char *text, const char *what, uint64_t line, int32_t **out_ids, uint64_t *out_count);
/* The text of words that stand one space apart, as a person would write it: subwords (`@@ `) are
 * joined, Moses' escapes undone, marks moved to their words. marks_cut: every mark is a word
 * (vocab.punctuation). *out is malloc'ed. */
DART_NODISCARD dart_status dart_detokenize(const char *words, bool marks_cut, char **out);
/* The canonical name of a parallel data set, NULL if it is not a known one; and by index, NULL past
 * the end. */
const char *dart_parallel_name(const char *name);
const char *dart_parallel_at(uint32_t index);

/* ---- batches ---- */

/* One batch as the graph reads it; the arrays are owned by the stream and reused. A row that is
 * there only to fill the batch has length 0, pad ids and labels -1. */
typedef struct dart_pair_batch {
    uint32_t batch, source_time, target_time;
    int32_t *source;        /* (B,S): words <eos> <pad>... */
    int32_t *source_length; /* (B), <eos> counted */
    int32_t *target;        /* (B,T): <bos> y1 ... yn <pad>... */
    int32_t *labels;        /* (B*T): y1 ... yn <eos> -1... */
    int32_t *source_index;  /* (source vocab + 1 + B*S), as dart_batch.index */
    int32_t *target_index;  /* (target vocab + 1 + B*T) */
    uint64_t predicted;     /* labels that are not -1 */
} dart_pair_batch;

typedef struct dart_pairs {
    const dart_sentences *side[DART_SIDES]; /* borrowed */
    uint32_t vocab[DART_SIDES], batch, time[DART_SIDES];
    uint64_t seed;
    uint64_t count;   /* pairs that take part */
    uint64_t dropped; /* training: pairs left out because they are longer than the shape or empty */
    uint64_t cut;     /* evaluation: pairs that were cut at the shape */
    uint32_t *pair;   /* owned [count]: which pairs take part */
    uint64_t order_epoch;    /* whose order is in `order`; UINT64_MAX: none yet */
    uint32_t *order, *spare; /* owned [count] */
    uint32_t *batch_order;   /* owned [batches an epoch] */
    uint32_t *cursor;        /* owned [the largest of the vocabularies and times + 1] */
    dart_pair_batch data;
} dart_pairs;

/* A stream over one split. Training (dart_pairs_train): pairs of at most source_time - 1 and
 * target_time - 1 words, an order that (seed, epoch) names, neighbours in length in one batch.
 * Evaluation (dart_pairs_eval): every pair in order, longer ones cut. INPUT: fewer training pairs
 * than one batch. Nothing is allocated after this. */
DART_NODISCARD dart_status dart_pairs_new(const dart_parallel *corpus, uint32_t split,
    bool training, uint32_t batch, uint32_t source_time, uint32_t target_time, uint64_t seed,
    dart_pairs *out);
void dart_pairs_free(dart_pairs *pairs); /* zeroes it */
/* Training batch number `at` (0, 1, ...) of the endless sequence of epochs; count / batch batches
 * an epoch (the rest of an epoch's order is left out). */
const dart_pair_batch *dart_pairs_train(dart_pairs *pairs, uint64_t at);
/* Evaluation batch number `at` of dart_pairs_eval_batches. */
const dart_pair_batch *dart_pairs_eval(dart_pairs *pairs, uint64_t at);
uint64_t dart_pairs_eval_batches(const dart_pairs *pairs);

#endif
