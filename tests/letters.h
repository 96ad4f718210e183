/* A WordPiece tokenizer of single letters, and texts with labels for it: shared by the tests of
 * classifiers. */
#ifndef DART_TEST_LETTERS_H
#define DART_TEST_LETTERS_H

#include "file.h"
#include <stdio.h>
#include <string.h>

enum { LETTERS_PAD, LETTERS_UNK, LETTERS_CLS, LETTERS_SEP, LETTERS_A, LETTERS_VOCAB = 30 };

/* <folder>/tokenizer.json: [PAD] [UNK] [CLS] [SEP] a b .. z; roberta: with RoBERTa's template. */
static inline dart_status write_letters(const char *folder, bool roberta)
{
    char text[2048], path[512];
    int n = snprintf(text, sizeof text,
        "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":"
        "\"BertPreTokenizer\"},\"post_processor\":{\"type\":\"%sProcessing\",\"sep\":[\"[SEP]\",3],"
        "\"cls\":[\"[CLS]\",2]%s},\"decoder\":null,\"model\":{\"type\":\"WordPiece\","
        "\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
        "\"max_input_chars_per_word\":100,\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":"
        "3",
        roberta ? "Roberta" : "Bert",
        roberta ? ",\"trim_offsets\":true,\"add_prefix_space\":false" : "");
    for (int i = 0; i < 26; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, ",\"%c\":%d", 'a' + i, LETTERS_A + i);
    n += snprintf(text + n, sizeof text - (size_t)n, "}}}");
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    return dart_file_write_sync(path, text, (size_t)n);
}

#endif
