/* Tables of examples to fine-tune on (first byte: CSV or TSV). Records that are written with quotes
 * everywhere are read as the same fields. */
#include "csv.h"
#include "examples.h"
#include "fuzz.h"
#include "vocab.h"

static void put(char **to, const dart_csv_field *field, char after)
{
    *(*to)++ = '"';
    for (size_t i = 0; i < field->bytes; i++) {
        if (field->text[i] == '"') *(*to)++ = '"';
        *(*to)++ = field->text[i];
    }
    *(*to)++ = '"';
    *(*to)++ = after;
}

static void again(const char *text, size_t size, char separator)
{
    dart_csv one, two;
    bool more = true, same = true;
    /* each byte becomes two at most, and a field that may be empty has four around it */
    char *quoted = calloc(6, size + 2), *to = quoted;
    fuzz_need(quoted != NULL, "no memory for the input");
    if (fuzz_read(dart_csv_open("input", text, size, separator, &one))) {
        for (uint32_t i = 0; i < one.columns; i++)
            put(&to, &one.name[i], i + 1 < one.columns ? separator : '\n');
        while (fuzz_read(dart_csv_next(&one, &more)) && more)
            for (uint32_t i = 0; i < one.columns; i++)
                put(&to, &one.field[i], i + 1 < one.columns ? separator : '\n');
        dart_csv_close(&one);
        fuzz_need(
            dart_csv_open("input", text, size, separator, &one) == DART_OK &&
                dart_csv_open("quoted", quoted, (size_t)(to - quoted), separator, &two) == DART_OK,
            "what was written is not read");
        while (dart_csv_next(&one, &more) == DART_OK && more) {
            fuzz_need(dart_csv_next(&two, &more) == DART_OK && more, "a record is lost");
            for (uint32_t i = 0; i < one.columns; i++)
                same &= one.field[i].bytes == two.field[i].bytes &&
                        !memcmp(one.field[i].text, two.field[i].text, one.field[i].bytes);
            fuzz_need(same, "a field is another one");
        }
        dart_csv_close(&two);
    }
    dart_csv_close(&one);
    free(quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"input.csv", "input.tsv"};
    static const char *const words[] = {"<eos>", "<unk>", "a", "b"};
    dart_corpus c = {0};
    if (size < 1) return 0;
    const unsigned tabs = data[0] % 2;
    again((const char *)data + 1, size - 1, tabs ? '\t' : ',');
    const char *path = fuzz_file(names[tabs], data + 1, size - 1);
    fuzz_need(dart_vocab_from(DART_LEVEL_WORD, false, 4, words, &c.vocab) == DART_OK, "no words");
    (void)fuzz_read(dart_examples_read(&(dart_examples_options){.path = path,
                                           .valid = data[0] & 16 ? path : "",
                                           .why_no_chat = "there is no template",
                                           .text_column = data[0] & 32 ? "t" : NULL,
                                           .time = 8},
        &c));
    dart_corpus_free(&c);
    return 0;
}
