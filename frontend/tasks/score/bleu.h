/* Corpus BLEU (Papineni et al. 2002) as sacreBLEU computes it: tokenizer 13a (mteval-v13a), up to
 * four words, exponential smoothing, brevity penalty against the closest reference length. */
#ifndef DART_BLEU_H
#define DART_BLEU_H

#include "dart.h"
#include "status.h"

/* What dart_bleu_files does. */
DART_NODISCARD dart_status dart_bleu_of_files(const char *hypothesis, const char *const *references,
    uint32_t count, const dart_bleu_options *options, dart_bleu *out);
/* `count` hypotheses against `references` references each: reference[k][i] belongs to
 * hypothesis[i]. Texts are UTF-8 lines without a line end. INPUT: bytes that are not UTF-8, no
 * sentences. */
DART_NODISCARD dart_status dart_bleu_lines(uint64_t count, const char *const *hypothesis,
    uint32_t references, const char *const *const *reference, const dart_bleu_options *options,
    dart_bleu *out);
/* The words BLEU counts, with one space between them; *out is malloc'ed. For tests and for looking
 * at what is scored. */
DART_NODISCARD dart_status dart_bleu_words(
    const char *line, const dart_bleu_options *options, char **out);

#endif
