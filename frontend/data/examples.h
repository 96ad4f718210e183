/* Examples to fine-tune on, from lines of JSON, CSV or TSV: conversations, questions with answers,
 * texts. */
#ifndef DART_EXAMPLES_H
#define DART_EXAMPLES_H

#include "chat.h"
#include "data.h"

typedef struct dart_examples_options {
    const char *path;  /* a folder with train.jsonl, valid.jsonl and perhaps test.jsonl (else the
                          validation examples), or a .jsonl file; the same with .csv and .tsv */
    const char *valid; /* beside a file: its validation examples; "": the last tenth of its own */
    const dart_chat *chat; /* NULL: conversations are refused, why_no_chat says why */
    const char *why_no_chat;
    /* Columns of a CSV or TSV file, keys of a line of JSON; "": prompt, completion, text. Where one
     * is given, examples are of that kind alone. */
    const char *prompt_column, *completion_column, *text_column;
    uint32_t time;      /* tokens of a row */
    bool learn_prompts; /* labels are all tokens, not only answers */
} dart_examples_options;

/* Each line is an object with one of
 *   {"messages": [{"role": "system"|"user"|"assistant", "content": ".."}, ..]}   answers are learnt
 *   {"prompt": "..", "completion": ".."}                                 the completion is learnt
 *   {"text": ".."}                                                         all of it is learnt
 * and perhaps other keys, which are not read; each record of a CSV file (csv.h) has columns for one
 * of the last two. `out` has its vocabulary, to which ids belong, and
 * gets documents, counts, hashes, source and a note on what did not fit. INPUT: no such file, a
 * line or record that is none of these (with its file and number), no such columns, no example with
 * a label. */
DART_NODISCARD dart_status dart_examples_read(
    const dart_examples_options *options, dart_corpus *out);

#endif
