/* Beam search over any model that gives the logits of the next word. */
#ifndef DART_BEAM_H
#define DART_BEAM_H

#include "mem.h"

/* The logits of the word that follows each of batch * beam prefixes. prefix: (batch * beam,
 * stride), the first `length` words of a row hold, <bos> first; row r belongs to sentence r / beam.
 * parent: (batch * beam), the row of the call before that this row continues (for caches); at the
 * first call each row itself. *out_logits: (batch * beam, *out_columns), the callee's, valid until
 * the next call; columns from the vocabulary's size on are padding. Rows without a live prefix hold
 * one that stands elsewhere too; their logits are not read. */
typedef dart_status (*dart_beam_logits)(void *user, const int32_t *prefix, uint32_t stride,
    uint32_t length, const uint32_t *parent, const float **out_logits, uint32_t *out_columns);

typedef struct dart_beam_options {
    uint32_t batch, beam, vocab;
    uint32_t max_words; /* longest translation, <eos> not counted */
    uint32_t best;      /* translations kept a sentence, 1 to beam */
    int32_t bos, eos;
    int32_t never[2]; /* words that are never chosen; -1: none */
    double alpha;     /* score = log p / ((5 + |Y|) / 6)^alpha, |Y| with <eos> (Wu et al. 2016) */
    bool early;       /* stop a sentence at its first `beam` ends (fairseq); else when no prefix can
                         still enter the best list */
} dart_beam_options;

typedef struct dart_translation {
    int32_t *words; /* owned by the search, without <bos> and <eos> */
    uint32_t count;
    double log_p, score; /* log_p includes <eos> */
} dart_translation;

typedef struct dart_beam {
    dart_beam_options options;
    uint32_t *ends;         /* (batch): translations of each sentence, best first */
    dart_translation *best; /* (batch, beam) */
    uint32_t steps;         /* calls of the last search */
    /* the rest is scratch of the search */
    int32_t *prefix[2];
    uint32_t *parent, *live, *ended;
    double *log_p, *next_p;
    struct beam_candidate *candidate;
    int32_t *words;
} dart_beam;

/* INPUT: sizes that make no sense. Nothing is allocated by a search. */
DART_NODISCARD dart_status dart_beam_new(const dart_beam_options *options, dart_beam *out);
void dart_beam_free(dart_beam *beam); /* zeroes it */
/* Translates one batch. limit: NULL, or (batch): the most words of each sentence, at most
 * max_words; 0 skips it. The result is in beam->ends and beam->best until the next search. FAILED:
 * logits that are not numbers. Each step keeps the `beam` likeliest prefixes of a sentence; equal
 * ones by row, then word. A prefix of max_words words can only end. */
DART_NODISCARD dart_status dart_beam_search(
    dart_beam *beam, const uint32_t *limit, dart_beam_logits logits, void *user);

#endif
